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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.uncertainty import Floats, spawn
from liftwise.models.causal.at_once import Periods, Roles
from liftwise.models.causal.calibration import autocorrelation, contrast_factor
from liftwise.models.causal.donors import DonorDesign, View
from liftwise.models.causal.inference import StudentTest, bounded
from liftwise.models.causal.lift import Lift
from liftwise.models.causal.panel import Panel
from liftwise.models.causal.placebo import BLOCKS
from liftwise.models.causal.question import LEAST_DONORS, Question, ask
from liftwise.models.causal.sdid import SyntheticDiD, weighted_gaps
from liftwise.models.causal.simplex import fit_targets
from liftwise.models.causal.synthetic_control import SyntheticControl
from liftwise.models.causal.words import amount, chance

if TYPE_CHECKING:
    import plotly.graph_objects as go

Gaps = Callable[[Periods, Periods], Floats]


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
        parts.append(_Part(panel, asked[name], settled))
    return CellLifts(lifts, panel.outcome, *_joint(panel, parts, tuple(cells), draws, seed))


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
class _Part:
    """One cell of an experiment, real or acted out."""

    panel: Panel
    question: Question
    design: DonorDesign

    def series(self, groups: NDArray[np.int64], barred: NDArray[np.int64]) -> tuple[Floats, Gaps]:
        """Targets (m + 1, t): the cell itself, then each of `groups` (m, k); and their gaps, fitted by donors that are not `barred` (m, b).

        Both are given in numbers of the panel.
        """
        question, matrix = self.question, self.panel.matrix[:, : self.question.last + 1]
        place = np.full(len(matrix), -1)
        place[question.donors] = np.arange(len(question.donors))
        donors = matrix[question.donors]
        targets = np.vstack([matrix[question.treated].mean(axis=0), matrix[groups].mean(axis=1)])
        out = np.vstack([np.full(barred.shape[1], -1), place[barred]])
        if isinstance(self.design, SyntheticControl):
            return targets, _synthetic(self.design.demean, donors, targets, out)
        if isinstance(self.design, SyntheticDiD):
            return targets, _weighted(self.design.ridge or 0.0, donors, targets, out)
        known = self.design.covariates(self.panel, question)
        aims = np.vstack([known[question.treated].mean(axis=0), known[groups].mean(axis=1)])
        return targets, _one_by_one(self.design, donors, targets, out, known[question.donors], aims)


def _synthetic(demean: bool, donors: Floats, targets: Floats, out: NDArray[np.int64]) -> Gaps:
    """All gaps from one Gram matrix."""

    def gaps(train: Periods, judge: Periods) -> Floats:
        x, y = donors, targets
        if demean:
            x, y = x - x[:, train].mean(axis=1, keepdims=True), y - y[:, train].mean(axis=1, keepdims=True)
        middle = x[:, train].mean(axis=0)
        past, aim = x[:, train] - middle, y[:, train] - middle
        judged = np.ascontiguousarray(x[:, judge]), np.ascontiguousarray(y[:, judge])
        return fit_targets(
            past @ past.T, aim @ past.T, np.sum(aim**2, axis=1), out, len(train), *judged, np.empty((0, len(past)))
        )[0]

    return gaps


def _weighted(ridge: float, donors: Floats, targets: Floats, out: NDArray[np.int64]) -> Gaps:
    """The same for synthetic difference in differences: targets stand behind the donors, and are nobody's."""
    own = len(donors) + np.arange(len(targets))
    barred = np.column_stack([out, np.tile(own, (len(targets), 1))])
    values = np.vstack([donors, targets])
    roles = Roles(own[:, None], barred, np.zeros(len(values)), own)
    return lambda train, judge: weighted_gaps(values, roles, ridge, train, judge)[0].gaps


def _one_by_one(
    design: DonorDesign, donors: Floats, targets: Floats, out: NDArray[np.int64], known: Floats, aims: Floats
) -> Gaps:
    """For any design."""

    def gaps(train: Periods, judge: Periods) -> Floats:
        found = np.empty((len(targets), len(judge)))
        for row, target in enumerate(targets):
            keep = np.delete(np.arange(len(donors)), out[row][out[row] >= 0])
            covariates = np.vstack([known[keep], aims[row]])
            found[row] = target[judge] - design.predict(View(donors[keep], target, train, judge, covariates))[0]
        return found

    return gaps


