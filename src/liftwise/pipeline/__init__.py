"""Layer 2: from rows to meaning, in SQL over the store."""
