"""Regression with errors that last: AR(1) of unknown ρ, averaged over its restricted likelihood on a grid.

References
----------
Harville (1977), JASA 72(358), on restricted likelihood; Satterthwaite (1946), Biometrics Bulletin 2(6), on degrees of freedom.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from liftwise.core.uncertainty import Floats

RHOS = np.linspace(0.0, 0.98, 50)


@dataclass(frozen=True, eq=False)
class SerialErrors:
    """AR(1) errors of unknown ρ: weights (g,) of each of `RHOS`, the innovations' variance (g,) at each, and degrees of freedom."""

    weights: Floats
    noise: Floats
    df: float

    @classmethod
    def of(cls, design: Floats, y: Floats) -> SerialErrors:
        """From y (n,) around design (n, k), by restricted likelihood: k coefficients are integrated out, ρ has a flat prior."""
        basis, size, _ = np.linalg.svd(design, full_matrices=False)
        basis = basis[:, size > 1e-9 * size[0]]
        n, k = basis.shape
        scale = max(float(np.sqrt(np.mean(y**2))), 1e-300)
        rest = y / scale - basis @ (
            basis.T @ (y / scale)
        )  # the same errors around the same basis, and no digits lost where they are small
        both = np.column_stack([basis, rest])
        whole, inner = both.T @ both, both[1:-1].T @ both[1:-1]
        lag = both[1:].T @ both[:-1]
        logs, noise = np.empty(len(RHOS)), np.empty(len(RHOS))
        for g, rho in enumerate(RHOS):
            gram = whole - rho * (lag + lag.T) + rho**2 * inner
            gram[-1, -1] += 1e-18 * n
            factor = np.diag(np.linalg.cholesky(gram))
            noise[g] = factor[-1] ** 2 / (n - k)
            logs[g] = -0.5 * (2 * np.log(factor[:-1]).sum() + (n - k) * np.log(noise[g]) - np.log(1 - rho**2))
        weights = np.exp(logs - logs.max())
        return cls(weights / weights.sum(), noise * scale**2, float(n - k))

    @cached_property
    def rho(self) -> float:
        """Mean."""
        return float(self.weights @ RHOS)

    def variances(self, sums: Floats) -> Floats:
        """(m, g) variance, at each ρ, of weighted sums (m, n) of the errors."""
        n = sums.shape[1]
        wave = np.fft.rfft(sums, 2 * n, axis=1)
        shifted = np.fft.irfft(np.abs(wave) ** 2, axis=1)[:, :n]
        shifted[:, 1:] *= 2
        lags = RHOS ** np.arange(n)[:, None]
        return np.maximum(shifted @ (lags * self.noise / (1 - RHOS**2)), 0.0)

    def promise(self, sums: Floats) -> tuple[Floats, Floats]:
        """Standard error (m,) of each sum and its degrees of freedom (m,): of the t that errs as the normal with unknown variance does.

        What is known of a sum's variance (ρ by its weights, the innovations' by their degrees of freedom) is summed up by its mean and spread;
        the scaled inverse χ² with the same two makes the sum a scaled t.
        """
        variances = self.variances(sums)
        mean = variances @ self.weights
        spread = ((variances / np.maximum(mean, 1e-300)[:, None] - 1) ** 2) @ self.weights + 2 / max(self.df - 4, 1)
        df = 4 + 2 / spread
        return np.sqrt(mean * self.df / max(self.df - 2, 1) * (df - 2) / df), df

    def covariance(self, n: int) -> Floats:
        """(n, n) at the mean of ρ."""
        row = self.rho ** np.arange(n) * float(self.weights @ self.noise) / (1 - self.rho**2)
        return row[np.abs(np.subtract.outer(np.arange(n), np.arange(n)))]


def precise(columns: Floats, rho: float) -> Floats:
    """Inverse correlation matrix of AR(1) errors, in units of the innovations' precision, times columns (n, k)."""
    out = (1 + rho**2) * columns
    out[[0, -1]] = columns[[0, -1]]
    out[1:] -= rho * columns[:-1]
    out[:-1] -= rho * columns[1:]
    return out


def gls_weights(design: Floats, rho: float) -> Floats:
    """(k, n): each coefficient of design (n, k) as a weighted sum of outcomes, by generalised least squares."""
    scale = np.abs(design).max(axis=0)
    scaled = design / np.where(scale > 0, scale, 1)
    toward = precise(scaled, rho)
    return np.linalg.pinv(scaled.T @ toward, rcond=1e-10) @ toward.T / np.where(scale > 0, scale, 1)[:, None]


# --- the estimator
