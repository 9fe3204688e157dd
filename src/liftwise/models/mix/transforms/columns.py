"""Columns of a mix's design: what is made of series and of dates.

Series transforms know `fit` (a new object that remembers what it saw), `apply` and, where it exists, `inverse`; time runs along the last
axis. Columns of time give an array (periods, columns) for a calendar.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, Self

import numpy as np
import pandas as pd

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.transforms import fourier, namespace
from liftwise.core.uncertainty import Floats
from liftwise.models.mix.transforms.adstock import lagged


class Columns(Protocol):
    """Columns of time."""

    @property
    def names(self) -> tuple[str, ...]: ...
    def columns(self, weeks: pd.DatetimeIndex) -> Floats: ...


# -- of series ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lags:
    """The series 0, 1, … `lags` − 1 periods ago, a column each."""

    lags: int

    def apply(self, x: Any) -> Any:
        """(…, periods) → (…, periods, lags), nothing before the first period."""
        return lagged(x, self.lags)

    def inverse(self, y: Any) -> Any:
        """The series itself."""
        return y[..., 0]


@dataclass(frozen=True)
class Scale:
    """Divides by what was usual where it was fitted: ``"mean"`` and ``"max"`` keep 0, ``"standard"`` has mean 0 and sd 1.

    >>> Scale("mean").fit(np.array([1.0, 3.0])).apply(np.array([4.0])).tolist()
    [2.0]
    """

    by: Literal["mean", "max", "standard"] = "mean"
    centre: Any = field(default=None, repr=False)
    width: Any = field(default=None, repr=False)

    def fit(self, x: Floats) -> Self:
        """Remember the scale of x (…, periods) along the last axis; gaps do not count.

        Raises
        ------
        CannotTell
            When there is nothing to divide by.
        """
        known = np.asarray(x, dtype=float)
        centre = np.nanmean(known, axis=-1, keepdims=True) if self.by == "standard" else np.zeros((*known.shape[:-1], 1))
        width = {"mean": np.nanmean, "max": np.nanmax, "standard": np.nanstd}[self.by](known, axis=-1, keepdims=True)
        if not np.all(width > 0):
            raise CannotTell("a series is nothing throughout or never changes: it has no scale", fix="leave it out")
        return replace(self, centre=centre, width=width)

    def apply(self, x: Any) -> Any:
        return (x - self._fitted(self.centre)) / self._fitted(self.width)

    def inverse(self, y: Any) -> Any:
        return y * self._fitted(self.width) + self._fitted(self.centre)

    def _fitted(self, value: Any) -> Any:
        if value is None:
            raise InputError("a scale that has seen nothing", where="Scale", fix="call fit on the past first")
        return value


class Chain:
    """Transforms one after the other: each is fitted on what the ones before it give, and undone in reverse.

    A step knows `apply`, and `fit` and `inverse` where it needs them; `Adstock` and `Saturation` are steps.

    >>> from liftwise.models.mix.transforms import Geometric, Hill
    >>> chain = Chain(Scale("mean"), Geometric(0.5), Hill(1.0)).fit(np.array([1.0, 2.0, 3.0]))
    >>> chain.inverse(chain.apply(np.array([1.0, 0.0, 2.0]))).round(6).tolist()
    [1.0, 0.0, 2.0]
    """

    def __init__(self, *steps: Any) -> None:
        self.steps = steps

    def fit(self, x: Any) -> Chain:
        """A new chain, fitted on x."""
        done: list[Any] = []
        for step in self.steps:
            done.append(step.fit(x) if hasattr(step, "fit") else step)
            x = done[-1].apply(x)
        return Chain(*done)

    def apply(self, x: Any) -> Any:
        """Through all steps."""
        for step in self.steps:
            x = step.apply(x)
        return x

    def inverse(self, y: Any) -> Any:
        """Back through all steps.

        Raises
        ------
        CannotTell
            When a step cannot be undone.
        """
        for step in reversed(self.steps):
            if not hasattr(step, "inverse"):
                raise CannotTell(f"{type(step).__name__} cannot be undone", fix="keep what went in")
            y = step.inverse(y)
        return y


def _ratio(top: Any, bottom: Any) -> Any:
    """top / bottom, 0 where the bottom is."""
    xp = namespace(top, bottom)
    return xp.where(bottom > 0, top / xp.where(bottom > 0, bottom, 1.0), 0.0)


@dataclass(frozen=True)
class SpendPerImpression:
    """Price of a `times` impressions (1000: CPM); 0 in periods without any."""

    times: float = 1.0

    def apply(self, spend: Any, impressions: Any) -> Any:
        return self.times * _ratio(spend, impressions)

    def inverse(self, price: Any, impressions: Any) -> Any:
        """The spend."""
        return price * impressions / self.times


@dataclass(frozen=True)
class Ratio:
    """Share of two channels' spend that goes to `one`; 0 where neither spends."""

    one: str
    other: str

    def apply(self, spend: Mapping[str, Any]) -> Any:
        one, other = (_of(spend, name) for name in (self.one, self.other))
        return _ratio(one, one + other)


