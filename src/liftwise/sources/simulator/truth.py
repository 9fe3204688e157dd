"""The truth of a simulated market. Only `flows.prove` and tests may read it (an import contract holds that)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from liftwise.core.errors import WorkspaceError

FRAMES = (
    "touches", "orders", "channels", "channel_weeks", "influencers", "campaigns", "weeks", "responses", "carryover", "brand", "overlap",
    "identity", "f", "elements", "parameters", "answers", "dirt",
)  # fmt: skip


class Truth:
    """Reads what `generate` kept.

    ============== =====================================================================================================
    touches        touch_id, incremental_orders, incremental_revenue: with minus without that one touch (tracked people)
    orders         order_id, cause: a touch_id, or organic, brand, tv
    channels       incremental_revenue by removal of the whole channel; shapley (sums to the removal of all); tracked_revenue
    channel_weeks  the same by week of the touch and region
    influencers    incremental_revenue, brand_effect, quality, real_followers, community
    campaigns      incremental_revenue by week of the order and region, the whole campaign removed together
    weeks          expected_revenue, organic_revenue by week and region
    responses      weekly revenue by spend multiplier, last 52 weeks
    carryover      share of a channel's orders by week after the touch
    brand          stock by week and region
    overlap        followers shared (tracked people)
    identity       record_id, cluster
    f              mean and sd of every metric for every feasible tuple of the coming events
    elements       what creative elements do (log)
    parameters     strengths of interactions
    answers        what a fresh touch adds to a panel's answers, log-odds by metric: a content type, or a channel without one
    dirt           rows broken on purpose: table, line, kind
    ============== =====================================================================================================
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / "parameters.parquet").exists():
            raise WorkspaceError("there is no truth here", where=str(folder), fix="truth is known of simulated markets only")
        self.folder = folder

    def frame(self, name: str) -> pd.DataFrame:
        """One of the frames above."""
        if name not in FRAMES:
            raise KeyError(name)
        return pd.read_parquet(self.folder / f"{name}.parquet")
