"""SurvivalAttribution: what each touch adds to the rate of buying, how fast that fades, and who would have bought anyway.

Purchases a day = exp(organic, of what is known of the person) + Σ effect of the touch's channel · exp(−age / its days): the additive
hazard of Zhang, Wei and Ren (2014, "Multi-touch attribution in online advertising with survival theory", ICDM), with a level of those
who buy without touches, as in the point process of Xu, Duan and Whinston (2014, "Path to purchase", Management Science 60:6), and
without its excitation of touches by touches. Rates add up, so the credit of a touch is its part of the rate at the moment of
the purchase, and what is organic is the rest: the sum is exactly 1 and nothing had to be taken away and looked at again.

The likelihood (`hazard`) takes people who never bought as what they are, censored. Effects cannot be negative and are drawn towards
what channels have in common, by as much as they do not differ (empirical Bayes); so are the days in which they fade. Non-negative
effects find something in noise, too: how much of it stands on people not seen is measured on two halves, as `LSTMAttribution` does.

Like every model that sees no experiment, it credits channels that follow an intent which nobody saw.

Touches of one channel are worth the same however many came before and in whatever order: where that matters, `LSTMAttribution` sees it.
"""

from __future__ import annotations

from typing import Self

import numpy as np
import pandas as pd
from numba import njit

from liftwise.core.errors import InputError
from liftwise.core.uncertainty import Floats, normal_quantile, spawn
from liftwise.models.attribution.bounds import on_channels, on_touches
from liftwise.models.attribution.hazard import Fit, Law, Prior, Watch, beginning, fit, hazards, stands
from liftwise.models.attribution.journeys import Ints, Journeys, channel_frame, credit_frame, refuse_few
from liftwise.models.attribution.scale import Scale
from liftwise.models.attribution.stages import ForetellsStages

FORM = 0.10  # what a share may be off by because the model is not the world, as in `joint`
ROUNDS = 4  # of drawing effects towards their mean by as much as they do not differ
LEAST = 3  # channels without which nothing can be said of how much they differ


