# pyright: basic
"""LSTMAttribution: what each touch was worth, held against experiments.

log-odds of buying = organic(what is known of the person) + Σ valueᵢ · freshᵢ + selection, learned together (`network.Joint`) with
lift tests in the loss (`training`). The credit of a touch is its part of what touches added; the rest of the conversion is
organic. Without tests this is as good as what is known of the people: where exposure follows an intent that nobody saw, every
method that only looks at journeys credits the channels that follow buyers. So each channel says whether a test stands behind it.

How sure it is: two networks before it, each on half of the journeys and without tests, say

- whether touches tell anything at all: the slope of what they claim, on the half that each did not see;
- how far two samples of half the size lie apart, so how far one of the whole size may lie off;
- how far journeys alone lie from the tests: what may be hidden behind channels that were not tested;
- what a test that counts people says of purchases (`once`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.special import expit

from liftwise.core.uncertainty import Floats, normal_quantile, spawn
from liftwise.models.attribution.bounds import on_channels, on_touches
from liftwise.models.attribution.journeys import Journeys, credit_frame
from liftwise.models.attribution.logistic import logistic
from liftwise.models.attribution.network import Joint, fresh
from liftwise.models.attribution.once import seen_once
from liftwise.models.attribution.sequence import SequenceModel, steady
from liftwise.models.attribution.training import Tests

LEAST = 0.25  # of what moments say that a test of people sees: below it, halves know too little to convert by
FORM = 0.10  # what a share without a test may be off by because the model is not the world: seen on simulated markets


@dataclass(frozen=True)
class Reading:
    """Journeys as the model reads them.

    Attributes
    ----------
    base : (n,) log-odds without any touch.
    value : (touches,) log-odds that a touch adds while fresh; left : (touches,) what is left of it at the journey's end.
    states : (touches, hidden), only where asked for.
    """

    base: Floats
    value: Floats
    left: Floats
    states: NDArray[np.float32] | None = None

    @property
    def added(self) -> Floats:
        """(touches,) log-odds added."""
        return self.value * self.left


class LSTMAttribution(SequenceModel):
    """See the top of the file; the parameters are those of `SequenceModel`, and `level` of the intervals.

    Attributes
    ----------
    effects_ : channel, share (of all conversions that would be missing without it), sd, low, high, tested, tells (whether the
        interval leaves out nothing at all).
    fading_ : channel, hours, fresh: what is left of a touch.
    keeps_ : share of what journeys claim that stands on people not seen when fitting, 0 to 1; tested channels are not cut.
    calibrated_ : ``calibrated`` (every channel tested), ``partly`` or ``uncalibrated``.
    """

    method = "lstm"
    network_: Joint

    def __init__(self, *, level: float = 0.90, **told) -> None:
        super().__init__(**told)
        self.level = level

    def _learn(self, parts, size: int, start: float, tests: Tests, progress: Callable[[float], None]) -> None:
        tested = np.zeros(len(self.channels_), bool)
        tested[tests.codes] = True
        whole = parts[0]()
        halves = _Halves.of(self, whole, start, lambda done: progress(0.5 * done))
        self.tests_ = tests = halves.counted(self, tests, whole)
        self.network_ = self._network(tested, start)
        self._train(self.network_, parts, size, self.seed, tests, lambda done: progress(0.5 + 0.5 * done))
        share = self._effects(self.network_, whole)
        untested = np.where(tested, 1.0, halves.keeps)
        self.keeps_, self.share_ = halves.keeps, share * untested
        self.cut_ = untested
        sd = np.where(tested, 0.0, halves.spread * share)
        sd[tests.codes] = tests.error
        sd = np.where(tested, sd, np.hypot(sd, np.hypot(FORM, halves.hidden(tests)) * self.share_))
        z = normal_quantile(self.level)
        self.calibrated_ = "calibrated" if tested.all() else "partly" if tested.any() else "uncalibrated"
        self.effects_ = pd.DataFrame({
            "channel": self.channels_, "share": self.share_, "sd": sd, "low": self.share_ - z * sd, "high": self.share_ + z * sd,
            "tested": tested, "tells": self.share_ - z * sd > 0,
        })  # fmt: skip
        self.fading_ = self._fading(halves.mixtures)

    def _network(self, tested: np.ndarray, start: float) -> Joint:
        places = list(self.places_.values())
        return Joint(len(self.channels_), places, self.scale_.width, self.hidden, tested, start - 0.5, self.dwell_ is not None)

    def read(self, journeys: Journeys, states: bool = False) -> Reading:
        """What the model sees in journeys; `states` keeps the state after each touch."""
        return _read(self.network_, self, journeys.recoded(self.channels_), states)

    def states(self, journeys: Journeys) -> tuple[Floats, Floats]:
        """The hidden state after each touch, (touches, hidden), and the empty one before."""
        states = self.read(journeys, states=True).states
        assert states is not None
        return states.astype(float), np.zeros(self.hidden)

    def predict(self, journeys: pd.DataFrame | Journeys, covariates: pd.DataFrame | None = None) -> pd.DataFrame:
        """journey_id, probability (of buying at the journey's end), organic (the same without any touch)."""
        arrays = self.arrays(journeys, covariates)
        whole, base = self._chances(self.read(arrays), arrays)
        return pd.DataFrame({"journey_id": arrays.ids, "probability": whole, "organic": base})

    def shares(self, journeys: Journeys) -> Floats:
        """(p − p without touches) / p, over touches in proportion to what each added."""
        journeys = journeys.recoded(self.channels_)
        reading, owner = self.read(journeys), journeys.owner
        added = reading.added * self.cut_[journeys.codes]
        total = np.bincount(owner, added, minlength=len(journeys.ids))
        whole, base = expit(reading.base + total + self.offset), expit(reading.base + self.offset)
        earned = 1.0 - base / np.maximum(whole, 1e-300)
        return added * np.divide(earned, total, out=np.zeros_like(total), where=total > 0)[owner]

    def credit(self, journeys: pd.DataFrame | Journeys, covariates: pd.DataFrame | None = None) -> pd.DataFrame:
        """Table `credits`; low and high are what the channel's uncertainty makes of each touch."""
        won = self.converting(journeys, covariates)
        whole = self.calibrated_ == "calibrated"
        return on_touches(credit_frame(won, self.shares(won), self.method), won.codes, self.effects_, whole)

    def channel_credit(self, journeys: pd.DataFrame | Journeys, covariates: pd.DataFrame | None = None) -> pd.DataFrame:
        """Table `channel_credits` with intervals."""
        return on_channels(super().channel_credit(journeys, covariates), self.effects_, self.calibrated_ == "calibrated")

    def summary(self) -> str:
        """For a manager."""
        if self.keeps_ == 0 and self.calibrated_ == "uncalibrated":
            return "touches do not tell who buys beyond what is known of people: nothing is credited"
        told = self.effects_[self.effects_["tells"]].sort_values("share", ascending=False)
        top = told.head(3)
        best = ", ".join(
            f"{name} {100 * share:.1f} % ± {100 * sd:.1f}"
            for name, share, sd in zip(top["channel"], top["share"], top["sd"], strict=True)
        )
        cannot = len(self.effects_) - len(told)
        note = {"calibrated": "held against tests of every channel", "partly": "held against tests of some channels",
                "uncalibrated": "no test stands behind it: do not move money by it"}[self.calibrated_]  # fmt: skip
        return f"conversions that would be missing: {best or 'none that can be told'}; {cannot} channels cannot be ranked; {note}"

    def _chances(self, reading: Reading, journeys: Journeys) -> tuple[Floats, Floats]:
        added = reading.added * self.cut_[journeys.codes]
        total = np.bincount(journeys.owner, added, minlength=len(journeys.ids))
        return expit(reading.base + total + self.offset), expit(reading.base + self.offset)

    def _effects(self, network: Joint, journeys: Journeys) -> Floats:
        """(channels,) share of conversions that would be missing without each."""
        reading = _read(network, self, journeys)
        by = _by_channel(reading.added, journeys)
        log_odds = reading.base + by.sum(axis=1)
        bought, whole = expit(log_odds), expit(log_odds + self.offset)
        missing = [bought @ (1.0 - expit(log_odds + self.offset - by[:, c]) / whole) for c in range(by.shape[1])]
        return np.array(missing) / bought.sum()

    def _fading(self, mixtures: Floats) -> pd.DataFrame:
        """Curves of the whole; as wide as halves lie apart, over all channels."""
        hours = np.concatenate([np.arange(0, 72, 3.0), np.arange(72, 24 * 31, 12.0)])
        with torch.no_grad():
            laws = fresh(torch.from_numpy(hours.astype(np.float32))).numpy().T
            curves, apart = self.network_.mixture().numpy() @ laws, mixtures @ laws
        spread = normal_quantile(self.level) * np.sqrt(np.mean((apart[0] - apart[1]) ** 2 / 4, axis=0))
        return pd.DataFrame({
            "channel": np.repeat(np.array(self.channels_, object), len(hours)), "hours": np.tile(hours, len(self.channels_)),
            "fresh": curves.ravel(), "low": (curves - spread).clip(0).ravel(), "high": (curves + spread).clip(max=1).ravel(),
        })  # fmt: skip


@dataclass(frozen=True)
class _Halves:
    """What two networks say that each saw half of the journeys and no test.

    networks; shares : (2, channels); mixtures : (2, channels, laws); spread : (channels,) standard error of a share, as a part of it;
    keeps : see `LSTMAttribution`.
    """

    networks: tuple[Joint, ...]
    shares: Floats
    mixtures: Floats
    spread: Floats
    keeps: float

    @classmethod
    def of(cls, model: LSTMAttribution, whole: Journeys, start: float, progress: Callable[[float], None]) -> _Halves:
        half = spawn(model.seed, "attribution.halves").permutation(len(whole.ids)) % 2
        base, by = np.empty(len(half)), np.empty((len(half), len(model.channels_)))
        networks, shares, mixtures = list[Joint](), np.empty((2, len(model.channels_))), list[Floats]()
        for k in range(2):
            mine, other = np.flatnonzero(half == k), np.flatnonzero(half != k)
            network = model._network(np.zeros(len(model.channels_), bool), start)
            learned = whole.take(mine)
            model._train(network, [lambda data=learned: data], len(mine), model.seed + 1 + k, Tests.none(),
                         lambda done, k=k: progress((k + done) / 2))  # fmt: skip
            unseen = whole.take(other)
            reading = _read(network, model, unseen)
            base[other], by[other] = reading.base, _by_channel(reading.added, unseen)
            shares[k] = model._effects(network, whole)
            networks.append(network)
            mixtures.append(network.mixture().detach().numpy())
        bought = (whole.conversions > 0).astype(float)
        slope, error = _slope(bought, base, by.sum(axis=1))
        keeps = max(0.0, 1.0 - (error / slope) ** 2) if slope > 0 else 0.0
        return cls(tuple(networks), shares, np.stack(mixtures), _spread(bought, base, by, shares), keeps)

    def counted(self, model: LSTMAttribution, tests: Tests, whole: Journeys) -> Tests:
        """Tests as shares of purchases, where they count people. As the halves see it: a network that hears these tests would chase its tail."""
        if not tests.once:
            return tests
        with torch.no_grad():
            seen = [
                seen_once(network, batch, tests.codes, model.offset)
                for network in self.networks
                for batch in model.tensors(whole).all()
            ]
        brought, later = torch.stack(seen).sum(0).numpy().astype(float)
        ratio = (1.0 - np.divide(later, brought, out=np.zeros_like(later), where=brought > 0)).clip(LEAST, 1)
        return Tests(tests.codes, tests.share / ratio, tests.error / ratio)

    def hidden(self, tests: Tests) -> float:
        """How far journeys alone lie from tests, as a share of the larger of the two (the median); 0 without a test."""
        if not len(tests.codes):
            return 0.0
        alone = self.shares.mean(axis=0)[tests.codes]
        return float(np.median(np.abs(alone - tests.share) / np.maximum(np.maximum(alone, tests.share), 1e-9)))


def _slope(bought: Floats, base: Floats, added: Floats) -> tuple[float, float]:
    """Slope of what touches claim on people not seen, and its standard error: 1 if all of it stands, 0 if none does."""
    design = np.column_stack([np.ones(len(base)), base, added])
    at, covariance = logistic(design, bought, np.array([0.0, 1.0, 0.5]))
    return float(at[2]), float(np.sqrt(covariance[2, 2]))


def _spread(bought: Floats, base: Floats, by: Floats, shares: Floats) -> Floats:
    """(channels,) standard error of a share, as a part of it: that of its level, times how much farther apart the two halves lie than that says.

    A channel's own distance between two halves is one draw; the mean over channels is a figure to rely on.
    """
    chance = expit(base + by.sum(axis=1))
    design = np.column_stack([np.ones(len(base)), base, by])
    curve = design.T @ ((chance * (1 - chance))[:, None] * design)
    ridge = np.diag(np.concatenate([[1e-6, 1e-6], np.full(by.shape[1], 1e-2)]))
    level = np.sqrt(np.diag(np.linalg.inv(curve + ridge))[2:])
    apart, said = (shares[0] - shares[1]) ** 2 / 4.0, (level * shares.mean(axis=0)) ** 2
    wider = np.sqrt(max(1.0, float(np.mean(apart) / max(np.mean(said), 1e-300))))
    return level * wider


def _by_channel(added: Floats, journeys: Journeys) -> Floats:
    n, k = len(journeys.ids), len(journeys.channels)
    return np.bincount(journeys.owner * k + journeys.codes, added.astype(float), minlength=n * k).reshape(n, k).astype(float)


def _read(network: Joint, model: LSTMAttribution, journeys: Journeys, states: bool = False) -> Reading:
    base, value, left = np.empty(len(journeys.ids)), np.zeros(len(journeys.codes)), np.zeros(len(journeys.codes))
    kept = np.zeros((len(journeys.codes), model.hidden), np.float32) if states else None
    with steady(model.seed), torch.no_grad():
        for batch in model.tensors(journeys).all():
            here, worth, rest, state = network(batch)
            mask = batch.mask.numpy() > 0
            base[batch.rows] = here.numpy()
            value[batch.at], left[batch.at] = worth.numpy()[mask], rest.numpy()[mask]
            if kept is not None:
                kept[batch.at] = state.numpy()[mask]
    return Reading(base, value, left, kept)
