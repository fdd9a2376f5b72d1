"""Claude Code's transcripts, read exactly and fast: walk, scan, understand, settle, keep."""
