"""Tuples as arrays, and the one scale on which numbers of all kinds meet."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import pandas as pd

from liftwise.core.uncertainty import Floats
from liftwise.models.effectiveness.facts import Facts


@dataclass(frozen=True)
class Design:
    """Rows as codes of creator `i`, content `c`, event (edition) `e`, series of events `s`, and what belongs to pairs of them.

    `decided` is the moment each row is decided (nothing later may be used), `size` the log of followers.
    """

    i: np.ndarray
    c: np.ndarray
    e: np.ndarray
    s: np.ndarray
    premium: Floats
    pair: Floats
    clock: Floats
    market: Floats
    decided: np.ndarray
    size: Floats

    @classmethod
    def of(cls, rows: pd.DataFrame, facts: Facts, *, strict: bool = False) -> Design:
        """Needs the columns of a tuple, `price` and `decided_on`."""
        days, price = (rows[name].to_numpy(dtype=float) for name in ("days_from_event", "price"))
        return cls.coded(
            facts, *facts.codes(rows, strict=strict), days, price, rows["decided_on"].to_numpy(dtype="datetime64[us]")
        )

    @classmethod
    def coded(
        cls, facts: Facts, i: np.ndarray, c: np.ndarray, e: np.ndarray, days: Floats, price: Floats, decided: np.ndarray
    ) -> Design:
        """From codes; all are (n,)."""
        return cls(i, c, e, facts.series_of[e], facts.premium(i, c, price), facts.pair(i, e), facts.clock(e, days), facts.market(e, decided),
                   decided, facts.followers[i])  # fmt: skip

    def __len__(self) -> int:
        return len(self.i)

    def take(self, rows: np.ndarray) -> Design:
        """Those rows."""
        return Design(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


@dataclass(frozen=True)
class Scale:
    """Mean and spread of columns as they were learned; NaN becomes the mean, with a mark beside it where some were missing."""

    mean: Floats
    spread: Floats
    gaps: np.ndarray

    @classmethod
    def of(cls, x: Floats) -> Scale:
        """Learn it from rows (n, columns)."""
        known = np.isfinite(x)
        count = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, x, 0.0).sum(axis=0) / count
        spread = np.sqrt((np.where(known, x - mean, 0.0) ** 2).sum(axis=0) / count)
        partly = ~known.all(axis=0) & known.any(axis=0)
        return cls(mean, np.where(spread > 1e-9, spread, np.inf), partly)

    @property
    def width(self) -> int:
        """Columns that come out."""
        return len(self.mean) + int(self.gaps.sum())

    def __call__(self, x: Floats) -> Floats:
        out = np.nan_to_num((x - self.mean) / self.spread, nan=0.0).clip(-6, 6)
        return np.column_stack([out, (~np.isfinite(x[:, self.gaps])).astype(float)])
