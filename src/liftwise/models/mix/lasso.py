"""Lasso mix: a positive lasso over the whole grid of transforms, so that a channel may act quickly and slowly at once.

Convex, hence without local optima (Tibshirani 1996; positive part as in Efron et al. 2004). The penalty is chosen on rolling origins.
"""

from __future__ import annotations

import numpy as np

from liftwise.core.uncertainty import Floats
from liftwise.models.mix.family import Data, Learned, Member, origins
from liftwise.models.mix.grid_curves import GRID, GridCurves, transformed

STRENGTHS = tuple(np.geomspace(0.5, 0.005, 8))  # shares of the penalty that leaves nothing
PASSES = 200


class LassoMix(Member):
    """See `Member`."""

    name = "lasso"

    def _learn(self, data: Data, train: np.ndarray) -> Learned:
        until = int(data.period[train].max()) + 1
        lost = np.zeros(len(STRENGTHS))
        for start, stop in origins(until, self.folds):
            past, then = train & (data.period < start), train & (data.period >= start) & (data.period < stop)
            if past.sum() <= data.base.shape[1] + 2 or not then.any():
                continue
            cleared = _cleared(data, past)[0]
            scale = _scale(cleared[past, :-1])
            for k, beta in enumerate(_path(cleared[past, :-1] / scale, cleared[past, -1], STRENGTHS)):
                lost[k] += float(((cleared[then, -1] - cleared[then, :-1] @ (beta / scale)) ** 2).sum())
        return self._at(data, train, STRENGTHS[int(np.argmin(lost))])

    def _refit(self, data: Data, train: np.ndarray, learned: Learned) -> Learned:
        return self._at(data, train, learned.tuning)

    def _at(self, data: Data, train: np.ndarray, strength: float) -> Learned:
        cleared, solve = _cleared(data, train)
        scale = _scale(cleared[train, :-1])
        strengths = [value for value in STRENGTHS if value > strength] + [strength]  # warm starts
        beta = _path(cleared[train, :-1] / scale, cleared[train, -1], strengths)[-1] / scale
        curves = GridCurves(beta.reshape(len(data.spend), len(GRID)))
        return Learned(solve[:, -1] - solve[:, :-1] @ beta, curves, tuning=strength)


def _cleared(data: Data, train: np.ndarray) -> tuple[Floats, Floats]:
    return data.cleared(train, np.column_stack([transformed(data.spend), data.y]))


def _scale(columns: Floats) -> Floats:
    """Length of each column; a column that the baseline explains entirely is put out of reach."""
    length = np.sqrt((columns**2).mean(axis=0))
    return np.where(length > 1e-9, length, np.inf)


def _path(x: Floats, y: Floats, strengths: tuple[float, ...] | list[float]) -> list[Floats]:
    """Positive lasso at each strength, by coordinate descent on the Gram matrix."""
    from sklearn.linear_model import lars_path_gram

    gram, cross = x.T @ x / len(y), x.T @ y / len(y)
    top = float(cross.max())
    if top <= 0:
        return [np.zeros(x.shape[1]) for _ in strengths]
    alphas, _, coefs = lars_path_gram(cross * len(y), gram * len(y), n_samples=len(y), method="lasso", positive=True,
                                      alpha_min=min(strengths) * top, max_iter=PASSES)  # fmt: skip
    return [np.maximum(np.array([np.interp(s * top, alphas[::-1], row[::-1]) for row in coefs]), 0.0) for s in strengths]
