"""How sure: a studentised estimate, and how far such estimates stray where nothing happened.

Each target's t is its estimate over the error that its own held-out gaps promise (their variance and the panel's autocorrelation).
If the promise held, t would be standard normal. How far it fails is measured, from the most telling source that is not contradicted:

1. placebos in space: the same estimate in the same periods for donors, where the campaign did not run;
2. placebos in time: the same estimate over earlier windows of the same length, for the treated target too;
3. the promise itself.

A later source is precise but may miss what is special about the campaign's periods, so it is believed only as far as an F test does
not contradict it. effect / (c · error) then follows Student's t; its degrees of freedom come from both ends, the periods in which
the error was found and the independent placebos in the sources believed (Satterthwaite: 1/df adds).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from liftwise.core.uncertainty import Floats
from liftwise.models.causal.shrinkage import BLOCKS

RHOS = np.linspace(0.0, 0.95, 39)
DOUBT = 0.015  # one-sided significance at which two sources are said to stray differently
TRUST = 60.0  # degrees of freedom at which the promise itself enters,
BY_PLACEBOS = 2.0  # or so many times those of the placebos, where they are so few that they could hardly contradict it


@dataclass(frozen=True)
class Calibration:
    """`factor` c by which errors are larger than promised, `df`, and which sources said so."""

    factor: float
    df: float
    sources: tuple[str, ...]


def calibrate(space: Floats, space_df: float, time: Floats, time_df: float, own_df: float = np.inf) -> Calibration:
    """From t of placebos in space (m,) and in time (any shape); df: how many of them are independent.

    own_df : degrees of freedom of the errors by which they were divided (`own_freedom`): t of so few stray farther by themselves.

    >>> calibrate(np.ones(20), 20, np.ones(60), 60)
    Calibration(factor=1.0, df=140.0, sources=('space', 'time', 'promise'))
    >>> calibrate(3 * np.ones(20), 20, np.ones(60), 60).sources
    ('space',)
    """
    from scipy.stats import f

    usual = own_df / (own_df - 2) if np.isfinite(own_df) else 1.0  # mean square of Student's t
    parts = [("space", np.mean(space**2) / usual, space_df), ("promise", 1.0, min(TRUST, BY_PLACEBOS * (space_df + time_df)))]
    if time.size:
        parts.insert(1, ("time", np.mean(time**2) / usual, time_df))
    held: list[str] = []
    square, df = 0.0, 0.0
    for name, mean, more in reversed(parts):
        ratio = mean / max(square, 1e-300)
        if df and min(f.sf(ratio, more, df), f.cdf(ratio, more, df)) < DOUBT:
            held, square, df = [], 0.0, 0.0
        square, df = (square * df + mean * more) / (df + more), df + more
        held.insert(0, name)
    return Calibration(float(np.sqrt(square)), float(1 / (1 / own_df + 1 / df)), tuple(held))


def own_freedom(periods: int, rho: float) -> float:
    """Degrees of freedom of the variance of `periods` values of an AR(1) series (Bartlett's formula); 5 at least.

    >>> own_freedom(90, 0.0), round(own_freedom(90, 0.3), 1)
    (90.0, 75.1)
    """
    return max(periods * (1 - rho**2) / (1 + rho**2), 5.0)


def autocorrelation(gaps: Floats) -> float:
    """First-order autocorrelation of gaps (m, t) pooled over targets, each on its own scale, with Kendall's correction of its bias."""
    scaled = gaps / np.maximum(np.sqrt(np.mean(gaps**2, axis=1, keepdims=True)), 1e-300)
    raw = float(np.sum(scaled[:, 1:] * scaled[:, :-1]) / np.sum(scaled[:, :-1] ** 2))
    return float(np.clip(raw + (1 + 3 * raw) / gaps.shape[1], 0.0, 0.95))


@lru_cache(maxsize=256)
def held_out_moments(periods: int) -> tuple[Floats, Floats]:
    """What held-out gaps of an AR(1) series of unit variance look like at each of `RHOS`: mean square and lag-one autocorrelation.

    A held-out gap is a value less the mean of the other blocks, so it strays more than the series itself where ρ is small
    and less where ρ is large, and neighbours in a block share that mean.
    """
    from scipy.signal import lfilter

    blocks = np.array_split(np.arange(periods), BLOCKS)
    others = np.zeros((periods, BLOCKS))  # the mean that each block is compared with, as weights
    for k, block in enumerate(blocks):
        others[:, k] = 1 / (periods - len(block))
        others[block, k] = 0.0
    own = np.repeat(np.arange(BLOCKS), [len(block) for block in blocks])
    every = np.arange(periods)
    square, lag = np.empty(len(RHOS)), np.empty(len(RHOS))
    for g, rho in enumerate(RHOS):
        before = lfilter([1.0], [1.0, -rho], others, axis=0)
        with_mean = before + lfilter([1.0], [1.0, -rho], others[::-1], axis=0)[::-1] - others  # Σ ρ^|t−s| others
        means = others.T @ with_mean
        square[g] = np.mean(1 - 2 * with_mean[every, own] + means[own, own])
        beside = rho - with_mean[every[1:], own[:-1]] - with_mean[every[:-1], own[1:]] + means[own[1:], own[:-1]]
        lag[g] = np.sum(beside) / (periods * square[g])
    return square, lag


def memory(held: Floats) -> float:
    """ρ of the AR(1) series behind held-out gaps (m, t): the one under which their pooled lag-one autocorrelation is expected.

    Each target counts alike, on its own scale; being divided by that costs 2/t of the autocorrelation (the bias of a ratio), which is
    given back.
    """
    scaled = held / np.maximum(np.sqrt(np.mean(held**2, axis=1, keepdims=True)), 1e-300)
    seen = float(np.sum(scaled[:, 1:] * scaled[:, :-1]) / max(np.sum(scaled**2), 1e-300))
    return float(np.interp(seen * (1 + 2 / held.shape[1]), held_out_moments(held.shape[1])[1], RHOS))


def variance(held: Floats, rho: float) -> Floats:
    """(m,) variance of one period of the series behind held-out gaps (m, t), which are AR(1) with `rho`."""
    return np.mean(held**2, axis=1) / np.interp(rho, RHOS, held_out_moments(held.shape[1])[0])


def contrast_factor(train: int, judge: int, rho: float) -> float:
    """Variance of (mean of `judge` periods − mean of the `train` periods before), per unit variance of an AR(1) series.

    >>> round(contrast_factor(90, 15, 0.0), 4) == round(1 / 90 + 1 / 15, 4)
    True
    """
    weights = np.concatenate([np.full(train, -1 / train), np.full(judge, 1 / judge)])
    lags = rho ** np.arange(train + judge)
    shifted = np.correlate(weights, weights, mode="full")[train + judge - 1 :]
    return float(shifted[0] + 2 * np.sum(lags[1:] * shifted[1:]))
