"""Ways to find a mix wrong by fitting it again: a channel that cannot have worked, a shock nobody had, other windows of time.

A placebo channel is a real channel's spend in another order of years: the same look, no effect. What a mix gives it is what it gives for
nothing. A random common cause is a control that means nothing: effects that move with it were never known. A window shift drops the latest
periods, a subset the earliest; a contribution that leaps then rests on those periods alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from liftwise.core.uncertainty import spawn
from liftwise.models.mix.family import Mix

if TYPE_CHECKING:
    import plotly.graph_objects as go

BLOCK = 4  # periods that stay together in a placebo
NEAR = 0.2  # of a channel's return that another fit may move it by, whatever its interval
MINOR = 0.05  # share of media below which a channel's moves are not counted
LASTS = 0.7  # correlation of a random common cause from one period to the next


@dataclass(frozen=True)
class Refutation:
    """table : test, channel, value, low, high, passed, said. A value outside its band fails: a placebo's share of media, or what a channel returns in
    another fit beside the interval of the first.
    """

    table: pd.DataFrame

    @property
    def passed(self) -> bool:
        """Nothing failed."""
        return bool(self.table["passed"].all())

    def to_frame(self) -> pd.DataFrame:
        """A row a test and channel."""
        return self.table

    def summary(self) -> str:
        """For a manager."""
        failed = self.table.loc[~self.table["passed"], "said"]
        return " ".join(failed) if len(failed) else f"{len(self.table)} attempts to refute this mix have failed."

    def plot(self) -> go.Figure:
        """Bands and what other fits said."""
        import plotly.graph_objects as go

        figure, label = go.Figure(), self.table["test"] + ", " + self.table["channel"]
        middle, half = (self.table["high"] + self.table["low"]) / 2, (self.table["high"] - self.table["low"]) / 2
        figure.add_scatter(x=middle, y=label, error_x={"array": half}, mode="markers", name="may be")
        figure.add_scatter(x=self.table["value"], y=label, mode="markers", name="is")
        return figure.update_layout(template="plotly_white")


def refute(make: Callable[[], Mix], weekly: pd.DataFrame, *, shift: int = 13, seed: int = 7) -> Refutation:
    """Five fits: as it is, with a placebo channel, with a random common cause, without the latest and without the earliest `shift` periods.

    `make` gives an unfitted mix.

    Raises
    ------
    CannotTell
        When the table, or a shorter one, cannot carry a mix.
    """
    weeks = np.sort(weekly["week"].unique())
    now = make().fit(weekly).roi().set_index("channel")
    false = placebo(make, weekly, seed=seed).iloc[0]
    allowed = max(
        float(false["fair"]) / 2, float(false["high"] - false["low"]) / 2
    )  # effects below zero are shut out, so luck shows as some
    rows = [("placebo", "placebo", float(false["share"]), 0.0, allowed, bool(false["share"] <= allowed),
             f"A copy of {false['like']} in another order gets {false['share']:.0%} of media: the mix rewards spend that cannot have worked.")]  # fmt: skip
    others = {
        "random common cause": pd.concat([weekly, _cause(weekly, seed)], ignore_index=True),
        "latest left out": weekly[weekly["week"] < weeks[-shift]],
        "earliest left out": weekly[weekly["week"] >= weeks[shift]],
    }
    major = now.index[now["revenue"] > MINOR * now["revenue"].sum()]
    for test, frame in others.items():
        then = make().fit(frame).roi().set_index("channel")["roi"].reindex(now.index)
        for name in major:
            value, mine = float(then[name]), now.loc[name]
            low, high = (float(end[name]) for end in _band(now))
            rows.append((test, str(name), value, low, high, bool(low <= value <= high),
                         f"{name} returns {value:.2f} with {test} and {mine['roi']:.2f} without: take its interval as too narrow."))  # fmt: skip
    return Refutation(pd.DataFrame(rows, columns=["test", "channel", "value", "low", "high", "passed", "said"]))


def placebo(make: Callable[[], Mix], weekly: pd.DataFrame, *, seed: int = 7) -> pd.DataFrame:
    """Share of media revenue that a shuffled copy of the largest channel gets: channel, like, share with its 90 % interval (low, high), fair (an equal part).

    `make` gives an unfitted mix.
    """
    media = weekly[weekly["role"] == "channel"]
    like = str(media.groupby("name")["value"].sum().idxmax())
    mine = media[media["name"] == like]
    weeks = np.sort(mine["week"].unique())
    rng = spawn(seed, "mix.placebo")
    blocks = [weeks[k : k + BLOCK] for k in range(0, len(weeks), BLOCK)]
    order = np.concatenate([blocks[k] for k in rng.permutation(len(blocks))])
    false = mine.assign(name="placebo", week=mine["week"].map(dict(zip(weeks, order, strict=True))))
    told = make().fit(pd.concat([weekly, false], ignore_index=True)).roi().set_index("channel")
    share = low = high = 0.0
    total = float(told["revenue"].sum())
    if "placebo" in told.index and total > 0:
        row = told.loc["placebo"]
        share, low, high = (
            float(value) / total for value in (row["revenue"], row["low"] * row["spend"], row["high"] * row["spend"])
        )
    return pd.DataFrame(
        {"channel": ["placebo"], "like": [like], "share": [share], "low": [low], "high": [high], "fair": [1 / max(len(told), 1)]}
    )


def stability(make: Callable[[], Mix], weekly: pd.DataFrame, *, shift: int = 13) -> pd.DataFrame:
    """What each channel returns with and without the latest `shift` periods: channel, roi, before, low, high, stable.

    stable : the earlier value lies within the 90 % interval of today's, or within a fifth of it.
    """
    weeks = np.sort(weekly["week"].unique())
    now = make().fit(weekly).roi().set_index("channel")
    then = make().fit(weekly[weekly["week"] < weeks[-shift]]).roi().set_index("channel")["roi"].reindex(now.index)
    inside = then.between(*_band(now))
    return pd.DataFrame({"channel": now.index, "roi": now["roi"].to_numpy(), "before": then.to_numpy(), "low": now["low"].to_numpy(),
                         "high": now["high"].to_numpy(), "stable": inside.to_numpy()})  # fmt: skip


def _band(now: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Between what another fit's returns may lie: in the interval of this one's, or near them."""
    room = NEAR * now["roi"].abs()
    return np.minimum(now["low"], now["roi"] - room), np.maximum(now["high"], now["roi"] + room)


def _cause(weekly: pd.DataFrame, seed: int) -> pd.DataFrame:
    """A control that means nothing and lasts a while, the same in all regions."""
    rng, weeks = spawn(seed, "mix.cause"), np.sort(weekly["week"].unique())
    values = np.empty(len(weeks))
    level = rng.normal()
    for k, step in enumerate(rng.normal(size=len(weeks))):
        level = LASTS * level + (1 - LASTS**2) ** 0.5 * step
        values[k] = level
    regions = weekly.loc[weekly["role"] == "target", "region"].unique()
    return pd.concat([pd.DataFrame({"week": weeks, "region": region, "role": "control", "name": "random common cause", "value": values})
                      for region in regions])  # fmt: skip
