"""Take out what else ran meanwhile, as far as it was observed: television, a competitor's promotion, a price.

Its slope is learned where the campaign did not run: each donor's gap to its own synthetic control is regressed on the same gap of the
exposure, so that season and common shocks, which the mix already carries, do not pass for its effect. The outcome is then read
less slope × exposure, and what is unsure about the slope is added to the error of the campaign's own effect.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from liftwise.core.errors import CannotTell
from liftwise.core.uncertainty import Floats
from liftwise.models.causal.shrinkage import Pool, choose

TURNS = 3  # weights and slopes are found in turn
LEAST_SHARE = 1e-6  # of an exposure's movement that must be its own, not the other units'


@dataclass(frozen=True, eq=False)
class Adjusted:
    """moved (units, t): the outcome, on the scale of the fit, less slopes (q,) · exposure; covariance (q, q) of the slopes."""

    moved: Floats
    slopes: Floats
    covariance: Floats


def take_out(moved: Floats, exposure: Floats, names: tuple[str, ...], size: int, pre: int) -> Adjusted:
    """From moved (units, t), whose first `size` rows are treated from period `pre` on, and exposure (q, units, t).

    Raises
    ------
    CannotTell
        When an exposure is the same in all comparison units: then its effect cannot be told from theirs.
    """
    donors, train = moved[size:], np.arange(pre)
    everywhere = np.arange(moved.shape[1])
    slopes, covariance = np.zeros(len(exposure)), np.zeros((len(exposure),) * 2)
    for _ in range(TURNS):
        own = Pool(donors, donors, np.arange(len(donors), dtype=np.int64)[:, None])
        left = donors - np.tensordot(slopes, exposure[:, size:], axes=1)
        pool = Pool(left, left, own.members)
        weights = (shrinkage := choose(pool, train)).gaps(pool, train, everywhere)[1]
        gaps = _gap(donors, weights, train)
        causes = np.array([_gap(part[size:], weights, train) for part in exposure])
        _refuse_alike(causes, exposure[:, size:], names)
        scale = np.sqrt(shrinkage.noise)[:, None]
        slopes, covariance = _regress(gaps / scale, causes / scale)
    return Adjusted(moved - np.tensordot(slopes, exposure, axes=1), slopes, covariance)


def _gap(values: Floats, weights: Floats, train: np.ndarray) -> Floats:
    gap = values - weights @ values
    return gap - gap[:, train].mean(axis=1, keepdims=True)


def _refuse_alike(causes: Floats, exposure: Floats, names: tuple[str, ...]) -> None:
    for name, gap, whole in zip(names, causes, exposure, strict=True):
        if np.mean(gap**2) <= LEAST_SHARE * max(float(np.var(whole)), 1e-300):
            raise CannotTell(
                f"{name} ran alike in all comparison units, so its effect cannot be told from what moves them all",
                fix="leave it out (what is common to all is allowed for anyway)",
            )


def _regress(gaps: Floats, causes: Floats) -> tuple[Floats, Floats]:
    """Slopes of gaps (units, t) on causes (q, units, t), and their covariance with units as clusters."""
    gram = np.einsum("aut,but->ab", causes, causes)
    slopes = np.linalg.solve(gram, np.einsum("aut,ut->a", causes, gaps))
    residual = gaps - np.tensordot(slopes, causes, axes=1)
    score = np.einsum("aut,ut->ua", causes, residual)
    inverse, units = np.linalg.inv(gram), len(gaps)
    return slopes, inverse @ (score.T @ score) @ inverse * units / max(units - len(slopes), 1)
