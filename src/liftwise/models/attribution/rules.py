"""Credit rules: each looks at a touch's place in its journey and at nothing else.

They are what dashboards show, so they are here to be compared with, not to be believed: even with randomised exposure they
measure frequency and position, not effect. They share out conversions that there were, so they foretell none, and what they
give a touch is known only once the journey is over, so nothing can be read from it about what came next: `predict` and
`influence` say that they cannot tell.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NoReturn, Self

import numpy as np
import pandas as pd

from liftwise.core.errors import CannotTell, InputError
from liftwise.models.attribution.journeys import Floats, Ints, Journeys, channel_frame, credit_frame
from liftwise.models.attribution.stages import SOON

FORETELL = "ask Markov, Shapley, SurvivalAttribution or LSTMAttribution"


class Rule(ABC):
    """A rule gives each touch a weight; a journey's weights are scaled to 1."""

    method = ""

    def fit(
        self, journeys: pd.DataFrame | Journeys, covariates: pd.DataFrame | None = None, lift: pd.DataFrame | None = None
    ) -> Self:
        """Rules learn nothing but the channels there are."""
        self.channels_ = _arrays(journeys).channels
        return self

    @abstractmethod
    def weights(self, journeys: Journeys) -> Floats:
        """Weight of each touch, (touches,); not all zero in any journey."""

    def shares(self, journeys: Journeys) -> Floats:
        """Credit of each touch; sums to 1 in each journey that has a touch."""
        weights = self.weights(journeys)
        return weights / np.bincount(journeys.owner, weights, minlength=len(journeys.ids))[journeys.owner]

    def credit(self, journeys: pd.DataFrame | Journeys, covariates: pd.DataFrame | None = None) -> pd.DataFrame:
        """Table `credits` of the converting journeys."""
        arrays = _arrays(journeys)
        arrays.require_conversions()
        return credit_frame(arrays, self.shares(arrays), self.method)

    def channel_credit(self, journeys: pd.DataFrame | Journeys, covariates: pd.DataFrame | None = None) -> pd.DataFrame:
        """Table `channel_credits`."""
        arrays = _arrays(journeys)
        arrays.require_conversions()
        return channel_frame(arrays, self.shares(arrays), self.method)

    def predict(self, journeys: pd.DataFrame | Journeys, covariates: pd.DataFrame | None = None) -> NoReturn:
        """Nothing: a rule knows no journey that did not convert.

        Raises
        ------
        CannotTell
            Always.
        """
        raise CannotTell(f"{self._name} shares out conversions and predicts none", fix=FORETELL)

    def influence(
        self, journeys: pd.DataFrame | Journeys, covariates: pd.DataFrame | None = None, *, person: Ints | None = None,
        within: float = SOON, level: float = 0.90, seed: int = 7,
    ) -> NoReturn:  # fmt: skip
        """Nothing: see the top of the file.

        Raises
        ------
        CannotTell
            Always.
        """
        raise CannotTell(
            f"what {self._name} gives a touch hangs on its place in a journey that is over: it tells of no later stage",
            fix=FORETELL,
        )

    @property
    def _name(self) -> str:
        return self.method.replace("_", " ")


def _arrays(journeys: pd.DataFrame | Journeys) -> Journeys:
    return journeys if isinstance(journeys, Journeys) else Journeys.of(journeys)


def _place(journeys: Journeys) -> tuple[Floats, Floats]:
    """Position of each touch from the start (0, 1, …) and from the end."""
    at = np.arange(len(journeys.codes)) - journeys.offsets[:-1][journeys.owner]
    return at.astype(float), journeys.lengths[journeys.owner] - 1.0 - at


class LastTouch(Rule):
    """All to the last touch."""

    method = "last_touch"

    def weights(self, journeys: Journeys) -> Floats:
        return (_place(journeys)[1] == 0).astype(float)


class FirstTouch(Rule):
    """All to the first touch."""

    method = "first_touch"

    def weights(self, journeys: Journeys) -> Floats:
        return (_place(journeys)[0] == 0).astype(float)


class Linear(Rule):
    """The same to every touch."""

    method = "linear"

    def weights(self, journeys: Journeys) -> Floats:
        return np.ones(len(journeys.codes))


class TimeDecay(Rule):
    """Half as much for every `half_life_days` before the end."""

    method = "time_decay"

    def __init__(self, *, half_life_days: float = 7.0) -> None:
        if half_life_days <= 0:
            raise InputError(f"a half-life of {half_life_days:g} days", fix="give a positive number")
        self.half_life_days = half_life_days

    def weights(self, journeys: Journeys) -> Floats:
        age = journeys.hours / 24.0
        # relative to the journey's newest touch, so that no weight of a long journey vanishes entirely
        newest = np.full(len(journeys.ids), np.inf)
        np.minimum.at(newest, journeys.owner, age)
        return np.maximum(0.5 ** ((age - newest[journeys.owner]) / self.half_life_days), 1e-300)


class Position(Rule):
    """`first` to the first touch, `last` to the last, the rest evenly between; two touches share as first : last."""

    method = "position"

    def __init__(self, *, first: float = 0.4, last: float = 0.4) -> None:
        if min(first, last) < 0 or not 0 < first + last <= 1:
            raise InputError(f"shares of {first:g} and {last:g}", fix="give shares that are not negative and sum to at most 1")
        self.first, self.last = first, last

    def weights(self, journeys: Journeys) -> Floats:
        start, end = _place(journeys)
        between = np.maximum(journeys.lengths[journeys.owner] - 2.0, 1.0)
        middle = (1 - self.first - self.last) / between
        weight = np.where(start == 0, self.first, 0.0) + np.where(end == 0, self.last, 0.0)
        inner = (start > 0) & (end > 0)
        # a rule that gives nothing to the middle still has to give something where only the middle is left over
        return np.where(inner, middle, weight)