class SurvivalAttribution(ForetellsStages):
    """See the top of the file.

    Parameters
    ----------
    window_days : days after a journey's end for which `predict` speaks, without further touches.
    level : of the intervals.
    seed : of the halves.

    Attributes
    ----------
    law_ : organic level and slopes; effect (channels,) purchases a day that a fresh touch adds; life (channels,) log of mean days.
    effects_ : channel, share (of conversions that touches of it brought), sd, low, high, tested (never), tells (whether the interval
        leaves out nothing at all), effect, effect_sd (purchases a day), days, days_low, days_high.
    fading_ : channel, hours, fresh, low, high: what is left of a touch.
    keeps_ : share of what touches claim that stands on people not seen, 0 to 1; credits are cut by it.

    Notes
    -----
    `sd` is that of the likelihood (inverse information, delta method), with `FORM` of the share added. It does not know of intent that
    nobody saw, nor that rates might multiply where the model adds them: on such simulated markets the intervals are too narrow.
    Nothing here is held against an experiment: `lift` is not used and `calibrated` is always false.
    """

    method = "survival"

    def __init__(self, *, window_days: float = 7.0, level: float = 0.90, seed: int = 7) -> None:
        if not 0 < window_days < np.inf:
            raise InputError(f"a window of {window_days:g} days", fix="give a positive number")
        self.window_days, self.level, self.seed = window_days, level, seed

    def fit(
        self, journeys: pd.DataFrame | Journeys, covariates: pd.DataFrame | None = None, lift: pd.DataFrame | None = None,
        *, watched_days: Floats | None = None,
    ) -> Self:  # fmt: skip
        """Most likely law of journeys that converted and of those that did not.

        Parameters
        ----------
        journeys : table `moments`; or journeys of people watched until they bought or the watch ended, with `watched_days`.
        covariates : table `journey_facts`: what was known of each person.
        watched_days : (n,) days before each journey's end in which a purchase would have been seen, in the order of
            `Journeys.ids`. Touches may be older. Without it rows are taken for moments drawn at a rate of `kept` a person and day.

        Raises
        ------
        CannotTell
            When too few, or all, journeys converted, or nobody was touched.
        InputError
            When a touch comes after the journey's end or has no time, days watched do not fit, or a table says nothing of the time in
            which nobody bought.
        """
        if isinstance(journeys, pd.DataFrame) and "kept" not in journeys and watched_days is None:
            raise InputError(
                "journeys that do not say for how long people did not buy", fix="give table moments, or watched_days"
            )
        arrays = journeys if isinstance(journeys, Journeys) else Journeys.of(journeys, None, covariates)
        won, lost = arrays.conversions > 0, arrays.nulls > 0
        refuse_few(int(won.sum() + (lost & ~won).sum()), int(won.sum()), len(arrays.codes))
        self.channels_, self.scale_ = arrays.channels, Scale.of(arrays)
        watch = self._watch(arrays, watched_days)
        whole, prior = _drawn(watch, len(self.channels_))
        self.law_, self.keeps_ = whole.law, self._keeps(watch, prior, whole.law)
        self.effects_ = self._told(whole)
        self.fading_ = self._fading()
        return self

    def hazard(self, journeys: pd.DataFrame | Journeys, covariates: pd.DataFrame | None = None) -> pd.DataFrame:
        """journey_id, organic, touches: purchases a day at the journey's end, without touches and by them."""
        arrays = self._known(journeys, covariates)
        organic, touches, _, _ = hazards(self.law_, self._watch(arrays, None))
        return pd.DataFrame({"journey_id": arrays.ids, "organic": organic, "touches": touches})

    def predict(self, journeys: pd.DataFrame | Journeys, covariates: pd.DataFrame | None = None) -> pd.DataFrame:
        """journey_id, probability of buying within `window_days` after the journey's end, and organic, the same without any touch."""
        arrays = self._known(journeys, covariates)
        days, lasts = self.window_days, np.exp(self.law_.life)
        # what a touch adds over the window is what it adds now, for as many days as its fading leaves of them
        ahead = Law(self.law_.organic, self.law_.effect * -np.expm1(-days / lasts) * lasts, self.law_.life)
        organic, touches, _, _ = hazards(ahead, self._watch(arrays, None))
        return pd.DataFrame({
            "journey_id": arrays.ids, "probability": -np.expm1(-(days * organic + touches)), "organic": -np.expm1(-days * organic),
        })  # fmt: skip

    def shares(self, journeys: Journeys) -> Floats:
        """(touches,) part of the rate of buying at the journey's end, as far as it stands on people not seen."""
        arrays = journeys.recoded(self.channels_)
        organic, touches, _, _ = hazards(self.law_, self._watch(arrays, None))
        left = np.exp(-arrays.hours / 24.0 / np.exp(self.law_.life)[arrays.codes])
        return self.keeps_ * self.law_.effect[arrays.codes] * left / (organic + touches)[arrays.owner]

    def credit(self, journeys: pd.DataFrame | Journeys, covariates: pd.DataFrame | None = None) -> pd.DataFrame:
        """Table `credits` of the converting journeys, with intervals; the remainder is `organic`."""
        won = self._known(journeys, covariates).converting()
        return on_touches(credit_frame(won, self.shares(won), self.method), won.codes, self.effects_, False)

    def channel_credit(self, journeys: pd.DataFrame | Journeys, covariates: pd.DataFrame | None = None) -> pd.DataFrame:
        """Table `channel_credits` with intervals."""
        won = self._known(journeys, covariates).converting()
        return on_channels(channel_frame(won, self.shares(won), self.method), self.effects_, False)

    def states(self, journeys: Journeys) -> tuple[Floats, Floats]:
        """What touches of each channel add just after each touch, in logs of the mean rate of buying, (touches, channels)."""
        arrays, lasts = journeys.recoded(self.channels_), np.exp(self.law_.life)
        added = _added(arrays.offsets, arrays.codes, arrays.hours / 24.0, self.law_.effect / self.rate_, lasts)
        return np.log1p(added), np.zeros(len(lasts))

    def summary(self) -> str:
        """For a manager."""
        if self.keeps_ == 0:
            return "touches do not tell who buys beyond what is known of people: nothing is credited"
        told = self.effects_[self.effects_["tells"]].sort_values("share", ascending=False)
        best = ", ".join(
            f"{row.channel} {row.share:.1%} ± {row.sd:.1%}, fading within {row.days:.1f} days"
            for row in told.head(3).itertuples()
        )
        cannot = len(self.effects_) - len(told)
        return f"brought by touches: {best or 'nothing that can be told'}; {cannot} channels cannot be ranked; no test stands behind it"

    def _known(self, journeys: pd.DataFrame | Journeys, covariates: pd.DataFrame | None) -> Journeys:
        if isinstance(journeys, Journeys):
            return journeys.recoded(self.channels_)
        return Journeys.of(journeys, self.channels_, covariates)

    def _watch(self, arrays: Journeys, watched: Floats | None) -> Watch:
        if not (np.isfinite(arrays.hours).all() and (arrays.hours >= 0).all()):
            raise InputError("a touch after its journey's end, or without a time", fix="keep what came before the purchase")
        if watched is not None:
            watched = np.asarray(watched, float)
            if watched.shape != (len(arrays.ids),) or not (np.isfinite(watched).all() and (watched > 0).all()):
                raise InputError("days watched that do not fit", fix="give a positive number for each journey")
        inputs = self.scale_.inputs(arrays).astype(float) if self.scale_.names else np.empty((len(arrays.ids), 0))
        return Watch.of(arrays, inputs, watched)

    def _keeps(self, watch: Watch, prior: Prior, start: Law) -> float:
        """How much of what each half claims stands on the other; the mean of both."""
        half = spawn(self.seed, "attribution.survival.halves").permutation(len(watch.bought)) % 2
        parts = [watch.take(np.flatnonzero(half == k)) for k in range(2)]
        return float(np.mean([stands(fit(parts[k], prior, start).law, parts[1 - k]) for k in range(2)]))

    def _told(self, whole: Fit) -> pd.DataFrame:
        law, parts, z, k = whole.law, whole.parts, normal_quantile(self.level), len(self.channels_)
        self.rate_, m = whole.rate, len(law.organic)
        spread = np.sqrt(np.diag(whole.covariance))
        share = self.keeps_ * parts.share
        likely = np.sqrt(np.einsum("kp,pq,kq->k", parts.slopes, whole.covariance, parts.slopes))
        sd = np.hypot(likely, FORM * share)
        days, wide = np.exp(law.life), np.exp(z * spread[m + k :])
        return pd.DataFrame({
            "channel": self.channels_, "share": share, "sd": sd, "low": share - z * sd, "high": share + z * sd, "tested": False,
            "tells": share - z * sd > 0, "effect": law.effect, "effect_sd": whole.rate * spread[m : m + k], "days": days,
            "days_low": days / wide, "days_high": days * wide,
        })  # fmt: skip

    def _fading(self) -> pd.DataFrame:
        hours = np.concatenate([np.arange(0, 72, 3.0), np.arange(72, 24 * 31, 12.0)])
        curves = {
            name: np.exp(-hours / 24.0 / self.effects_[days].to_numpy()[:, None]).ravel()
            for name, days in (("fresh", "days"), ("low", "days_low"), ("high", "days_high"))
        }
        k = len(self.channels_)
        return pd.DataFrame(
            {"channel": np.repeat(np.array(self.channels_, object), len(hours)), "hours": np.tile(hours, k), **curves}
        )


