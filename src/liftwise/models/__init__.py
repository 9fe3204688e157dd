"""Layer 3: one folder per family of methods. Pure: tables in, results out; nothing here reads or writes."""
