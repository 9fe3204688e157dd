"""A structural mix with a posterior: carry-over, saturation and effect of every channel, with all they leave open.

The density is `density`, compiled with its gradient; the mode and its curvature (`laplace`) whiten it, and four chains of the
no-U-turn sampler (`nuts`) draw from it. A result is published only when the chains agree (R̂ < 1.01), know enough (effective
sample size > 400 in the middle and in the tails) and none diverged; else it is a preview and moves no budget.

Regions share carry-over and saturation; their effects are drawn together as far as the data agree (partial pooling). Lift tests
are part of the likelihood. Several saturation forms may be averaged, weighted by how well each foresaw blocks it had not seen
(pseudo-BMA with Bayesian bootstrap).

References
----------
Jin, Wang, Sun, Chan and Koehler (2017), Bayesian methods for media mix modeling, Google; Vehtari et al. (2021), Bayesian Analysis
16(2); Yao, Vehtari, Simpson and Gelman (2018), Bayesian Analysis 13(3), for pseudo-BMA+.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import pandas as pd

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.uncertainty import Floats, normal_quantile, spawn
from liftwise.models.mix import lift_tests, nuts
from liftwise.models.mix.density import HILL, LOGISTIC, MixData, bend, channel_parameters, lifts
from liftwise.models.mix.design import Design
from liftwise.models.mix.diagnostics import bulk_ess, rhat, tail_ess
from liftwise.models.mix.family import RECENT, Curves, Data, Learned, Member, origins
from liftwise.models.mix.laplace import laplace

FORMS = {"hill": HILL, "logistic": LOGISTIC}
SHAPE = np.array(
    [[0.2, 0.8], [0.1, 0.35], [np.log(0.15), 0.6]]
)  # log half (in typical spend), log slope, log spread over regions: mean, sd
MEDIA = 0.5  # share of revenue expected of all channels together
LOOSE = 100.0  # prior sd of a baseline column of mean square 1, in sd of the noise
CENTRE = 128  # draws whose mean is the fit
SHORT = (120, 128)  # tuning and draws of the one chain behind a hold-out score
CONTRADICTS = 3.0  # standard deviations


@dataclass(frozen=True)
class Prior:
    """What is believed of a channel before the data: with 90 % probability `on` lies between `low` and `high` (log-normal).

    on : ``"roi"`` and ``"marginal_roi"`` (revenue back for each 1 spent, over all periods and for the next 1 at recent spend),
    ``"share"`` (of all revenue) or ``"coefficient"`` (the most revenue a period the channel could ever bring), in the currency of
    the tables.
    """

    on: Literal["roi", "marginal_roi", "share", "coefficient"]
    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high:
            raise InputError(f"a prior between {self.low:g} and {self.high:g}", where="priors", fix="0 < low < high")


@dataclass(frozen=True, eq=False)
class Posterior(Curves):
    """Curves of some draws, (draws, channels) each; as one, they are their mean. beta : (draws, channels, regions). logistic :
    (draws,).
    """

    retention: Floats
    half: Floats
    slope: Floats
    beta: Floats
    logistic: np.ndarray

    def carried(self, spend: Floats) -> Floats:
        keep = self.retention.T[:, :, None]
        out, level = np.empty((*keep.shape[:2], *spend.shape[1:])), np.zeros((*keep.shape[:2], spend.shape[1]))
        for t in range(spend.shape[2]):
            level = keep * level + (1 - keep) * spend[:, None, :, t]
            out[..., t] = level
        return out

    def own(self, carried: Floats) -> Floats:
        ratio = np.maximum(carried, 0.0) / self.half.T[:, :, None, None]
        power = np.power(ratio, self.slope.T[:, :, None, None])
        bent = power / (1 + power)
        if self.logistic.any():
            bent[:, self.logistic] = np.tanh(np.arctanh(0.5) * ratio[:, self.logistic])
        return np.einsum("cdrt,dcr->crt", bent, self.beta) / len(self.beta)

    def each(self) -> list[Curves]:
        """One for each draw."""
        return [Posterior(*(part[i : i + 1] for part in (self.retention, self.half, self.slope, self.beta, self.logistic)))
                for i in range(len(self.beta))]  # fmt: skip

    def pick(self, which: np.ndarray) -> Posterior:
        """Some of the draws."""
        return Posterior(*(part[which] for part in (self.retention, self.half, self.slope, self.beta, self.logistic)))

    def joined(self, other: Posterior) -> Posterior:
        """Draws of both."""
        pairs = zip(self._all(), other._all(), strict=True)
        return Posterior(*(np.concatenate(pair) for pair in pairs))

    def _all(self) -> tuple[Any, ...]:
        return self.retention, self.half, self.slope, self.beta, self.logistic


class BayesianMix(Member):
    """A Bayesian mix of table `weekly`.

    Parameters
    ----------
    forms : saturation: ``"hill"``, ``"logistic"``, or both, averaged.
    priors : channel → `Prior`; without one, a channel's share of revenue is exponential and all channels together have half of
    revenue in mean.
    chains, samples, tune : of the sampler, `samples` kept in each chain. draws : of them, handed on in tables.
    threads : chains at a time; the answer does not depend on it.

    Attributes
    ----------
    state_ : ``"published"`` or ``"preview"``.
    diagnostics_ : form, rhat (largest), ess_bulk and ess_tail (smallest), divergences, gradients, weight of each form.
    lift_ : test_id, effect, standard_error, expected (by the fit, which has seen them), sd, gap (in standard deviations) of each
    measurement. Others: see `Member`. Scores on hold-outs come from one short chain a fold.
    """

    name = "bayesian"

    def __init__(
        self, *, seed: int = 7, holdout: int = 26, folds: int = 4, draws: int = 200, per_year: float = 52.18,
        forms: tuple[str, ...] = ("hill",), priors: dict[str, Prior] | None = None,
        chains: int = 4, samples: int = 1000, tune: int = 300, threads: int = 1,
    ) -> None:  # fmt: skip
        super().__init__(seed=seed, holdout=holdout, folds=folds, draws=draws, per_year=per_year)
        unknown = sorted(set(forms) - set(FORMS))
        if unknown or not forms:
            raise InputError(f"no saturation {', '.join(unknown) or 'form'}", where="forms", fix=f"use {' or '.join(FORMS)}")
        self.forms, self.priors = tuple(forms), dict(priors or {})
        self.chains, self.samples, self.tune, self.threads = chains, samples, tune, threads

    def fit(self, weekly: pd.DataFrame, lift: pd.DataFrame | None = None, lift_weeks: pd.DataFrame | None = None) -> Self:
        """Score on rolling origins and on the hold-out, then draw from the posterior of all periods.

        lift, lift_weeks : tables `lift_tests` and `lift_test_weeks` (see `lift_tests`); a test is used only where all its weeks
        are.

        Raises
        ------
        CannotTell
            When the data cannot carry a mix (see `Design.of`) or are too short for the hold-out.
        InputError
            With a test or a prior that cannot be meant as it is written.
        """
        self._lift, self._block_scores = (lift, lift_weeks), list[Floats]()
        self.diagnostics_ = pd.DataFrame()
        super().fit(weekly, lift)
        return self

    def responses(self, *, preview: bool = False) -> pd.DataFrame:
        """Table `responses`; see `Member`.

        Raises
        ------
        CannotTell
            When the fit is only a preview, unless a `preview` is asked for.
        """
        if self.state_ != "published" and not preview:
            worst = self.diagnostics_
            raise CannotTell(
                f"the chains have not converged (R-hat {worst['rhat'].max():.3f}, effective draws {worst['ess_bulk'].min():.0f}, "
                f"divergences {worst['divergences'].sum()}): a preview moves no budget",
                fix="use more samples, join channels that move together, or give priors or a lift test",
            )
        return super().responses()

    # -- what a member says --------------------------------------------------------------------------------------------

    def _learn(self, data: Data, train: np.ndarray) -> Learned:
        """One short chain a form: enough for a forecast."""
        tune, samples = SHORT
        fits = [self._sampled(data, train, form, 1, samples, tune)[1] for form in self.forms]
        return self._learned(data, train, fits, np.full(len(fits), 1 / len(fits)))

    def _refit(self, data: Data, train: np.ndarray, learned: Learned) -> Learned:
        """The whole posterior."""
        weights = self._weights(data) if len(self.forms) > 1 else np.ones(1)
        fits, told = list[Posterior](), list[dict[str, Any]]()
        self.lift_ = pd.DataFrame()
        for form, weight in zip(self.forms, weights, strict=True):
            mix, posterior, chains = self._sampled(data, train, form, self.chains, self.samples, self.tune)
            fits.append(posterior)
            told.append({"form": form, "rhat": float(rhat(chains.theta).max()), "ess_bulk": float(bulk_ess(chains.theta).min()),
                         "ess_tail": float(tail_ess(chains.theta).min()), "divergences": chains.diverged,
                         "gradients": chains.gradients,
                         "weight": float(weight)})  # fmt: skip
            if len(mix.tests.effect) and weight == weights.max():
                self._check_lift(mix, chains)
        self.diagnostics_ = pd.DataFrame(told)
        fine = self.diagnostics_.query("rhat < 1.01 and ess_bulk > 400 and ess_tail > 400 and divergences == 0")
        self.state_ = "published" if len(fine) == len(told) else "preview"
        self._pool = _mixed(fits, weights, max(self.draws, CENTRE), spawn(self.seed, "mix.bayesian.pool"))
        return self._learned(data, train, [self._pool], np.ones(1))

    def _draw(self, data: Data, train: np.ndarray, learned: Learned, rng: np.random.Generator) -> list[Curves]:
        return self._pool.pick(rng.permutation(len(self._pool.beta))[: self.draws]).each()

    # -- fitting -------------------------------------------------------------------------------------------------------

    def _sampled(
        self, data: Data, train: np.ndarray, form: str, chains: int, samples: int, tune: int
    ) -> tuple[MixData, Posterior, nuts.Chains]:
        mix, unit = self._assembled(data, train, FORMS[form])
        normal = laplace(mix, mix.dimensions)
        drawn = nuts.sample(
            mix, normal.mode, normal.root, seed=self.seed, chains=chains, draws=samples, tune=tune, threads=self.threads
        )
        flat = drawn.theta.reshape(-1, mix.dimensions)
        return mix, _posterior(flat[_spread(len(flat), 4 * CENTRE)], mix, unit), drawn

    def _assembled(self, data: Data, train: np.ndarray, form: int) -> tuple[MixData, Floats]:
        """The density's data, over the weeks up to the last learned from, and the typical spend of each channel in usual
        spend.
        """
        regions, weeks = data.shape
        until = int(np.flatnonzero(train.reshape(data.shape).any(axis=0))[-1]) + 1
        seen = train.reshape(data.shape)[:, :until].astype(float)
        spend = data.spend[:, :, :until]
        # typical of the weeks with money in them, so that a channel in bursts and a steady one read alike
        unit = (spend**2).sum(axis=(1, 2)) / np.maximum(spend.sum(axis=(1, 2)), 1e-12)
        unit[unit <= 0] = 1.0
        columns = (data.base.reshape(regions, weeks, -1)[:, :until] * seen[:, :, None]).reshape(regions * until, -1)
        money = np.array([(m / data.design.size[:, None]).mean() for m in data.design.spend.values()]) * unit
        told, self._tests, notes = lift_tests.read(*self._lift, data.design, until, money)
        if until == weeks:
            self.notes_ = tuple(dict.fromkeys((*self.notes_, *notes)))
        told = told._replace(other=np.ascontiguousarray(told.other[:, :, :until]))
        scaled = np.ascontiguousarray(spend / unit[:, None, None])
        weight = data.design.size / data.design.size.mean()
        recent = (scaled[:, :, -RECENT:].mean(axis=2) * weight).mean(axis=1)
        y = np.where(seen > 0, data.y.reshape(data.shape)[:, :until], 0.0)
        channels = len(scaled)
        effect = np.tile([0.0, MEDIA / channels, 1.0, 0.0, 0.0, 0.0], (channels, 1))
        for name, prior in self.priors.items():
            effect[_place(name, data.design)] = _effect(prior, name, data.design, until, float(recent[_place(name, data.design)]))
        shape = (4, channels, regions, until)
        return MixData(scaled, y, seen, _basis(columns, seen), weight, np.array([seen.sum() + 1.0, 1e-4]), form, SHAPE, effect,
                       np.maximum(recent, 1e-6), told, np.empty(shape), np.empty(regions * until),
                       np.empty(regions * until)), unit  # fmt: skip

    def _learned(self, data: Data, train: np.ndarray, fits: list[Posterior], weights: Floats) -> Learned:
        """The mean of all draws, and the baseline that goes with it."""
        curves = _mixed(fits, weights, CENTRE, spawn(self.seed, "mix.bayesian.centre"))
        rest = data.y - curves.own(curves.carried(data.spend)).sum(axis=0).ravel()
        gamma = np.linalg.lstsq(data.base[train], rest[train], rcond=1e-8)[0]
        return Learned(gamma, curves)

    def _weights(self, data: Data) -> Floats:
        """Pseudo-BMA+ over the later half of the past, in blocks none of the forms had seen."""
        until, rng, scores = data.shape[1] - self.holdout, spawn(self.seed, "mix.bayesian.weights"), list[Floats]()
        tune, samples = SHORT
        for form in self.forms:
            mine = list[Floats]()
            for start, stop in origins(until, self.folds):
                train, test = (data.whole & (data.period < start)), (data.whole & (data.period >= start) & (data.period < stop))
                posterior = self._sampled(data, train, form, 1, samples, tune)[1]
                mine.append(_log_scores(data, train, test, posterior))
            scores.append(np.concatenate(mine))
        table = np.array(scores)
        shares = rng.dirichlet(np.ones(table.shape[1]), 1000) * table.shape[1]
        sums = shares @ table.T
        odds = np.exp(sums - sums.max(axis=1, keepdims=True))
        return (odds / odds.sum(axis=1, keepdims=True)).mean(axis=0)

    def _check_lift(self, mix: MixData, chains: nuts.Chains) -> None:
        """What the fit expects of each test, and which tests contradict it."""
        flat = chains.theta.reshape(-1, mix.dimensions)
        flat = flat[_spread(len(flat), 4 * CENTRE)]
        expected = np.empty((len(flat), len(mix.tests.effect)))
        for i, theta in enumerate(flat):
            lifts(theta, mix, expected[i])
        mean, sd = expected.mean(axis=0), expected.std(axis=0)
        # a fit that has used a measurement is nearer to it than its error: variances subtract
        gap = (mix.tests.effect - mean) / np.sqrt(np.maximum(mix.tests.error**2 - sd**2, 0.05 * mix.tests.error**2))
        self.lift_ = pd.DataFrame({"test_id": self._tests, "effect": mix.tests.effect, "standard_error": mix.tests.error,
                                   "expected": mean, "sd": sd, "gap": gap})  # fmt: skip
        for test, mine in self.lift_.groupby("test_id"):
            if float(np.sqrt((mine["gap"] ** 2).mean())) > CONTRADICTS:
                self.notes_ = (*self.notes_, f"test {test} measured {mine['effect'].sum():,.0f}; the fit says "
                               f"{mine['expected'].sum():,.0f} even with the test in it: one of them is wrong")  # fmt: skip


def _place(name: str, design: Design) -> int:
    if name not in design.channels:
        raise InputError(f"a prior for {name}, which is not in the mix", where="priors", fix=f"use {', '.join(design.channels)}")
    return design.channels.index(name)


def _effect(prior: Prior, name: str, design: Design, until: int, recent: float) -> Floats:
    """A row of `MixData.effect`; refuses what cannot be meant on this scale.

    Raises
    ------
    InputError
        When it would have the channel bring more than all revenue, or next to nothing.
    """
    revenue = float(design.size.sum()) * until  # missing weeks count as usual ones
    money = design.spend[name][:, :until]
    scale = {"roi": money.sum() / revenue, "share": 1.0, "coefficient": until / revenue,
             "marginal_roi": money[:, -RECENT:].sum(axis=0).mean() * until / revenue}[prior.on]  # fmt: skip
    if prior.low * scale > (1.0 if prior.on != "coefficient" else 10.0) or prior.high * scale < 1e-4:
        raise InputError(
            f"{prior.on} of {name} between {prior.low:g} and {prior.high:g} would be "
            f"{prior.low * scale:.2%} to {prior.high * scale:.2%} of revenue",
            where="priors", fix="give it in the currency of sales and spend",
        )  # fmt: skip
    constant = {
        "roi": -np.log(scale),
        "share": 0.0,
        "coefficient": -np.log(scale),
        "marginal_roi": np.log(recent) - np.log(scale),
    }[prior.on]
    mean, sd = (np.log(prior.low) + np.log(prior.high)) / 2, np.log(prior.high / prior.low) / (2 * normal_quantile(0.90))
    level, slope = float(prior.on in ("coefficient", "marginal_roi")), float(prior.on == "marginal_roi")
    return np.array([1.0, mean, sd, level, slope, constant])


def _basis(columns: Floats, seen: Floats) -> Floats:
    """√W Qᵀ of the baseline, (rank, rows): columns that say the same twice do no harm."""
    size = np.sqrt((columns**2).sum(axis=0) / seen.sum())
    left, values, _ = np.linalg.svd(columns[:, size > 0] / size[size > 0] * LOOSE, full_matrices=False)
    keep = values > 1e-8 * values[0]
    return np.ascontiguousarray((left[:, keep] * np.sqrt(values[keep] ** 2 / (1 + values[keep] ** 2))).T)


def _posterior(thetas: Floats, mix: MixData, unit: Floats) -> Posterior:
    """Curves in usual spend."""
    channels, regions, _ = mix.spend.shape
    first_z = channels * (4 if mix.form == HILL else 3) + 1
    told, sums = np.empty((len(thetas), channels, 4)), np.empty(4)
    for i, theta in enumerate(thetas):
        for c in range(channels):
            alpha, _, k, s, log_share, _ = channel_parameters(theta, c, mix)
            bend(mix, c, alpha, k, s, sums)
            told[i, c] = alpha, k * unit[c], s, np.exp(log_share) / sums[0]
    beta = np.repeat(told[:, :, 3][:, :, None], regions, axis=2)
    if regions > 1:
        tau = np.exp(mix.shape[2, 0] + mix.shape[2, 1] * thetas[:, first_z - 1])
        z = thetas[:, first_z:].reshape(len(thetas), channels, regions)
        beta = beta * np.exp(tau[:, None, None] * (z - z.mean(axis=2, keepdims=True)))
    return Posterior(told[:, :, 0], told[:, :, 1], told[:, :, 2], beta, np.full(len(thetas), mix.form == LOGISTIC))


def _mixed(fits: list[Posterior], weights: Floats, count: int, rng: np.random.Generator) -> Posterior:
    """`count` draws, of each fit as many as its weight says."""
    shares = np.floor(np.cumsum(weights / weights.sum()) * count + 1e-9).astype(int)
    out: Posterior | None = None
    for fit, number in zip(fits, np.diff(shares, prepend=0), strict=True):
        if number > 0:
            part = fit.pick(_spread(len(fit.beta), int(number)))
            out = part if out is None else out.joined(part)
    assert out is not None
    return out


def _spread(available: int, wanted: int) -> np.ndarray:
    """Evenly spread places."""
    return np.unique(np.linspace(0, available - 1, min(wanted, available)).astype(int))


def _log_scores(data: Data, train: np.ndarray, test: np.ndarray, posterior: Posterior) -> Floats:
    """Log predictive density of each test row, over the draws."""
    spent = posterior.carried(data.spend)
    logs = np.empty((len(posterior.beta), int(test.sum())))
    solve = np.linalg.pinv(data.base[train], rcond=1e-8)
    for i, curves in enumerate(posterior.each()):
        rest = data.y - curves.own(spent[:, i : i + 1]).sum(axis=0).ravel()
        off = rest - data.base @ (solve @ rest[train])
        sd = np.sqrt((off[train] ** 2).sum() / max(train.sum() - data.base.shape[1], 1))
        logs[i] = -0.5 * (off[test] / sd) ** 2 - np.log(sd)
    top = logs.max(axis=0)
    return top + np.log(np.exp(logs - top).mean(axis=0))
