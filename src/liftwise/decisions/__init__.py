"""Layer 4: what to do, with a proof of how good it is."""
