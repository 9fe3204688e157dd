"""The default: a synthetic control on the scale on which sales move, with weights that do not chase noise and a calibrated error.

- Sales of large and small regions move by the same percentages, so the fit is on logs (where every value is positive) and the
  lift is a ratio: (after ÷ predicted after) ÷ (before ÷ predicted before). Effect = actual × (1 − 1/ratio).
- Weights are shrunk towards steady donors as far as that predicts better (`shrinkage`).
- The error is studentised and calibrated on placebos in space and time (`calibration`).
- Several treated units are one target, their mean; placebos are groups as large, drawn from the donors, and count as many degrees of
  freedom as their overlap leaves (`_distinct`).

References
----------
Abadie, Diamond and Hainmueller (2010), JASA 105(490); Arkhangelsky et al. (2021), AER 111(12), for shrinking weights;
Hahn and Shi (2017), Observational Studies 3, for studentising placebos.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.uncertainty import Floats, spawn
from liftwise.models.causal.adjust import take_out
from liftwise.models.causal.calibration import Calibration, calibrate, contrast_factor, memory, own_freedom, variance
from liftwise.models.causal.checks import Setting, calibrated, run_checks
from liftwise.models.causal.inference import RatioTest, StudentTest, Test
from liftwise.models.causal.lift import Lift
from liftwise.models.causal.panel import Panel
from liftwise.models.causal.placebo import Placebos
from liftwise.models.causal.question import Question, ask, data_check
from liftwise.models.causal.shrinkage import Pool, Shrinkage, choose

METHOD = "calibrated_control"
WINDOWS = 3  # earlier windows used as placebos in time
GROUPS = 200  # placebo groups at most
MOST_DONORS = 60  # beyond these, more donors add time and no precision: those that moved most like the treated units are kept
MOST_OF_ALL = 120  # or six times the treated units, that there are disjoint groups as large, up to this
ENOUGH = 12  # donors with which others that sell nothing in some periods can be done without
LEAST_TRAIN = 15  # periods that an earlier window must leave to learn from


class CalibratedControl:
    """The effect of a campaign from the units in which it did not run: the default design.

    Parameters
    ----------
    scale : ``"log"``, ``"linear"``, or ``"auto"``: log where every value is positive, donors that sell nothing in some periods aside.
    adjust : names of `panel.exposure` to take out first (television, a competitor's promotion, a price), see `adjust`.
    seed : for the draw of placebo groups when several units are treated.

    Examples
    --------
    >>> from liftwise.models.causal import Panel
    >>> weeks = pd.date_range("2025-01-06", periods=60, freq="W-MON")
    >>> wave = np.exp(spawn(1, "example").normal(size=(12, 60)) * 0.05 + 5)
    >>> wave[0, 52:] *= 1.2
    >>> lift = CalibratedControl().estimate(Panel(wave, tuple(f"r{k:02d}" for k in range(12)), weeks), treated="r00", start=weeks[52])
    >>> bool(lift.p_value < 0.01), bool(0.1 < lift.relative < 0.3)
    (True, True)
    """

    def __init__(self, *, scale: str = "auto", adjust: Sequence[str] = (), seed: int = 7) -> None:
        if scale not in ("auto", "log", "linear"):
            raise InputError(f"scale {scale!r} is unknown", fix="choose auto, log or linear")
        self.scale, self.adjust, self.seed = scale, tuple(adjust), seed

    @property
    def method(self) -> str:
        """Name in tables; the scale is added once it is known."""
        return METHOD

    def estimate(
        self, panel: Panel, *, treated: Sequence[str] | str, start: Any, end: Any = None, exclude: Sequence[str] = ()
    ) -> Lift:
        """Estimate the effect in `treated` from the period holding `start` to the one holding `end` (default: the last).

        Raises
        ------
        InputError
            For a unit that does not exist, dates outside the panel, or a log scale with values that are not positive.
        CannotTell
            With fewer than 8 periods before, fewer than 3 donors, a treated unit with holes, or an outcome that never moves.
        """
        question = ask(panel, treated, start, end, exclude)
        question = _nearest(panel, _positive(panel, question) if self.scale == "auto" else question)
        if len(question.donors) < len(question.treated) + 2:  # a placebo group as large needs donors of its own
            raise CannotTell(
                f"{len(question.treated)} units are treated and only {len(question.donors)} are left to compare them with",
                fix="treat fewer than half of the units",
            )
        values = panel.matrix[[*question.treated, *question.donors], : question.last + 1]
        positive = bool((values > 0).all())
        if self.scale == "log" and not positive:
            raise InputError(f"{panel.outcome} is not positive everywhere", fix="use scale='linear'")
        exposure = self._exposure(panel, [*question.treated, *question.donors], question.last + 1)
        fit = Fit.of(
            values, len(question.treated), question.first, positive and self.scale != "linear", self.seed, exposure, self.adjust
        )
        return _lift(panel, question, fit)

    def _exposure(self, panel: Panel, rows: Sequence[int], until: int) -> Floats:
        """(q, units, t) of what is to be taken out."""
        for name in self.adjust:
            if name not in panel.exposure:
                raise InputError(f"the panel has no exposure {name!r}", fix=f"it has {', '.join(panel.exposure) or 'none'}")
            if np.isnan(panel.exposure[name][rows, :until]).any():
                raise InputError(f"exposure {name!r} has holes", fix="fill them (0 where it did not run)")
        return np.array([panel.exposure[name][rows, :until] for name in self.adjust]).reshape(len(self.adjust), len(rows), until)


@dataclass(frozen=True, eq=False)
class Fit:
    """Targets (m, t), first the treated mean, then placebo groups; and how they are predicted.

    observed : (t,) the treated mean as it was; `actual` has the exposures taken out. besides : (t,) what they added to the fit's scale.
    unsure : variance that unsure slopes add to a mean of the periods after, on the fit's scale.
    independent : how many independent placebos the groups are worth.
    """

    actual: Floats
    pool: Pool
    size: int
    pre: int
    log: bool
    independent: float
    shrinkage: Shrinkage
    observed: Floats
    besides: Floats
    unsure: float = 0.0

    @classmethod
    def of(
        cls,
        values: Floats,
        size: int,
        pre: int,
        log: bool,
        seed: int,
        exposure: Floats | None = None,
        names: tuple[str, ...] = (),
    ) -> Fit:
        """From values (units, t) whose first `size` rows are treated, and exposure (q, units, t) to take out."""
        observed, besides, unsure = values[:size].mean(axis=0), np.zeros(values.shape[1]), 0.0
        if names and exposure is not None:
            moved = np.log(values) if log else values
            found = take_out(moved, exposure, names, size, pre)
            ran = exposure[:, :size].mean(axis=1)
            besides = found.slopes @ ran
            contrast = (ran - exposure[:, size:].mean(axis=1)) @ np.where(
                np.arange(values.shape[1]) < pre, -1 / pre, 1 / (values.shape[1] - pre)
            )
            unsure = float(contrast @ found.covariance @ contrast)
            values = np.exp(found.moved) if log else found.moved
        donors = values[size:]
        members = _groups(len(donors), size, seed)
        targets = np.vstack([values[:size].mean(axis=0), donors[members].mean(axis=1)])
        barred = np.vstack([np.full(size, -1, dtype=np.int64), members])
        moved = (np.log(targets), np.log(donors)) if log else (targets, donors)
        pool = Pool(*moved, barred)
        shrinkage = choose(pool, np.arange(pre))
        spread = np.sqrt(shrinkage.noise) * (donors[:, :pre].mean(axis=1) if log else 1.0)
        return cls(
            targets,
            pool,
            size,
            pre,
            log,
            _distinct(members, spread),
            shrinkage,
            observed,
            besides,
            unsure,
        )

    @property
    def periods(self) -> int:
        """All periods, before and after."""
        return self.actual.shape[1]

    def predict(self, train: int, until: int) -> tuple[Floats, Floats, float]:
        """(m, until) what each target would have been, learned on the first `train` periods; weights; duality gap."""
        start = None if train == self.pre else self.whole[1]
        gaps, weights, duality = self.shrinkage.gaps(self.pool, np.arange(train), np.arange(until), start)
        seen = self.actual[:, :until]
        if not self.log:
            return seen - gaps, weights, duality
        would = seen / np.exp(
            gaps
        )  # sums agree before the start: the mean of logs would fall short of the mean by half its variance
        return would * (seen[:, :train].sum(axis=1) / would[:, :train].sum(axis=1))[:, None], weights, duality

    @cached_property
    def whole(self) -> tuple[Floats, Floats, float]:
        """`predict` for the campaign itself."""
        return self.predict(self.pre, self.periods)

    def _estimates(self, would: Floats, first: int, last: int) -> Floats:
        """(m,) lift of periods first to last: log of a ratio, or a mean difference."""
        seen = self.actual[:, first:last]
        if self.log:
            return np.log(seen.sum(axis=1) / would[:, first:last].sum(axis=1))
        return (seen - would[:, first:last]).mean(axis=1)

    @cached_property
    def _held(self) -> Floats:
        return self.shrinkage.held_out(self.pool, np.arange(self.pre), self.whole[1])[0]

    @cached_property
    def rho(self) -> float:
        """Autocorrelation of the error of one period, pooled over targets."""
        return memory(self._held)

    @cached_property
    def errors(self) -> Floats:
        """(m,) standard deviation of each target's error in one period."""
        least = 1e-9 * (1.0 if self.log else float(np.abs(self.actual).mean())) + 1e-300
        return np.maximum(np.sqrt(variance(self._held, self.rho)), least)

    @cached_property
    def time_placebos(self) -> Floats:
        """(windows, m) t over earlier windows as long as the campaign."""
        long, found = self.periods - self.pre, []
        for back in range(WINDOWS):
            last = self.pre - back * long
            train = last - long
            if train < max(LEAST_TRAIN, long):
                break
            would = self.predict(train, last)[0]
            held = self.shrinkage.held_out(self.pool, np.arange(train), self.whole[1])[0]
            promised = np.sqrt(variance(held, self.rho) * contrast_factor(train, long, self.rho))
            found.append(self._estimates(would, train, last) / np.maximum(promised, 1e-300))
        return np.array(found).reshape(len(found), len(self.actual))

    def studentised(self, first: int, last: int) -> tuple[Floats, Floats]:
        """Estimates of periods first to last (m,) and their promised errors (m,)."""
        estimates = self._estimates(self.whole[0], first, last)
        return estimates, self.errors * np.sqrt(contrast_factor(self.pre, last - first, self.rho))

    @cached_property
    def calibration(self) -> Calibration:
        """For the campaign as a whole."""
        estimates, promised = self.studentised(self.pre, self.periods)
        windows = self.time_placebos
        return calibrate(
            (estimates / promised)[1:],
            self.independent,
            windows,
            len(windows) * (self.independent + 1),
            own_freedom(self.pre, self.rho),
        )

    def test(self, first: int, last: int) -> Test:
        """Of the effect in periods first to last, over all treated units, in the outcome's unit."""
        estimates, promised = self.studentised(first, last)
        if (first, last) == (self.pre, self.periods):
            found = self.calibration
        else:  # a part of the campaign: placebos in the same periods, or what was found for the whole, whichever strays more
            alone = calibrate((estimates / promised)[1:], self.independent, np.empty(0), 0, own_freedom(self.pre, self.rho))
            found = max(alone, self.calibration, key=lambda one: one.factor)
        student = StudentTest(float(estimates[0]), float(np.hypot(found.factor * promised[0], np.sqrt(self.unsure))), found.df)
        if self.log:
            return RatioTest(student, self.size * float(self.observed[first:last].sum()))
        return student.times(self.size * (last - first))


def _positive(panel: Panel, question: Question) -> Question:
    """The question without donors that sell nothing in some periods, where enough others remain: one zero rules logs out for all."""
    positive = (panel.matrix[:, : question.last + 1] > 0).all(axis=1)
    fit = [row for row in question.donors if positive[row]]
    if not positive[question.treated].all() or len(fit) < max(ENOUGH, 3 * len(question.treated)):
        return question
    silent = {panel.units[row]: "periods without sales" for row in question.donors if not positive[row]}
    return replace(question, donors=fit, unfit=question.unfit | silent)


def _nearest(panel: Panel, question: Question) -> Question:
    """The question with at most `MOST_DONORS` donors, more where many units are treated."""
    most = min(max(MOST_DONORS, 6 * len(question.treated)), MOST_OF_ALL)
    if len(question.donors) <= most:
        return question
    before = panel.matrix[:, : question.first]
    shape = (
        before / np.maximum(before.mean(axis=1, keepdims=True), 1e-300)
        if (before > 0).all()
        else before - before.mean(axis=1, keepdims=True)
    )
    away = np.sum((shape[question.donors] - shape[question.treated].mean(axis=0)) ** 2, axis=1)
    return replace(question, donors=sorted(np.asarray(question.donors)[np.argsort(away, kind="stable")[:most]].tolist()))


def _groups(donors: int, size: int, seed: int) -> np.ndarray:
    """(m, size) placebo groups: parts of random partitions of the donors; each donor alone when that is few enough."""
    if size == 1 and donors <= GROUPS:
        return np.arange(donors, dtype=np.int64)[:, None]
    random, found = spawn(seed, "placebo groups"), dict[tuple[int, ...], None]()
    each = max(1, donors // size)
    for _ in range(-(-GROUPS // each)):
        order = random.permutation(donors)
        for k in range(each):
            found[tuple(sorted(order[k * size : (k + 1) * size].tolist()))] = None
    return np.array(list(found)[:GROUPS], dtype=np.int64)


def _distinct(members: np.ndarray, spread: Floats) -> float:
    """Degrees of freedom of the mean square of t over groups (m, size) of units whose errors are independent, of standard deviation `spread`.

    Group g's t is Σ aᵢzᵢ over its members, Σ aᵢ² = 1, so that two groups share the squared inner product of their a. A large unit makes
    all groups alike that hold it.

    >>> _distinct(np.arange(20)[:, None], np.ones(20)), round(_distinct(np.arange(20).reshape(10, 2), np.ones(20)), 1)
    (20.0, 10.0)
    """
    each = np.zeros((len(members), len(spread)))
    np.put_along_axis(each, members, spread[members], axis=1)
    each /= np.linalg.norm(each, axis=1, keepdims=True)
    return float(len(members) ** 2 / np.sum((each @ each.T) ** 2))


def _lift(panel: Panel, question: Question, fit: Fit) -> Lift:
    would, every, duality = fit.whole
    weights = every[0]
    gaps = fit.actual - would
    expected = would[0] * np.exp(fit.besides) if fit.log else would[0] + fit.besides
    names = tuple(panel.units[row] for row in question.donors)
    when = panel.periods[: question.last + 1]
    test = fit.test(fit.pre, fit.periods)
    scales = np.maximum(np.sqrt(np.mean(gaps[:, : fit.pre] ** 2, axis=1)), 1e-300)
    placebos = Placebos(
        gaps[0], gaps[1:], float(scales[0]), scales[1:], np.zeros(len(gaps) - 1), fit.size, weights, duality,
    )  # fmt: skip

    def without(donor: int) -> float:
        keep = np.delete(np.arange(len(names)), donor)
        pool = Pool(fit.pool.targets[:1], fit.pool.donors[keep], fit.pool.members[:1])
        shrunk = Shrinkage(fit.shrinkage.penalty, fit.shrinkage.noise[keep])
        thinner = Fit(fit.actual[:1], pool, fit.size, fit.pre, fit.log, 1, shrunk, fit.observed, fit.besides)
        return fit.size * float((fit.actual[:1] - thinner.whole[0])[0, fit.pre :].sum())

    scaled = np.log(fit.actual[0] / would[0]) if fit.log else gaps[0]
    setting = Setting(
        fit.pool.donors, names, fit.pool.targets[0], scaled, float(fit.errors[0]), fit.pre, True, weights, duality, test, without
    )  # fmt: skip
    t = np.divide(*fit.studentised(fit.pre, fit.periods))
    doubts = (*run_checks(setting), calibrated(fit.calibration, t, len(fit.time_placebos)), data_check(panel, question))
    series = pd.Series(weights, index=pd.Index(names, name="donor"), name="weight")
    return Lift(
        effect=test.effect, treated=tuple(panel.units[row] for row in question.treated), outcome=panel.outcome,
        method=f"{METHOD}/{'log' if fit.log else 'linear'}",
        weights=series[series > 1e-9].sort_values(ascending=False, kind="stable"),
        actual=pd.Series(fit.size * fit.observed, index=when, name="actual"),
        counterfactual=pd.Series(fit.size * expected, index=when, name="counterfactual"),
        pre_periods=fit.pre, pre_rmspe=float(scales[0]), checks=doubts, test=test,
        period_test=lambda k: fit.test(k, k + 1), placebos=placebos, duality_gap=duality,
    )  # fmt: skip
