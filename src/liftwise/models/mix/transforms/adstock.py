"""Carry-over: how an effect spreads over the periods after the spend.

Each law is a small object that gives the share of an effect `lags` periods long falling 0, 1, … periods later. Shares sum to one,
so a steady spend keeps its level. Parameters are numbers or arrays that broadcast with the spend's leading axes, of NumPy or of any
library that follows the array API (JAX tracers too). Time runs along the last axis.

References
----------
Broadbent (1979) for the geometric law; Jin, Wang, Sun, Chan and Koehler (2017), Google, eq. 2–3, for the delayed one; Facebook's
Robyn for the Weibull laws; Google's Meridian for the binomial one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.transforms import namespace
from liftwise.core.uncertainty import Floats

LAGS = 52
NOISE = 1e-8  # the most that rounding may become when a carry-over is undone


def lagged(spend: Any, lags: int, before: Any = None) -> Any:
    """Spend 0, 1, … periods ago, (…, periods, lags); nothing before the first period unless `before` (…, earlier periods) says so."""
    xp = namespace(spend, before)
    periods = spend.shape[-1]
    past = xp.zeros((*spend.shape[:-1], lags), dtype=spend.dtype)
    if before is not None:
        known = xp.broadcast_to(before, (*spend.shape[:-1], before.shape[-1]))[..., -lags:]
        past = xp.concat([past[..., known.shape[-1] :], known], axis=-1)
    series = xp.concat([past, spend], axis=-1)
    return xp.stack([series[..., lags - lag : lags - lag + periods] for lag in range(lags)], axis=-1)


@dataclass(frozen=True, eq=False)
class Adstock(ABC):
    """A law of carry-over; `span` is how many periods it may reach when no number of lags is named."""

    parameters: ClassVar[tuple[str, ...]]

    @abstractmethod
    def _raw(self, lag: Any) -> Any:
        """Weights at `lag` (lags,), up to a factor."""

    def _weights(self, lags: int, xp: Any) -> Any:
        raw = self._raw(xp.arange(lags, dtype=float))
        return raw / xp.sum(raw, axis=-1, keepdims=True)

    def weights(self, lags: int = LAGS) -> Any:
        """Share of an effect that falls 0, 1, … periods later, (…, lags), sum 1."""
        return self._weights(lags, namespace(*self._values()))

    def apply(self, spend: Any, before: Any = None, lags: int = LAGS) -> Any:
        """Spend (…, periods) carried over, of the same shape; `before` (…, earlier periods) is what was spent earlier."""
        xp = namespace(spend, *self._values())
        weights = self._weights(lags, xp)
        reach = lags if before is not None else min(lags, spend.shape[-1])
        seen = lagged(xp.asarray(spend, dtype=float), reach, before)
        return xp.sum(seen * weights[..., None, :reach], axis=-1)

    def inverse(self, carried: Floats, lags: int = LAGS) -> Floats:
        """The spend (…, periods) that gives `carried`, with nothing before it.

        Raises
        ------
        CannotTell
            When nothing of a spend acts at once, or so little that rounding would grow beyond 1e-8.
        """
        weights = np.broadcast_to(np.asarray(self.weights(lags)), (*carried.shape[:-1], lags)).reshape(-1, lags)
        series = np.asarray(carried, dtype=float).reshape(-1, carried.shape[-1])
        out = np.empty(series.shape)
        for row, (now, *later) in enumerate(weights):
            if not now > 0:
                raise CannotTell(
                    "nothing of a spend acts in its own period: what was spent cannot be told", fix="use a law that acts at once"
                )
            later = np.array(later)
            pulse = _undone(np.eye(1, series.shape[1])[0], now, later)
            if float(np.abs(pulse).sum()) * np.finfo(float).eps > NOISE / 10:
                raise CannotTell(
                    f"only {now:.2g} of an effect falls in its own period: rounding would hide what was spent",
                    fix="use a shorter or less delayed carry-over",
                )
            out[row] = _undone(series[row], now, later)
        return out.reshape(carried.shape)

    def half_life(self, lags: int = LAGS) -> Any:
        """Periods until half of an effect is over, between whole ones in a straight line, (…)."""
        weights = np.asarray(self.weights(lags))
        done = np.concatenate([np.zeros((*weights.shape[:-1], 1)), np.cumsum(weights, axis=-1)], axis=-1).reshape(-1, lags + 1)
        halves = np.array([np.interp(0.5, row, np.arange(lags + 1)) for row in done])
        return halves.reshape(weights.shape[:-1])[()]

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.parameters)

    def _hold(self, name: str, low: float, high: float, open_low: bool = False) -> None:
        """Refuse numbers outside their range; what is traced cannot be looked at."""
        value = getattr(self, name)
        if not isinstance(value, (int, float, np.ndarray, np.generic)):
            return
        at = np.asarray(value)
        if not np.all((at > low if open_low else at >= low) & (at < high)):
            raise InputError(
                f"{name} {value!r}",
                where=type(self).__name__,
                fix=f"use {'above' if open_low else 'from'} {low:g} to below {high:g}",
            )


def _undone(carried: Floats, now: float, later: Floats) -> Floats:
    out = np.empty(len(carried))
    for t in range(len(carried)):
        reach = min(t, len(later))
        out[t] = (carried[t] - later[:reach] @ out[t - reach : t][::-1]) / now
    return out


def _each(value: Any) -> Any:
    """A parameter beside the axis of lags."""
    return value[..., None] if getattr(value, "ndim", 0) else value


@dataclass(frozen=True, eq=False)
class Geometric(Adstock):
    """Each period keeps `retention` of the last.

    >>> Geometric(0.5).weights(3).round(3).tolist()
    [0.571, 0.286, 0.143]
    """

    retention: Any
    parameters = ("retention",)

    def __post_init__(self) -> None:
        self._hold("retention", 0, 1)

    def _raw(self, lag: Any) -> Any:
        return _each(self.retention) ** lag


@dataclass(frozen=True, eq=False)
class Delayed(Adstock):
    """Strongest `peak` periods after the spend, and falling as `retention` to the square of the distance from there."""

    retention: Any
    peak: Any
    parameters = ("retention", "peak")

    def __post_init__(self) -> None:
        self._hold("retention", 0, 1, open_low=True)
        self._hold("peak", 0, np.inf)

    def _raw(self, lag: Any) -> Any:
        return _each(self.retention) ** ((lag - _each(self.peak)) ** 2)


@dataclass(frozen=True, eq=False)
class _Weibull(Adstock):
    shape: Any
    scale: Any
    parameters = ("shape", "scale")

    def __post_init__(self) -> None:
        self._hold("shape", 0, np.inf, open_low=True)
        self._hold("scale", 0, np.inf, open_low=True)


class WeibullPdf(_Weibull):
    """Weibull's density one period after each lag: late peaks (`shape` above 1) or a fast fall; `scale` in periods."""

    def _raw(self, lag: Any) -> Any:
        xp = namespace(lag, *self._values())
        shape, ratio = _each(self.shape), (lag + 1) / _each(self.scale)
        with np.errstate(over="ignore"):  # long after, nothing is left
            log = (shape - 1) * xp.log(ratio) - ratio**shape
        return xp.exp(log - xp.max(log, axis=-1, keepdims=True))  # the largest is 1, however short the scale


class WeibullCdf(_Weibull):
    """What is left after each period is what Weibull's law lets survive it: never rises, long or short tails; `scale` in periods."""

    def _raw(self, lag: Any) -> Any:
        xp = namespace(lag, *self._values())
        gone = (lag / _each(self.scale)) ** _each(self.shape)  # minus the log of what survives; lag 0 keeps all
        total = xp.cumulative_sum(xp.where(lag > 0, gone, 0.0), axis=-1)
        return xp.exp(-total)


@dataclass(frozen=True, eq=False)
class Binomial(Adstock):
    """(1 − lag / lags) to the power 1 / α − 1: longer in the middle than the geometric law and over at the last lag."""

    alpha: Any
    parameters = ("alpha",)

    def __post_init__(self) -> None:
        self._hold("alpha", 0, 1, open_low=True)

    def _raw(self, lag: Any) -> Any:
        return (1 - lag / lag.shape[-1]) ** (1 / _each(self.alpha) - 1)
