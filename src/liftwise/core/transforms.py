"""Carry-over, saturation and season: how media act over time, and what a year looks like.

Time runs along the last axis everywhere. Saturations take arrays of any library that follows the array API standard.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from liftwise.core.uncertainty import Floats

LEAST = 1e-30  # spend below this is none


def namespace(*values: Any) -> Any:
    """The array library that `values` are of: NumPy, unless one of them belongs to another."""
    spaces = [value.__array_namespace__() for value in values if hasattr(value, "__array_namespace__")]
    return next((space for space in spaces if space is not np), np)


def adstock(spend: Floats, retention: float) -> Floats:
    """Geometric carry-over, normalised: a_t = (1 − α) Σ α^l x_{t−l}; a steady spend keeps its level.

    >>> adstock(np.array([1.0, 0.0, 0.0]), 0.5).tolist()
    [0.5, 0.25, 0.125]
    """
    if not 0 <= retention < 1:
        raise ValueError(f"retention lies in [0, 1), not {retention}")
    out = np.empty_like(spend, dtype=float)
    level = np.zeros(spend.shape[:-1])
    for t in range(spend.shape[-1]):
        level = retention * level + (1 - retention) * spend[..., t]
        out[..., t] = level
    return out


def inverse_adstock(carried: Floats, retention: float) -> Floats:
    """The spend that gives `carried`."""
    before = np.concatenate([np.zeros((*carried.shape[:-1], 1)), carried[..., :-1]], axis=-1)
    return (carried - retention * before) / (1 - retention)


def half_life(retention: float) -> float:
    """Periods until half of an effect is over.

    >>> half_life(0.5)
    1.0
    """
    return 0.0 if retention == 0 else float(np.log(0.5) / np.log(retention))


def lag_weights(retention: float, lags: int) -> Floats:
    """Share of an effect that falls 0, 1, … periods later, shape (lags,); the rest comes after."""
    return (1 - retention) * np.power(float(retention), np.arange(lags, dtype=np.float64))


def hill(x: Any, half: Any, shape: Any = 1.0) -> Any:
    """Saturation from 0 to 1: half of it at `half`; S-shaped when `shape` is above 1 (Hill 1910).

    >>> hill(np.array([0.0, 2.0, 1e9]), half=2.0).round(3).tolist()
    [0.0, 0.5, 1.0]
    """
    xp = namespace(x, half, shape)
    # nothing is set apart before the power is taken, so that its slope is finite there too
    powered = xp.where(x > LEAST, xp.pow(xp.where(x > LEAST, x, 1.0), shape), 0.0)
    return powered / (powered + half**shape)


def inverse_hill(y: Any, half: Any, shape: Any = 1.0) -> Any:
    """The x at which `hill` is y, 0 ≤ y < 1."""
    return half * namespace(y, half, shape).pow(y / (1 - y), 1 / shape)


def hill_slope(x: Any, half: Any, shape: Any = 1.0) -> Any:
    """Derivative of `hill`."""
    xp = namespace(x, half, shape)
    safe = xp.where(x > 1e-12, x, 1e-12)
    powered = xp.pow(safe / half, shape)
    return shape * powered / (safe * (1 + powered) ** 2)


def fourier(periods: Floats, length: float, pairs: int) -> Floats:
    """Sines and cosines of a season of `length` periods, shape (len(periods), 2·pairs)."""
    turn = 2 * np.pi * np.outer(periods, np.arange(1, pairs + 1)) / length
    return np.concatenate([np.sin(turn), np.cos(turn)], axis=1)
