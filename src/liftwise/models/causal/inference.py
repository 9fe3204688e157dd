"""One test, two answers: how often chance alone would show as much, and every effect that is not rejected.

Whatever a design does to doubt its estimate, it ends in a `Test`. The p-value and the interval are read off the same test, so
p < 1 − level exactly when the interval of that level excludes 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Protocol

import numpy as np

from liftwise.core.errors import CannotTell
from liftwise.core.uncertainty import Floats, normal_quantile


class Test(Protocol):
    """What `Lift` needs to know of a test."""

    @property
    def effect(self) -> float:
        """The estimate itself."""
        ...

    @property
    def p_value(self) -> float:
        """Two-sided, of no effect."""
        ...

    def interval(self, level: float) -> tuple[float, float] | None:
        """All effects with p ≥ 1 − `level`; None, or an infinite end, where the data cannot bound it (`refusal` says why)."""
        ...

    def refusal(self, level: float) -> CannotTell:
        """Why there is no interval of that level, and what would give one."""
        ...


def bounded(test: Test, level: float) -> tuple[float, float]:
    """The interval of a test, for a person: both ends are numbers.

    Raises
    ------
    CannotTell
        When the test cannot bound the effect at that level, with the test's own reason.
    """
    normal_quantile(level)  # refuses a level that is none
    found = test.interval(level)
    if found is None or not np.isfinite(found).all():
        raise test.refusal(level)
    return found


@dataclass(frozen=True)
class StudentTest:
    """effect / error follows Student's t with `df` degrees of freedom (normal: ``df = inf``).

    >>> test = StudentTest(2.0, 1.0)
    >>> round(test.p_value, 4), tuple(round(end, 3) for end in test.interval(0.95))
    (0.0455, (0.04, 3.96))
    """

    effect: float
    error: float
    df: float = inf

    @property
    def p_value(self) -> float:
        """Two-sided."""
        from scipy.stats import norm, t

        if not self.error > 0:
            return 0.0 if self.effect else 1.0
        size = abs(self.effect) / self.error
        return float(2 * (norm.sf(size) if np.isinf(self.df) else t.sf(size, self.df)))

    def interval(self, level: float) -> tuple[float, float] | None:
        """effect ± quantile · error."""
        from scipy.stats import norm, t

        quantile = norm.ppf(0.5 + level / 2) if np.isinf(self.df) else t.ppf(0.5 + level / 2, self.df)
        return self.effect - float(quantile) * self.error, self.effect + float(quantile) * self.error

    def times(self, factor: float) -> StudentTest:
        """The same test in another unit."""
        return StudentTest(self.effect * factor, self.error * abs(factor), self.df)

    def refusal(self, level: float) -> CannotTell:
        """Only an error that is no number leaves no interval."""
        return CannotTell(f"the standard error cannot be told, so neither can an interval at {level:.0%}")


@dataclass(frozen=True)
class RatioTest:
    """A test of a log ratio (actual to counterfactual), told in the outcome's unit: δ becomes actual · (1 − exp(−δ)).

    >>> test = RatioTest(StudentTest(np.log(1.25), 0.1), actual=500.0)
    >>> round(test.effect, 6), round(test.p_value, 4)
    (100.0, 0.0257)
    """

    log_ratio: StudentTest
    actual: float

    @property
    def effect(self) -> float:
        """Actual minus counterfactual."""
        return self._told(self.log_ratio.effect)

    @property
    def p_value(self) -> float:
        """Two-sided."""
        return self.log_ratio.p_value

    def interval(self, level: float) -> tuple[float, float] | None:
        """The ends of the ratio's interval, told in the outcome's unit (a monotone map)."""
        found = self.log_ratio.interval(level)
        return None if found is None else (self._told(found[0]), self._told(found[1]))

    def refusal(self, level: float) -> CannotTell:
        """As for the ratio."""
        return self.log_ratio.refusal(level)

    def _told(self, log_ratio: float) -> float:
        return float(self.actual * -np.expm1(-log_ratio))


@dataclass(frozen=True, eq=False)
class DrawsTest:
    """Draws of the effect (m,) from its distribution, sorted or not.

    p(δ) = 2·(1 + the fewer of the draws on either side of δ) / (m + 1), at most 1: never 0, however far the draws lie.

    >>> test = DrawsTest(5.0, np.arange(1.0, 10.0))
    >>> test.p_value, test.interval(0.60)
    (0.2, (1.0, 9.0))
    """

    effect: float
    draws: Floats = field(repr=False)

    @property
    def p_value(self) -> float:
        """p(0)."""
        fewer = min(int(np.sum(self.draws <= 0)), int(np.sum(self.draws >= 0)))
        return min(1.0, 2 * (1 + fewer) / (len(self.draws) + 1))

    def interval(self, level: float) -> tuple[float, float] | None:
        """The effects with p(δ) ≥ 1 − level: from the k-th smallest draw to the k-th largest."""
        k = int(np.ceil(round(1 - level, 12) * (len(self.draws) + 1) / 2 - 1 - 1e-9))
        if k < 1:
            return None
        ordered = np.sort(self.draws)
        return float(ordered[k - 1]), float(ordered[-k])

    def refusal(self, level: float) -> CannotTell:
        """Too few draws."""
        return CannotTell(f"{len(self.draws)} draws cannot give an interval at {level:.0%}", fix="draw more")
