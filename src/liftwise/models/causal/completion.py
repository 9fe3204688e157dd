"""Matrix completion: what the treated cells would have held, had they followed the patterns that the other cells share.

Outcome = unit level + period level + L + noise, where L is of low rank: a few patterns in time, each unit with its own loading.
Everything but the treated units' later cells is seen; the rest follows from

    min over levels and L of ½ Σ over cells seen (outcome − levels − L)² + θ ‖L‖∗

(‖·‖∗ the nuclear norm, sum of singular values). Given a guess of the hidden cells the answer is known: take out the levels and shrink
every singular value by θ; put the answer into the hidden cells and repeat (soft-impute), here with momentum. A large θ is difference
in differences; a small one follows every pattern.

θ = penalty · (√units + √periods): noise of standard deviation `penalty` alone would show a largest singular value of about θ, so one
penalty means the same for matrices of different size. It is chosen by cross-validation on cells hidden in the pattern of the
question: the last part of the time before the start, for some units at a time, the treated among them.

References
----------
Athey, Bayati, Doudchenko, Imbens and Khosravi (2021), JASA 116(536), equations (4.2) to (4.4); Mazumder, Hastie and Tibshirani
(2010), JMLR 11, for soft-impute; O'Donoghue and Candès (2015), for restarts of momentum.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.uncertainty import Floats, spawn
from liftwise.models.causal.at_once import AtOnce, Periods, Roles, placebos_at_once
from liftwise.models.causal.donors import DonorDesign, View
from liftwise.models.causal.placebo import Placebos

GRID = 12  # penalties tried, from the one that leaves no pattern down
LEAST = 0.01  # the smallest, as a share of the largest
FOLDS = 10  # of the units, in cross-validation
PRECISION = 1e-6  # of hidden cells, in units of the outcome's spread
MOST = 5000  # steps

Mask = NDArray[np.bool_]


class MatrixCompletion(DonorDesign):
    """The effect of a campaign from the patterns that all units share.

    Parameters
    ----------
    penalty : standard deviation of noise, in the outcome's unit, below which a pattern is not believed; None chooses it.
    seed : for the folds of cross-validation, and the draw of placebo groups when several units are treated.

    Examples
    --------
    >>> from liftwise.models.causal import Panel
    >>> import pandas as pd
    >>> random = spawn(7, "example")
    >>> patterns = random.normal(size=(14, 2)) @ random.normal(size=(2, 40)).cumsum(axis=1)
    >>> values = 100 + patterns + 0.3 * random.normal(size=(14, 40))
    >>> values[0, 34:] += 5
    >>> panel = Panel(values, tuple(f"r{k:02d}" for k in range(14)), pd.RangeIndex(40))
    >>> bool(27 < MatrixCompletion().estimate(panel, treated="r00", start=34).effect < 33)
    True
    """

    demean = True
    groups = 99

    def __init__(self, *, penalty: float | None = None, seed: int = 7) -> None:
        if penalty is not None and not 0 < penalty < np.inf:
            raise InputError(f"a penalty of {penalty} means nothing", fix="give a positive number, or leave it out")
        super().__init__(seed=seed)
        self.penalty = penalty

    @property
    def method(self) -> str:
        """Name in tables."""
        return "matrix_completion"

    def settle(self, values: Floats, size: int, pre: int) -> MatrixCompletion:
        """The same design with its penalty chosen; the first `size` rows of `values` (units, t) are treated."""
        if self.penalty is not None:
            return self
        matrix = np.vstack([values[:size].mean(axis=0), values[size:]])
        return MatrixCompletion(penalty=choose_penalty(matrix[:, :pre], values.shape[1] - pre, self.seed), seed=self.seed)

    def predict(self, view: View) -> tuple[Floats, Floats]:
        """The target's completed cells, and what each donor has in them."""
        matrix = np.vstack([view.target, view.donors])
        penalty = self.penalty
        if penalty is None:
            penalty = choose_penalty(matrix[:, view.train], len(np.setdiff1d(view.judge, view.train)), self.seed)
        return _completed_target(matrix, np.zeros(matrix.shape, np.bool_), view.train, view.judge, penalty)

    def placebos(self, values: Floats, treated: list[int], pre: int, covariates: Floats) -> Placebos:
        """One completion for each placebo; later cells of treated units stay hidden in all, so effects leak into none."""
        order = [*sorted(treated), *np.setdiff1d(np.arange(len(values)), treated)]
        penalty = self.settle(values[order], len(treated), pre).penalty or 0.0
        roles = Roles.of(values, treated, pre, self.seed, self.groups)
        secret = np.zeros(values.shape, np.bool_)
        secret[roles.own, pre:] = True

        def gaps(train: Periods, judge: Periods) -> AtOnce:
            found, weights = np.empty((len(roles.groups), len(judge))), np.zeros(len(values))
            for row, (group, barred) in enumerate(zip(roles.groups, roles.barred, strict=True)):
                pool, target = np.delete(np.arange(len(values)), barred[barred >= 0]), values[group].mean(axis=0)
                hidden = np.vstack([np.zeros(values.shape[1], np.bool_), secret[pool]])
                would, told = _completed_target(np.vstack([target, values[pool]]), hidden, train, judge, penalty)
                found[row] = target[judge] - would
                if row == 0:
                    weights[pool] = told
            return AtOnce(found, roles.split[roles.groups].mean(axis=1), weights, 0.0)

        return placebos_at_once(gaps, roles, values, pre)


