"""Hill curves on geometrically carried spend, with synergy of pairs: the curves of the structural members."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from liftwise.core.transforms import hill, lag_weights
from liftwise.core.uncertainty import Floats
from liftwise.models.mix.family import LAGS, Curves


def carry(spend: Floats, retention: float) -> Floats:
    """`core.transforms.adstock` as a compiled filter, for those who call it thousands of times."""
    from scipy.signal import lfilter

    return lfilter([1 - retention], [1.0, -retention], spend, axis=-1)


@dataclass(frozen=True, eq=False)
class HillCurves(Curves):
    """own = β·Hill(adstock(x)); synergy = Σ b·Hillᵢ·Hillⱼ over `pairs` (i, j, b). All arrays are (channels,), half in usual spend."""

    additive = True
    retention: Floats
    half: Floats
    shape: Floats
    beta: Floats
    pairs: tuple[tuple[int, int, float], ...] = ()

    def carried(self, spend: Floats) -> Floats:
        """See `Curves`."""
        return np.stack([carry(mine, float(a)) for mine, a in zip(spend, self.retention, strict=True)])[:, None]

    def saturated(self, carried: Floats) -> Floats:
        """Between 0 and 1, (channels, regions, weeks)."""
        bent = [hill(mine[0], float(k), float(s)) for mine, k, s in zip(carried, self.half, self.shape, strict=True)]
        return np.stack(bent)

    def own(self, carried: Floats) -> Floats:
        """See `Curves`."""
        return self.beta[:, None, None] * self.saturated(carried)

    def synergy(self, carried: Floats) -> Floats:
        """See `Curves`."""
        if not self.pairs:
            return np.zeros(carried.shape[2:])
        bent = self.saturated(carried)
        return np.sum([b * bent[i] * bent[j] for i, j, b in self.pairs], axis=0)

    def lags(self, spend: Floats) -> Floats:
        """See `Curves`; known exactly."""
        return np.stack([lag_weights(float(a), LAGS) for a in self.retention])
