"""Designs of experiments, frozen before their start."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "test_designs",
        sa.Column("test_id", sa.String, primary_key=True),
        sa.Column("frozen_at", sa.DateTime, nullable=False),
        *(sa.Column(name, sa.Date, nullable=False) for name in ("starts_on", "ends_on")),
        sa.Column("markets", sa.Text, nullable=False),
        *(sa.Column(name, sa.Float, nullable=False) for name in ("expected_lift", "power")),
        *(sa.Column(name, sa.String, nullable=False) for name in ("verdict", "sha256")),
        sa.Column("design", sa.Text, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("test_designs")
