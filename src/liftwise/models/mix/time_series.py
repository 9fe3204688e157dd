"""Time-series mix: the ridge mix's transforms, a regression with ARMA errors, and a forecast that knows where the errors stand.

The order is chosen by AIC and estimated by statsmodels' exact likelihood on the regions' residuals in one row, far apart; coefficients
then come from generalised least squares under that ARMA (Cochrane & Orcutt 1949 in its exact form), media ≥ 0.
"""

from __future__ import annotations

import warnings

import numpy as np

from liftwise.core.transforms import hill
from liftwise.core.uncertainty import Floats
from liftwise.models.mix.errors_in_time import Lasting
from liftwise.models.mix.family import Data, Learned, Member, nonnegative
from liftwise.models.mix.hill_curves import HillCurves, carry
from liftwise.models.mix.ridge import GRID, RidgeMix

ORDERS = ((0, 0), (1, 0), (2, 0), (1, 1))
APART = 60  # missing periods between regions
MOST = 600  # rows that the order is learned from


class TimeSeriesMix(Member):
    """See `Member`; draws keep the errors' order and the transforms."""

    name = "time_series"

    def _learn(self, data: Data, train: np.ndarray) -> Learned:
        ridge = RidgeMix(seed=self.seed, folds=self.folds).learn(data, train)
        choice, penalty = ridge.tuning[0]
        return self._under(data, train, (choice, penalty, arma_covariance(data.y - ridge.predict(data), data, train)))

    def _refit(self, data: Data, train: np.ndarray, learned: Learned) -> Learned:
        return self._under(data, train, learned.tuning)

    def _under(self, data: Data, train: np.ndarray, tuning: tuple[tuple[int, ...], float, Floats]) -> Learned:
        """Generalised least squares under a covariance."""
        choice, penalty, covariance = tuning
        grid = np.array([GRID[k] for k in choice]).T
        media = np.stack([hill(carry(x, a), k, s).ravel() for x, (a, k, s) in zip(data.spend, grid.T, strict=True)], axis=1)
        lasting = Lasting.of(covariance, data, train)
        white = lasting.whiten(np.column_stack([data.base, media, data.y]))
        base, rest = white[:, : data.base.shape[1]], white[:, data.base.shape[1] :]
        solve = np.linalg.pinv(base, rcond=1e-8) @ rest
        cleared = rest - base @ solve
        x, y = cleared[:, :-1], cleared[:, -1]
        beta = nonnegative(x.T @ x, x.T @ y, penalty)
        gamma = solve[:, -1] - solve[:, :-1] @ beta
        foreseen = lasting.foreseen(data.y - data.base @ gamma - media @ beta)
        return Learned(gamma, HillCurves(grid[0], grid[1], grid[2], beta), foreseen, tuning)


def arma_covariance(residual: Floats, data: Data, train: np.ndarray) -> Floats:
    """Autocovariance over weeks of the ARMA that explains the residuals best, variance 1."""
    from scipy.linalg import toeplitz
    from statsmodels.tsa.arima.model import ARIMA
    from statsmodels.tsa.arima_process import arma_acovf

    regions, weeks = data.shape
    late = int(data.period[train].max()) + 1
    table = np.where(train, residual, np.nan).reshape(regions, weeks)[:, :late]
    used = table[: max(1, MOST // late)]
    series = np.concatenate([np.append(row, np.full(APART, np.nan)) for row in used])
    best, found = np.inf, (np.array([1.0]), np.array([1.0]))
    for p, q in ORDERS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # start values and convergence: a poor fit loses by its AIC
            fitted = ARIMA(series, order=(p, 0, q), trend="n").fit(
                cov_type="none", low_memory=True, method_kwargs={"maxiter": 30}
            )
        if fitted.aic < best and np.isfinite(fitted.aic) and np.all(np.abs(fitted.arroots) > 1.001):
            best, found = float(fitted.aic), (np.r_[1.0, -fitted.arparams], np.r_[1.0, fitted.maparams])
    curve = arma_acovf(*found, nobs=weeks)
    return toeplitz(curve / curve[0]) + 1e-9 * np.eye(weeks)
