"""Ridge mix: revenue = baseline + Σ β·Hill(adstock(spend)) + outside, β ≥ 0, carry-over and saturation tuned per channel.

Tuning shares its work. Every channel has a grid of transformed series; within each rolling-origin fold all of them are cleared of
the baseline once (Frisch–Waugh–Lovell), and then any choice of transforms is a small non-negative ridge on entries of one Gram
matrix. So thousands of choices cost less than a second, and only periods before the origin are ever looked at.

Intervals: moving-block bootstrap of the residuals over the transforms that did nearly as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from liftwise.core.transforms import hill
from liftwise.core.uncertainty import Floats, spawn
from liftwise.models.mix.family import Curves, Data, Learned, Member, nonnegative, origins
from liftwise.models.mix.hill_curves import HillCurves, carry

RETENTIONS = (0.0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.85)
HALVES = (0.5, 1.0, 2.0, 6.0)  # in usual spend; 6 is nearly a straight line
SHAPES = (1.0, 2.0)
STRAIGHT = 100.0  # half-saturation at which a curve is a line, in usual spend
PENALTIES = (0.003, 0.03, 0.3, 3.0)
GRID = tuple((a, k, s) for a in RETENTIONS for k in HALVES for s in SHAPES)
Choice = tuple[int, ...]  # index into GRID for each channel


@dataclass(frozen=True)
class Fold:
    """Gram matrices of one fold: media columns cleared of the baseline, on the past (train) and on what follows (test)."""

    gram: Floats
    cross: Floats
    test_gram: Floats
    test_cross: Floats
    test_square: float


class RidgeMix(Member):
    """See `Member`.

    Attributes
    ----------
    retention_, half_, shape_ : channel → carry-over, half-saturation (in usual spend), shape.
    choice_, penalty_ : as tuned before the hold-out.
    """

    name = "ridge"
    shared = True
    grid: ClassVar[tuple[tuple[float, float, float], ...]] = GRID  # carry-over, half-saturation, shape

    def __init__(self, *, seed: int = 7, holdout: int = 26, folds: int = 4, draws: int = 100, per_year: float = 52.18) -> None:
        super().__init__(seed=seed, holdout=holdout, folds=folds, draws=draws, per_year=per_year)

    @property
    def choice_(self) -> Choice:
        """Index into `grid` for each channel."""
        return self.learned_.tuning[0][0]

    @property
    def penalty_(self) -> float:
        """Share of its own square that each coefficient is loaded with."""
        return self.learned_.tuning[0][1]

    @property
    def retention_(self) -> dict[str, float]:
        """Channel → carry-over from one period to the next."""
        return self._named(0)

    @property
    def half_(self) -> dict[str, float]:
        """Channel → half-saturation in usual spend."""
        return self._named(1)

    @property
    def shape_(self) -> dict[str, float]:
        """Channel → shape of its Hill curve."""
        return self._named(2)

    def _named(self, which: int) -> dict[str, float]:
        return {name: self.grid[k][which] for name, k in zip(self.design_.channels, self.choice_, strict=True)}

    # -- tuning ----------------------------------------------------------------------------------------------------

    def _learn(self, data: Data, train: np.ndarray) -> Learned:
        media, until = transformed(data.spend, self.grid), int(data.period[train].max()) + 1
        spans = origins(until, self.folds)
        folds = [_fold(data, media, train & (data.period < start), train & (data.period >= start) & (data.period < stop))
                 for start, stop in spans if (train & (data.period < start)).sum() > data.base.shape[1] + 2]  # fmt: skip
        ranked = self._search(folds, len(data.spend))
        pool = [(choice, penalty) for error, choice, penalty in ranked if error <= ranked[0][0] * 1.005][:40]
        return self._fitted(data, train, pool, pool[0])

    def _search(self, folds: list[Fold], channels: int) -> list[tuple[float, Choice, float]]:
        """Choices by their error over the folds, best first: coordinate descent from two starts."""
        rng = spawn(self.seed, "mix.search")
        seen: dict[tuple[Choice, float], float] = {}

        def best(options: list[Choice], penalties: tuple[float, ...]) -> tuple[Choice, float]:
            """The first of the pairs with the smallest error."""
            for penalty in penalties:
                new = [option for option in options if (option, penalty) not in seen]
                if new:
                    columns = np.arange(channels) * len(self.grid) + np.array(new)
                    lost = np.sum([_errors(fold, columns, penalty) for fold in folds], axis=0)
                    seen.update({(option, penalty): float(value) for option, value in zip(new, lost, strict=True)})
            return min(((option, penalty) for option in options for penalty in penalties), key=seen.__getitem__)

        middle = self.grid.index(min(self.grid, key=lambda form: abs(form[0] - 0.3) + abs(form[1] - 1.0) + abs(form[2] - 1.0)))
        starts = [(middle,) * channels, tuple(rng.integers(0, len(self.grid), channels).tolist())]
        for start in starts:
            choice, penalty = start, PENALTIES[1]
            for _ in range(3):
                before = (choice, penalty)
                for channel in rng.permutation(channels):
                    options = [(*choice[:channel], option, *choice[channel + 1 :]) for option in range(len(self.grid))]
                    choice, _ = best(options, (penalty,))
                choice, penalty = best([choice], PENALTIES)
                if (choice, penalty) == before:
                    break
        return sorted((value, choice, penalty) for (choice, penalty), value in seen.items())

    # -- fitting ---------------------------------------------------------------------------------------------------

    def _refit(self, data: Data, train: np.ndarray, learned: Learned) -> Learned:
        return self._fitted(data, train, learned.tuning, learned.tuning[0])

    def _fitted(self, data: Data, train: np.ndarray, pool: list[Any], chosen: tuple[Choice, float]) -> Learned:
        """Coefficients of media (≥ 0) and of the baseline for one choice of transforms."""
        choice, penalty = chosen
        grid = np.array([self.grid[k] for k in choice]).T
        columns = np.stack([hill(carry(x, a), k, s).ravel() for x, (a, k, s) in zip(data.spend, grid.T, strict=True)], axis=1)
        cleared, solve = data.cleared(train, np.column_stack([columns, data.y]))
        x, y = cleared[train, :-1], cleared[train, -1]
        beta = nonnegative(x.T @ x, x.T @ y, penalty)
        return Learned(solve[:, -1] - solve[:, :-1] @ beta, HillCurves(grid[0], grid[1], grid[2], beta), tuning=pool)

    def _draw(self, data: Data, train: np.ndarray, learned: Learned, rng: np.random.Generator) -> list[Curves]:
        pool = list(learned.tuning)
        return [self._fitted(drawn, train, pool, pool[int(rng.integers(len(pool)))]).curves
                for drawn in self._resampled(data, train, learned, rng)]  # fmt: skip


class AdstockMix(RidgeMix):
    """Ridge on carried spend, without saturation: the usual yardstick. See `RidgeMix`."""

    name = "adstock"
    grid = tuple((a, STRAIGHT, 1.0) for a in RETENTIONS)


def transformed(spend: Floats, grid: tuple[tuple[float, float, float], ...]) -> Floats:
    """Every channel with every transform of `grid`, (rows, channels · grid)."""
    columns: list[Floats] = []
    for series in spend:
        carried = {a: carry(series, a) for a in {form[0] for form in grid}}
        columns += [hill(carried[a], k, s).ravel() for a, k, s in grid]
    return np.column_stack(columns)


def _fold(data: Data, media: Floats, train: np.ndarray, test: np.ndarray) -> Fold:
    """Media and target cleared of the baseline as learned on `train`."""
    cleared, _ = data.cleared(train, np.column_stack([media, data.y]))
    x, y, u, v = cleared[train, :-1], cleared[train, -1], cleared[test, :-1], cleared[test, -1]
    return Fold(x.T @ x, x.T @ y, u.T @ u, u.T @ v, float(v @ v))


def _errors(fold: Fold, columns: np.ndarray, penalty: float) -> Floats:
    """Squared error after the origin of each row of `columns` (options, channels), all options at once; see `family.nonnegative`."""
    from scipy.optimize import nnls

    pick = columns[:, :, None], columns[:, None, :]
    gram, channels = fold.gram[pick], np.arange(columns.shape[1])
    gram[:, channels, channels] = gram[:, channels, channels] * (1 + penalty) + 1e-9
    root = np.linalg.cholesky(gram)
    right = np.linalg.solve(root, fold.cross[columns][:, :, None])
    up = root.transpose(0, 2, 1)
    beta = np.linalg.solve(up, right)[:, :, 0]
    for below in np.flatnonzero((beta < 0).any(axis=1)):
        beta[below] = nnls(up[below], right[below, :, 0])[0]
    quadratic = np.einsum("ni,nij,nj->n", beta, fold.test_gram[pick], beta)
    return fold.test_square - 2 * (beta * fold.test_cross[columns]).sum(axis=1) + quadratic
