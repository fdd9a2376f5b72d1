"""The public home of the ledger: takes signed pushes in, serves curl, pages and phones."""
