"""The machine's own home of the ledger: reads, keeps, serves localhost and pushes."""
