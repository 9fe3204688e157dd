"""Saturation: what the next unit adds when there has been much already.

Each curve gives 0 for 0, never falls, and reaches one half at `half`. Parameters broadcast with the spend and may be of NumPy or of any
library that follows the array API (JAX tracers too).

References
----------
Hill (1910); Michaelis and Menten (1913); Google's Meridian for reach and frequency.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from liftwise.core.errors import InputError
from liftwise.core.transforms import hill, hill_slope, inverse_hill, namespace

ATANH_HALF = math.atanh(0.5)
MOST = 1000.0  # times half: beyond this nobody looks for the best frequency


@dataclass(frozen=True, eq=False)
class Saturation(ABC):
    """A curve of spend."""

    half: Any
    parameters: ClassVar[tuple[str, ...]] = ("half",)

    def __post_init__(self) -> None:
        for name in self.parameters:
            value = getattr(self, name)
            if isinstance(value, (int, float, np.ndarray, np.generic)) and not np.all(np.asarray(value) > 0):
                raise InputError(f"{name} {value!r}", where=type(self).__name__, fix="use numbers above 0")

    @abstractmethod
    def apply(self, x: Any) -> Any:
        """Effect of x ≥ 0, of the same shape."""

    @abstractmethod
    def slope(self, x: Any) -> Any:
        """Derivative of `apply` at x > 0."""

    @abstractmethod
    def inverse(self, y: Any) -> Any:
        """The x at which `apply` is y."""


@dataclass(frozen=True, eq=False)
class Hill(Saturation):
    """Rises to 1, S-shaped when `shape` is above 1."""

    shape: Any = 1.0
    parameters = ("half", "shape")

    def apply(self, x: Any) -> Any:
        return hill(x, self.half, self.shape)

    def slope(self, x: Any) -> Any:
        return hill_slope(x, self.half, self.shape)

    def inverse(self, y: Any) -> Any:
        return inverse_hill(y, self.half, self.shape)


@dataclass(frozen=True, eq=False)
class MichaelisMenten(Saturation):
    """x / (x + half): Hill's curve of shape 1."""

    def apply(self, x: Any) -> Any:
        return x / (x + self.half)

    def slope(self, x: Any) -> Any:
        return self.half / (x + self.half) ** 2

    def inverse(self, y: Any) -> Any:
        return self.half * y / (1 - y)


@dataclass(frozen=True, eq=False)
class Logistic(Saturation):
    """tanh: the upper half of the logistic curve, nearly straight at first and flat from three halves on."""

    def apply(self, x: Any) -> Any:
        return namespace(x, self.half).tanh(ATANH_HALF * x / self.half)

    def slope(self, x: Any) -> Any:
        return (1 - self.apply(x) ** 2) * ATANH_HALF / self.half

    def inverse(self, y: Any) -> Any:
        return namespace(y, self.half).atanh(y) * self.half / ATANH_HALF


@dataclass(frozen=True, eq=False)
class Log(Saturation):
    """½ log₂(1 + x / half): falls off for ever without a ceiling."""

    def apply(self, x: Any) -> Any:
        return namespace(x, self.half).log1p(x / self.half) / (2 * math.log(2))

    def slope(self, x: Any) -> Any:
        return 1 / ((x + self.half) * 2 * math.log(2))

    def inverse(self, y: Any) -> Any:
        return namespace(y, self.half).expm1(y * 2 * math.log(2)) * self.half


@dataclass(frozen=True, eq=False)
class ReachAndFrequency:
    """People reached, times what Hill's curve gives for how often each was: more people always add, more often ever less.

    half, shape : of the curve of frequency.
    """

    half: Any
    shape: Any = 1.0
    parameters: ClassVar[tuple[str, ...]] = ("half", "shape")

    def apply(self, reach: Any, frequency: Any) -> Any:
        """Effect of `reach` people, each reached `frequency` times."""
        return reach * hill(frequency, self.half, self.shape)

    def slope(self, reach: Any, frequency: Any) -> Any:
        """Effect of one more person at this frequency."""
        return hill(frequency, self.half, self.shape) + 0 * reach

    def inverse(self, y: Any, frequency: Any) -> Any:
        """The reach that has effect y at this frequency > 0."""
        return y / hill(frequency, self.half, self.shape)

    def optimal_frequency(self, *, person: float = 0.0, exposure: float = 1.0, least: float = 1.0) -> float:
        """The frequency, from `least` up, that gives most for money when reaching somebody costs `person` and each time `exposure`.

        Raises
        ------
        InputError
            With costs below 0, or when exposure is free: then more is always better.
        """
        from scipy.optimize import minimize_scalar

        if person < 0 or exposure <= 0 or least <= 0:
            raise InputError(
                f"cost of {person:g} a person and {exposure:g} an exposure", where="optimal_frequency", fix="use costs above 0"
            )

        def lost(log: float) -> float:
            times = np.exp(np.array(log))
            return -float(np.log(hill(times, self.half, self.shape)) - np.log(person + exposure * times))

        # the log of a rising curve over a rising cost has one top at most
        top = math.log(max(MOST * float(self.half), 2 * least))
        best = minimize_scalar(lost, bounds=(math.log(least), top), method="bounded", options={"xatol": 1e-10})
        return math.exp(best.x) if best.fun < lost(math.log(least)) else least
