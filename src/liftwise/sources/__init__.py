"""Layer 1: where data come from, one file a source."""
