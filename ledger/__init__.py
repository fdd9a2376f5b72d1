"""What both homes of the ledger share. Knows no network and no clock."""
__version__ = "1.0.0"
