"""Placebo in space: what would have been found where nothing happened.

Other units are treated as if the campaign had run there, and fitted in the same way. Effects are studentised by each
unit's own prediction error before the campaign, found by cross-fitting: weights are learned without a block of the
pre-period and judged on it, so that a perfect fit in sample earns no credit. One test gives both answers: the p-value is
the rank of the treated |t| among all, and the interval is every effect that this test would not reject.

- One treated unit: every donor is a placebo, fitted by the other donors (never by the treated unit).
- Several: their mean is one target, and groups as large are drawn from *all* units, treated ones included. Groups of
  donors alone overlap too much and reject too often (measured: 11 to 16 % of the time at 10 %, 12 to 40 units). A group
  that holds or uses treated units shares in the effect, so its t moves with the effect supposed; hence the share below.

References
----------
Abadie, Diamond and Hainmueller (2010), JASA 105(490), for placebo in space; Hahn and Shi (2017), Observational
Studies 3, for why effects must be studentised; Chernozhukov, Wüthrich and Zhu (2021), JASA 116(536), for inversion.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from math import ceil, comb, floor

import numpy as np
from numpy.typing import NDArray

from liftwise.core.errors import CannotTell
from liftwise.core.uncertainty import Floats, spawn
from liftwise.models.causal.simplex import SimplexFit, fit_groups, simplex_least_squares

BLOCKS = 5  # of the pre-period, each predicted once from the others
GROUPS = 999  # at most, of placebo groups when several units are treated

Groups = NDArray[np.int64]
Periods = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class PlaceboTest:
    """For each of m placebos, the effects (`lower` to `upper`) at which it would be as extreme as the treated unit.

    Every range holds `effect` itself, so fewer and fewer placebos agree the farther one moves away from it.
    """

    effect: float
    lower: Floats
    upper: Floats

    @classmethod
    def of(cls, effect: float, scale: float, effects: Floats, scales: Floats, shares: Floats) -> PlaceboTest:
        """Studentise and invert.

        Supposing the effect were δ, placebo j is as extreme where |effectsⱼ − sharesⱼ δ| / scalesⱼ ≥ |effect − δ| / scale.
        That is a range around `effect`; where a placebo shares so much in the effect that it could keep up for good, it
        counts as extreme for every δ (which can only widen the interval and raise the p-value).
        """
        rest = effects - shares * effect
        slope = scales / scale
        keeps_up = slope <= np.abs(shares)
        safe = np.where(keeps_up, np.abs(shares) + 1, slope)
        above = np.where(keeps_up, np.inf, np.maximum(rest / (safe + shares), -rest / (safe - shares)))
        below = np.where(keeps_up, np.inf, np.maximum(rest / (safe - shares), -rest / (safe + shares)))
        return cls(effect, effect - below, effect + above)

    @property
    def p_value(self) -> float:
        """Share of all units, the treated one included, that are at least as extreme as it, had nothing happened."""
        return float(1 + np.sum((self.lower <= 0) & (self.upper >= 0))) / (len(self.lower) + 1)

    def interval(self, level: float) -> tuple[float, float] | None:
        """All effects with p ≥ 1 − `level`; none where the placebos are too few for any effect to be rejected.

        >>> test = PlaceboTest.of(10.0, 2.0, np.linspace(-3, 3, 19), np.ones(19), np.zeros(19))
        >>> test.interval(0.90), test.p_value
        ((4.0, 16.0), 0.05)
        """
        count = ceil(_alpha(level) * (len(self.lower) + 1) - 1 - 1e-9)
        if count < 1:
            return None
        return float(np.sort(self.lower)[count - 1]), float(np.sort(self.upper)[-count])

    def refusal(self, level: float) -> CannotTell:
        """Too few placebos, or ones that share too much in the effect."""
        if self.interval(level) is None:
            return CannotTell(
                f"{len(self.lower)} placebos cannot give an interval at {level:.0%}",
                fix=f"have at least {needed(level)} comparison units, or ask for a lower level",
            )
        return CannotTell(
            f"the interval at {level:.0%} has no end: too many comparisons share in the effect",
            fix="add comparison units, or treat fewer",
        )


def needed(level: float) -> int:
    """Placebos needed for an interval of `level`: with m of them p cannot fall below 1/(m + 1).

    >>> needed(0.90), needed(0.95)
    (10, 20)
    """
    return floor(1 / _alpha(level) + 1e-9)


def _alpha(level: float) -> float:
    return round(1 - level, 12)  # 1 − 0.9 is not 0.1 in binary


@dataclass(frozen=True, eq=False)
class Placebos:
    """The treated mean and its m placebos: actual minus synthetic over t periods, and what makes them comparable.

    Parameters
    ----------
    treated, placebo : arrays (t,), (m, t), per unit.
    scale, scales : cross-fitted error per unit and period, of the treated mean and of each placebo (m,).
    shares : (m,) part of the treated units' total effect that each placebo would show; 0 with one treated unit.
    size : number of treated units.
    weights : of the treated mean's donors; empty where the design has none.
    duality : the largest duality gap of all fits, as a share of the donors' mean squared distance.
    """

    treated: Floats
    placebo: Floats
    scale: float
    scales: Floats
    shares: Floats
    size: int
    weights: Floats
    duality: float

    def test(self, periods: slice) -> PlaceboTest:
        """Test the total effect over `periods`, in the outcome's unit, over all treated units."""
        effects = self.size * self.placebo[:, periods].sum(axis=1)
        return PlaceboTest.of(
            float(self.size * self.treated[periods].sum()), self.scale, effects, self.scales, self.shares
        )  # fmt: skip


