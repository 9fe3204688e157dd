"""The family of mixes: one interface, and what its members share.

Every member explains revenue as a linear baseline (level, trend, season), outside effects (controls) and media. Media are `Curves`: spend
is carried over, then bent; curves are monotone and give nothing for nothing, whatever learned them. A member only says how it learns
(`_learn`, `_refit`); hold-out, rolling origins and draws are made here, once, and so is every reading (`readings`, `what_if`).

Effects of single channels are defined in the same way for all: `own` is what a channel does without the others (additive members) or the
mean of coming first and coming last (members that know interactions); what is left of the whole is synergy, shared in proportion to own
effects. So baseline + immediate + carried + synergy + outside is the fit, exactly.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
import pandas as pd

from liftwise.core.errors import CannotTell
from liftwise.core.uncertainty import Floats
from liftwise.models.mix.design import Design
from liftwise.models.mix.learned import LAGS, Curves, Data, Learned
from liftwise.models.mix.readings import RECENT, origins
from liftwise.models.mix.scores import report
from liftwise.models.mix.what_if import FACTORS, Counterfactuals, WhatIf

__all__ = ["LAGS", "RECENT", "Curves", "Data", "Learned", "Member", "Mix", "nonnegative", "origins"]

BLOCK = 8  # periods of a bootstrap block
NEEDED = 26  # periods to learn from


@runtime_checkable
class Mix(Protocol):
    """What every mix can be asked; see `Member` for the meaning of each answer."""

    name: str
    scores_: dict[str, float]
    notes_: tuple[str, ...]

    def fit(self, weekly: pd.DataFrame, lift: pd.DataFrame | None = None, lift_weeks: pd.DataFrame | None = None) -> Self: ...
    def predict(self) -> pd.DataFrame: ...
    def contributions(self) -> pd.DataFrame: ...
    def roi(self) -> pd.DataFrame: ...
    def responses(self) -> pd.DataFrame: ...
    def carryover(self) -> pd.DataFrame: ...
    def simulate(self, multipliers: dict[str, float]) -> pd.DataFrame: ...
    def what_if(self, multipliers: dict[str, float]) -> WhatIf: ...
    def partial_dependence(self, channels: Sequence[str] | None = None, factors: Sequence[float] = FACTORS) -> pd.DataFrame: ...
    def summary(self) -> str: ...


_LEARNED: dict[tuple[Any, ...], Learned] = {}  # the same data and rows teach the same thing
KEPT = 24


class Member(Counterfactuals):
    """A mix of table `weekly`.

    Parameters
    ----------
    holdout : last periods kept aside for `scores_`.
    folds : rolling origins within the rest.
    draws : for intervals (moving-block bootstrap of the residuals, Künsch 1989, unless the member knows better).
    per_year : periods in a year.

    Attributes
    ----------
    scores_ : rmse, mae, rmse_pct, mae_pct (of a mean period), crps, coverage (of 90 % intervals) on the hold-out, naive_rmse_pct (a year
        before), and the same over rolling origins as rolling_….
    fold_errors_, holdout_errors_ : national errors after each origin and on the hold-out, in currency.
    notes_ : what a reader should know of the data.

    Intervals are approximate, and they do not know of confounding: spend that follows demand is seen as effect as far as the controls do
    not explain it.
    """

    name: ClassVar[str]
    monotone: ClassVar[bool] = True  # media effects never fall with spend: may move a budget
    hears: ClassVar[bool] = False  # learns from lift tests
    scored: bool = True  # when set to False before `fit`: the same mix sooner, without `scores_`
    shared: ClassVar[bool] = False  # other members start from it, and it depends on seed, folds and data alone

    def __init__(self, *, seed: int = 7, holdout: int = 26, folds: int = 4, draws: int = 24, per_year: float = 52.18) -> None:
        self.seed, self.holdout, self.folds, self.draws, self.per_year = seed, holdout, folds, draws, per_year

    # -- what a member says --------------------------------------------------------------------------------------------

    @abstractmethod
    def _learn(self, data: Data, train: np.ndarray) -> Learned:
        """Tune and fit on the rows `train`, seeing no other revenue."""

    def _refit(self, data: Data, train: np.ndarray, learned: Learned) -> Learned:
        """Fit again with the tuning of `learned`."""
        return self._learn(data, train)

    def _draw(self, data: Data, train: np.ndarray, learned: Learned, rng: np.random.Generator) -> list[Curves]:
        """Curves that the data cannot tell from the fit."""
        return [self._refit(drawn, train, learned).curves for drawn in self._resampled(data, train, learned, rng)]

    def _resampled(self, data: Data, train: np.ndarray, learned: Learned, rng: np.random.Generator) -> Iterator[Data]:
        """The data as they might have been: the fit and blocks of its residuals."""
        fitted, weeks = learned.predict(data), data.shape[1]
        residual = np.where(train, data.y - fitted, 0.0).reshape(data.shape)
        for _ in range(self.draws):
            starts = rng.integers(0, weeks - BLOCK + 1, -(-weeks // BLOCK))
            order = (starts[:, None] + np.arange(BLOCK)).ravel()[:weeks]
            yield replace(data, y=fitted + residual[:, order].ravel())

    def told(self, data: Data, lift: pd.DataFrame | None, lift_weeks: pd.DataFrame | None) -> tuple[Data, list[str]]:
        """The data with what the member hears of lift tests, and notes on those it leaves aside."""
        return data, []

    # -- fitting -------------------------------------------------------------------------------------------------------

    def learn(self, data: Data, train: np.ndarray) -> Learned:
        """What the member learns from `train`; remembered where other members start from it."""
        if not self.shared:
            return self._learn(data, train)
        key = (self.name, self.seed, self.folds, data.digest, hashlib.sha256(train.tobytes()).digest())
        if key not in _LEARNED:
            while len(_LEARNED) >= KEPT:
                _LEARNED.pop(next(iter(_LEARNED)))
            _LEARNED[key] = self._learn(data, train)
        return _LEARNED[key]

    def fit(self, weekly: pd.DataFrame, lift: pd.DataFrame | None = None, lift_weeks: pd.DataFrame | None = None) -> Self:
        """Score on rolling origins and on the hold-out, then fit all periods with the tuning found before the hold-out.

        lift, lift_weeks : tables `lift_tests` and `lift_test_weeks`; only a member that `hears` learns from them.

        Raises
        ------
        CannotTell
            When the data cannot carry a mix (see `Design.of`) or are too short for the hold-out.
        """
        self.design_ = Design.of(weekly, self.holdout)
        self.notes_ = self.design_.notes
        data, heard = self.told(Data.of(self.design_, self.per_year), lift, lift_weeks)
        self.notes_, weeks = (*self.notes_, *heard), len(self.design_.weeks)
        if weeks - self.holdout < NEEDED:
            raise CannotTell(
                f"{weeks} periods leave {weeks - self.holdout} to learn from", fix="shorten measure.holdout or add history"
            )
        if data.whole.reshape(data.shape)[:, : weeks - self.holdout].sum() < data.base.shape[1] + 10:
            raise CannotTell("too few complete periods for the controls", fix="drop controls with gaps")
        self._data = data
        until, period = weeks - self.holdout, data.period
        spans = origins(until, self.folds) if self.scored else []
        self.fold_errors_ = [self._off(self.learn(data, data.whole & (period < start)), start, stop) for start, stop in spans]
        past = self.learn(data, data.whole & (period < until))
        self.holdout_errors_ = self._off(past, until, weeks) if self.scored else np.empty(0)
        self.scores_ = self._scores(self.holdout_errors_) if self.scored else {}
        self.learned_ = self._refit(data, data.whole, past)
        for made in ("curves_", "_drawn"):  # of an earlier fit
            self.__dict__.pop(made, None)
        return self

    def _off(self, learned: Learned, start: int, stop: int) -> Floats:
        """National errors of the periods start ≤ t < stop, over the regions seen in each."""
        data = self._data
        seen = data.whole.reshape(data.shape)[:, start:stop]
        off = ((data.y - learned.predict(data)).reshape(data.shape) * self.design_.size[:, None])[:, start:stop]
        return np.where(seen, off, 0.0).sum(axis=0)[seen.any(axis=0)]

    def _scores(self, late: Floats) -> dict[str, float]:
        total = np.nansum(self.design_.target, axis=0)
        mean, year = float(total.mean()), round(self.per_year)
        scores = report(self.fold_errors_, late, mean)
        if len(total) > year + self.holdout:
            naive = total[-self.holdout :] - total[-self.holdout - year : -year]
            scores["naive_rmse_pct"] = 100 * float(np.sqrt(np.mean(naive**2))) / mean
        return scores


def nonnegative(gram: Floats, cross: Floats, penalty: float) -> Floats:
    """argmin over β ≥ 0 of βᵀGβ − 2cᵀβ + λ·Σ Gₖₖβₖ²."""
    from scipy.optimize import nnls

    loaded = gram + np.diag(penalty * np.diag(gram) + 1e-9)
    root = np.linalg.cholesky(loaded)
    beta, _ = nnls(root.T, np.linalg.solve(root, cross))
    return beta
