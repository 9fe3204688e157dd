"""A structural mix with a posterior: carry-over, saturation and effect of every channel, with all they leave open.

The density is `density`, compiled with its gradient; the mode and its curvature (`laplace`) whiten it, and four chains of the
no-U-turn sampler (`nuts`) draw from it. A result is published only when the chains agree (R̂ < 1.01), know enough (effective
sample size > 400 in the middle and in the tails) and none diverged; else it is a preview and moves no budget.

Regions share carry-over and saturation; their effects are drawn together as far as the data agree (partial pooling). Lift tests
are part of the likelihood. What moves all regions at once is told from what media do (`level`), or spend that follows demand everywhere
would be believed region by region. The forms of carry-over and saturation are sampled too (`response`), so the intervals hold when the form is
not the one a model would have assumed; so is how far the level of revenue wanders.

References
----------
Jin, Wang, Sun, Chan and Koehler (2017), Bayesian methods for media mix modeling, Google; Vehtari et al. (2021), Bayesian Analysis
16(2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from liftwise.core.errors import InputError
from liftwise.core.uncertainty import Floats
from liftwise.models.mix import experiments, lift_tests, nuts
from liftwise.models.mix.density import EFFECT, LiftTests, MixData, first_region, mix_density
from liftwise.models.mix.design import Design
from liftwise.models.mix.experiments import Experiments
from liftwise.models.mix.family import RECENT, Curves, Data, Learned
from liftwise.models.mix.laplace import Normal, laplace
from liftwise.models.mix.level import Level, independent, walk
from liftwise.models.mix.posterior import Posterior
from liftwise.models.mix.priors import MEDIA, Prior
from liftwise.models.mix.sampled import Sampled, believed
from liftwise.models.mix.structural import StructuralMix, Tuning

SHAPE = np.array([[0.2, 0.8], [0.1, 0.4], [0.0, 0.7], [np.log(0.15), 0.6], [np.log(0.1), 1.0]])
"""Mean and sd of the logs of half-saturation (in typical spend), slope, tail, spread over regions, and the level's step (in noise)."""
BOND = 0.15  # what a pair of channels is expected to do together, as a share of what they do apart
LOOSE = 100.0  # prior sd of a baseline column of mean square 1, in sd of the noise
CENTRE = 512  # draws whose mean is the fit, divided by the regions, but not fewer than the draws handed on
SHORT, SHORTER = (120, 128), (60, 64)  # tuning and draws of the one chain behind a hold-out score: one region, several
TARGETS = (0.8, 0.95, 0.99)  # acceptance aimed at; the next when a chain has diverged
CAREFUL = (0.97, 0.99)  # the same for several regions, where a second try is dear
MARGIN = 1.25  # times what publishing asks for, where chains may end early


