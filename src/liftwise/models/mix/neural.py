"""Neural mix: a small net whose media part can only rise, trained by full-batch Adam with the linear baseline taken out.

Each channel's carry-over is learned; its carried spend passes a few hidden units of its own, softplus weights into tanh, so the effect is
monotone, saturates and is nothing without spend. Nets of an ensemble differ by their start (Lakshminarayanan et al. 2017), are trained side
by side, and predict by their mean; intervals come from nets trained on resampled data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from liftwise.core.uncertainty import Floats, spawn
from liftwise.models.mix.family import Curves, Data, Learned, Member
from liftwise.models.mix.hill_curves import carry

NETS, UNITS, STEPS = 2, 3, 120
REACH = 12  # periods of carry-over a net looks back
DECAY = 0.02  # weight of a channel's squared height


@dataclass(frozen=True, eq=False)
class NeuralCurves(Curves):
    """retention (nets, channels); slope, height (nets, channels, units), all ≥ 0: the mean over nets of Σ height·tanh(slope·x)."""

    additive = True
    retention: Floats
    slope: Floats
    height: Floats

    def carried(self, spend: Floats) -> Floats:
        """See `Curves`."""
        return np.stack([[carry(x, float(a)) for a in mine] for x, mine in zip(spend, self.retention.T, strict=True)])

    def own(self, carried: Floats) -> Floats:
        """See `Curves`."""
        out = np.zeros((len(carried), *carried.shape[2:]))
        for net in range(len(self.retention)):
            bent = np.tanh(self.slope[net][:, :, None, None] * carried[:, net][:, None])
            out += (self.height[net][:, :, None, None] * bent).sum(axis=1)
        return out / len(self.retention)


class NeuralMix(Member):
    """See `Member`."""

    name = "neural"

    def __init__(self, *, seed: int = 7, holdout: int = 26, folds: int = 4, draws: int = 8, per_year: float = 52.18) -> None:
        super().__init__(seed=seed, holdout=holdout, folds=folds, draws=draws, per_year=per_year)

    def _learn(self, data: Data, train: np.ndarray) -> Learned:
        curves = _trained(data, train, self.seed)
        carried = curves.carried(data.spend)
        left = data.y - curves.own(carried).sum(axis=0).ravel()
        gamma = np.linalg.pinv(data.base[train], rcond=1e-8) @ left[train]
        return Learned(gamma, curves)

    def _draw(self, data: Data, train: np.ndarray, learned: Learned, rng: np.random.Generator) -> list[Curves]:
        return [
            _trained(drawn, train, int(rng.integers(1 << 30)), nets=1) for drawn in self._resampled(data, train, learned, rng)
        ]


def _trained(data: Data, train: np.ndarray, seed: int, nets: int = NETS) -> NeuralCurves:
    """Nets trained side by side on the rows `train`."""
    import torch
    from torch.nn.functional import softplus

    channels = len(data.spend)
    rng = spawn(seed, "mix.neural")
    start = [
        rng.normal(-0.6, 0.5, (nets, channels)),
        rng.normal(0, 0.7, (nets, channels, UNITS)),
        rng.normal(-4, 0.5, (nets, channels, UNITS)),
    ]
    raw, slope, height = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in start)
    lagged = np.stack([np.pad(data.spend, ((0, 0), (0, 0), (lag, 0)))[:, :, : data.shape[1]] for lag in range(REACH)])
    x = torch.tensor(lagged.reshape(REACH, channels, -1)[:, :, train])
    basis = torch.tensor(np.linalg.qr(data.base[train])[0])
    y = torch.tensor(data.y[train])
    y = y - basis @ (basis.T @ y)
    optimiser = torch.optim.Adam([raw, slope, height], lr=0.05)
    for _ in range(STEPS):
        retention = torch.sigmoid(raw)
        weights = retention[..., None] ** torch.arange(REACH) * (1 - retention[..., None])  # (nets, channels, lags)
        carried = torch.einsum("ncl,lcr->ncr", weights, x)
        bent = torch.tanh(softplus(slope)[..., None] * carried[:, :, None])
        media = (softplus(height)[..., None] * bent).sum(dim=(1, 2))  # (nets, rows)
        left = y - (media - (media @ basis) @ basis.T)
        loss = (left**2).mean(dim=1).sum() + DECAY / len(y) * (softplus(height).sum(dim=2) ** 2).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        return NeuralCurves(torch.sigmoid(raw).numpy(), softplus(slope).numpy(), softplus(height).numpy())
