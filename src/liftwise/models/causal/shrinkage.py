"""Weights that are drawn towards steady donors: a synthetic control that does not chase noise.

min ‖y − Σ wⱼ xⱼ‖² + λ·T·Σ vⱼ wⱼ² over the simplex, where vⱼ is what donor j's own noise would add to the prediction, period by
period. λ = 0 is the classic fit; λ = ∞ gives inverse-variance weights, which is difference in differences with steady donors
counting more. λ is chosen by predicting held-out blocks of the time before the start, for the treated target and for placebos alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from liftwise.core.uncertainty import Floats
from liftwise.models.causal.simplex import fit_targets

PENALTIES = (0.0, 0.3, 1.0, 3.0, 10.0, inf)
BLOCKS = 5  # of the training periods, each predicted once from the others
JUDGED = 20  # targets on which λ is chosen

Periods = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Pool:
    """Targets (m, t), the donors (n, t) that may stand for them, and which may not: members (m, k), −1 for none."""

    targets: Floats
    donors: Floats
    members: NDArray[np.int64]

    def some(self, rows: NDArray[np.intp]) -> Pool:
        """The same donors, some of the targets."""
        return Pool(self.targets[rows], self.donors, self.members[rows])

    def singles(self) -> Pool:
        """Each donor as a target of its own."""
        return Pool(self.donors, self.donors, np.arange(len(self.donors), dtype=np.int64)[:, None])


@dataclass(frozen=True, eq=False)
class Shrinkage:
    """λ and each donor's noise v (n,)."""

    penalty: float
    noise: Floats

    def gaps(self, pool: Pool, train: Periods, judge: Periods, start: Floats | None = None) -> tuple[Floats, Floats, float]:
        """Learn on `train`: gaps (m, len(judge)) from each target's own mean level, weights (m, n), duality gap.

        start : weights of a similar fit, which save time and change nothing.
        """
        donors = pool.donors - pool.donors[:, train].mean(axis=1, keepdims=True)
        targets = pool.targets - pool.targets[:, train].mean(axis=1, keepdims=True)
        judged = np.ascontiguousarray(donors[:, judge]), np.ascontiguousarray(targets[:, judge])
        if self.penalty == inf:
            return self._steadiest(pool, *judged)
        middle = donors.mean(axis=0)  # weights sum to 1: a shift of all leaves them as they are, and spares digits
        x, y = donors[:, train] - middle[train], targets[:, train] - middle[train]
        gram = x @ x.T
        if self.penalty:
            gram[np.diag_indices_from(gram)] += self.penalty * len(train) * self.noise
        rank = len(pool.donors) if self.penalty else len(train)
        start = np.empty((0, len(x))) if start is None else start
        return fit_targets(gram, y @ x.T, np.sum(y**2, axis=1), pool.members, rank, *judged, start)

    def _steadiest(self, pool: Pool, donors: Floats, targets: Floats) -> tuple[Floats, Floats, float]:
        """The limit of a large λ: weights in proportion to 1/v over the donors that may stand for a target."""
        allowed = np.ones((len(targets), len(donors)))
        row, member = np.nonzero(pool.members >= 0)
        allowed[row, pool.members[row, member]] = 0.0
        weights = allowed / self.noise
        weights /= weights.sum(axis=1, keepdims=True)
        return targets - weights @ donors, weights, 0.0

    def held_out(self, pool: Pool, train: Periods, start: Floats | None = None) -> tuple[Floats, Floats]:
        """(m, len(train)) gaps of each block of `train`, predicted from the other blocks; and the last block's weights."""
        found: list[Floats] = []
        for block in np.array_split(np.arange(len(train)), BLOCKS):
            gaps, start, _ = self.gaps(pool, np.delete(train, block), train[block], start)
            found.append(gaps)
        assert start is not None
        return np.concatenate(found, axis=1), start


def choose(pool: Pool, train: Periods, penalties: tuple[float, ...] = PENALTIES) -> Shrinkage:
    """The λ whose held-out errors are smallest (mean log over targets, so that none counts more for being large)."""
    held, _ = Shrinkage(0.0, np.ones(len(pool.donors))).held_out(pool.singles(), train)
    noise = np.maximum(np.mean(held**2, axis=1), 1e-12 * np.mean(pool.donors**2) + 1e-300)
    some, start = pool.some(np.arange(min(JUDGED, len(pool.targets)))), None
    best, least = Shrinkage(0.0, noise), np.inf
    for penalty in penalties:
        option = Shrinkage(penalty, noise)
        held, start = option.held_out(some, train, start)
        error = np.log(np.mean(held**2, axis=1) + 1e-300).mean()
        if error < least:
            best, least = option, error
    return best
