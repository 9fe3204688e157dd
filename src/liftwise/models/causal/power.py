"""Power: how often a test of this kind would have seen an effect of that size, had it been run in the past.

The rehearsal takes windows of the history in which no campaign ran, adds a known lift to the markets in question and runs the test
that the read-out will run. Weights are learned before the window, so an added lift changes no weight: everything found is linear
in it. One fit a market group then answers for every effect, and one Gram matrix serves all groups.

Two tests: ``"placebo"`` is the studentised placebo in space of `SyntheticControl`, the one that keeps its word on real panels.
``"conformal"`` refits with the window included and ranks its mean absolute residual among all shifts in time: GeoLift's test, with
shifts instead of random permutations, so that the answer is always the same. It is sharper, and too often wrong where series drift.

References
----------
Chernozhukov, Wüthrich and Zhu (2021), JASA 116(536), for conformal inference; the GeoLift documentation for the rehearsal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import comb
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.uncertainty import Floats
from liftwise.models.causal.panel import Panel
from liftwise.models.causal.placebo import BLOCKS, Groups, PlaceboTest, needed, placebo_groups
from liftwise.models.causal.question import LEAST_DONORS, LEAST_PRE
from liftwise.models.causal.simplex import fit_groups, simplex_least_squares
from liftwise.models.causal.words import amount

if TYPE_CHECKING:
    import plotly.graph_objects as go

ENOUGH = 0.80  # power at which an effect counts as detectable
TESTS = ("placebo", "conformal")


@dataclass(frozen=True, eq=False)
class PowerCurve:
    """What a test of `duration` periods in `markets` would have seen.

    Parameters
    ----------
    effects, power : (e,) relative lifts, increasing, and the share of windows in which each was told from nothing at `alpha`.
        At effect 0 that share is the rate of false alarms.
    found : (e,) relative lift estimated, mean over windows.
    width : width of the interval at 1 − `alpha` as a share of what would have been, median over windows; not a number with the
        conformal test.
    volume : outcome of all markets in a window, mean over windows.
    imbalance : error of the fit before the window beside that of equal weights (0 is perfect), mean over windows.
    holdout : share of the panel's outcome in units that would see no campaign.
    windows : number of rehearsals.
    """

    markets: tuple[str, ...]
    duration: int
    effects: Floats = field(repr=False)
    power: Floats = field(repr=False)
    found: Floats = field(repr=False)
    width: float
    volume: float
    imbalance: float
    holdout: float
    windows: int
    alpha: float
    inference: str
    cost_per_unit: float | None = None

    @property
    def mde(self) -> float:
        """Smallest of the effects above 0 which, like all larger ones, is seen in 80 % of the windows; infinite if none is."""
        low = np.flatnonzero(self.power < ENOUGH)
        rest = self.effects[low[-1] + 1 :] if len(low) else self.effects
        rest = rest[rest > 0]
        return float(rest[0]) if len(rest) else float("inf")

    @property
    def bias(self) -> float:
        """Relative lift found minus the lift added, at the mde; not a number where there is none."""
        at = np.flatnonzero(self.effects == self.mde)
        return float(self.found[at[0]] - self.mde) if len(at) else float("nan")

    def at(self, effect: float) -> float:
        """Power at `effect`, between the effects rehearsed on a straight line.

        Raises
        ------
        InputError
            For an effect outside the range that was rehearsed.
        """
        if not self.effects[0] <= effect <= self.effects[-1]:
            span = f"{self.effects[0]:.1%} to {self.effects[-1]:.1%}"
            raise InputError(f"power at {effect:.1%} was not rehearsed", fix=f"the effects went from {span}: add it to them")
        return float(np.interp(effect, self.effects, self.power))

    def cost(self, effect: float) -> float:
        """Cost of causing `effect`: cost per unit × what it adds; not a number without a cost per unit."""
        return float("nan") if self.cost_per_unit is None else self.cost_per_unit * effect * self.volume

    def to_frame(self) -> pd.DataFrame:
        """One row per effect: effect, power, found, cost."""
        cost = [self.cost(effect) for effect in self.effects]
        return pd.DataFrame({"effect": self.effects, "power": self.power, "found": self.found, "cost": cost})

    def summary(self) -> str:
        """One sentence for a manager."""
        who = " + ".join(self.markets)
        if not np.isfinite(self.mde):
            return (
                f"A test of {self.duration} periods in {who} would see none of the effects asked, up to {self.effects[-1]:.1%}."
            )
        costs = "" if self.cost_per_unit is None else f", which costs {amount(self.cost(self.mde))}"
        return (
            f"A test of {self.duration} periods in {who} sees effects from {self.mde:.1%} on at least {ENOUGH:.0%} of the time{costs}; "
            f"{self.holdout:.0%} of the outcome lies in markets without the campaign."
        )

    def plot(self) -> go.Figure:
        """Power against effect."""
        return power_figure([self])


def power_figure(curves: Sequence[PowerCurve]) -> go.Figure:
    """Power curves over one another, with the line of enough power."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for curve in curves:
        name = f"{' + '.join(curve.markets)}, {curve.duration} periods"
        figure.add_scatter(x=curve.effects, y=curve.power, name=name, mode="lines+markers")
    figure.add_hline(y=ENOUGH, line={"dash": "dot", "width": 1})  # pyright: ignore[reportArgumentType]
    figure.update_xaxes(title_text="true lift", tickformat=".0%")
    figure.update_yaxes(title_text="share of tests that would see it", range=[0, 1.02], tickformat=".0%")
    return figure.update_layout(template="plotly_white")


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """How tests are rehearsed: the same for every set of markets.

    Parameters
    ----------
    effects : relative lifts to add, none negative.
    lookback : windows, spread evenly from the latest one back over the second half of the history.
    alpha : a test sees an effect when p < alpha.
    inference : ``"placebo"`` or ``"conformal"``.
    level : ``"fixed_effects"`` or ``"outcome"``, as in `SyntheticControl`.
    placebos : placebo groups at most, when several markets are treated.
    """

    effects: Sequence[float]
    lookback: int = 10
    alpha: float = 0.10
    inference: str = "placebo"
    level: str = "fixed_effects"
    placebos: int = 99
    seed: int = 7

    def __post_init__(self) -> None:
        if self.inference not in TESTS:
            raise InputError(f"inference {self.inference!r} is unknown", fix="choose placebo or conformal")
        if self.level not in ("outcome", "fixed_effects"):
            raise InputError(f"level {self.level!r} is unknown", fix="choose outcome or fixed_effects")
        if not len(self.effects) or not np.isfinite(list(self.effects)).all() or min(self.effects) < 0 or max(self.effects) <= 0:
            raise InputError("the effects must be shares from 0 on, one of them above 0", fix="give them like 0.05 for 5%")
        if self.lookback < 1 or not 0 < self.alpha < 1:
            raise InputError("lookback counts from 1, and alpha lies between 0 and 1", fix="try lookback=10, alpha=0.1")

    def starts(self, periods: int, duration: int) -> list[int]:
        """First periods of the windows, latest first.

        >>> Rehearsal(effects=[0.1], lookback=3).starts(90, 15)
        [75, 60, 45]
        """
        latest = periods - duration
        if duration < 1 or latest < LEAST_PRE:
            raise CannotTell(
                f"{periods} periods of history cannot rehearse a test of {duration}",
                fix=f"deliver {LEAST_PRE} more than it lasts",
            )
        earliest = max(LEAST_PRE, min(latest, periods // 2))
        return sorted({round(float(start)) for start in np.linspace(latest, earliest, self.lookback)}, reverse=True)

    def curves(
        self, panel: Panel, sets: Sequence[tuple[int, ...]], duration: int, cost_per_unit: float | None
    ) -> list[PowerCurve]:
        """The power of every set of row numbers; all sets of one size."""
        effects, size = np.unique(np.asarray(self.effects, float)), len(sets[0])
        self._enough_units(len(panel.units), size)
        total, windows = float(panel.matrix.sum()), self.starts(panel.matrix.shape[1], duration)
        runs = [self._window(panel.matrix, np.array(sets), slice(start, start + duration), effects) for start in windows]
        seen, found, width, volume, imbalance = (np.array(part) for part in zip(*runs, strict=True))
        return [
            PowerCurve(
                tuple(panel.units[row] for row in group), duration, effects, seen[:, k].mean(axis=0), found[:, k].mean(axis=0),
                float(np.median(width[:, k])), float(volume[:, k].mean()), float(imbalance[:, k].mean()),
                1 - float(panel.matrix[list(group)].sum()) / total, len(windows), self.alpha, self.inference, cost_per_unit,
            )
            for k, group in enumerate(sets)
        ]  # fmt: skip

    def _enough_units(self, units: int, size: int) -> None:
        if units - size < LEAST_DONORS:
            raise CannotTell(f"{units - size} markets would be left to compare with", fix=f"keep at least {LEAST_DONORS}")
        many = units - 1 if size == 1 else min(comb(units, size) - 1, self.placebos)
        if self.inference == "placebo" and many < needed(1 - self.alpha):
            raise CannotTell(
                f"{many} placebos cannot test at {self.alpha:.0%}",
                fix=f"it takes {needed(1 - self.alpha)}: add markets or placebos, or raise alpha",
            )

    def _window(self, values: Floats, sets: Groups, window: slice, effects: Floats) -> tuple[Floats, ...]:
        """Of every set: seen (m, e), found (m, e), width (m,), volume (m,), imbalance (m,)."""
        demean = self.level == "fixed_effects"
        past = values[:, : window.start]
        moved = values - past.mean(axis=1, keepdims=True) if demean else values
        contrast = _contrasts(moved[:, : window.start], sets)
        volume = values[sets, window].sum(axis=(1, 2))
        nothing = sets.shape[1] * contrast @ moved[:, window].sum(axis=1)
        without = np.where(np.abs(volume - nothing) > 0, volume - nothing, np.nan)
        found = (nothing[:, None] + effects * volume[:, None]) / without[:, None]
        if self.inference == "placebo":
            seen, width = self._by_placebos(values, moved, sets, contrast, window, effects)
        else:
            seen = np.array([_conformal(values[:, : window.stop], group, window, effects, demean) for group in sets]) < self.alpha
            width = np.full(len(sets), np.nan)
        gaps = contrast @ moved[:, : window.start]
        evenly = _equal_weights(len(values), sets) @ moved[:, : window.start]
        imbalance = np.linalg.norm(gaps, axis=1) / np.linalg.norm(evenly, axis=1)
        return seen.astype(float), found, width / without, volume, imbalance

    def _by_placebos(
        self, values: Floats, moved: Floats, sets: Groups, contrast: Floats, window: slice, effects: Floats
    ) -> tuple[NDArray[np.bool_], Floats]:
        """Whether each effect is seen in each set (m, e), and the interval's width with none added (m,)."""
        size, level = sets.shape[1], round(1 - self.alpha, 12)
        scales = _held_out(moved[:, : window.start], sets, self.level)
        demand = values[:, window].sum(axis=1)
        pool = placebo_groups(len(values), sets[0].tolist(), self.seed, self.placebos) if size > 1 else sets
        pool = np.unique(np.vstack([pool, sets[:1]]), axis=0)
        shared = _Placebos.of(moved, pool, window, self.level) if size > 1 else None
        seen, width = np.empty((len(sets), len(effects)), bool), np.empty(len(sets))
        for k, group in enumerate(sets):
            of = shared.other_than(group) if shared else _Placebos.beside(moved, group, window, self.level)
            own = contrast[k] @ moved[:, window].sum(axis=1) * size + effects * demand[group].sum()
            split = _split(values[group, : window.start])
            shares = size * of.contrast[:, group] @ split
            keeps_up = of.scales / scales[k] <= np.abs(shares)
            theirs = of.effects[:, None] + np.outer(size * of.contrast[:, group] @ demand[group], effects)
            extreme = (np.abs(theirs) / of.scales[:, None] >= np.abs(own) / scales[k]) | keeps_up[:, None]
            seen[k] = (1 + extreme.sum(axis=0)) / (len(extreme) + 1) < self.alpha - 1e-12
            nothing = float(own[0] - effects[0] * demand[group].sum())
            ends = PlaceboTest.of(nothing, float(scales[k]), of.effects, of.scales, shares).interval(level)
            width[k] = np.inf if ends is None else ends[1] - ends[0]
        return seen, width


@dataclass(frozen=True, eq=False)
class _Placebos:
    """Groups (m, size), what each takes from every unit (m, n), its effect over the window (m,) and its held-out error (m,)."""

    groups: Groups
    contrast: Floats
    effects: Floats
    scales: Floats

    @classmethod
    def of(cls, moved: Floats, groups: Groups, window: slice, level: str) -> _Placebos:
        contrast = _contrasts(moved[:, : window.start], groups)
        effects = groups.shape[1] * contrast @ moved[:, window].sum(axis=1)
        return cls(groups, contrast, effects, _held_out(moved[:, : window.start], groups, level))

    @classmethod
    def beside(cls, moved: Floats, treated: Groups, window: slice, level: str) -> _Placebos:
        """Every other unit on its own, fitted without the treated one."""
        others = np.delete(np.arange(len(moved)), treated)
        found = cls.of(moved[others], np.arange(len(others), dtype=np.int64)[:, None], window, level)
        contrast = np.zeros((len(others), len(moved)))
        contrast[:, others] = found.contrast
        return cls(others[:, None], contrast, found.effects, found.scales)

    def other_than(self, group: Groups) -> _Placebos:
        """All groups but that one."""
        keep = (self.groups != np.sort(group)).any(axis=1)
        return _Placebos(self.groups[keep], self.contrast[keep], self.effects[keep], self.scales[keep])


def simulate_power(
    panel: Panel, *, treated: Sequence[str] | str, duration: int, effects: Sequence[float], exclude: Sequence[str] = (),
    cost_per_unit: float | None = None, **how: Any,
) -> PowerCurve:  # fmt: skip
    """Rehearse one test on the history of `panel`, in which no campaign may have run.

    Parameters
    ----------
    treated : markets of the test.
    duration : periods it lasts.
    effects : relative lifts to rehearse, such as 0.05.
    exclude : units that take no part, not even as comparison.
    cost_per_unit : what one more unit of the outcome costs, in money.
    how : `lookback`, `alpha`, `inference`, `level`, `placebos`, `seed` as in `Rehearsal`.
    """
    small, rows = without(panel, exclude), sorted({treated} if isinstance(treated, str) else set(treated))
    if not rows:
        raise InputError("no market is named", fix="name those in which the campaign would run")
    group = tuple(sorted(small.rows(rows)))
    return Rehearsal(effects=effects, **how).curves(small, [group], duration, cost_per_unit)[0]


def without(panel: Panel, exclude: Sequence[str]) -> Panel:
    """The panel less units that take no part, and less those that never move, which can neither be tested nor compare."""
    barred = set(panel.rows(list(exclude)))
    keep = [row for row in range(len(panel.units)) if row not in barred and np.ptp(panel.matrix[row, :LEAST_PRE]) > 0]
    return Panel(panel.matrix[keep], tuple(panel.units[row] for row in keep), panel.periods, panel.outcome, panel.dropped)


def _contrasts(moved: Floats, groups: Groups) -> Floats:
    """(m, n): each group's mean minus its synthetic control, as weights on all units; learned on `moved` (n, periods)."""
    gram = _gram(moved)
    return fit_groups(gram, np.ascontiguousarray(groups, dtype=np.int64), moved.shape[1], np.eye(len(moved)))[0]


def _held_out(moved: Floats, groups: Groups, level: str) -> Floats:
    """(m,) root mean squared error of each group in blocks of the past that its weights have not seen."""
    groups, squares = np.ascontiguousarray(groups, dtype=np.int64), np.zeros(len(groups))
    for block in np.array_split(np.arange(moved.shape[1]), BLOCKS):
        train = np.setdiff1d(np.arange(moved.shape[1]), block)
        local = moved - moved[:, train].mean(axis=1, keepdims=True) if level == "fixed_effects" else moved
        gaps = fit_groups(_gram(local[:, train]), groups, len(train), np.ascontiguousarray(local[:, block]))[0]
        squares += np.sum(gaps**2, axis=1)
    return np.maximum(np.sqrt(squares / moved.shape[1]), 1e-9 * float(np.abs(moved).mean()) + 1e-300)


def _gram(moved: Floats) -> Floats:
    centred = np.ascontiguousarray(moved - moved.mean(axis=0))
    return centred @ centred.T


def _equal_weights(units: int, sets: Groups) -> Floats:
    """(m, n): each set's mean minus the mean of all others."""
    even = np.full((len(sets), units), -1 / (units - sets.shape[1]))
    np.put_along_axis(even, sets, 1 / sets.shape[1], axis=1)
    return even


def _split(past: Floats) -> Floats:
    """Share of the effect in each treated market: by size, evenly where that has no meaning."""
    level = past.mean(axis=1)
    return level / level.sum() if (level > 0).all() else np.full(len(level), 1 / len(level))


def _conformal(values: Floats, group: Groups, window: slice, effects: Floats, demean: bool) -> Floats:
    """p-value of no effect for each effect added: fit all periods, then rank the window among all shifts in time."""
    donors, mean = np.delete(values, group, axis=0), values[group].mean(axis=0)
    if demean:
        donors = donors - donors.mean(axis=1, keepdims=True)
    periods, length = values.shape[1], window.stop - window.start
    p = np.empty(len(effects))
    for k, effect in enumerate(effects):
        target = mean.copy()
        target[window] *= 1 + effect
        target -= target.mean() if demean else 0.0
        apart = np.abs(target - simplex_least_squares(donors, target).weights @ donors)
        summed = np.concatenate([[0.0], np.cumsum(np.concatenate([apart, apart]))])
        shifts = summed[length : length + periods] - summed[:periods]
        p[k] = np.mean(shifts >= shifts[window.start] * (1 - 1e-12))
    return p
