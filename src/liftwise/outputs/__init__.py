"""Layer 5: what a person meets."""