def _drawn(watch: Watch, channels: int) -> tuple[Fit, Prior]:
    """The fit whose effects are drawn towards their mean, and how strongly: mean and spread by empirical Bayes (Efron and Morris 1973)."""
    prior = Prior()
    found = fit(watch, prior, beginning(watch, channels))
    if channels < LEAST:
        return found, prior
    m = len(found.law.organic)
    for _ in range(ROUNDS):
        effect = found.law.effect / found.rate
        error = np.diag(found.covariance)[m : m + channels]
        mean = float(effect.mean())
        prior = Prior(mean, float(np.sqrt(np.mean((effect - mean) ** 2 + error))))
        found = fit(watch, prior, found.law)
    return found, prior


@njit(cache=True)
def _added(offsets: Ints, codes: Ints, days: Floats, effect: Floats, lasts: Floats) -> Floats:  # pragma: no cover - compiled
    """(touches, channels) what touches so far add just after each."""
    out = np.zeros((len(codes), len(effect)))
    for j in range(len(offsets) - 1):
        for i in range(offsets[j], offsets[j + 1]):
            if i > offsets[j]:
                gap = max(days[i - 1] - days[i], 0.0)
                for c in range(len(effect)):
                    out[i, c] = out[i - 1, c] * np.exp(-gap / lasts[c])
            out[i, codes[i]] += effect[codes[i]]
    return out
