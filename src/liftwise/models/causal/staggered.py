"""Many treated units: cells that start together or one after another, each judged beside units in which nothing happened.

A cell is one or more units with the same window, such as one version of a campaign, or one wave of a launch. Its donors are the units
that no cell treats before its window ends: the never treated and, unless told otherwise, the not yet treated. Units treated earlier are
no donors even when their campaign is over, as what they were before can no longer be told from what it did.

What several cells have in common, above all the same control, makes their errors alike. So whatever concerns more than one cell (their
sum, their difference, their profile in event time) is judged by joint placebos: the whole experiment is acted out again with units that
were never treated, one disjoint group for each cell, all of them fitted by the donors left over. Each such statistic is studentised by its
own cross-fitted error; how far it strays where nothing happened sets the scale, and Student's t with as many degrees of freedom as the
placebos have, overlap considered, gives p-value and interval (`StudentTest`: they cannot disagree).

References
----------
Callaway and Sant'Anna (2021), Journal of Econometrics 225(2), for not yet treated comparisons and event time; Goodman-Bacon (2021),
same issue, for what goes wrong when treated units serve as donors; Hahn and Shi (2017), Observational Studies 3, for studentising.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.uncertainty import Floats
from liftwise.models.causal.donors import DonorDesign
from liftwise.models.causal.inference import StudentTest, bounded
from liftwise.models.causal.joint_placebos import JointPlacebos, Part, act_out
from liftwise.models.causal.lift import Lift
from liftwise.models.causal.panel import Panel
from liftwise.models.causal.question import Question, ask
from liftwise.models.causal.synthetic_control import SyntheticControl
from liftwise.models.causal.words import amount, chance

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Cell:
    """Units that had the campaign from the period holding `start` to the one holding `end` (default: the panel's last)."""

    treated: Sequence[str] | str
    start: Any
    end: Any = None

    @property
    def units(self) -> tuple[str, ...]:
        """Names, each once."""
        return (self.treated,) if isinstance(self.treated, str) else tuple(sorted(set(self.treated)))


def estimate_cells(
    panel: Panel, cells: Mapping[str, Cell], design: DonorDesign | None = None, *, donors: Sequence[str] | None = None,
    exclude: Sequence[str] = (), not_yet: bool = True, draws: int = 200, seed: int = 7,
) -> CellLifts:  # fmt: skip
    """Estimate the effect in each cell and what they come to together.

    Parameters
    ----------
    design : how a counterfactual is made (default: `SyntheticControl`).
    donors : the only units that may be donors; by default all that are in no cell.
    exclude : units that are no donors.
    not_yet : whether units of a cell that starts after another one's end may be its donors.
    draws : joint placebos at most. Designs without a Gram matrix to share take six fits a cell for each.

    Raises
    ------
    InputError
        For a unit in two cells, a donor that is treated, units or dates that the panel does not have.
    CannotTell
        As `DonorDesign.estimate` does; the message names the cell.

    >>> from liftwise.core.uncertainty import spawn
    >>> values = spawn(7, "example").normal(size=(24, 40)) + np.add.outer(np.arange(24.0), 3 * np.sin(np.arange(40.0)))
    >>> values[0, 30:] += 4
    >>> values[1, 34:] += 8
    >>> panel = Panel(values + 50, tuple(f"r{k:02d}" for k in range(24)), pd.RangeIndex(40))
    >>> found = estimate_cells(panel, {"early": Cell("r00", 30), "late": Cell("r01", 34)})
    >>> bool(70 < found.effect < 105), bool(found.compare("late", "early", by="mean").p_value < 0.05)
    (True, True)
    """
    design = SyntheticControl(seed=seed) if design is None else design
    _refuse(panel, cells, donors)
    barred = [*exclude, *([] if donors is None else sorted(set(panel.units) - set(donors) - set(_members(cells))))]
    asked, lifts, parts = {}, {}, []
    windows = {name: _asked(panel, name, cell, ()) for name, cell in cells.items()}
    for name, cell in cells.items():
        mine = windows[name]
        others = [
            unit
            for other in cells
            if other != name and not (not_yet and windows[other].first > mine.last)
            for unit in cells[other].units
        ]
        asked[name] = _asked(panel, name, cell, [*barred, *others])
        settled = _settled(design, panel, asked[name])
        lifts[name] = settled.estimate(panel, treated=cell.units, start=cell.start, end=cell.end, exclude=[*barred, *others])
        parts.append(Part(panel, asked[name], settled))
    return CellLifts(lifts, panel.outcome, *act_out(panel, parts, tuple(cells), draws, seed))


def _members(cells: Mapping[str, Cell]) -> dict[str, str]:
    """Cell by unit; refuses a unit in two."""
    found: dict[str, str] = {}
    for name, cell in cells.items():
        for unit in cell.units:
            if unit in found:
                raise InputError(
                    f"unit {unit!r} is in cells {found[unit]!r} and {name!r}", where="cells",
                    fix="leave it out of one: their effects could not be told apart",
                )  # fmt: skip
            found[unit] = name
    return found


def _refuse(panel: Panel, cells: Mapping[str, Cell], donors: Sequence[str] | None) -> None:
    if not cells:
        raise InputError("there is no cell", fix="name at least one, with its units and its start")
    members = _members(cells)
    for unit in donors or ():
        if unit in members:
            raise InputError(
                f"donor {unit!r} is treated in cell {members[unit]!r}",
                where="cells",
                fix="take it out of the donors or of the cell",
            )
    panel.rows(donors or ())
    for name, cell in cells.items():
        if panel.position(cell.start) < 0:
            raise InputError(
                f"it starts {str(cell.start)[:10]}, before the data do ({str(panel.periods[0])[:10]})", where=f"cell {name!r}",
                fix="deliver earlier periods, or exclude its units",
            )  # fmt: skip


def _asked(panel: Panel, name: str, cell: Cell, exclude: Sequence[str]) -> Question:
    """The cell's question; what is wrong with it names the cell."""
    try:
        return ask(panel, cell.units, cell.start, cell.end, exclude)
    except (InputError, CannotTell) as error:
        raise type(error)(error.what, where=f"cell {name!r}", fix=error.fix) from None


def _settled(design: DonorDesign, panel: Panel, question: Question) -> DonorDesign:
    """The design with whatever it chooses once for a question chosen."""
    values = panel.matrix[[*question.treated, *question.donors], : question.last + 1]
    return design.settle(values, len(question.treated), question.first)


@dataclass(frozen=True, eq=False)
class Contrast:
    """How much more one cell gained than another: per unit and period, or as a share of what would have been."""

    first: str
    second: str
    by: str
    test: StudentTest = field(repr=False)

    @property
    def difference(self) -> float:
        """The first cell's effect minus the second's."""
        return self.test.effect

    @property
    def p_value(self) -> float:
        """How often chance alone would show as much, were both effects the same."""
        return self.test.p_value

    def interval(self, level: float = 0.90) -> tuple[float, float]:
        """All differences that the test does not reject at 1 − `level`."""
        return bounded(self.test, level)

    def summary(self, level: float = 0.90) -> str:
        """One sentence for a manager."""
        low, high = self.interval(level)
        told = "{:.1%}".format if self.by == "relative" else amount
        unit = " of what would have been" if self.by == "relative" else " a unit and period"
        more = "more" if self.difference >= 0 else "less"
        says = f"{self.first} gained {told(abs(self.difference))}{unit} {more} than {self.second}, {level:.0%} interval {told(low)} to {told(high)}"
        says += f"; chance alone would show as much {chance(self.p_value)}"
        return says + ("." if not low <= 0 <= high else ", so they may as well be equal.")


@dataclass(frozen=True, eq=False)
class CellLifts:
    """The effect in each cell and of all together.

    Parameters
    ----------
    lifts : by cell.
    joint : the experiment acted out again, which judges whatever concerns several cells; none where `reason` says why.
    """

    lifts: Mapping[str, Lift]
    outcome: str
    joint: JointPlacebos | None = field(repr=False, default=None)
    reason: CannotTell | None = field(repr=False, default=None)

    @property
    def effect(self) -> float:
        """Total over all cells, their units and periods, in the outcome's unit."""
        return float(sum(lift.effect for lift in self.lifts.values()))

    @property
    def relative(self) -> float:
        """The total as a share of what would have been in the treated units and periods."""
        base = sum(float(lift.counterfactual.iloc[lift.pre_periods :].sum()) for lift in self.lifts.values())
        return self.effect / base if base > 0 else float("nan")

    def test(self, by: str = "total") -> StudentTest:
        """Of the total effect (``"total"``), or of its share of what would have been (``"relative"``)."""
        joint = self._acted()
        counts = np.array([cell.size * len(cell.window) for cell in joint.cells], dtype=float)
        weights = np.tile(counts, (len(joint.drawn) + 1, 1))
        if by == "relative":
            base = (self._bases() @ counts)[:, None]
            seen = (joint.actuals() @ counts)[:, None]
            return joint.test(weights / base, [cell.window for cell in joint.cells], seen / base)
        if by != "total":
            raise InputError(f"by {by!r} is unknown", fix="choose total or relative")
        return joint.test(weights, [cell.window for cell in joint.cells])

    @property
    def p_value(self) -> float:
        """Of no effect in total."""
        return self.test().p_value

    def interval(self, level: float = 0.90, by: str = "total") -> tuple[float, float]:
        """All total (or ``"relative"``) effects that the joint test does not reject at 1 − `level`.

        Raises
        ------
        CannotTell
            With too few units that were never treated.
        """
        return bounded(self.test(by), level)

    def compare(self, first: str, second: str, by: str = "relative") -> Contrast:
        """Whether two cells differ: in their effect as a share (``"relative"``), or per unit and period (``"mean"``).

        Raises
        ------
        CannotTell
            With too few units that were never treated, or shares of nothing.
        """
        joint = self._acted()
        for name in (first, second):
            if name not in joint.names:
                raise InputError(f"there is no cell {name!r}", fix=f"there are {', '.join(joint.names)}")
        if by not in ("relative", "mean"):
            raise InputError(f"by {by!r} is unknown", fix="choose relative or mean")
        sign = np.array([float(name == first) - float(name == second) for name in joint.names])
        weights, windows = np.tile(sign, (len(joint.drawn) + 1, 1)), [cell.window for cell in joint.cells]
        if by == "relative":
            bases, seen = self._bases(), joint.actuals()
            return Contrast(first, second, by, joint.test(weights / bases, windows, seen / bases))
        return Contrast(first, second, by, joint.test(weights, windows))

    def comparisons(self, level: float = 0.90, by: str = "relative") -> pd.DataFrame:
        """Every pair of cells; `p_holm` allows for there being several."""
        found = [self.compare(*pair, by=by) for pair in combinations(self.lifts, 2)]
        p = np.array([one.p_value for one in found])
        order = np.argsort(p, kind="stable")
        holm = np.empty(len(p))
        holm[order] = np.minimum(np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p)))), 1.0)
        ends = [one.interval(level) for one in found]
        return pd.DataFrame({
            "first": [one.first for one in found], "second": [one.second for one in found], "difference": [one.difference for one in found],
            "low": [low for low, _ in ends], "high": [high for _, high in ends], "p_value": p, "p_holm": holm,
        })  # fmt: skip

    def profile(self, level: float = 0.90) -> pd.DataFrame:
        """Mean effect per treated unit by periods since the start, over the cells that reach so far.

        Columns: since, cells, effect, low, high, relative. Before the start (since < 0) it is the fit's error, without interval.
        """
        ran = [
            (len(lift.treated), lift.pre_periods, lift.gap.to_numpy(), lift.counterfactual.to_numpy())
            for lift in self.lifts.values()
        ]
        rows = []
        for since in range(-min(pre for _, pre, _, _ in ran), max(len(gap) - pre for _, pre, gap, _ in ran)):
            reached = np.array([pre + since < len(gap) for _, pre, gap, _ in ran])
            units = sum(size for (size, *_), yes in zip(ran, reached, strict=True) if yes)
            total = sum(gap[pre + since] for (_, pre, gap, _), yes in zip(ran, reached, strict=True) if yes)
            base = sum(would[pre + since] for (_, pre, _, would), yes in zip(ran, reached, strict=True) if yes)
            low, high = self._since(since, reached, level)
            rows.append((since, int(reached.sum()), total / units, low, high, total / base if base > 0 else np.nan))
        return pd.DataFrame(rows, columns=["since", "cells", "effect", "low", "high", "relative"])

    def _since(self, since: int, reached: NDArray[np.bool_], level: float) -> tuple[float, float]:
        if since < 0 or self.joint is None:
            return np.nan, np.nan
        sizes = np.array([cell.size for cell in self.joint.cells]) * reached
        weights = np.tile(sizes / sizes.sum(), (len(self.joint.drawn) + 1, 1))
        windows = [
            np.array([cell.first + since if yes else cell.first]) for cell, yes in zip(self.joint.cells, reached, strict=True)
        ]
        return bounded(self.joint.test(weights, windows), level)

    def _acted(self) -> JointPlacebos:
        if self.joint is None:
            raise self.reason or CannotTell("the experiment was not acted out again")
        return self.joint

    def _bases(self) -> Floats:
        """(m + 1, cells) what would have been, per unit and period of the window."""
        joint = self._acted()
        bases = np.column_stack([cell.would[:, cell.window].mean(axis=1) for cell in joint.cells])
        if (bases <= 0).any():
            raise CannotTell(
                f"{self.outcome} would have been nothing or less: no share of it means anything", fix="compare by mean or total"
            )
        return bases

    def to_frame(self, level: float = 0.90) -> pd.DataFrame:
        """One row a cell, then the total: cell, units, effect, low, high, p_value, relative; not a number where it cannot be told."""
        rows = [
            (name, len(lift.treated), lift.effect, *_told(lift, level), lift.p_value, lift.relative)
            for name, lift in self.lifts.items()
        ]
        units = sum(len(lift.treated) for lift in self.lifts.values())
        doubt = (np.nan, np.nan, np.nan) if self.joint is None else (*self.interval(level), self.p_value)
        rows.append(("total", units, self.effect, *doubt, self.relative))
        return pd.DataFrame(rows, columns=["cell", "units", "effect", "low", "high", "p_value", "relative"])

    def summary(self, level: float = 0.90) -> str:
        """One sentence for a manager."""
        more = "more" if self.effect >= 0 else "less"
        share = "" if np.isnan(self.relative) else f" ({abs(self.relative):.1%})"
        says = f"{len(self.lifts)} cells together had {amount(abs(self.effect))}{share} {more} {self.outcome} than without the campaign"
        if self.joint is None:
            return f"{says}, but how sure that is cannot be told: {self.reason.what if self.reason else ''}."
        low, high = self.interval(level)
        says += f", {level:.0%} interval {amount(low)} to {amount(high)}; chance alone would show as much {chance(self.p_value)}"
        return says + ("." if not low <= 0 <= high else ", so it may as well be nothing.")

    def plot(self, level: float = 0.90) -> go.Figure:
        """The profile in event time, with its band from the start on."""
        import plotly.graph_objects as go

        told = self.profile(level)
        after = told[told["since"] >= 0].dropna(subset=["low", "high"])
        figure = go.Figure()
        figure.add_scatter(
            x=[*after["since"], *after["since"][::-1]], y=[*after["high"], *after["low"][::-1]], fill="toself", name=f"{level:.0%}",
            line={"width": 0}, fillcolor="rgba(47, 111, 159, 0.18)", hoverinfo="skip",
        )  # fmt: skip
        figure.add_scatter(x=told["since"], y=told["effect"], name="all cells", line={"color": "#1f2933"})
        figure.add_vline(x=0, line={"color": "#1f2933", "dash": "dot", "width": 1})
        figure.update_layout(
            template="plotly_white", xaxis_title="periods since the start", yaxis_title=f"{self.outcome} per treated unit"
        )
        return figure


def _told(lift: Lift, level: float) -> tuple[float, float]:
    try:
        return lift.interval(level)
    except CannotTell:
        return np.nan, np.nan
