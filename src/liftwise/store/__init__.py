"""Where tables live: the workspace opens the warehouse (analytics, rebuildable) and the ledger (the record)."""
