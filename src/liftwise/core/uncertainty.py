"""Numbers that know how sure they are, and the one source of randomness.

Every random stream in liftwise is a named child of one seed: `spawn(seed, name)`. No module seeds itself, so the
same seed gives the same bytes, and adding a stream never changes another.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def spawn(seed: int, name: str) -> np.random.Generator:
    """A generator that depends on `seed` and `name` alone.

    >>> bool(spawn(7, "posts").integers(1 << 30) == spawn(7, "posts").integers(1 << 30))
    True
    >>> bool(spawn(7, "posts").integers(1 << 30) == spawn(7, "people").integers(1 << 30))
    False
    """
    digest = hashlib.sha256(name.encode()).digest()
    words = [int.from_bytes(digest[i : i + 4], "little") for i in range(0, 16, 4)]
    return np.random.default_rng(np.random.SeedSequence([seed, *words]))


def normal_quantile(level: float) -> float:
    """Half-width, in standard deviations, of a central normal interval of `level`.

    >>> round(normal_quantile(0.90), 4)
    1.6449
    """
    if not 0 < level < 1:
        raise ValueError(f"an interval's level lies between 0 and 1, not {level}")
    return NormalDist().inv_cdf(0.5 + level / 2)


@dataclass(frozen=True)
class Estimate:
    """A mean with its standard deviation and, where known, draws from its distribution.

    Parameters
    ----------
    mean, sd : float
        In `unit`.
    draws : array of shape (n,), optional
        When present, intervals are their quantiles; else they are normal.
    unit : str
        What the number counts: ``"currency"``, ``"conversions"``, ``"share"``…

    >>> Estimate(10.0, 2.0).interval(0.90)
    (6.71, 13.29)
    """

    mean: float
    sd: float
    draws: Floats | None = field(default=None, repr=False, compare=False)
    unit: str = ""

    @classmethod
    def of(cls, draws: Sequence[float] | Floats, unit: str = "") -> Estimate:
        """The estimate that a set of draws stands for."""
        values = np.asarray(draws, dtype=float)
        if values.ndim != 1 or values.size < 2:
            raise ValueError("an estimate needs at least two draws in one dimension")
        return cls(float(values.mean()), float(values.std(ddof=1)), values, unit)

    def interval(self, level: float = 0.90) -> tuple[float, float]:
        """Central interval of `level`, rounded to what the sd can tell apart (sd/1000)."""
        if self.draws is not None:
            low, high = np.quantile(self.draws, [0.5 - level / 2, 0.5 + level / 2])
        else:
            half = normal_quantile(level) * self.sd
            low, high = self.mean - half, self.mean + half
        digits = 12 if self.sd <= 0 else max(0, 3 - int(np.floor(np.log10(self.sd))) - 1)
        return round(float(low), digits), round(float(high), digits)


def at_most(share: float) -> str:
    """A share in percent that is claimed as a limit: rounded up, so that what is said holds.

    >>> at_most(0.00004), at_most(0.0), at_most(0.0123)
    ('0.01%', '0.00%', '1.23%')
    """
    return f"{math.ceil(round(share * 1e4, 6)) / 1e4:.2%}"
