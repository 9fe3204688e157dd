"""How sure: a studentised estimate, and how far such estimates stray where nothing happened.

Each target's t is its estimate over the error that its own held-out gaps promise (their variance and the panel's autocorrelation).
If the promise held, t would be standard normal. How far it fails is measured, from the most telling source that is not contradicted:

1. placebos in space: the same estimate in the same periods for donors, where the campaign did not run;
2. placebos in time: the same estimate over earlier windows of the same length, for the treated target too;
3. the promise itself.

A later source is precise but may miss what is special about the campaign's periods, so it is believed only as far as an F test does
not contradict it. effect / (c · error) then follows Student's t with as many degrees of freedom as there
are independent placebos in the sources believed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from liftwise.core.uncertainty import Floats

DOUBT = 0.015  # one-sided significance at which two sources are said to stray differently
TRUST = 60.0  # degrees of freedom at which the promise itself enters


@dataclass(frozen=True)
class Calibration:
    """`factor` c by which errors are larger than promised, `df`, and which sources said so."""

    factor: float
    df: float
    sources: tuple[str, ...]


def calibrate(space: Floats, space_df: float, time: Floats, time_df: float) -> Calibration:
    """From t of placebos in space (m,) and in time (any shape); df: how many of them are independent.

    >>> calibrate(np.ones(20), 20, np.ones(60), 60)
    Calibration(factor=1.0, df=140.0, sources=('space', 'time', 'promise'))
    >>> calibrate(3 * np.ones(20), 20, np.ones(60), 60).sources
    ('space',)
    """
    from scipy.stats import f

    parts = [("space", space, space_df), ("time", np.ravel(time), time_df), ("promise", np.ones(1), TRUST)]
    parts = [(name, float(np.mean(t**2)), df) for name, t, df in parts if df >= 1 and len(t)]
    held: list[str] = []
    square, df = 0.0, 0.0
    for name, mean, more in reversed(parts):
        ratio = mean / max(square, 1e-300)
        if df and min(f.sf(ratio, more, df), f.cdf(ratio, more, df)) < DOUBT:
            held, square, df = [], 0.0, 0.0
        square, df = (square * df + mean * more) / (df + more), df + more
        held.insert(0, name)
    return Calibration(float(np.sqrt(square)), float(df), tuple(held))


def autocorrelation(gaps: Floats) -> float:
    """First-order autocorrelation of gaps (m, t) pooled over targets, each on its own scale, with Kendall's correction of its bias."""
    scaled = gaps / np.maximum(np.sqrt(np.mean(gaps**2, axis=1, keepdims=True)), 1e-300)
    raw = float(np.sum(scaled[:, 1:] * scaled[:, :-1]) / np.sum(scaled[:, :-1] ** 2))
    return float(np.clip(raw + (1 + 3 * raw) / gaps.shape[1], 0.0, 0.95))


def contrast_factor(train: int, judge: int, rho: float) -> float:
    """Variance of (mean of `judge` periods − mean of the `train` periods before), per unit variance of an AR(1) series.

    >>> round(contrast_factor(90, 15, 0.0), 4) == round(1 / 90 + 1 / 15, 4)
    True
    """
    weights = np.concatenate([np.full(train, -1 / train), np.full(judge, 1 / judge)])
    lags = rho ** np.arange(train + judge)
    shifted = np.correlate(weights, weights, mode="full")[train + judge - 1 :]
    return float(shifted[0] + 2 * np.sum(lags[1:] * shifted[1:]))
