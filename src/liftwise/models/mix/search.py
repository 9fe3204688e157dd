"""Paid search is bought by demand: who looks for the brand anyway is also whom it is paid for. Is the mix told of demand?

Without a control for how much is searched, what demand sells is read as what search sells (Chen, Chan, Koehler, Wang, Sun, Jin, Perry
and Clancy 2018, Bias correction for paid search in media mix modeling, Google). Search money can be seen to follow demand when revenue of
the weeks before foretells it beyond its own past, a trend and all controls (Granger 1969): later spend cannot have caused earlier revenue.
The season is left in: money that follows it follows demand, and will do so outside the season too.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from liftwise.core.uncertainty import Floats

SEARCH = re.compile(r"search|adwords|google_?ads|(^|_)(sem|sea|ppc)(_|$)", re.I)
DEMAND = re.compile(r"quer(y|ies)|search|google_?trends|(^|_)(demand|interest|trends?|popularity)(_|$)", re.I)
LOOKS_BACK = 2  # periods
SURE = 0.01  # chance of saying "follows" of money that does not


def search_demand(weekly: pd.DataFrame) -> list[str]:
    """What a reader of search's effect should know, one line a search channel; empty without one."""
    names = {role: sorted(map(str, part["name"].unique())) for role, part in weekly.groupby("role")}
    searches = [name for name in names.get("channel", []) if SEARCH.search(name)]
    controls = [name for name in names.get("control", []) if DEMAND.search(name)]
    if controls:
        return [f"{name} is controlled for demand by {', '.join(controls)}" for name in searches]
    said: list[str] = []
    for name in searches:
        chance = follows(weekly, name)
        if chance < SURE:
            said.append(
                f"money for {name} follows demand (chance alone: {chance:.1g}) and nothing in the data says how much is searched, so its "
                "effect is likely overstated: deliver the volume of searches as a factor named query_volume, or test it by region"
            )
        else:
            said.append(f"nothing in the data says how much is searched: what {name} takes from demand cannot be told from what it "
                        "adds; a factor named query_volume, or a test by region, would tell")  # fmt: skip
    return said


def follows(weekly: pd.DataFrame, channel: str) -> float:
    """The chance that revenue of the weeks before would foretell the channel's money as well as it does if it were of no use.

    One-sided t test of one coefficient: log money on the mean log revenue of the `LOOKS_BACK` periods before, beside the channel's own past,
    a trend and the controls of this period and the last.
    """
    from scipy.stats import t

    wide = weekly.pivot_table(index="week", columns=["role", "name"], values="value", aggfunc="sum").sort_index()
    money, revenue = wide[("channel", channel)].to_numpy(float), wide["target"].sum(axis=1).to_numpy(float)
    controls = wide["control"].to_numpy(float) if "control" in wide else np.empty((len(wide), 0))
    y, clock = np.log1p(money), np.arange(len(wide)) / len(wide)
    beside = np.column_stack([np.ones_like(y), clock, controls, _earlier(controls, 1), _past(y)])
    both = np.column_stack([beside, _past(np.log(np.maximum(revenue, 1e-9)))])
    whole = np.isfinite(both).all(axis=1)
    both, beside, y = both[whole], beside[whole], y[whole]
    free = len(y) - both.shape[1]
    if free < 10:
        return 1.0
    slope = np.linalg.lstsq(both, y, rcond=1e-9)[0][-1]
    less, more = _left(beside, y), _left(both, y)
    return float(t.sf(np.sign(slope) * np.sqrt(max(less - more, 0.0) / max(more / free, 1e-300)), free))


def _earlier(columns: Floats, lag: int) -> Floats:
    """Columns as they were `lag` periods before; NaN where that is not known."""
    return np.vstack([np.full((lag, columns.shape[1]), np.nan), columns[:-lag]])


def _past(x: Floats) -> Floats:
    """Mean of the `LOOKS_BACK` periods before."""
    return np.mean([_earlier(x[:, None], lag)[:, 0] for lag in range(1, LOOKS_BACK + 1)], axis=0)


def _left(columns: Floats, y: Floats) -> float:
    """Sum of squares that a regression leaves."""
    return float(((y - columns @ np.linalg.lstsq(columns, y, rcond=1e-9)[0]) ** 2).sum())
