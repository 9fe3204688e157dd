"""Joint placebos: a whole experiment of several cells acted out again by units that were never treated.

One disjoint group plays each cell, all fitted by the donors left over; so what several cells have in common, above all the same control,
is in the placebos as it is in the experiment. `staggered` tells what the tests are for.

References
----------
Hahn and Shi (2017), Observational Studies 3, for studentising.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from liftwise.core.errors import CannotTell
from liftwise.core.uncertainty import Floats, spawn
from liftwise.models.causal.at_once import Periods, Roles
from liftwise.models.causal.calibration import autocorrelation, contrast_factor
from liftwise.models.causal.donors import DonorDesign, View
from liftwise.models.causal.inference import StudentTest
from liftwise.models.causal.panel import Panel
from liftwise.models.causal.placebo import BLOCKS
from liftwise.models.causal.question import LEAST_DONORS, Question
from liftwise.models.causal.sdid import SyntheticDiD, weighted_gaps
from liftwise.models.causal.simplex import fit_targets
from liftwise.models.causal.synthetic_control import SyntheticControl

Gaps = Callable[[Periods, Periods], Floats]


@dataclass(frozen=True, eq=False)
class Part:
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


def act_out(
    panel: Panel, parts: list[Part], names: tuple[str, ...], draws: int, seed: int
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