def run_placebos(values: Floats, treated: list[int], pre: int, *, demean: bool, seed: int) -> Placebos:
    """Fit the treated mean and all placebos on the first `pre` periods of `values` (units, t); predict all periods."""
    mean = values[treated].mean(axis=0)
    donors = np.delete(values, treated, axis=0)
    if len(treated) == 1:
        pool, groups, split = donors, np.arange(len(donors), dtype=np.int64)[:, None], np.zeros(len(donors))
    else:
        pool, groups = values, placebo_groups(len(values), sorted(treated), seed)
        split = split_of_effect(values, treated, pre)
    periods = np.arange(values.shape[1])
    fit, gaps = _treated_gaps(donors, mean, periods[:pre], periods, demean)
    placebo, duality = _placebo_gaps(pool, groups, periods[:pre], periods, demean, split)
    held = [_treated_gaps(donors, mean, *blocks, demean)[1] for blocks in held_out_blocks(pre)]
    helds = [_placebo_gaps(pool, groups, *blocks, demean)[0] for blocks in held_out_blocks(pre)]
    least = least_error(values, pre)
    return Placebos(
        gaps, placebo[:, :-1], max(rms(np.concatenate(held)[None])[0], least),
        np.maximum(rms(np.concatenate(helds, axis=1)), least), len(treated) * placebo[:, -1], len(treated), fit.weights, duality,
    )  # fmt: skip


Predict = Callable[[Floats, Floats, Periods, Periods, Floats], tuple[Floats, Floats]]


def run_placebos_by(
    predict: Predict, values: Floats, treated: list[int], pre: int, covariates: Floats, *, seed: int, most: int
) -> Placebos:
    """The same for any way to predict: ``predict(donors, target, train, judge, covariates)`` gives (counterfactual, weights).

    One prediction at a time, so at most `most` placebos: slower, and for designs without a Gram matrix to share.
    """
    size, periods = len(treated), np.arange(values.shape[1])
    rows = np.arange(len(values))
    own = np.array(sorted(treated))
    if size == 1:
        groups = np.delete(rows, own)[:, None]
        pools = [np.setdiff1d(rows, [*own, *group]) for group in groups]
        split = np.zeros(len(values))
    else:
        groups = placebo_groups(len(values), own.tolist(), seed, most)
        pools = [np.setdiff1d(rows, group) for group in groups]
        split = split_of_effect(values, treated, pre)

    def gap(group: NDArray[np.intp], pool: NDArray[np.intp], train: Periods, judge: Periods) -> tuple[Floats, Floats]:
        target, aim = values[group].mean(axis=0), covariates[group].mean(axis=0)
        made, weights = predict(values[pool], target, train, judge, np.vstack([covariates[pool], aim]))
        return target[judge] - made, weights

    others = np.setdiff1d(rows, own)
    whole = [gap(group, pool, periods[:pre], periods) for group, pool in zip([own, *groups], [others, *pools], strict=True)]
    held = np.array([
        np.concatenate([gap(group, pool, *block)[0] for block in held_out_blocks(pre)]) for group, pool in zip([own, *groups], [others, *pools], strict=True)
    ])  # fmt: skip
    shares = [split[group].mean() - (weights @ split[pool] if len(weights) else 0.0)
              for (_, weights), group, pool in zip(whole[1:], groups, pools, strict=True)]  # fmt: skip
    least = least_error(values, pre)
    scales = np.maximum(rms(held), least)
    return Placebos(
        whole[0][0], np.array([found for found, _ in whole[1:]]), float(scales[0]), scales[1:], size * np.array(shares), size, whole[0][1], 0.0,
    )  # fmt: skip


