"""Whether chains agree and how much they know: rank-normalised split R̂ and effective sample size.

References
----------
Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021), Bayesian Analysis 16(2): R̂ (4.1), bulk and tail ESS (4.2, 4.3); Geyer
(1992) for the initial monotone sequence.
"""

from __future__ import annotations

import numpy as np

from liftwise.core.uncertainty import Floats


def rhat(draws: Floats) -> Floats:
    """Rank-normalised split R̂, the larger of bulk and folded; `draws` (chains, draws, n) → (n,)."""
    halves = _split(draws)
    folded = np.abs(halves - np.median(halves, axis=(0, 1)))
    return np.maximum(_rhat(_normal_scores(halves)), _rhat(_normal_scores(folded)))


def bulk_ess(draws: Floats) -> Floats:
    """Effective sample size of the middle of each quantity; `draws` (chains, draws, n) → (n,)."""
    return _ess(_normal_scores(_split(draws)))


def tail_ess(draws: Floats) -> Floats:
    """The smaller effective sample size of the 5 % and 95 % quantiles; `draws` (chains, draws, n) → (n,)."""
    halves = _split(draws)
    sizes = [_ess((halves <= np.quantile(halves, q, axis=(0, 1))).astype(float)) for q in (0.05, 0.95)]
    return np.minimum(*sizes)


def _split(draws: Floats) -> Floats:
    """Each chain as two, so that a drift within a chain shows."""
    half = draws.shape[1] // 2
    return np.concatenate([draws[:, :half], draws[:, draws.shape[1] - half :]])


def _normal_scores(draws: Floats) -> Floats:
    from scipy.special import ndtri

    flat = draws.reshape(-1, draws.shape[-1])
    ranks = np.empty(flat.shape)
    for i, column in enumerate(flat.T):  # equal draws (a step not taken) share the mean of their ranks
        _, place, counts = np.unique(column, return_inverse=True, return_counts=True)
        ranks[:, i] = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return ndtri((ranks - 0.375) / (len(flat) + 0.25)).reshape(draws.shape)


def _rhat(draws: Floats) -> Floats:
    n = draws.shape[1]
    within = draws.var(axis=1, ddof=1).mean(axis=0)
    between = draws.mean(axis=1).var(axis=0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(within > 0, np.sqrt((n - 1) / n + between / within), np.where(between > 0, np.inf, 1.0))


def _ess(draws: Floats) -> Floats:
    """Chains' autocovariances pooled, summed by pairs as long as they fall."""
    m, n, size = draws.shape
    within = draws.var(axis=1, ddof=1).mean(axis=0)
    plus = within * (n - 1) / n + (draws.mean(axis=1).var(axis=0, ddof=1) if m > 1 else 0.0)
    centred = draws - draws.mean(axis=1, keepdims=True)
    length = 1 << (2 * n - 1).bit_length()
    spectrum = np.fft.rfft(centred, n=length, axis=1)
    covariance = np.fft.irfft(spectrum * spectrum.conj(), n=length, axis=1)[:, :n].mean(axis=0) / n  # (lags, size)
    out = np.empty(size)
    for i in range(size):
        if not plus[i] > 0:
            out[i] = m * n
            continue
        rho = 1 - (within[i] - covariance[:, i] * n / (n - 1)) / plus[i]
        rho[0] = 1.0
        pairs = rho[: n - n % 2].reshape(-1, 2).sum(axis=1)
        ends = np.flatnonzero(pairs <= 0)
        falling = np.minimum.accumulate(pairs[: ends[0] if len(ends) else len(pairs)])
        after = max(float(rho[2 * len(falling)]), 0.0) if 2 * len(falling) < n else 0.0
        spread = max(-1 + 2 * float(falling.sum()) + after, 1 / np.log10(m * n))
        out[i] = m * n / spread
    return out