def _completed_target(matrix: Floats, hidden: Mask, train: Periods, judge: Periods, penalty: float) -> tuple[Floats, Floats]:
    """The fitted first row in periods `judge` when it is seen in `train` alone, and the other rows' weights in it."""
    periods = np.union1d(train, judge)
    matrix, hidden = matrix[:, periods], hidden[:, periods]
    hidden[0] = ~np.isin(periods, train)
    fit = complete(matrix, hidden, penalty)
    return fit[0, np.searchsorted(periods, judge)], donor_weights(np.where(hidden, fit, matrix), penalty)


def complete(matrix: Floats, hidden: Mask, penalty: float, start: Floats | None = None) -> Floats:
    """(units, periods) levels + L, fitted to the cells that are not hidden (whatever stands in those is not read).

    Parameters
    ----------
    matrix, hidden : (units, periods); no row and no column may be hidden whole.
    penalty : see above. start : a fit to begin from.

    Raises
    ------
    CannotTell
        When it does not settle within 5000 steps.
    """
    theta = _threshold(matrix, penalty)
    filled = np.where(hidden, _levels(matrix, hidden) if start is None else start, matrix)
    if not hidden.any():
        return _fitted(filled, theta)
    close = PRECISION * max(float(np.std(matrix[~hidden])), 1e-300)
    guess, ahead, momentum = filled[hidden], filled[hidden], 1.0
    for _ in range(MOST):
        filled[hidden] = ahead
        fit = _fitted(filled, theta)
        answer = fit[hidden]
        if np.max(np.abs(answer - ahead)) <= close:
            return fit
        step = answer - guess
        if np.sum((answer - ahead) * step) < 0:  # momentum carried it too far
            momentum = 1.0
        later = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead, guess, momentum = answer + (momentum - 1) / later * step, answer, later
    raise CannotTell("the matrix could not be completed: hidden cells follow from no pattern", fix="give a larger penalty")


def _threshold(matrix: Floats, penalty: float) -> float:
    return float(penalty * (np.sqrt(matrix.shape[0]) + np.sqrt(matrix.shape[1])))


