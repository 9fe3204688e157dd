"""What each way to post adds to each objective: from table `effectiveness` to candidates and their gains."""

# pyright: basic
# (pandas' types are partial over object arrays)
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.timegrid import TimeGrid
from liftwise.decisions.selection import readings
from liftwise.decisions.selection.candidates import Candidates
from liftwise.decisions.selection.rules import MinimumFee

Floats = NDArray[np.float64]
MINIMISED = ("risk", "cost")


def read_objectives(
    effectiveness: pd.DataFrame, names: tuple[str, ...], rules: Sequence[Any], rho: float, influencers: pd.DataFrame | None,
    events: pd.DataFrame | None, audiences: pd.DataFrame | None, grid: TimeGrid | None,
) -> tuple[Candidates, Floats, Floats]:  # fmt: skip
    """Every way to post (none left out for being second best: another objective may want it), (rows, p) gains, (p,) sign of each objective."""
    metrics = list(map(str, pd.unique(effectiveness["metric"])))
    main = _main(names, metrics)
    mine = effectiveness[effectiveness["metric"] == main].reset_index(drop=True)
    unit = mine.assign(predicted=1.0, uncertainty=1.0, _row=np.arange(len(mine)))
    wide = readings.paid(unit, [rule for rule in rules if isinstance(rule, MinimumFee)], literal=False).reset_index(drop=True)
    row, share = wide.pop("_row").to_numpy(), wide["predicted"].to_numpy(dtype=np.float64)
    wide = wide.assign(**{name: mine[name].to_numpy(dtype=np.float64)[row] * share for name in readings.NUMBERS})
    _refuse_prices(wide)
    everyone = Candidates.of(
        wide, main, 0.0, influencers=influencers, events=events, audiences=audiences, grid=grid, every_day=True
    )
    gains = []
    for name in names:
        metric = "revenue" if name == "roi" else name
        if metric in metrics:
            own = mine if metric == main else _aligned(effectiveness, mine, metric)
            gain = own["predicted"].to_numpy(dtype=np.float64) - rho * own["uncertainty"].to_numpy(dtype=np.float64)
            gains.append(_finite(gain[row] * share, wide, name))
        else:
            gains.append(_counted(wide, name, metrics, influencers))
    return everyone, np.column_stack(gains), np.array([-1.0 if name in MINIMISED else 1.0 for name in names])


def _main(names: tuple[str, ...], metrics: list[str]) -> str:
    """The metric that the lines show: revenue where it is asked for, else the first objective that is one."""
    if "roi" in names or "revenue" in names or ("risk" in names and "revenue" in metrics):
        if "revenue" not in metrics:
            raise CannotTell("there is no prediction of revenue", fix="predict it first")
        return "revenue"
    found = [name for name in [*names, *metrics] if name in metrics]
    if not found:
        raise CannotTell("there is no prediction of anything", fix="predict it first")
    return found[0]


def _refuse_prices(wide: pd.DataFrame) -> None:
    price = wide["price"].to_numpy(dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(price) | (price < 0))
    if len(bad):
        row = wide.iloc[int(bad[0])]
        told = f"{row['influencer_id']}, {row['content_type']}, {row['event_id']}, day {row['days_from_event']:g}"
        raise InputError(f"price is {price[bad[0]]:g}", where=f"effectiveness, {told}", fix="mend the row or drop it")


def _counted(wide: pd.DataFrame, name: str, metrics: list[str], influencers: pd.DataFrame | None) -> Floats:
    """What each row adds to an objective that is no metric."""
    if name == "risk":
        return -wide["uncertainty"].to_numpy(dtype=np.float64)
    if name == "cost":
        return -wide["price"].to_numpy(dtype=np.float64)
    if name in wide and pd.api.types.is_numeric_dtype(wide[name]):
        return _finite(wide[name].to_numpy(dtype=np.float64), wide, name)
    if name == "reach":
        if influencers is None or "followers" not in influencers:
            raise InputError("reach needs the influencers' followers", where="frontier", fix="pass influencers= with that column")
        followers = influencers.drop_duplicates("influencer_id").set_index("influencer_id")["followers"]
        followers.index = followers.index.astype("str")
        return _finite(followers.reindex(wide["influencer_id"].astype("str")).to_numpy(dtype=np.float64), wide, "followers")
    raise CannotTell(
        f"there is no prediction of {name}",
        fix=f"predict it first, or choose from {', '.join([*metrics, 'roi', 'reach', 'risk', 'cost'])}",
    )


def _aligned(effectiveness: pd.DataFrame, mine: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Rows of another metric in the order of the main one's."""
    other, keys = effectiveness[effectiveness["metric"] == metric], readings.KEYS
    if len(other) == len(mine) and all((other[key].to_numpy() == mine[key].to_numpy()).all() for key in keys):
        return other
    index = pd.MultiIndex.from_frame(mine[keys].astype(dict.fromkeys(keys[:3], "str")))
    found = other.astype(dict.fromkeys(keys[:3], "str")).drop_duplicates(keys).set_index(keys)[readings.NUMBERS].reindex(index)
    if found["predicted"].isna().any():
        raise InputError(f"{metric} is not predicted for every way to post", where="frontier", fix="predict it for all")
    return found


def _finite(gain: Floats, wide: pd.DataFrame, name: str) -> Floats:
    bad = np.flatnonzero(~np.isfinite(gain))
    if len(bad):
        row = wide.iloc[int(bad[0])]
        told = f"{row['influencer_id']}, {row['content_type']}, {row['event_id']}, day {row['days_from_event']:g}"
        raise InputError(f"{name} is {gain[bad[0]]:g}", where=f"effectiveness, {told}", fix="give a number or drop the row")
    return gain
