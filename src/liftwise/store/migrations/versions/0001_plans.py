"""Plans: the runs of `plan` and their lines."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "plan_runs",
        sa.Column("plan_id", sa.String, primary_key=True),
        sa.Column("made_at", sa.DateTime, nullable=False),
        sa.Column("metric", sa.String, nullable=False),
        *(sa.Column(name, sa.Float, nullable=False) for name in ("budget", "cost", "value", "bound", "gap")),
        sa.Column("rules", sa.Text, nullable=False),
        sa.Column("state", sa.String, nullable=False),
    )
    op.create_table(
        "plans",
        sa.Column("plan_id", sa.String, sa.ForeignKey("plan_runs.plan_id"), primary_key=True),
        *(sa.Column(name, sa.String, primary_key=True) for name in ("influencer_id", "content_type", "event_id")),
        sa.Column("days_from_event", sa.Float, primary_key=True),
        sa.Column("week", sa.Date, nullable=False),
        *(sa.Column(name, sa.Float, nullable=False) for name in ("budget", "predicted", "uncertainty")),
        sa.Column("why", sa.Text, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("plans")
    op.drop_table("plan_runs")
