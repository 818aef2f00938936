"""What outlives the process or is shared between processes: the ledger, the locks, the rate budget, the loss limits."""
