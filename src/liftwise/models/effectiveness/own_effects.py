"""What a creator's own posts say beyond their record: a Bayesian regression per creator, all of them in closed form.

The rest r of a post of creator i that the record does not explain is z·u_i + noise, where z = (1, content factors, event factors) comes
from the trained network and u_i ~ N(0, S). S and the size of the noise are learned by EM over all creators (empirical Bayes; Efron and
Morris 1973), noise is Student t through its scale-mixture weights (Lange, Little and Taylor 1989). Never-seen creators have u = 0 and
the variance S: their doubt needs no rule of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from liftwise.core.uncertainty import Floats

ROUNDS = 12
FREEDOM = 5.0  # degrees of freedom of the noise
INFORMATION = (FREEDOM + 1) / (
    FREEDOM + 3
)  # of a Student t by that of the normal its weights stand for (Lange, Little and Taylor 1989)
CREATORS = 512  # that are solved at a time


@dataclass(frozen=True)
class OwnEffects:
    """mean : (creators, p); covariance : (creators, p, p); factors z are (n, p); leverage : (n,) of the rows it was learned from, the share
    of a row's own noise that its fitted value took up.
    """

    mean: Floats
    covariance: Floats
    prior: Floats
    leverage: Floats

    def spread(self, i: np.ndarray, z: Floats) -> Floats:
        """Posterior sd of z·u of each row; (n,)."""
        out = np.empty(len(z))
        for rows in np.array_split(np.arange(len(z)), max(1, len(z) // 50_000)):
            out[rows] = np.einsum("rj,rjk,rk->r", z[rows], self.covariance[i[rows]], z[rows], optimize=True)
        return np.sqrt(np.maximum(out, 0.0))


def own_effects(i: np.ndarray, z: Floats, rest: Floats, sd: Floats, creators: int, weight: Floats | None = None) -> OwnEffects:
    """Learn u of every creator.

    Parameters
    ----------
    i : (n,) codes of creators below `creators`. rest, sd : (n,) what is left and the relative size of its noise.
    weight : (n,) how much each row counts.
    """
    order = np.argsort(i, kind="stable")
    i, z, rest, variance = i[order], z[order], rest[order], sd[order] ** 2
    given = np.ones(len(i)) if weight is None else weight[order]
    edges = np.searchsorted(i, np.arange(creators + 1))
    has = np.flatnonzero(np.diff(edges) > 0)
    p = z.shape[1]
    prior = np.diag(np.r_[0.1, np.full(p - 1, 0.05)]) * max(float(np.average(rest**2, weights=given)), 1e-6)
    level, trust = float(np.average(rest**2 / variance, weights=given)), np.ones(len(i))
    mean, covariance = np.zeros((creators, p)), np.repeat(prior[None], creators, axis=0)
    doubt, precision = np.zeros(len(i)), np.ones(len(i))
    for _ in range(ROUNDS):
        precision = given * trust / (variance * level)
        inverse = np.linalg.inv(prior)
        for block in np.array_split(has, max(1, len(has) // CREATORS)):
            _solve(block, edges, z, rest, precision, inverse, mean, covariance)
        prior = (covariance[has].sum(axis=0) + mean[has].T @ mean[has]) / len(has) + 1e-9 * np.eye(p)
        doubt = np.einsum("rj,rjk,rk->r", z, covariance[i], z, optimize=True)
        square = (rest - (z * mean[i]).sum(axis=1)) ** 2 + doubt
        trust = (FREEDOM + 1) / (FREEDOM + square / (variance * level))
        level = float(np.average(trust * square / variance, weights=given))
    never = np.setdiff1d(np.arange(creators), has)
    covariance[never] = prior
    leverage = np.empty(len(i))
    leverage[order] = np.minimum(doubt * precision, 0.9)
    return OwnEffects(mean, covariance, prior, leverage)


def _solve(
    block: np.ndarray, edges: np.ndarray, z: Floats, rest: Floats, precision: Floats, inverse: Floats, mean: Floats, covariance: Floats
) -> None:  # fmt: skip
    """Posterior of neighbouring creators `block`, written into `mean` and `covariance`."""
    first, last = edges[block[0]], edges[block[-1] + 1]
    starts = edges[block] - first
    part, weighted = z[first:last], z[first:last] * precision[first:last, None]
    gram = np.add.reduceat(weighted[:, :, None] * part[:, None, :], starts, axis=0)
    moment = np.add.reduceat(weighted * rest[first:last, None], starts, axis=0)
    mean[block] = np.linalg.solve(gram + inverse, moment[:, :, None])[:, :, 0]
    covariance[block] = np.linalg.inv(INFORMATION * gram + inverse)
