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

from dataclasses import dataclass
from itertools import combinations
from math import ceil, comb, floor

import numpy as np
from numpy.typing import NDArray

from liftwise.core.uncertainty import Floats, spawn
from liftwise.models.causal.simplex import SimplexFit, fit_groups, simplex_least_squares

BLOCKS = 5  # of the pre-period, each predicted once from the others
GROUPS = 999  # at most, of placebo groups when several units are treated

Groups = NDArray[np.int64]


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
    fit : weights of the treated mean's donors.
    duality : the largest duality gap of all fits, as a share of the donors' mean squared distance.
    """

    treated: Floats
    placebo: Floats
    scale: float
    scales: Floats
    shares: Floats
    size: int
    fit: SimplexFit
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
        split = _split_of_effect(values, treated, pre)
    periods = np.arange(values.shape[1])
    fit, gaps = _treated_gaps(donors, mean, periods[:pre], periods, demean)
    placebo, duality = _placebo_gaps(pool, groups, periods[:pre], periods, demean, split)
    held = [_treated_gaps(donors, mean, *blocks, demean)[1] for blocks in _blocks(pre)]
    helds = [_placebo_gaps(pool, groups, *blocks, demean)[0] for blocks in _blocks(pre)]
    least = 1e-9 * float(np.abs(values[:, :pre]).mean()) + 1e-300  # an exact copy among the donors leaves no error at all
    return Placebos(
        gaps, placebo[:, :-1], max(_rms(np.concatenate(held)[None])[0], least),
        np.maximum(_rms(np.concatenate(helds, axis=1)), least), len(treated) * placebo[:, -1], len(treated), fit, duality,
    )  # fmt: skip


def placebo_groups(units: int, treated: list[int], seed: int) -> Groups:
    """Groups as large as `treated` (sorted) among `units`, other than it: all when at most 999, else 999 drawn.

    >>> placebo_groups(3, [0, 1], seed=7).tolist()
    [[0, 2], [1, 2]]
    """
    size, own = len(treated), tuple(treated)
    if comb(units, size) <= GROUPS + 1:
        return np.array([group for group in combinations(range(units), size) if group != own], dtype=np.int64)
    random, drawn = spawn(seed, "placebo groups"), set[tuple[int, ...]]()
    while len(drawn) < GROUPS:
        drawn.add(tuple(sorted(random.choice(units, size, replace=False).tolist())))
        drawn.discard(own)
    return np.array(sorted(drawn), dtype=np.int64)


def _split_of_effect(values: Floats, treated: list[int], pre: int) -> Floats:
    """Share of the total effect in each unit: in proportion to the outcome before, evenly where that has no meaning."""
    level = values[treated, :pre].mean(axis=1)
    split = np.zeros(len(values))
    split[treated] = level / level.sum() if (level > 0).all() else 1 / len(treated)
    return split


def _blocks(pre: int) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Training and held-out periods; blocks are contiguous, so that neighbours in time do not give the answer away."""
    blocks = np.array_split(np.arange(pre), BLOCKS)
    return [(np.setdiff1d(np.arange(pre), block), block) for block in blocks]


def _rms(gaps: Floats) -> Floats:
    return np.sqrt(np.mean(gaps**2, axis=1))


def _treated_gaps(
    donors: Floats, mean: Floats, train: NDArray[np.intp], judge: NDArray[np.intp], demean: bool
) -> tuple[SimplexFit, Floats]:
    """Learn the treated mean's weights on periods `train`; actual minus synthetic in periods `judge`."""
    if demean:
        donors, mean = donors - donors[:, train].mean(axis=1, keepdims=True), mean - mean[train].mean()
    fit = simplex_least_squares(donors[:, train], mean[train])
    return fit, mean[judge] - fit.weights @ donors[:, judge]


def _placebo_gaps(
    pool: Floats, groups: Groups, train: NDArray[np.intp], judge: NDArray[np.intp], demean: bool, split: Floats | None = None
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
