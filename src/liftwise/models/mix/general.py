# pyright: basic
"""A general Bayesian mix: any carry-over, saturation and likelihood, effects and baselines that move, priors of one's own.

The density (`general_density`) is compiled by JAX; the mode and its curvature whiten it and NumPyro's no-U-turn sampler draws from it. A
result is published by the same rule as `BayesianMix`. It is slower than that member and knows no lift tests: use it where the standard
form is wrong.

Contributions are of expected revenue and sum exactly. Where effects add, a channel's is its own term. Where they multiply, it is the
mean of coming first, B(eᵐ − 1), and of coming last, B(eᴹ − eᴹ⁻ᵐ), with B the baseline's revenue and M all media; what is left of B(eᴹ − 1) is
synergy, shared in proportion. A log-normal's mean, not its median, is shared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
import pandas as pd

from liftwise.core.errors import InputError
from liftwise.core.uncertainty import Floats, spawn
from liftwise.models.mix.family import RECENT, Curves, Data, Learned
from liftwise.models.mix.general_density import (
    ADSTOCKS,
    COUNTS,
    LIKELIHOODS,
    SATURATIONS,
    SITES,
    Arrays,
    Form,
    exposure_worth,
    positive,
)
from liftwise.models.mix.general_engine import ACCEPT, Engine, engine, needs_jax, sample, top
from liftwise.models.mix.priors import MEDIA, Prior
from liftwise.models.mix.sampled import Sampled
from liftwise.models.mix.transforms import Knots, lagged

CENTRE = 128  # draws whose mean is the fit


@dataclass(frozen=True, eq=False)
class GeneralCurves(Curves):
    """Curves of some draws; as one, they are their mean.

    told : values by draw, see `general_density.explain`. unit : (channels,) typical spend. often : (reached, regions, weeks). worth :
    (draws, reached) what an exposure usually gives. base : (draws, regions, weeks) the baseline's revenue. now : whether effects and
    baseline are those of the last year, instead of each week's own.
    """

    form: Form
    told: Mapping[str, Floats]
    unit: Floats
    often: Floats
    worth: Floats
    base: Floats
    now: bool = False

    def carried(self, spend: Floats) -> Floats:
        weights = self.told["weights"]  # (draws, channels, lags)
        channels, regions, weeks = spend.shape
        seen = lagged(spend / self.unit[:, None, None], weights.shape[2])
        out = np.moveaxis(seen.reshape(channels, regions * weeks, -1) @ weights.transpose(1, 2, 0), 2, 1)
        out = out.reshape(channels, len(weights), regions, weeks)
        if weeks == self.often.shape[-1] and not self.now:
            for place, channel in enumerate(self.form.reached):
                half, shape = (self.told[name][:, place, None, None] for name in ("often_half", "often_shape"))
                worth = exposure_worth(self.often[place], half, shape) / self.worth[:, place, None, None]
                past = lagged(spend[channel] / self.unit[channel] * worth, weights.shape[2])
                out[channel] = np.einsum("drtl,dl->drt", past, weights[:, channel])
        return out * self.unit[:, None, None, None]

    def own(self, carried: Floats) -> Floats:
        effect = self._effects(carried)
        if not self.form.multiplicative:
            return effect.mean(axis=1)
        base, together = self._steady(self.base, carried.shape[3]), effect.sum(axis=0)
        first, last = np.expm1(effect), np.exp(together) - np.exp(together - effect)
        return (base * (first + last) / 2).mean(axis=1)

    def synergy(self, carried: Floats) -> Floats:
        if not self.form.multiplicative:
            return np.zeros(carried.shape[2:])
        whole = self._steady(self.base, carried.shape[3]) * np.expm1(self._effects(carried).sum(axis=0))
        return whole.mean(axis=0) - self.own(carried).sum(axis=0)

    def pick(self, which: np.ndarray) -> GeneralCurves:
        """Some of the draws."""
        told = {name: values[which] for name, values in self.told.items()}
        return replace(self, told=told, worth=self.worth[which], base=self.base[which])

    def _effects(self, carried: Floats) -> Floats:
        """(channels, draws, regions, weeks), before baseline and channels are put together."""
        bend, x = SATURATIONS[self.form.saturation], carried / self.unit[:, None, None, None]
        bent = bend(*(self.told[name].T[:, :, None, None] for name in bend.parameters)).apply(x)
        for channel in self.form.reached:
            bent[channel] = x[channel]
        out = bent * self.told["beta"].transpose(1, 0, 2)[..., None]
        if not self.form.multiplicative:
            out *= self.told["lift"][:, None, None]
        if self.form.moving:
            out *= self._steady(self.told["moved"], carried.shape[3]).transpose(1, 0, 2)[:, :, None]
        return out

    def _steady(self, values: Floats, weeks: int) -> Floats:
        """Each week's own value for the data's weeks, and the last year's mean for others."""
        return values[..., -RECENT:].mean(axis=-1, keepdims=True) if self.now or weeks != values.shape[-1] else values


