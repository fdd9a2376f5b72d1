"""Telling people: which alerts are new, and the channels that carry them while the laptop sleeps."""
