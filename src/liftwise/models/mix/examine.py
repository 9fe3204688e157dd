"""What speaks against a fitted mix: every check in one table, each with what to do about it.

A warning is a test at `ALPHA` (see `checks`), or a number beyond a stated limit. On clean worlds of the simulator at most one fit in ten
raises any (`benchmarks/stress_mix.py`); a note is worth knowing and proves nothing. A mix without warnings can still be wrong: nothing in weekly data
shows demand that moves one budget and revenue in the same week only, or spend that is booked with random errors. A lift test does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from liftwise.core.uncertainty import Floats, normal_quantile
from liftwise.models.mix import checks
from liftwise.models.mix.adequacy import Adequacy, adequacy
from liftwise.models.mix.checks import Ground, searched
from liftwise.models.mix.family import Mix
from liftwise.models.mix.lift_tests import tested

if TYPE_CHECKING:
    import plotly.graph_objects as go

ALPHA = 0.003
FOLLOWS = 0.01  # for spend that answers to demand: the mistake that costs most
TOGETHER = 0.35  # correlation of two channels' news: an eighth of what moves one moves both
TOLD = 0.01  # p-value of spend as a whole above which it cannot be seen in revenue
NARROW = 0.5  # times the data's own error
QUICK = 0.25  # share of what is known of a channel that quick movements should give
MINOR = 0.05  # share of media below which a channel's evidence is not worth a warning
UNTOLD = 0.8  # sd of a channel's total, in its mean: as wide as an exponential prior, nearly
JOINTLY = ("saturation", "carry-over", "lasting", "changing effect")  # may be a little wrong in every channel
DATA = ("collinear", "controls", "gaps", "units", "coarse spend")  # doubts of the data that spoil a fit
RETAINED = 0.5  # carry-over that is tried where none may be chosen by the data

Row = tuple[str, str, str, float, str]
Groups = Callable[[Ground], dict[str, Floats]]
SEARCHES: dict[str, tuple[Groups, str]] = {  # check → groups of columns, what it means and what to do
    "outliers": (checks.weeks, "the week of {where} is unlike any other: explain it by a control (stock-out, bulk order, holiday) or leave it out"),
    "break": (checks.breaks, "level or trend of revenue changes for good about {where}: give the mix a control that says so (new price, shop, rival)"),
    "season": (checks.season, "the year has peaks that two waves do not follow: add holidays and events as controls"),
    "saturation": (checks.saturation, "what is left still goes with the height of {where}'s spend: its saturation has another form; do not plan beyond spend seen"),
    "carry-over": (checks.carry_over, "what is left still goes with past spend of {where}: it works later, longer or in reverse; try a delayed carry-over"),
    "lasting": (checks.lasting, "revenue goes with {where}'s spend of quarters before: it builds something that lasts, which the mix does not count"),
    "changing effect": (checks.changing, "{where} did not work the same all the time: use recent periods, or a mix whose effects may change"),
    "synergy": (checks.synergy, "{where} together do more, or less, than apart: use a mix with synergy"),
    "multiplicative": (checks.multiplicative, "media bring more when demand is high: model log revenue, or read contributions as an average"),
    "slow": (checks.slow, "slow movements of {where} count differently from quick ones: it works over months, or its budget follows demand; run a lift test"),
}  # fmt: skip


@dataclass(frozen=True)
class Findings:
    """table : check, where, severity (``"warning"`` or ``"note"``), p_value (NaN where a limit was passed), said. residuals : week, revenue,
    fitted, residual, in currency.
    """

    table: pd.DataFrame
    residuals: pd.DataFrame = field(repr=False)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Checks that warn."""
        return tuple(dict.fromkeys(self.table.loc[self.table["severity"] == "warning", "check"]))

    def to_frame(self) -> pd.DataFrame:
        """A row a finding, warnings first."""
        return self.table

    def summary(self) -> str:
        """For a manager."""
        warned = self.table.loc[self.table["severity"] == "warning", "said"]
        notes = int((self.table["severity"] == "note").sum())
        more = f" {notes} notes." if notes else ""
        return (
            f"{len(warned)} warnings. " + ". ".join(warned) + "." if len(warned) else "Nothing speaks against this mix."
        ) + more

    def plot(self) -> go.Figure:
        """What is left over, week by week."""
        import plotly.graph_objects as go

        figure = go.Figure()
        figure.add_bar(x=self.residuals["week"], y=self.residuals["residual"], name="left unexplained")
        return figure.update_layout(template="plotly_white", yaxis_title="revenue less fit")