class BayesianMix(Sampled):
    """A Bayesian mix of table `weekly`.

    Parameters
    ----------
    saturation : ``"open"``, its tail sampled, or ``"hill"``. carry_over : ``"open"``, which may peak after the spend, or ``"geometric"``.
    level : ``"walks"`` beside trend and season, as far as the data say, or ``"still"``.
    pairs : channels that may do more together than apart; None = those that the structural mix finds, some of them where there are none, which
    costs accuracy.
    priors : channel → `Prior`; without one, a channel's share of revenue is exponential and all channels together have half of
    revenue in mean.
    chains, samples, tune : of the sampler, `samples` kept in each chain. With several regions, where a draw is dear, it is at most
    `samples`: after every eighth of them chains end if they agree and their effective draws are a quarter more than publishing asks for
    (500). Means then carry a Monte Carlo error up to 1/√500 = 4.5 % of their posterior sd. draws : of them, handed on in tables.
    threads : chains at a time; the answer does not depend on it.

    Attributes
    ----------
    lift_ : of each measurement test_id, effect, standard_error, expected (by the fit, which has seen them), sd, without (what the weeks alone
    expect), without_sd, gap (between effect and that, in standard deviations). Others: see `Sampled` and `Member`. Scores on hold-outs come from one short chain a fold.
    """

    name = "bayesian"
    hears = True

    def __init__(
        self, *, seed: int = 7, holdout: int = 26, folds: int = 4, draws: int = 200, per_year: float = 52.18,
        saturation: Literal["open", "hill"] = "open", carry_over: Literal["open", "geometric"] = "open",
        level: Literal["walks", "still"] = "walks", pairs: tuple[tuple[str, str], ...] | None = (),
        priors: dict[str, Prior] | None = None, chains: int = 4, samples: int = 1000, tune: int = 300, threads: int = 1,
    ) -> None:  # fmt: skip
        super().__init__(seed=seed, holdout=holdout, folds=folds, draws=draws, per_year=per_year)
        self.saturation, self.carry_over, self.level, self.pairs = saturation, carry_over, level, pairs
        self.priors = dict(priors or {})
        self.chains, self.samples, self.tune, self.threads = chains, samples, tune, threads

    def told(self, data: Data, lift: pd.DataFrame | None, lift_weeks: pd.DataFrame | None) -> tuple[Data, list[str]]:
        """See `Member`."""
        return experiments.told(data, lift, lift_weeks)

    # -- what a member says --------------------------------------------------------------------------------------------

    def _learn(self, data: Data, train: np.ndarray) -> Learned:
        """One short chain: enough for a forecast."""
        tune, samples = SHORT if data.shape[0] == 1 else SHORTER
        return self._learned(data, train, self._sampled(data, train, 1, samples, tune)[1])

    def _refit(self, data: Data, train: np.ndarray, learned: Learned) -> Learned:
        """The whole posterior."""
        mix, posterior, chains = self._sampled(
            data, train, self.chains, self.samples, self.tune, TARGETS if data.shape[0] == 1 else CAREFUL
        )
        self._judge(chains.theta, chains.diverged, chains.gradients)
        self._check_lift(mix, chains, self._heard(data, _until(data, train)).names)
        self._posterior = posterior
        return self._learned(data, train, posterior)

    def _draw(self, data: Data, train: np.ndarray, learned: Learned, rng: np.random.Generator) -> list[Curves]:
        return self._posterior.pick(rng.permutation(len(self._posterior.beta))[: self.draws]).each()

    # -- fitting -------------------------------------------------------------------------------------------------------

    def _sampled(
        self, data: Data, train: np.ndarray, chains: int, samples: int, tune: int, targets: tuple[float, ...] = TARGETS[:1]
    ) -> tuple[MixData, Posterior, nuts.Chains]:
        """Drawn again in smaller steps, by the next of `targets`, as long as a chain diverges or too little is known of the tails."""
        mix, unit = self._assembled(data, train)
        several, gradients = data.shape[0] > 1, 0
        normal = _normal(mix)
        for target in targets:
            drawn = nuts.sample(mix, normal.mode, normal.root, seed=self.seed, chains=chains, draws=samples, tune=tune,
                                threads=self.threads, target=target, enough=_known if several and chains > 1 else None)  # fmt: skip
            gradients += drawn.gradients
            if not drawn.diverged and (chains == 1 or believed(drawn.theta)):
                break
        flat = drawn.theta.reshape(-1, mix.dimensions)
        posterior = Posterior.of(flat[_spread(len(flat), max(self.draws, CENTRE // data.shape[0]))], mix, unit)
        return mix, posterior, drawn._replace(gradients=gradients)

    def _assembled(self, data: Data, train: np.ndarray) -> tuple[MixData, Floats]:
        """The density's data, over the weeks up to the last learned from, and the typical spend of each channel in usual
        spend.
        """
        regions = data.shape[0]
        until = _until(data, train)
        seen = train.reshape(data.shape)[:, :until].astype(float)
        spend = data.spend[:, :, :until]
        # typical of the weeks with money in them, so that a channel in bursts and a steady one read alike
        unit = (spend**2).sum(axis=(1, 2)) / np.maximum(spend.sum(axis=(1, 2)), 1e-12)
        unit[unit <= 0] = 1.0
        told = self._heard(data, until).tests
        told = told._replace(other=np.ascontiguousarray(told.other[:, :, :until] / unit[told.channel, None, None]))
        scaled = np.ascontiguousarray(spend / unit[:, None, None])
        weight = data.design.size / data.design.size.mean()
        recent = (scaled[:, :, -RECENT:].mean(axis=2) * weight).mean(axis=1)
        y = np.where(seen > 0, data.y.reshape(data.shape)[:, :until], 0.0)
        channels = len(scaled)
        effect = np.zeros((channels, 6))
        for name, prior in self.priors.items():
            k = _place(name, data.design)
            effect[k] = prior.row(name, data.design, until, float(recent[k]))
        level = Level.of(*self._columns(data, train), seen, self._common(data, train))
        delay, tail = (EFFECT + 1 if self.carry_over == "open" else -1), -1
        if self.saturation == "open":
            tail = max(delay, EFFECT) + 1
        rows = 6 if tail > 0 else 5 if delay > 0 else 4
        cells = regions * until
        return MixData(scaled, y, seen, level, weight, np.array([seen.sum() + 1.0, 1e-4]), delay, tail,
                       np.vstack([SHAPE, [np.log(MEDIA[0] / channels), MEDIA[1]]]), effect,
                       np.maximum(recent, 1e-6), self._pairs(data, train), BOND, told,
                       np.empty((channels, rows, regions, until)), np.empty((channels, regions, until)),
                       np.empty(cells), np.empty(cells)), unit  # fmt: skip

    def _heard(self, data: Data, until: int) -> Experiments:
        """The tests that ended before week `until`."""
        known = data.experiments
        return known.within(until) if known is not None else Experiments(LiftTests.none(*data.shape), ())

    def _columns(self, data: Data, train: np.ndarray) -> tuple[Floats, Floats]:
        """Baseline columns, with their prior sd and 0 where not learned, and sines of the walk, over the weeks up to the last learned from."""
        (regions, weeks), until = data.shape, _until(data, train)
        seen = train.reshape(data.shape)[:, :until].reshape(-1, 1)
        base = data.base.reshape(regions, weeks, -1)[:, :until].reshape(regions * until, -1) * seen
        size = np.sqrt((base**2).sum(axis=0) / seen.sum())
        base = LOOSE * np.divide(base, size, out=np.zeros_like(base), where=size > 0)
        return base, walk(until) if self.level == "walks" else np.empty((until, 0))

    def _pairs(self, data: Data, train: np.ndarray) -> np.ndarray:
        if self.pairs is not None:
            return np.array([[_place(name, data.design) for name in pair] for pair in self.pairs], dtype=np.int64).reshape(-1, 2)
        return np.array(self._structural(data, train).pairs, dtype=np.int64).reshape(-1, 2)

    def _common(self, data: Data, train: np.ndarray) -> float:
        """Variance of what moves all regions at once, a region's own being 1: what the structural mix finds likeliest."""
        return self._structural(data, train).common if data.shape[0] > 1 else 0.0

    def _structural(self, data: Data, train: np.ndarray) -> Tuning:
        return (
            StructuralMix(seed=self.seed, holdout=self.holdout, folds=self.folds, per_year=self.per_year)
            .learn(data, train)
            .tuning
        )

    def _learned(self, data: Data, train: np.ndarray, posterior: Posterior) -> Learned:
        """The mean of all draws, and the baseline that goes with it: the walk stays where it was last seen."""
        curves = posterior
        carried = curves.carried(data.spend)
        rest = data.y - (curves.own(carried).sum(axis=0) + curves.synergy(carried)).ravel()
        (regions, weeks), until = data.shape, _until(data, train)
        seen = train.reshape(data.shape)[:, :until].astype(float)
        base, sines = self._columns(data, train)
        step = float(np.median(posterior.walk))
        left = np.where(train, rest, 0.0).reshape(data.shape)[:, :until].reshape(-1, 1)
        columns = np.hstack([base, step * np.tile(sines, (regions, 1)) * seen.reshape(-1, 1), left])
        columns = independent(columns, seen, self._common(data, train))
        columns, left = columns[:, :-1], columns[:, -1]
        solved = np.linalg.solve(columns.T @ columns + np.eye(columns.shape[1]), columns.T @ left)
        first = data.base.shape[1]
        size = np.sqrt((data.base[train] ** 2).mean(axis=0))
        gamma = LOOSE * np.divide(solved[:first], size, out=np.zeros(first), where=size > 0)
        level = step * sines @ solved[first:]
        return Learned(gamma, curves, np.tile(np.append(level, np.full(weeks - until, level[-1])), regions))

    def _check_lift(self, mix: MixData, chains: nuts.Chains, names: Sequence[str]) -> None:
        """What the fit expects of each test, what the weeks alone would have, and which tests contradict them.

        A fit that has used a measurement is bent towards it, so the weeks are asked alone: one short chain to which tests say nothing.
        """
        self.lift_, self.tests_ = pd.DataFrame(), pd.DataFrame()
        if not len(mix.tests.effect):
            return
        deaf = mix._replace(tests=mix.tests._replace(error=1e6 * mix.tests.error + 1e6 * np.abs(mix.tests.effect)))
        normal, (tune, samples) = _normal(deaf), SHORT
        target = (TARGETS if mix.spend.shape[1] == 1 else CAREFUL)[0]
        alone = nuts.sample(deaf, normal.mode, normal.root, seed=self.seed, chains=1, draws=samples, tune=tune, target=target)
        drawn = (_expected(mix, chains), _expected(mix, alone))
        self.tests_ = lift_tests.by_test(names, mix.tests, self.design_.channels, *drawn)
        self.lift_, notes = lift_tests.compared(names, mix.tests, *drawn)
        self.notes_ = (*self.notes_, *notes)


def _normal(mix: MixData) -> Normal:
    """Where to begin; the spread over regions is the scale of their effects, so it is held."""
    return laplace(mix, mix.dimensions, held=(int(first_region(mix)),) if mix.spend.shape[1] > 1 else ())


def _known(theta: Floats) -> bool:
    return believed(theta, MARGIN)


def _expected(mix: MixData, chains: nuts.Chains) -> Floats:
    """(draws, measurements) lift that each should find."""
    flat = chains.theta.reshape(-1, mix.dimensions)
    flat, grad = flat[_spread(len(flat), CENTRE)], np.empty(mix.dimensions)
    out = np.empty((len(flat), len(mix.tests.effect)))
    for i, theta in enumerate(flat):
        mix_density(theta, mix, grad)
        out[i] = mix.tests.expected
    return out


def _until(data: Data, train: np.ndarray) -> int:
    """The week after the last learned from."""
    return int(np.flatnonzero(train.reshape(data.shape).any(axis=0))[-1]) + 1


def _place(name: str, design: Design) -> int:
    if name not in design.channels:
        raise InputError(f"{name} is not in the mix", where="priors or pairs", fix=f"use {', '.join(design.channels)}")
    return design.channels.index(name)


def _spread(available: int, wanted: int) -> np.ndarray:
    """Evenly spread places."""
    return np.unique(np.linspace(0, available - 1, min(wanted, available)).astype(int))