class GeneralMix(Sampled):
    """A Bayesian mix of table `weekly` in a form of one's own; needs the extra ``liftwise[general]``.

    Parameters
    ----------
    adstock : ``"geometric"``, ``"delayed"``, ``"weibull_pdf"``, ``"weibull_cdf"``, ``"binomial"``.
    saturation : ``"hill"``, ``"logistic"``, ``"log"``, ``"michaelis_menten"``.
    likelihood : ``"normal"``, ``"student"`` (outliers), ``"lognormal"`` (errors in per cent), ``"poisson"``, ``"negative_binomial"`` (targets
        that are counted).
    multiplicative : effects multiply the baseline instead of adding to it; by default where the likelihood is log-normal.
    moving : effects that move over time: ``"shared"`` by all channels or one path for each of the ``"channels"``; None for none.
    smooth : how they move: ``"hsgp"`` (a smooth Gaussian process) or ``"walk"`` (a random walk over knots every `every` periods).
    baseline : periods between knots of a baseline that wanders, 0 for none.
    lags : periods an effect may last.
    reach : channels with reach and frequency in table `weekly` act by them instead of by impressions.
    priors : channel → `Prior`, or name of a site (`general_density.SITES`) → a NumPyro distribution.
    chains, samples : of the sampler, samples in whole hundreds. draws : of them, handed on in tables.

    Attributes
    ----------
    see `Sampled` and `Member`. Scores on hold-outs come from the mode, not from chains. Steady
    responses and lags of future weeks use the mean movement of the last year.
    """

    name = "general"

    def __init__(
        self, *, seed: int = 7, holdout: int = 26, folds: int = 4, draws: int = 200, per_year: float = 52.18,
        adstock: str = "geometric", saturation: str = "hill", likelihood: str = "normal", multiplicative: bool | None = None,
        moving: Literal["shared", "channels"] | None = None, smooth: Literal["hsgp", "walk"] = "hsgp", every: int = 13, baseline: int = 0,
        lags: int = 26, reach: bool = True, priors: Mapping[str, Any] | None = None,
        chains: int = 4, samples: int = 1500,
    ) -> None:  # fmt: skip
        super().__init__(seed=seed, holdout=holdout, folds=folds, draws=draws, per_year=per_year)
        for what, given, known in (("adstock", adstock, ADSTOCKS), ("saturation", saturation, SATURATIONS), ("likelihood", likelihood, LIKELIHOODS),
                                   ("moving", moving, (None, "shared", "channels")), ("smooth", smooth, ("hsgp", "walk"))):  # fmt: skip
            if given not in known:
                raise InputError(f"no {what} {given!r}", where="GeneralMix", fix=f"use {', '.join(map(str, known))}")
        self.adstock, self.saturation, self.likelihood = adstock, saturation, likelihood
        self.multiplicative = likelihood == "lognormal" if multiplicative is None else multiplicative
        self.moving, self.smooth, self.every, self.baseline = moving, smooth, every, baseline
        self.lags, self.reach, self.priors = lags, reach, dict(priors or {})
        self.chains, self.samples = chains, samples

    def fit(self, weekly: pd.DataFrame, lift: pd.DataFrame | None = None, lift_weeks: pd.DataFrame | None = None) -> Self:
        """Score on rolling origins and on the hold-out by the mode, then draw from the posterior of all periods.

        Raises
        ------
        CannotTell
            Without jax and numpyro; when the data cannot carry a mix (see `Design.of`) or are too short for the hold-out.
        InputError
            With lift tests; with a target that the likelihood cannot have; with a prior that cannot be meant as it is written.
        """
        needs_jax()
        import jax

        if lift is not None and len(lift):
            raise InputError(
                "the general mix reads no lift tests", where="lift", fix="use BayesianMix, or a prior on the channel's roi"
            )
        self._made: tuple[Data, Form, Engine] | None = None
        with jax.enable_x64(True):
            return super().fit(weekly)

    # -- what a member says --------------------------------------------------------------------------------------------

    def _learn(self, data: Data, train: np.ndarray) -> Learned:
        """The mode: enough for a forecast."""
        form, machine, arrays = self._assembled(data, train)
        return self._learned(data, train, form, machine, arrays, top(machine, arrays).mode[None])[0]

    def _refit(self, data: Data, train: np.ndarray, learned: Learned) -> Learned:
        """The whole posterior."""
        form, machine, arrays = self._assembled(data, train)
        normal = top(machine, arrays)
        rng = spawn(self.seed, "mix.general.chains")
        key, spent = int(rng.integers(1 << 30)), 0
        for accept in ACCEPT:
            drawn = sample(
                machine, normal.mode, normal.root, arrays, key=key, chains=self.chains, draws=self.samples, accept=accept
            )
            spent += drawn.gradients
            if not drawn.diverged:
                break
        self._judge(drawn.theta, drawn.diverged, spent)
        flat = drawn.theta.reshape(-1, machine.dimensions)
        some = np.unique(np.linspace(0, len(flat) - 1, max(self.draws, CENTRE)).astype(int))
        out, self._pool = self._learned(data, train, form, machine, arrays, flat[some])
        return out

    def _draw(self, data: Data, train: np.ndarray, learned: Learned, rng: np.random.Generator) -> list[Curves]:
        return [self._pool.pick(np.array([i])) for i in rng.permutation(len(self._pool.base))[: self.draws]]

    def _steady(self, curves: Curves, times: Floats) -> Floats:
        assert isinstance(curves, GeneralCurves)
        return super()._steady(replace(curves, now=True), times)

    # -- fitting -------------------------------------------------------------------------------------------------------

    def _assembled(self, data: Data, train: np.ndarray) -> tuple[Form, Engine, Arrays]:
        """What is learned from `train`: arrays keep the shape of all weeks, so that one compilation serves every origin."""
        regions, weeks = data.shape
        design, seen = data.design, train.reshape(data.shape).astype(float)
        reached = tuple(k for k, name in enumerate(design.channels) if self.reach and name in design.reach)
        own, known = {}, [*design.channels, *SITES]
        for name, prior in self.priors.items():
            if name not in known:
                raise InputError(f"a prior for {name}, which is not in the mix", where="priors", fix=f"use {', '.join(known)}")
            if not isinstance(prior, Prior):
                own[name] = prior
        form = Form(self.adstock, self.saturation, self.likelihood, self.multiplicative, self.moving or "", self.smooth, reached,
                    tuple(own.items()))  # fmt: skip
        spend = data.spend / self._unit(data)[:, None, None]
        often = np.array([lagged(self._often(data, k), self.lags) for k in reached]).reshape(
            len(reached), regions, weeks, self.lags
        )
        knots = Knots(self.baseline, weeks).columns(design.weeks) if self.baseline else np.empty((weeks, 0))
        steps = Knots(self.every, weeks).columns(design.weeks) if self.moving and self.smooth == "walk" else np.empty((weeks, 0))
        weight = design.size / design.size.mean()
        recent = np.maximum((spend[:, :, -RECENT:].mean(axis=2) * weight).mean(axis=1), 1e-6)
        arrays = Arrays(lagged(spend, self.lags), np.where(often > 0, often, 1.0), self._basis(data, train)[0], knots, steps,
                        self._target(data, seen), seen, design.size, weight, self._effect(data, recent), recent)  # fmt: skip
        return form, engine(form, tuple(part.shape for part in arrays)), arrays

    @staticmethod
    def _unit(data: Data) -> Floats:
        """Typical of the weeks with money in them, so that a channel in bursts and a steady one read alike."""
        return (data.spend**2).sum(axis=(1, 2)) / np.maximum(data.spend.sum(axis=(1, 2)), 1e-12)

    @staticmethod
    def _often(data: Data, channel: int) -> Floats:
        often = np.nan_to_num(data.design.frequency[data.design.channels[channel]])
        return np.where(often > 0, often, 1.0)

    @staticmethod
    def _basis(data: Data, train: np.ndarray) -> tuple[Floats, Floats]:
        """Columns of mean square 1 on `train` that say nothing twice, (rows, columns), and how the base makes them."""
        size = np.sqrt((data.base[train] ** 2).mean(axis=0))
        scaled = data.base / np.where(size > 0, size, 1.0)
        _, values, right = np.linalg.svd(scaled[train], full_matrices=False)
        # a column that says nothing keeps its place, as nothing, so that shapes stay the same
        made = np.where(values > 1e-8 * values[0], np.sqrt(train.sum()) / np.maximum(values, 1e-300), 0.0) * right.T
        return scaled @ made, made / np.where(size > 0, size, 1.0)[:, None]

    def _target(self, data: Data, seen: Floats) -> Floats:
        """(regions, weeks), 1 where not seen."""
        if self.likelihood in COUNTS:
            counts = np.nan_to_num(data.design.target)
            odd = np.abs(counts - np.round(counts)) > 1e-9
            if odd.any() or (counts < 0).any():
                raise InputError(
                    f"a target of {counts[odd | (counts < 0)][0]:g}",
                    where="likelihood",
                    fix=f"{self.likelihood} needs whole counts; use normal",
                )
            return np.where(seen > 0, np.round(counts), 1.0)
        y = data.y.reshape(data.shape)
        if self.likelihood == "lognormal" and (y[seen > 0] <= 0).any():
            raise InputError(
                "a target of 0 or less", where="likelihood", fix="lognormal needs positive revenue; use normal or student"
            )
        return np.where(seen > 0, y, 1.0)

    def _effect(self, data: Data, recent: Floats) -> Floats:
        """What is believed of each channel's share, as in `density.MixData.effect`."""
        names = data.design.channels
        out = np.tile([0.0, MEDIA[0] / len(names), 1.0, 0.0, 0.0, 0.0], (len(names), 1))
        for k, name in enumerate(names):
            prior = self.priors.get(name)
            if isinstance(prior, Prior):
                out[k] = prior.row(name, data.design, data.shape[1], float(recent[k]))
        return out

    def _learned(
        self, data: Data, train: np.ndarray, form: Form, machine: Engine, arrays: Arrays, thetas: Floats
    ) -> tuple[Learned, GeneralCurves]:
        """The mean of draws (draws, parameters) and the baseline that goes with it, and all of them."""
        each = [{name: np.asarray(value) for name, value in machine.told(theta, arrays).items()} for theta in thetas]
        told = {name: np.array([one[name] for one in each]) for name in each[0]}
        level = (arrays.basis @ told["gamma"].T).T.reshape(-1, *data.shape) + told["wander"][:, None]
        if form.multiplicative:
            level = np.exp(level)
        elif form.likelihood in COUNTS:
            level = positive(level)
        base = level * told["lift"][:, None, None]
        now, worth = arrays.lagged[list(form.reached)][..., 0], np.ones((len(thetas), len(form.reached)))
        for k in range(len(form.reached)):
            half, shape = (told[name][:, k, None, None] for name in ("often_half", "often_shape"))
            worth[:, k] = (now[k] * exposure_worth(arrays.often[k, ..., 0], half, shape)).sum(axis=(1, 2)) / now[k].sum()
        often = arrays.often[..., 0] if form.reached else np.empty((0, *data.shape))
        pool = GeneralCurves(form, told, self._unit(data), often, worth, base)
        mean = base.mean(axis=0).ravel()
        gamma = np.linalg.lstsq(data.base[train], mean[train], rcond=1e-8)[0]
        rest = mean - data.base @ gamma
        return Learned(gamma, pool, rest if np.abs(rest[train]).max() > 1e-9 else None), pool