def examine(mix: Mix, weekly: pd.DataFrame) -> Findings:
    """Put a fitted mix to every check; `weekly` is the table it was fitted to.

    Raises
    ------
    CannotTell
        When fewer than 30 periods are whole.
    """
    told = {"holdout": int(getattr(mix, "holdout", 26)), "per_year": float(getattr(mix, "per_year", 52.18))}
    ground = Ground.of(mix, weekly)
    table = look(ground, mix.roi(), adequacy(weekly, **told), _elsewhere(mix, weekly))
    money = ground.mean
    return Findings(table, pd.DataFrame({"week": ground.weeks, "revenue": ground.y * money, "fitted": ground.fitted * money,
                                         "residual": (ground.y - ground.fitted) * money}))  # fmt: skip


def look(ground: Ground, roi: pd.DataFrame, found: Adequacy, elsewhere: Collection[str] = ()) -> pd.DataFrame:
    """The table of `Findings` from a mix's `roi()` and the adequacy of its data."""
    rows: list[Row] = []
    for name, (groups, said) in SEARCHES.items():
        search = checks.jointly if name in JOINTLY else Ground.best
        rows += _row(name, said, *search(ground, groups(ground))[:2])
    rows += (
        _confounded(ground, elsewhere)
        + _errors(ground)
        + _evidence(ground)
        + _scales(ground, roi.set_index("channel"), elsewhere)
    )
    rows += [
        (kind, "data", "warning", np.nan, said) for kind, said in zip(found.kinds, found.findings, strict=True) if kind in DATA
    ]
    rows += [("extrapolation", str(name), "note", np.nan, f"{name} saturates above all spend seen: what more of it brings is the curve's form, not data")
             for name in roi.loc[roi["extrapolated"].astype(bool), "channel"]]  # fmt: skip
    table = pd.DataFrame(rows, columns=["check", "where", "severity", "p_value", "said"])
    return table.sort_values("severity", ascending=False, kind="stable", ignore_index=True)


def _row(check: str, said: str, where: str, p: float, alpha: float = ALPHA) -> list[Row]:
    return [(check, where, "warning", p, said.format(where=where))] if p < alpha else []


def _confounded(ground: Ground, elsewhere: Collection[str]) -> list[Row]:
    """Signs that budgets know something of demand; what channels do together is none where they are known `elsewhere`."""
    groups, also = checks.lead(ground)
    rows = _row("confounded", "revenue goes with {where}'s spend of the periods to come: both follow demand, or budgets follow sales; "
                "its effect is overstated: deliver what the budget follows (query volume, orders) as a control, or run a lift test",
                *ground.best(groups, also)[:2])  # fmt: skip
    rows = rows or _row("confounded", "{where}'s spend answers to unexplained revenue of the periods before: deliver what it follows as a "
                        "control, or run a lift test", *checks.follows_demand(ground)[:2], FOLLOWS)  # fmt: skip
    (one, other), p, correlation = checks.common_driver(ground)
    if rows or correlation < TOGETHER or {one, other} <= set(elsewhere):
        return rows
    return _row("confounded", f"{{where}} rise and fall together beyond calendar and controls (correlation {correlation:.2f}), by one plan or by one "
                "demand: if by demand, both are overstated: deliver it as a control, or run a lift test", f"{one} and {other}", p)  # fmt: skip


