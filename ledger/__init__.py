"""What both homes of the ledger share. Knows no network and no clock."""
