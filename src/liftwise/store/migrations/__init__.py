"""The ledger's history: each change of its shape, in order, run by Alembic when a workspace opens."""
