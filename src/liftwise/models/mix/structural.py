"""Structural mix: continuous carry-over and saturation, synergy of channel pairs, and a baseline that may wander, at the posterior's top.

Non-linear least squares with priors (α ~ logit-normal round 0.35, half-saturation log-normal round usual spend, shape log-normal round 1, or with
heavy tails, where that pays for itself).
Channels' shares of revenue are pooled: normal round a common one and never below none; both that one and how far channels differ are learned, so
where the weeks say little of a channel it is taken to be like the others. The linear baseline integrated out under errors that are noise plus a random walk
(Harvey 1989, local level), and what all regions have in common; both shares are chosen by marginal likelihood. Lift tests are further residuals.
Pairs and steep curves enter only where they pay for themselves (BIC). Intervals: draws about the top, led back to where what bends allows them, so they are a
preview of what a full posterior says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pandas as pd

from liftwise.core.uncertainty import Floats, spawn
from liftwise.models.mix import experiments, lift_tests
from liftwise.models.mix.errors_in_time import Lasting
from liftwise.models.mix.experiments import Experiments
from liftwise.models.mix.family import Data, Learned, Member
from liftwise.models.mix.hill_curves import HillCurves
from liftwise.models.mix.least_squares import Moves, climb, near, spanned
from liftwise.models.mix.structural_curves import COMMON, Pairs, curves_of, media_of, slopes_of

WALKS = (0.0, 0.003, 0.01, 0.03, 0.1, 0.3)  # variance of the level's step, noise being 1
FEW = 64  # draws of the weeks alone, which tests are held against
COMMONS = (0.0, 0.1, 0.3, 1.0, 3.0)  # variance of what moves all regions at once, a region's own being 1


@dataclass(frozen=True, eq=False)
class Tuning:
    """pairs that interact, variance of the level's step and of the noise (relative revenue), where the search ended, variance of what regions have
    in common, and whether curves may be steep.
    """

    pairs: Pairs
    walk: float
    noise: float
    theta: Floats
    common: float
    steep: bool = False

    def curves(self, data: Data, theta: Floats | None = None) -> HillCurves:
        """Of θ; by default where the search ended."""
        return curves_of(self.theta if theta is None else theta, len(data.spend), self.pairs, self.steep)

    def errors(self, data: Data, train: np.ndarray, noise: float | None = None) -> Lasting:
        """Their covariance."""
        scale = self.noise if noise is None else noise
        return Lasting.of(walk_covariance(self.walk, data.shape[1]) * scale, data, train, self.common)


class StructuralMix(Member):
    """See `Member`."""

    name = "structural"
    shared = True
    hears = True

    def __init__(self, *, seed: int = 7, holdout: int = 26, folds: int = 4, draws: int = 200, per_year: float = 52.18) -> None:
        super().__init__(seed=seed, holdout=holdout, folds=folds, draws=draws, per_year=per_year)

    def told(self, data: Data, lift: pd.DataFrame | None, lift_weeks: pd.DataFrame | None) -> tuple[Data, list[str]]:
        """See `Member`."""
        return experiments.told(data, lift, lift_weeks)

    def fit(self, weekly: pd.DataFrame, lift: pd.DataFrame | None = None, lift_weeks: pd.DataFrame | None = None) -> Self:
        """See `Member`; `lift_` and `tests_` hold each measurement and each test beside what the fit and the weeks alone expect (`lift_tests`)."""
        super().fit(weekly, lift, lift_weeks)
        self.lift_, self.tests_ = pd.DataFrame(), pd.DataFrame()
        heard = _heard(self._data, self._data.whole)
        if heard is not None:
            deaf = replace(self._data, experiments=None)
            alone = self._draw(
                deaf, deaf.whole, self._refit(deaf, deaf.whole, self.learned_), spawn(self.seed, "lift tests"), FEW
            )
            drawn = [_lifts(heard, some, deaf) for some in (self.curves_, alone)]
            self.tests_ = lift_tests.by_test(heard.names, heard.tests, self.design_.channels, *drawn)
            self.lift_, notes = lift_tests.compared(heard.names, heard.tests, *drawn)
            self.notes_ = (*self.notes_, *notes)
        return self

    def _learn(self, data: Data, train: np.ndarray) -> Learned:
        channels = len(data.spend)
        start, common = np.zeros(4 * channels + COMMON), 0.3 if data.shape[0] > 1 else 0.0
        tuning = Tuning((), 0.03, 0.03**2, start, common)
        for _ in range(2):
            tuning = self._tuned(data, train, self._top(data, train, tuning)[0])
        best, score = self._top(data, train, tuning)
        steep, its = self._top(data, train, replace(best, steep=True))
        if its < score - np.log(train.sum()):
            best, score = self._top(data, train, self._tuned(data, train, steep))
        for _ in range(2):  # at most two pairs
            pairs = [(i, j) for i in range(channels) for j in range(i) if (i, j) not in best.pairs]
            promising = self._promising(data, train, best, pairs)
            if promising is None:
                break
            other, its = self._top(data, train, replace(best, pairs=(*best.pairs, promising), theta=np.append(best.theta, 0.0)))
            if its > score - np.log(train.sum()):
                break
            best, score = other, its
        return self._at(data, train, best)

    def _refit(self, data: Data, train: np.ndarray, learned: Learned) -> Learned:
        return self._at(data, train, self._top(data, train, learned.tuning)[0])

    def _draw(
        self, data: Data, train: np.ndarray, learned: Learned, rng: np.random.Generator, draws: int | None = None
    ) -> list[HillCurves]:
        tuning: Tuning = learned.tuning
        residuals, slopes = self._residuals(data, train, tuning)
        drawn = near(residuals, slopes, tuning.theta, rng.normal(size=(draws or self.draws, len(tuning.theta))))
        return [tuning.curves(data, theta) for theta in drawn]

    def _residuals(self, data: Data, train: np.ndarray, tuning: Tuning) -> tuple[Moves, Moves]:
        """θ → whitened residuals with the baseline taken out, then θ itself (its prior is standard normal); and their slopes."""
        lasting = tuning.errors(data, train)
        basis = spanned(lasting.whiten(data.base))[0]

        def cleared(columns: Floats) -> Floats:
            white = lasting.whiten(columns)
            return white - basis @ (basis.T @ white)

        heard = _heard(data, train)

        def residuals(theta: Floats) -> Floats:
            curves = tuning.curves(data, theta)
            return np.concatenate([cleared(data.y - media_of(curves, data)), _off(curves, data, heard), theta])

        def slopes(theta: Floats) -> Floats:
            media, lift = slopes_of(theta, data, tuning.pairs, heard, tuning.steep)
            return np.concatenate([-cleared(media), -lift, np.eye(len(theta))])

        return residuals, slopes

    def _top(self, data: Data, train: np.ndarray, tuning: Tuning) -> tuple[Tuning, float]:
        """The posterior's top from where the last search ended, and −2 log posterior there."""
        theta, cost = climb(*self._residuals(data, train, tuning), tuning.theta)
        return replace(tuning, theta=theta), cost

    def _tuned(self, data: Data, train: np.ndarray, tuning: Tuning) -> Tuning:
        """The walk, what regions have in common and the noise that explain best what media leave."""
        columns = np.column_stack([data.base, data.y - media_of(tuning.curves(data), data)])

        def judged(errors: Tuning) -> tuple[float, Tuning]:  # −2 log marginal likelihood, and with the noise that is likeliest
            lasting = errors.errors(data, train, 1.0)
            white = lasting.whiten(columns)
            basis, size = spanned(white[:, :-1])
            free = max(len(white) - basis.shape[1], 1)
            variance = float(white[:, -1] @ white[:, -1] - ((basis.T @ white[:, -1]) ** 2).sum()) / free
            return free * float(np.log(variance)) + lasting.log_determinant + float(np.log(size).sum()), replace(
                errors, noise=variance
            )

        best = min((judged(replace(tuning, walk=walk)) for walk in WALKS), key=lambda told: told[0])
        if data.shape[0] > 1:
            best = min((judged(replace(best[1], common=common)) for common in COMMONS), key=lambda told: told[0])
        return best[1]

    def _promising(self, data: Data, train: np.ndarray, tuning: Tuning, pairs: list[tuple[int, int]]) -> tuple[int, int] | None:
        """The pair whose product goes best with what is left, if any goes upwards with it."""
        if not pairs:
            return None
        curves = tuning.curves(data)
        bent = curves.saturated(curves.carried(data.spend))
        lasting = tuning.errors(data, train)
        main = [x.ravel() for x in bent]
        basis = spanned(lasting.whiten(np.column_stack([data.base, *main])))[0]
        columns = lasting.whiten(np.column_stack([(bent[i] * bent[j]).ravel() for i, j in pairs] + [data.y]))
        columns = columns - basis @ (basis.T @ columns)
        length = np.sqrt((columns[:, :-1] ** 2).sum(axis=0))
        gain = np.divide(columns[:, :-1].T @ columns[:, -1], length, out=np.zeros(len(pairs)), where=length > 1e-9)
        return pairs[int(np.argmax(gain))] if gain.max() > 1 else None

    def _at(self, data: Data, train: np.ndarray, tuning: Tuning) -> Learned:
        curves = tuning.curves(data)
        left = data.y - media_of(curves, data)
        lasting = tuning.errors(data, train)
        gamma = np.linalg.lstsq(lasting.whiten(data.base), lasting.whiten(left), rcond=None)[0]
        return Learned(gamma, curves, lasting.foreseen(left - data.base @ gamma), tuning)


def walk_covariance(walk: float, weeks: int) -> Floats:
    """Noise of variance 1 plus a random walk with steps of variance `walk`."""
    clock = np.arange(1.0, weeks + 1)
    return np.eye(weeks) + walk * np.minimum(clock[:, None], clock[None, :])


def _heard(data: Data, train: np.ndarray) -> Experiments | None:
    """The tests that ended within the weeks learned from."""
    if data.experiments is None or not len(data.experiments):
        return None
    heard = data.experiments.within(int(np.flatnonzero(train.reshape(data.shape).any(axis=0))[-1]) + 1)
    return heard if len(heard) else None


def _lifts(heard: Experiments, drawn: Sequence[HillCurves], data: Data) -> Floats:
    """(draws, measurements) lift that each should find."""
    return np.array([heard.expected(curves, curves.saturated(curves.carried(data.spend))) for curves in drawn])


def _off(curves: HillCurves, data: Data, heard: Experiments | None) -> Floats:
    """How far tests are from what `curves` say, in their standard errors."""
    if heard is None:
        return np.empty(0)
    bent = curves.saturated(curves.carried(data.spend))
    return (heard.tests.effect - heard.expected(curves, bent)) / heard.tests.error
