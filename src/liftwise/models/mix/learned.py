"""What every member of the mix learns from and what it learns: the design as arrays, curves of media, and both put together."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from liftwise.core.uncertainty import Floats
from liftwise.models.mix.design import Design

if TYPE_CHECKING:
    from liftwise.models.mix.experiments import Experiments

LAGS = 13
FEW = 0.05  # of the weeks may lie beyond all seen: the largest ones always do


@dataclass(frozen=True, eq=False)
class Data:
    """A design as arrays, in units of each region's mean revenue.

    base : (rows, columns), rows = regions · weeks. parts : baseline or outside, for each column. whole : (rows,) complete rows.
    y : (rows,). spend : (channels, regions, weeks) in usual spend. experiments : lift tests, for members that learn from them.
    """

    design: Design
    base: Floats
    parts: tuple[str, ...]
    whole: np.ndarray
    y: Floats
    spend: Floats
    experiments: Experiments | None = None

    @classmethod
    def of(cls, design: Design, per_year: float) -> Data:
        """From a design; `per_year` periods make a season."""
        base, parts, whole = design.base(per_year)
        spend = np.array(list(design.scaled().values()))
        return cls(design, np.nan_to_num(base), parts, whole, np.nan_to_num(design.relative.ravel()), spend)

    @cached_property
    def digest(self) -> bytes:
        """Of everything a member may learn from."""
        arrays = [self.base, self.whole, self.y, self.spend, self.design.size]
        arrays += [] if self.experiments is None else list(self.experiments.tests._replace(expected=np.empty(0)))
        return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).digest()

    @property
    def shape(self) -> tuple[int, int]:
        """(regions, weeks)."""
        return self.design.target.shape

    @property
    def period(self) -> np.ndarray:
        """The week's number of each row."""
        return np.tile(np.arange(self.shape[1]), self.shape[0])

    def cleared(self, train: np.ndarray, columns: Floats) -> tuple[Floats, Floats]:
        """Columns less what the baseline explains of them on `train` (Frisch–Waugh–Lovell), and that explanation (base columns, …)."""
        solve = np.linalg.pinv(self.base[train], rcond=1e-8) @ columns[train]
        return columns - self.base @ solve, solve


class Curves(ABC):
    """How media act, in relative revenue for spend in usual units: monotone, and nothing from nothing."""

    step: ClassVar[float] = 0.001  # by which spend is moved to read a slope
    additive: bool = False  # is a channel's own effect known from that channel alone? (it makes readings faster, not different)

    @abstractmethod
    def carried(self, spend: Floats) -> Floats:
        """Spend (channels, regions, weeks) carried over: (channels, forms, regions, weeks); steady spend keeps its level."""

    @abstractmethod
    def own(self, carried: Floats) -> Floats:
        """Effect of each channel, (channels, regions, weeks)."""

    def synergy(self, carried: Floats) -> Floats:
        """What channels do together beyond their own effects, (regions, weeks)."""
        return np.zeros(carried.shape[2:])

    def media(self, carried: Floats) -> Floats:
        """All that media do, (regions, weeks)."""
        return self.own(carried).sum(axis=0) + self.synergy(carried)

    def lags(self, spend: Floats) -> Floats:
        """Share of an effect that falls 0, 1, … periods later, (channels, LAGS): spend doubled in single periods, well apart."""
        weeks = np.arange(spend.shape[-1])
        now = self.own(self.carried(spend))
        out = np.zeros((len(spend), LAGS))
        for first in (0, LAGS // 2):
            hit = (weeks % LAGS == first) & (weeks < weeks[-1] - LAGS)
            usual = spend.mean(axis=-1, keepdims=True)
            more = self.own(self.carried(spend + usual * hit)) - now
            for lag in range(LAGS):
                out[:, lag] += np.maximum(more[:, :, np.flatnonzero(hit) + lag].sum(axis=(1, 2)), 0.0)
        total = out.sum(axis=1, keepdims=True)
        return np.divide(out, total, out=np.eye(1, LAGS).repeat(len(spend), axis=0), where=total > 0)


@dataclass(frozen=True, eq=False)
class Learned:
    """gamma : of the base's columns. curves : of media. rest : (rows,) what a member foresees beyond both (of the baseline)."""

    gamma: Floats
    curves: Curves
    rest: Floats | None = None
    tuning: Any = None

    def predict(self, data: Data) -> Floats:
        """(rows,) relative revenue."""
        media = self.curves.media(self.curves.carried(data.spend))
        return data.base @ self.gamma + media.ravel() + (0.0 if self.rest is None else self.rest)