def _errors(ground: Ground) -> list[Row]:
    rows = _row("wandering", "what is left hangs together over periods: something that lasts is missing (distribution, rivals, weather); a mix with "
                "a wandering baseline gives honest intervals", "baseline", checks.autocorrelation(ground))  # fmt: skip
    return rows + _row(
        "variance",
        "errors grow or shrink with {where}: intervals are averages over good and bad times",
        *checks.variance(ground)[:2],
    )


def _evidence(ground: Ground) -> list[Row]:
    """Channels whose effect rests on slow movements, where trend, changes of level and demand look the same."""
    share, size = checks.quick_share(ground), ground.media.sum(axis=0)
    worst = np.where(size > MINOR * size.sum(), share, np.inf)
    k = int(np.argmin(worst))
    if worst[k] >= QUICK:
        return []
    name = ground.channels[k]
    return [("slow", name, "warning", np.nan, f"what the mix says of {name} rests on slow movements ({share[k]:.0%} of it on quick ones), which a change "
             "of trend, of level or of demand explains as well: vary its spend from week to week, or run a lift test")]  # fmt: skip


def _elsewhere(mix: Mix, weekly: pd.DataFrame) -> Collection[str]:
    """Channels of which the mix may know more than the nation's weeks say: from tests, or from regions that differ."""
    if len(weekly.loc[weekly["role"] == "target", "region"].unique()) > 1:
        return weekly.loc[weekly["role"] == "channel", "name"].unique().tolist()
    return tested(mix)


def _scales(ground: Ground, told: pd.DataFrame, elsewhere: Collection[str]) -> list[Row]:
    """What the data alone say of each channel, beside what the mix says; it may be surer of those it knows `elsewhere`."""
    rows: list[Row] = []
    seen = _visible(ground)
    if seen > TOLD:
        rows.append(("weak", "all channels", "warning", seen, "spend as a whole cannot be seen in revenue: what the mix says of channels comes from "
                     "its prior or its form; test the largest channel by region"))  # fmt: skip
    factor, error = ground.scales()
    size = ground.media.sum(axis=0)
    for k, name in enumerate(ground.channels):
        if size[k] <= 0 or name not in told.index:
            continue
        low, roi, high = told.loc[name, ["low", "roi", "high"]].astype(float)
        relative = (high - low) / (2 * normal_quantile(0.90)) / roi if roi > 0 else float("inf")
        if relative < NARROW * error[k] and name not in elsewhere:
            rows.append(("narrow", name, "warning", np.nan, f"the mix is surer of {name} (±{relative:.0%}) than the data can be (±{error[k]:.0%}): "
                         "prior or penalty speak, or the interval is wrong"))  # fmt: skip
        if relative > UNTOLD or (error[k] > 1.0 and name not in elsewhere):
            rows.append(("weak", name, "note", np.nan, f"the data say next to nothing of {name}: a lift test would"))
    pull = searched(ground.white(ground.y - ground.media.sum(axis=1)), ground.white(ground.base),
                       {name: ground.white(ground.media[:, [k]]) for k, name in enumerate(ground.channels)})  # fmt: skip
    at = ground.channels.index(pull[0])
    return rows + _row("scale", f"the data alone would put {max(factor[at], 0):.1f} times as much on {{where}}: prior or penalty hold the mix back, or its "
                       "form is wrong", *pull[:2])  # fmt: skip


def _visible(ground: Ground) -> float:
    """p-value of spend, carried over in one way for all, beside trend, season and controls."""
    weight = RETAINED ** np.arange(13)
    carried = sum(w * x for w, x in zip(weight, np.moveaxis(checks.past(ground, range(13)), 2, 0), strict=True))
    return searched(ground.white(ground.y), ground.white(ground.base), {"media": ground.white(np.asarray(carried))})[1]