@dataclass(frozen=True)
class Product:
    """Two channels' spend at once: √(one · other), in the unit of spend; 0 unless both spend."""

    one: str
    other: str

    def apply(self, spend: Mapping[str, Any]) -> Any:
        one, other = (_of(spend, name) for name in (self.one, self.other))
        return namespace(one, other).sqrt(one * other)


def _of(spend: Mapping[str, Any], name: str) -> Any:
    if name not in spend:
        raise InputError(f"no channel {name}", where="spend", fix=f"use {', '.join(spend)}")
    return spend[name]


# -- of time -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Season:
    """`pairs` sines and cosines of a season of `length` periods."""

    length: float
    pairs: int = 2

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{wave}{k}" for wave in ("sin", "cos") for k in range(1, self.pairs + 1))

    def columns(self, weeks: pd.DatetimeIndex) -> Floats:
        return fourier(np.arange(len(weeks), dtype=float), self.length, self.pairs)


@dataclass(frozen=True)
class Trend:
    """A straight line from −½ to ½ over the periods."""

    names = ("trend",)

    def columns(self, weeks: pd.DatetimeIndex) -> Floats:
        return (np.arange(len(weeks)) / len(weeks) - 0.5)[:, None]


@dataclass(frozen=True)
class Knots:
    """A line that may bend every `every` periods: one column a knot, 1 there and 0 at its neighbours.

    Columns sum to 1 in each period. Knots lie at equal distances, first and last on the first and last period.
    """

    every: int
    periods: int

    def __post_init__(self) -> None:
        if not 1 <= self.every < self.periods:
            raise InputError(
                f"a knot every {self.every} of {self.periods} periods",
                where="Knots",
                fix="use at least 1 and less than all periods",
            )

    @property
    def count(self) -> int:
        """Number of knots."""
        return max(round((self.periods - 1) / self.every), 1) + 1

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"knot{k}" for k in range(self.count))

    def columns(self, weeks: pd.DatetimeIndex | np.ndarray) -> Floats:
        """(periods, knots); periods after the last knot stay at it."""
        at = np.minimum(np.arange(len(weeks)) * (self.count - 1) / (self.periods - 1), self.count - 1)
        return np.maximum(1 - np.abs(at[:, None] - np.arange(self.count)), 0.0)


@dataclass(frozen=True)
class Holidays:
    """A column a holiday (name → its dates): how many of its days, from `lead` days before each date to `lag` after, a period holds.

    Periods are half-open: from their first day to the next period's.
    """

    dates: Mapping[str, Sequence[Any]]
    lead: int = 0
    lag: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.dates)

    def columns(self, weeks: pd.DatetimeIndex) -> Floats:
        if len(weeks) < 2:
            raise CannotTell("one period says not how long it is", fix="give more periods")
        edges = weeks.append(pd.DatetimeIndex([weeks[-1] + (weeks[-1] - weeks[-2])])).as_unit("ns")
        out = np.zeros((len(weeks), len(self.dates)))
        for column, (name, days) in enumerate(self.dates.items()):
            first = pd.to_datetime(pd.Index(days), errors="coerce")
            if first.isna().any():
                raise InputError(f"a date of {name} cannot be read", where="holidays", fix="write year-month-day")
            each = [day + pd.Timedelta(days=shift) for day in first.normalize() for shift in range(-self.lead, self.lag + 1)]
            place = edges.searchsorted(pd.DatetimeIndex(each).as_unit("ns"), side="right") - 1
            inside = place[(place >= 0) & (place < len(weeks))]
            out[:, column] = np.bincount(inside, minlength=len(weeks))
        return out