def placebo_groups(units: int, treated: list[int], seed: int, most: int = GROUPS) -> Groups:
    """Groups as large as `treated` (sorted) among `units`, other than it: all when at most `most`, else that many drawn.

    >>> placebo_groups(3, [0, 1], seed=7).tolist()
    [[0, 2], [1, 2]]
    """
    size, own = len(treated), tuple(treated)
    if comb(units, size) <= most + 1:
        return np.array([group for group in combinations(range(units), size) if group != own], dtype=np.int64)
    random, drawn = spawn(seed, "placebo groups"), set[tuple[int, ...]]()
    while len(drawn) < most:
        drawn.add(tuple(sorted(random.choice(units, size, replace=False).tolist())))
        drawn.discard(own)
    return np.array(sorted(drawn), dtype=np.int64)


def split_of_effect(values: Floats, treated: list[int], pre: int) -> Floats:
    """Share of the total effect in each unit: in proportion to the outcome before, evenly where that has no meaning."""
    level = values[treated, :pre].mean(axis=1)
    split = np.zeros(len(values))
    split[treated] = level / level.sum() if (level > 0).all() else 1 / len(treated)
    return split


def held_out_blocks(pre: int) -> list[tuple[Periods, Periods]]:
    """Training and held-out periods; blocks are contiguous, so that neighbours in time do not give the answer away."""
    blocks = np.array_split(np.arange(pre), BLOCKS)
    return [(np.setdiff1d(np.arange(pre), block), block) for block in blocks]


def least_error(values: Floats, pre: int) -> float:
    """The smallest error that counts as one: an exact copy among the donors leaves none at all."""
    return 1e-9 * float(np.abs(values[:, :pre]).mean()) + 1e-300


def rms(gaps: Floats) -> Floats:
    return np.sqrt(np.mean(gaps**2, axis=1))


def _treated_gaps(donors: Floats, mean: Floats, train: Periods, judge: Periods, demean: bool) -> tuple[SimplexFit, Floats]:
    """Learn the treated mean's weights on periods `train`; actual minus synthetic in periods `judge`."""
    if demean:
        donors, mean = donors - donors[:, train].mean(axis=1, keepdims=True), mean - mean[train].mean()
    fit = simplex_least_squares(donors[:, train], mean[train])
    return fit, mean[judge] - fit.weights @ donors[:, judge]


def _placebo_gaps(
    pool: Floats, groups: Groups, train: Periods, judge: Periods, demean: bool, split: Floats | None = None
) -> tuple[Floats, float]:
    """The same for every group; with `split`, one more column: the part of the effect that each group would show."""
    if demean:
        pool = pool - pool[:, train].mean(axis=1, keepdims=True)
    past, future = pool[:, train], pool[:, judge]
    centred = np.ascontiguousarray(past - past.mean(axis=0))
    gram = centred @ centred.T
    future = np.ascontiguousarray(future if split is None else np.column_stack([future, split]))
    gaps, duality = fit_groups(gram, groups, len(train), future)
    return gaps, float(duality.max()) / max(float(np.trace(gram)) / len(gram), 1e-300)
