"""Regression whose errors last: exact generalised least squares, and the best forecast of the errors themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from liftwise.core.uncertainty import Floats
from liftwise.models.mix.family import Data


@dataclass(frozen=True, eq=False)
class Lasting:
    """Errors of each region with one covariance over weeks; `train` rows are observed.

    common : covariance of two regions, in parts of what is a region's own: what moves all at once (Kronecker form). Regions not observed in the
    same weeks are taken to have nothing in common. groups : regions observed in the same weeks: their weeks, their rows (regions, weeks observed) and the inverse root of the covariance.
    """

    covariance: Floats
    groups: tuple[tuple[np.ndarray, np.ndarray, Floats], ...]
    log_determinant: float  # of the covariance of all observed rows
    common: float = 0.0

    @classmethod
    def of(cls, covariance: Floats, data: Data, train: np.ndarray, common: float = 0.0) -> Self:
        """`covariance` is (weeks, weeks)."""
        from scipy.linalg import solve_triangular

        seen, weeks = train.reshape(data.shape), data.shape[1]
        groups, size = [], 0.0
        patterns, of_region = np.unique(seen, axis=0, return_inverse=True)
        for k, pattern in enumerate(patterns):
            at, regions = np.flatnonzero(pattern), np.flatnonzero(of_region.ravel() == k)
            if len(at):
                root = np.linalg.cholesky(covariance[np.ix_(at, at)])
                groups.append((at, regions[:, None] * weeks + at, solve_triangular(root, np.eye(len(at)), lower=True)))
                size += 2 * len(regions) * float(np.log(np.diag(root)).sum()) + len(at) * float(np.log1p(len(regions) * common))
        return cls(covariance, tuple(groups), size, common)

    def whiten(self, columns: Floats) -> Floats:
        """Columns (rows, …) such that the errors of the observed rows become independent with variance 1: (observed, …)."""
        parts = [np.moveaxis(np.tensordot(inverse, columns[rows], axes=(1, 1)), 0, 1) for _, rows, inverse in self.groups]
        own = [part - (1 - (1 + len(part) * self.common) ** -0.5) * part.mean(axis=0) for part in parts]
        return np.concatenate([part.reshape(-1, *columns.shape[1:]) for part in own])

    def foreseen(self, residual: Floats) -> Floats:
        """(rows,) the best linear forecast of the errors after the last observed week of each region, zero up to there."""
        out = np.zeros(len(residual))
        for at, rows, inverse in self.groups:
            after = np.arange(at[-1] + 1, len(self.covariance))
            weights = inverse.T @ (inverse @ residual[rows].T)
            out[rows[:, :1] - at[0] + after] = (self.covariance[np.ix_(after, at)] @ weights).T
        return out
