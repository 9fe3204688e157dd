"""Curves that are a non-negative sum over a grid of transforms: several carry-overs and saturations of one channel at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from liftwise.core.transforms import hill
from liftwise.core.uncertainty import Floats
from liftwise.models.mix.family import Curves
from liftwise.models.mix.hill_curves import carry

RETENTIONS = (0.0, 0.3, 0.6, 0.85)
GRID = tuple(
    (a, k, s) for a in RETENTIONS for k in (0.5, 2.0, 6.0) for s in (1.0, 2.0)
)  # carry-over, half-saturation in usual spend, shape


@dataclass(frozen=True, eq=False)
class GridCurves(Curves):
    """own = Σ over the grid of βⱼ·Hillⱼ(adstockⱼ(x)); beta is (channels, grid), ≥ 0."""

    additive = True
    beta: Floats

    def carried(self, spend: Floats) -> Floats:
        """See `Curves`."""
        return np.stack([carry(spend, a) for a in RETENTIONS], axis=1)

    def own(self, carried: Floats) -> Floats:
        """See `Curves`."""
        out = np.zeros((len(carried), *carried.shape[2:]))
        for channel, option in zip(*np.nonzero(self.beta), strict=True):
            a, k, s = GRID[option]
            out[channel] += self.beta[channel, option] * hill(carried[channel, RETENTIONS.index(a)], k, s)
        return out


def transformed(spend: Floats) -> Floats:
    """Every channel with every transform of `GRID`, (rows, channels · grid)."""
    carried = {a: carry(spend, a) for a in RETENTIONS}
    columns = [[hill(carried[a][channel], k, s).ravel() for a, k, s in GRID] for channel in range(len(spend))]
    return np.concatenate(columns).T