def _fitted(filled: Floats, theta: float) -> Floats:
    """Levels and shrunken patterns of a matrix without holes: the exact optimum, as levels carry no penalty."""
    pure = _without_levels(filled)
    tall = pure.shape[0] >= pure.shape[1]
    vectors, shrink, _ = _patterns(pure.T @ pure if tall else pure @ pure.T, theta)
    low_rank = (pure @ vectors * shrink) @ vectors.T if tall else (vectors * shrink) @ (vectors.T @ pure)
    return filled - pure + low_rank


def _without_levels(filled: Floats) -> Floats:
    return filled - filled.mean(axis=1, keepdims=True) - filled.mean(axis=0) + filled.mean()


def _patterns(gram: Floats, theta: float) -> tuple[Floats, Floats, Floats]:
    """Singular vectors above the threshold, how much of each is left, and their squared singular values."""
    squares, vectors = np.linalg.eigh(gram)
    kept = squares > theta**2
    return vectors[:, kept], 1 - theta / np.sqrt(squares[kept]), squares[kept]


def donor_weights(filled: Floats, penalty: float) -> Floats:
    """(units − 1,) weights of the other rows in the completed cells of the first row of `filled` (its fit in hidden cells).

    With L = U (S − θ) Vᵀ a completed cell is a constant + Σ aᵢ outcomeᵢ over all rows, aᵢ = 1/units + Σₖ uᵢₖ (1 − θ/sₖ) u₁ₖ, itself
    included; solved for itself, the others have aᵢ / (1 − a₁), the same in every hidden period. They sum to 1; some are negative.
    """
    pure = _without_levels(filled)
    vectors, shrink, squares = _patterns(pure.T @ pure, _threshold(filled, penalty))
    told = 1 / len(filled) + pure @ (vectors * (shrink / squares)) @ (vectors.T @ pure[0])
    return told[1:] / (1 - told[0])


def _levels(matrix: Floats, hidden: Mask) -> Floats:
    """Unit and period levels of the cells seen: a first guess of the others (alternating means)."""
    seen = ~hidden
    rows, columns = np.zeros((len(matrix), 1)), np.zeros((1, matrix.shape[1]))
    known = np.where(seen, matrix, 0.0)
    for _ in range(20):
        rows = (known - seen * columns).sum(axis=1, keepdims=True) / np.maximum(seen.sum(axis=1, keepdims=True), 1)
        columns = (known - seen * rows).sum(axis=0, keepdims=True) / np.maximum(seen.sum(axis=0, keepdims=True), 1)
    return rows + columns


def choose_penalty(past: Floats, judged: int, seed: int) -> float:
    """The penalty that best completes cells hidden like those asked for, in `past` (units, periods before), the target first.

    The same share of periods as is judged, the last ones, is hidden for a tenth of the units at a time; each unit's error counts
    beside its own movement, so that none counts more for being large.
    """
    units, periods = past.shape
    late = min(max(round(periods * judged / (periods + judged)), 1), periods // 2)
    rows = spawn(seed, "folds of matrix completion").permutation(units)
    spread = np.maximum(past.std(axis=1), 1e-9 * np.abs(past).mean() + 1e-300)
    grid = penalties(past)
    errors = np.zeros(len(grid))
    for fold in np.array_split(rows, min(FOLDS, units)):
        hidden = np.zeros(past.shape, np.bool_)
        hidden[fold, periods - late :] = True
        fit = None
        for k, penalty in enumerate(grid):
            fit = complete(past, hidden, float(penalty), fit)
            errors[k] += np.sum(((fit - past)[fold, periods - late :] / spread[fold, None]) ** 2)
    return float(grid[int(np.argmin(errors))])


def penalties(past: Floats) -> Floats:
    """Falling from the penalty at which no pattern is left."""
    pure = past - past.mean(axis=1, keepdims=True) - past.mean(axis=0) + past.mean()
    largest = max(float(np.linalg.norm(pure, 2)), 1e-9 * float(np.abs(past).mean()) + 1e-300)
    return largest / (np.sqrt(past.shape[0]) + np.sqrt(past.shape[1])) * np.geomspace(1, LEAST, GRID)
