"""What one tenant sees: its sources gathered, each session once, and the answers that are worked out from them."""
