"""Draws of a Bayesian mix as curves; together they are their mean."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np

from liftwise.core.uncertainty import Floats
from liftwise.models.mix.density import SPREAD, WALK, MixData, channel_parameters, first_region, first_walk, respond
from liftwise.models.mix.family import Curves
from liftwise.models.mix.response import exponential


@dataclass(frozen=True, eq=False)
class Posterior(Curves):
    """Curves of some draws, as `response` and `density` have them, in usual spend; as one, they are their mean.

    retention, later (the second retention), half, slope, tail : (draws, channels). beta : (draws, channels, regions), the most each
    could bring. bonds : (draws, pairs), the most each pair could bring together. walk : (draws,) sd of the level's step in sd of the noise.
    pairs : (pairs, 2).
    """

    additive = True
    retention: Floats
    later: Floats
    half: Floats
    slope: Floats
    tail: Floats
    beta: Floats
    bonds: Floats
    walk: Floats
    pairs: np.ndarray

    @classmethod
    def of(cls, thetas: Floats, mix: MixData, unit: Floats) -> Self:
        """From θ (draws, dimensions); `unit` (channels,) is the density's spend 1 in usual spend."""
        channels, regions, _ = mix.spend.shape
        told, by, means = np.empty((len(thetas), channels, 6)), np.empty(6), np.empty((len(thetas), channels, 6))
        for i, theta in enumerate(thetas):
            for c in range(channels):
                channel_parameters(theta, c, mix, told[i, c], by)
                respond(mix, c, told[i, c], means[i, c])
        share, mean = np.exp(told[:, :, 5]), means[:, :, 0]
        beta = np.repeat((share / mean)[:, :, None], regions, axis=2)
        walk, first = int(first_walk(mix)), int(first_region(mix))
        if regions > 1:
            tau = np.exp(mix.shape[SPREAD, 0] + mix.shape[SPREAD, 1] * thetas[:, first])
            z = thetas[:, first + 1 :].reshape(len(thetas), channels, regions)
            beta = beta * np.exp(tau[:, None, None] * (z - z.mean(axis=2, keepdims=True)))
        bonds = np.empty((len(thetas), len(mix.pairs)))
        for p, (i, j) in enumerate(mix.pairs):
            kappa = mix.bond * np.exp([exponential(v)[0] for v in thetas[:, first - len(mix.pairs) + p]])
            bonds[:, p] = kappa * (share[:, i] + share[:, j]) / (mean[:, i] * mean[:, j])
        steps = (
            np.exp(mix.shape[WALK, 0] + mix.shape[WALK, 1] * thetas[:, walk]) if len(mix.level.swing) else np.zeros(len(thetas))
        )
        alpha = told[:, :, 0]
        return cls(
            alpha, alpha * told[:, :, 3], told[:, :, 1] * unit, told[:, :, 2], told[:, :, 4], beta, bonds, steps, mix.pairs
        )

    def carried(self, spend: Floats) -> Floats:
        """See `Curves`."""
        keep, later = self.retention.T[:, :, None], self.later.T[:, :, None]
        out = np.empty((*keep.shape[:2], *spend.shape[1:]))
        level = late = np.zeros((*keep.shape[:2], spend.shape[1]))
        for t in range(spend.shape[2]):
            level = keep * level + (1 - keep) * spend[:, None, :, t]
            late = later * late + (1 - later) * level
            out[..., t] = late
        return out

    def bent(self, carried: Floats) -> Floats:
        """Between 0 and 1, (channels, draws, regions, weeks)."""
        half, slope, tail = (part.T[:, :, None, None] for part in (self.half, self.slope, self.tail))
        c = np.exp2(1 / tail) - 1
        power = np.power(np.maximum(carried, 0.0) / half, slope * 0.5 * (c + 1) / (tail * c))
        return -np.expm1(-tail * np.log1p(c * power))

    def own(self, carried: Floats) -> Floats:
        """See `Curves`."""
        return np.einsum("cdrt,dcr->crt", self.bent(carried), self.beta) / len(self.beta)

    def synergy(self, carried: Floats) -> Floats:
        """See `Curves`."""
        if not len(self.pairs):
            return np.zeros(carried.shape[2:])
        bent = self.bent(carried)
        return np.sum(
            [np.einsum("drt,d->rt", bent[i] * bent[j], self.bonds[:, p]) for p, (i, j) in enumerate(self.pairs)], axis=0
        ) / len(self.bonds)

    def each(self) -> list[Curves]:
        """One for each draw."""
        return [self.pick(np.array([i])) for i in range(len(self.beta))]

    def pick(self, which: np.ndarray) -> Posterior:
        """Some of the draws."""
        return replace(self, **{part.name: getattr(self, part.name)[which] for part in fields(self) if part.name != "pairs"})