def _joint(
    panel: Panel, parts: list[_Part], names: tuple[str, ...], draws: int, seed: int
) -> tuple[JointPlacebos | None, CannotTell | None]:
    """The experiment acted out again, or why it cannot be."""
    sizes = [len(part.question.treated) for part in parts]
    controls = np.array(sorted(set.intersection(*(set(part.question.donors) for part in parts))), dtype=np.int64)
    least = sum(sizes) + LEAST_DONORS
    if len(controls) < least:
        few = f"{len(controls)} units that were never treated are too few to act out {sum(sizes)} treated ones"
        return None, CannotTell(few, fix=f"have at least {least}, better three times as many as are treated")
    drawn = _assignments(len(controls), sizes, draws, seed)
    edges, whole = np.cumsum([0, *sizes]), controls[drawn]
    found = []
    for part, left, right in zip(parts, edges[:-1], edges[1:], strict=True):
        targets, gaps = part.series(whole[:, left:right], whole)
        first = part.question.first
        blocks = np.array_split(np.arange(first), BLOCKS)
        held = np.concatenate([gaps(np.delete(np.arange(first), block), block) for block in blocks], axis=1)
        gap = gaps(np.arange(first), np.arange(targets.shape[1]))
        found.append(Acted(len(part.question.treated), first, gap, targets - gap, held))
    pre = panel.matrix[controls][:, : min(part.question.first for part in parts)]
    noise = np.std(pre - pre.mean(axis=0), axis=1)
    roles = np.repeat(np.arange(len(parts)), sizes)
    return JointPlacebos(names, tuple(found), drawn, roles, noise), None


def _assignments(units: int, sizes: list[int], draws: int, seed: int) -> NDArray[np.int64]:
    """(m, Σ sizes) units that play the treated ones, cell after cell: disjoint parts of random orders, no two the same."""
    random, found, total = spawn(seed, "joint placebos"), dict[tuple[int, ...], None](), sum(sizes)
    each, edges = units // total, np.cumsum(sizes)[:-1]
    for _ in range(-(-draws // each)):
        for part in random.permutation(units)[: each * total].reshape(each, total):
            found[tuple(int(unit) for group in np.split(part, edges) for unit in np.sort(group))] = None
    return np.array(list(found)[:draws], dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Acted:
    """One cell, itself in the first row and as acted out by m placebo groups in the others; per unit.

    gaps, would (m + 1, t): actual minus counterfactual, and the counterfactual. held (m + 1, first): cross-fitted gaps before the start.
    """

    size: int
    first: int
    gaps: Floats
    would: Floats
    held: Floats

    @property
    def window(self) -> NDArray[np.intp]:
        """Periods of the campaign."""
        return np.arange(self.first, self.gaps.shape[1])


@dataclass(frozen=True, eq=False)
class JointPlacebos:
    """The experiment and m others in which nothing happened.

    drawn (m, units treated): who plays; roles: the cell of each column; noise (controls,): how much each unit strays from the others.
    """

    names: tuple[str, ...]
    cells: tuple[Acted, ...]
    drawn: NDArray[np.int64] = field(repr=False)
    roles: NDArray[np.int64] = field(repr=False)
    noise: Floats = field(repr=False)

    @cached_property
    def rho(self) -> float:
        """Autocorrelation of held-out gaps."""
        return float(np.mean([autocorrelation(cell.held) for cell in self.cells]))

    def test(self, weights: Floats, windows: Sequence[NDArray[np.intp]], stretch: Floats | float = 1.0) -> StudentTest:
        """Of Σ over cells of weight × mean gap over the cell's window; `weights` (m + 1, cells), a window each.

        stretch : (m + 1, cells) how much the statistic's error exceeds weight × the counterfactual's error.
        """
        effects = np.column_stack([cell.gaps[:, window].mean(axis=1) for cell, window in zip(self.cells, windows, strict=True)])
        statistic = np.sum(weights * effects, axis=1)
        felt = weights * stretch
        promised = np.sqrt(np.einsum("jc,jcd,jd->j", felt, self._spread(windows), felt))
        promised = np.maximum(
            promised, 1e-9 * float(np.abs(weights[0] * [np.abs(c.would).mean() for c in self.cells]).sum()) + 1e-300
        )
        strayed = float(np.sqrt(np.mean((statistic[1:] / promised[1:]) ** 2)))
        return StudentTest(float(statistic[0]), strayed * float(promised[0]), self._independent(weights[1:]))

    def actuals(self) -> Floats:
        """(m + 1, cells) what was, per unit and period of the window."""
        return np.column_stack([(cell.would + cell.gaps)[:, cell.window].mean(axis=1) for cell in self.cells])

    def _spread(self, windows: Sequence[NDArray[np.intp]]) -> Floats:
        """(m + 1, cells, cells) promised covariance of the mean gaps: held-out errors agree as far as the windows do."""
        least = min(cell.first for cell in self.cells)
        held = np.stack([cell.held[:, :least] for cell in self.cells], axis=1)
        factors = [contrast_factor(cell.first, len(window), self.rho) for cell, window in zip(self.cells, windows, strict=True)]
        shared = [[len(np.intersect1d(a, b)) / np.sqrt(len(a) * len(b)) for b in windows] for a in windows]
        return held @ held.transpose(0, 2, 1) / least * np.array(shared) * np.sqrt(np.outer(factors, factors))

    def _independent(self, weights: Floats) -> float:
        """How many of the placebos (m,) are independent: 1 / mean squared correlation, by the noise of the units that two share."""
        part = np.zeros((len(self.drawn), len(self.noise)))
        sizes = np.array([cell.size for cell in self.cells])
        np.put_along_axis(part, self.drawn, (weights / sizes)[:, self.roles] * self.noise[self.drawn], axis=1)
        part /= np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-300)
        return float(1 / np.mean((part @ part.T) ** 2))


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
