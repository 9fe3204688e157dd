"""Campaigns that ran at the same time: what each brought, what they brought only together, and when that cannot be told.

The outcome of unit i in period t is taken as

    log y_it = u_i + f_t + Σ_k s_k,it + s_shared,it + λ_i·F_t + e_it,   s_k = β_k · hill(adstock(x_k, α_k))

with x exposures per head (GRPs, contacts per thousand), so that a campaign moves small and large regions by the same percentage. Unit
and time effects take out size, season and national shocks; latent factors F, where asked for, shocks that hit some units.
Each unit may have the season in its own strength. Neighbouring errors in time are whitened (one AR coefficient), quiet units count more.

- **How effects add up** is not known: multiplying each other (as above), a percentage of the base that adds, or an amount that adds whatever
  the season. The three are averaged by how well they fit, and their disagreement is part of the error.
- **Credit is counted once.** Where effects multiply, campaign k alone would have brought base·(exp(s_k) − 1), base = y·exp(−Σ s); total is
  y − base; what is left, shared = total − Σ parts, is what they bring only together. Where they add, only an interaction is shared.
- **Inference** leaves out one unit at a time (jackknife, CV3) with the carry-over free to move, and uses t with units − 1 degrees.
- **Exposure that is the same everywhere** (national television, flat) cannot be told from the time effects. It is identified over time
  alone, from the time effects against trend, season and controls, with an error of its own that serial correlation widens.
- **Too alike** (multiple correlation above `limit`, raw or carried over, after all effects are out): no number for the parts, only for the total.

References
----------
Bai (2009), Econometrica 77(4), for latent factors; MacKinnon, Nielsen and Webb (2023), J. Applied Econometrics 38(5), for the cluster
jackknife; Buja and Eyuboglu (1992), Multivariate Behavioral Research 27(4), for parallel analysis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.uncertainty import Floats
from liftwise.models.causal.checks import Check, Verdict
from liftwise.models.causal.exposure_fit import FLAT, Asked, Fit, Shape, Space, between, solve
from liftwise.models.causal.inference import StudentTest, bounded
from liftwise.models.causal.panel import Panel
from liftwise.models.causal.words import amount, chance, one_line

if TYPE_CHECKING:
    import plotly.graph_objects as go

CARRYOVER = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
LIMIT = 0.9  # multiple correlation beyond which parts are not told apart (variance inflation 5.3)
LEAST_UNITS, LEAST_PERIODS = 8, 20
RESPONSES = ("exponential", "proportional", "additive")


@dataclass(frozen=True, eq=False)
class Contribution:
    """What one campaign brought: `effect` in the outcome's unit, `share` of what would have been sold with none of them."""

    name: str
    effect: float
    share: float
    test: StudentTest = field(repr=False)

    @property
    def p_value(self) -> float:
        """Two-sided, of nothing."""
        return self.test.p_value

    def interval(self, level: float = 0.90) -> tuple[float, float]:
        """All effects that the test does not reject at 1 − `level`."""
        return bounded(self.test, level)


@dataclass(frozen=True, eq=False)
class Decomposition:
    """What campaigns that overlap brought: parts + shared = total, exactly.

    Parameters
    ----------
    total : all campaigns together, over the units and periods counted.
    known : what could be told apart: campaigns by name, and ``"shared"``.
    refusals : for those that could not, why.
    paths : (periods, parts) by period, summed over units: base, the parts known, shared or together, total.
    carryover : frame exposure, retention, error, half.
    responses : by name, how likely each way to add up is; sums to 1.
    correlation : frame exposure, raw, carried: multiple correlation with the other exposures, all effects taken out.
    """

    total: Contribution
    known: Mapping[str, Contribution]
    refusals: Mapping[str, CannotTell]
    outcome: str
    paths: pd.DataFrame = field(repr=False)
    carryover: pd.DataFrame = field(repr=False)
    responses: Mapping[str, float]
    correlation: pd.DataFrame = field(repr=False)
    checks: tuple[Check, ...] = field(repr=False)

    def part(self, name: str) -> Contribution:
        """What one campaign would have brought alone, or ``"shared"``.

        Raises
        ------
        CannotTell
            When the data cannot tell it from the others.
        InputError
            For a campaign that was not given.
        """
        if name in self.refusals:
            raise self.refusals[name]
        if name not in self.known:
            raise InputError(f"there is no campaign {name!r}", fix=f"there are {', '.join([*self.known, *self.refusals])}")
        return self.known[name]

    @property
    def shared(self) -> Contribution:
        """What the campaigns bring only together."""
        return self.part("shared")

    def to_frame(self, level: float = 0.90) -> pd.DataFrame:
        """One row per campaign, then shared and total; not a number, and the reason, where it cannot be told."""
        rows = [self._row(name, self.known.get(name), level) for name in [*self.paths.attrs["names"], "shared"]]
        return pd.DataFrame([*rows, self._row("total", self.total, level)])

    def _row(self, name: str, of: Contribution | None, level: float) -> dict[str, Any]:
        if of is None:
            gone = dict.fromkeys(("effect", "low", "high", "p_value", "share"), float("nan"))
            return {"part": name, **gone, "reason": str(self.refusals[name])}
        low, high = of.interval(level)
        return {
            "part": name,
            "effect": of.effect,
            "low": low,
            "high": high,
            "p_value": of.p_value,
            "share": of.share,
            "reason": "",
        }

    def summary(self, level: float = 0.90) -> str:
        """What a manager should take away."""
        low, high = self.total.interval(level)
        names = self.paths.attrs["names"]
        says = (
            f"Together {', '.join(names)} brought {amount(self.total.effect)} {self.outcome}, {level:.0%} interval {amount(low)} to "
            f"{amount(high)}; chance alone would show as much {chance(self.total.p_value)}."
        )
        for name in [*names, "shared"]:
            if name in self.known:
                low, high = self.known[name].interval(level)
                who = "Only together" if name == "shared" else f"{name} alone"
                says += f" {who}: {amount(self.known[name].effect)} ({amount(low)} to {amount(high)})."
        why = dict.fromkeys(one_line(reason) for reason in self.refusals.values())
        return says + "".join(f" Not told apart: {reason}." for reason in why)

    def plot(self) -> go.Figure:
        """The parts by period, stacked."""
        import plotly.graph_objects as go

        figure = go.Figure()
        for name in [part for part in self.paths.columns if part not in ("base", "total")]:
            figure.add_bar(x=self.paths.index, y=self.paths[name], name=name)
        figure.add_scatter(x=self.paths.index, y=self.paths["total"], name="total", line={"color": "#1f2933"})
        figure.update_layout(
            template="plotly_white", barmode="relative", yaxis_title=self.outcome, title="What the campaigns brought"
        )
        return figure


class SimultaneousCampaigns:
    """What each of several campaigns brought that ran at the same time, from their variation over units and time.

    Parameters
    ----------
    carryover : grid of retentions per period, one for all exposures or by name.
    saturation : grid of half-saturation points, as multiples of the exposure's mean where there is some, by name; straight without.
    scale : ``"log"``, ``"linear"`` (outcome ÷ the unit's mean), or ``"auto"``: log where every value is positive.
    exposure : ``"intensity"`` (per head: GRPs), or ``"amount"`` (money or contacts per unit: divided by the unit's mean outcome).
    response : ``"exponential"``, ``"proportional"`` or ``"additive"`` (see above; on the log scale), or ``"auto"``: their average.
    interaction : whether campaigns may help or hinder each other beyond multiplying; goes to ``shared``.
    factors : number of latent factors, or ``"auto"``: as many as noise would not show. They sharpen the estimate where shocks are
        regional; learning them costs time, and intervals are less sure.
    season : pairs of yearly waves that each unit has in its own strength, where the panel spans a year and a half of dates.
    limit : multiple correlation above which exposures are too alike.
    seed : for the noise that a factor has to beat.

    Examples
    --------
    >>> random = np.random.default_rng(1)
    >>> from liftwise.core.transforms import adstock
    >>> tv, posts = random.gamma(1, 1, (24, 60)), random.gamma(1, 1, (24, 60))
    >>> sales = np.exp(5 + 0.05 * adstock(tv, 0.6) + 0.03 * posts + 0.02 * random.normal(size=(24, 60)))
    >>> panel = Panel(sales, tuple(f"r{k:02d}" for k in range(24)), pd.RangeIndex(60), exposure={"tv": tv, "posts": posts})
    >>> found = SimultaneousCampaigns().estimate(panel)
    >>> parts = found.part("tv").effect + found.part("posts").effect + found.shared.effect
    >>> bool(abs(parts - found.total.effect) < 1e-6 * found.total.effect), bool(0.04 < found.part("tv").share < 0.06)
    (True, True)
    """

    def __init__(
        self, *, carryover: Sequence[float] | Mapping[str, Sequence[float]] = CARRYOVER,
        saturation: Mapping[str, Sequence[float]] | None = None, scale: str = "auto", exposure: str = "intensity",
        response: str = "auto", interaction: bool = False, factors: int | str = 0, season: int = 1, limit: float = LIMIT, seed: int = 7,
    ) -> None:  # fmt: skip
        choices = (
            ("scale", scale, ("auto", "log", "linear")), ("exposure", exposure, ("intensity", "amount")),
            ("response", response, ("auto", "exponential", "proportional", "additive")),
        )  # fmt: skip
        for what, given, allowed in choices:
            if given not in allowed:
                raise InputError(f"{what} {given!r} is unknown", fix=f"choose {', '.join(allowed)}")
        if not (factors == "auto" or (isinstance(factors, int) and factors >= 0)):
            raise InputError(f"factors={factors!r} is no number of factors", fix="give 0, 1, … or 'auto'")
        if not 0 < limit < 1:
            raise InputError(f"limit {limit} is no correlation", fix="give one between 0 and 1, such as 0.9")
        self.carryover, self.saturation, self.scale, self.exposure = carryover, saturation or {}, scale, exposure
        self.response, self.interaction, self.factors, self.season, self.limit, self.seed = (
            response,
            interaction,
            factors,
            season,
            limit,
            seed,
        )

    def estimate(
        self, panel: Panel, exposures: Mapping[str, Floats] | None = None, *, start: Any = None, end: Any = None,
        controls: Mapping[str, Floats] | None = None,
    ) -> Decomposition:  # fmt: skip
        """Decompose the outcome over the periods from `start` to `end` (default: all); all periods are used to learn.

        Parameters
        ----------
        exposures : by campaign, (units, periods) in the panel's order, or (periods,) where it is national; default `panel.exposure`.
        controls : by name, (units, periods) or (periods,): what else moved the outcome, such as price or temperature.

        Raises
        ------
        InputError
            For exposures or controls of the wrong shape, with holes or below 0, or dates outside the panel.
        CannotTell
            With fewer than 8 units or 20 periods, or an outcome or exposure that never moves.
        """
        given = dict(panel.exposure if exposures is None else exposures)
        asked = self._read(panel, given, controls or {})
        window = _window(panel, start, end)
        positive = bool((panel.matrix > 0).all())
        if self.scale == "log" and not positive:
            raise InputError(f"{panel.outcome} is not positive everywhere", fix="use scale='linear'")
        found = self._fits(Fit.start(panel.matrix, panel.periods, asked, positive and self.scale != "linear", self.season))
        return _decomposition(panel, found, window, self)

    def _fits(self, fit: Fit) -> list[tuple[Fit, float]]:
        """A fit by response, with weights that sum to 1; judged on the same errors, and as if there were as few as their grouping says."""
        fit = fit.again(factors=self.factors, seed=self.seed).again(factors=self.factors, seed=self.seed).again(near=0.05)
        names = [fit.response.name]
        if fit.response.name != "linear" and (self.response != "auto" or fit.asked.local):
            names = list(RESPONSES) if self.response == "auto" else [self.response]
        tried = []
        for name in names:
            one = replace(fit, response=replace(fit.response, name=name))
            for _ in range(3 if name != fit.response.name else 1):
                one = one.again(near=0.025)
            tried.append((one.again(near=0.025).again(factors=self.factors, seed=self.seed, last=True), one.squared_error()))
        least, best = min((error, k) for k, (_, error) in enumerate(tried))
        freedom = tried[best][0].freedom() / tried[best][0].design_effect()
        weights = np.array([np.exp(-0.5 * freedom * (error / max(least, 1e-300) - 1)) for _, error in tried])
        return [(one, float(weight)) for (one, _), weight in zip(tried, weights / weights.sum(), strict=True)]

    def _grid(self, name: str, x: Floats) -> list[Shape]:
        alphas = self.carryover.get(name, CARRYOVER) if isinstance(self.carryover, Mapping) else self.carryover
        halves = [float(h) * float(x[x > 0].mean()) for h in self.saturation.get(name, ())] or [np.inf]
        if not len(alphas) or not all(0 <= a < 1 for a in alphas) or not all(h > 0 for h in halves):
            raise InputError(f"the carry-over grid of {name} is empty or impossible", fix="give retentions in [0, 1), halves > 0")
        return [Shape(float(a), h) for a, h in product(alphas, halves)]

    def _read(self, panel: Panel, exposures: dict[str, Any], controls: Mapping[str, Any]) -> Asked:
        units, periods = panel.matrix.shape
        _enough(panel, exposures)
        read = {name: _matrix(name, x, units, periods, exposure=True) for name, x in exposures.items()}
        if self.exposure == "amount":
            read = {name: x / panel.matrix.mean(axis=1, keepdims=True) for name, x in read.items()}
        beside = {name: _matrix(name, x, units, periods, exposure=False) for name, x in controls.items()}
        flat = tuple(name for name, x in read.items() if between(x) < FLAT)
        return Asked(read, beside, flat, {name: self._grid(name, x) for name, x in read.items()}, self.interaction)


# --- what was asked


def _enough(panel: Panel, exposures: Mapping[str, Any]) -> None:
    units, periods = panel.matrix.shape
    if not exposures:
        raise InputError("no campaign's exposure is given", fix="pass exposures, or make the panel with exposure=[…]")
    if reserved := {"shared", "total", "base", "together"} & {*exposures}:
        raise InputError(f"a campaign cannot be called {', '.join(sorted(reserved))}", fix="rename it")
    if units < LEAST_UNITS or periods < LEAST_PERIODS:
        fix = f"have {LEAST_UNITS} units and {LEAST_PERIODS} periods"
        raise CannotTell(f"{units} units and {periods} periods are too few to tell campaigns apart", fix=fix)
    still = np.ptp(panel.matrix, axis=1) == 0
    if still.any():
        raise CannotTell(f"{panel.outcome} of {panel.units[int(np.argmax(still))]} never moves", fix="leave the unit out")


def _matrix(name: str, values: Any, units: int, periods: int, *, exposure: bool) -> Floats:
    x = np.asarray(values, dtype=float)
    x = np.broadcast_to(x, (units, periods)) if x.shape == (periods,) else x
    if x.shape != (units, periods):
        raise InputError(
            f"{name} has shape {x.shape}, the panel {(units, periods)}", fix="give one row a unit, one column a period"
        )
    if not np.isfinite(x).all():
        raise InputError(
            f"{name} has holes or infinite values", fix="write 0 where there was none; leave out units where it is unknown"
        )
    if exposure and (x < 0).any():
        raise InputError(f"{name} is negative somewhere", fix="an exposure is an amount; sign a price cut as its depth")
    if exposure and np.ptp(x) == 0:
        raise CannotTell(f"{name} never moves", fix="leave it out: what never changes cannot be told from the base")
    return np.array(x, dtype=float)


def _window(panel: Panel, start: Any, end: Any) -> slice:
    first = 0 if start is None else panel.position(start)
    last = len(panel.periods) - 1 if end is None else panel.position(end)
    if first < 0 or last < first or (start is not None and panel.ends_before(start)):
        raise InputError(
            "start and end lie outside the panel, or are swapped", fix=f"it runs from {panel.periods[0]} to {panel.periods[-1]}"
        )
    return slice(first, last + 1)


# --- what comes of it


def _decomposition(panel: Panel, fits: list[tuple[Fit, float]], window: slice, by: SimultaneousCampaigns) -> Decomposition:
    best = max(fits, key=lambda one: one[1])[0]
    names = list(best.asked.exposures)
    correlation = _correlations(best, by.limit)
    refusals = _refusals(correlation, by)
    sums, errors, df = _averaged(fits, window)
    base = panel.matrix[:, window].sum() - sums[-1]

    def told(k: int, name: str) -> Contribution:
        share = float(sums[k] / base) if base > 0 else float("nan")
        return Contribution(name, float(sums[k]), share, StudentTest(float(sums[k]), float(errors[k]), float(df[k])))

    known = {name: told(k, name) for k, name in enumerate([*names, "shared"]) if name not in refusals}
    carryover = _carryover(best)
    checks = _checks(panel, best, by, correlation, refusals, carryover, window)
    responses = {fit.response.name: weight for fit, weight in fits}
    paths = _paths(panel, fits, window, names, refusals)
    total = told(len(names) + 1, "total")
    return Decomposition(total, known, refusals, panel.outcome, paths, carryover, responses, correlation, checks)


def _paths(
    panel: Panel, fits: list[tuple[Fit, float]], window: slice, names: list[str], refusals: Mapping[str, CannotTell]
) -> pd.DataFrame:  # fmt: skip
    """By period, over units; what cannot be told apart as one column."""
    parts = np.sum([weight * fit.parts()[:, :, window].sum(axis=1) for fit, weight in fits], axis=0)
    paths = pd.DataFrame(dict(zip([*names, "shared", "total"], parts, strict=True)), index=panel.periods[window])
    left = [name for name in [*names, "shared"] if name in refusals]
    if left:
        paths.insert(0, "together", paths[left].sum(axis=1))
        paths = paths.drop(columns=left)
    paths.insert(0, "base", panel.matrix[:, window].sum(axis=0) - paths["total"])
    paths.attrs["names"] = names
    return paths


def _averaged(fits: list[tuple[Fit, float]], window: slice) -> tuple[Floats, Floats, Floats]:
    """Sums of each campaign, shared, total; errors, of each response and between them; degrees of freedom."""
    found = [_errors(fit, window) for fit, _ in fits]
    weights = np.array([weight for _, weight in fits])[:, None]
    sums = np.sum(weights * np.array([one[0] for one in found]), axis=0)
    within = np.sum(weights * np.array([one[1] ** 2 for one in found]), axis=0)
    apart = np.sum(weights * (np.array([one[0] for one in found]) - sums) ** 2, axis=0)
    return sums, np.sqrt(within + apart), np.sum(weights * np.array([one[2] for one in found]), axis=0)


def _errors(fit: Fit, window: slice) -> tuple[Floats, Floats, Floats]:
    """The same for one response."""
    units = len(fit.outcome)
    sums = np.array([fit.parts(row)[:, :, window].sum(axis=(1, 2)) for row in range(units + 1)])
    over_units = (units - 1) / units * np.sum((sums[1:] - sums[0]) ** 2, axis=0)
    if fit.national is None:
        return sums[0], np.sqrt(over_units), np.full(len(over_units), units - 1.0)
    step = 1e-4
    moved = [fit.parts(0, one)[:, :, window].sum(axis=(1, 2)) for one in step * np.eye(len(fit.national.series.owner))]
    over_time = np.array([fit.national.variance(slope) for slope in (np.array(moved) - sums[0]).T / step])
    variance = over_units + over_time
    share = np.divide(over_units, variance, out=np.ones_like(variance), where=variance > 0)
    return (
        sums[0],
        np.sqrt(variance),
        1 / (share**2 / (units - 1) + (1 - share) ** 2 / fit.national.df),
    )  # Welch and Satterthwaite


def _main(fit: Fit) -> tuple[Floats, Floats, list[Floats]]:
    """Raw and carried-over exposures (k, units, periods) that differ between units, and controls that do."""
    raw = np.array([fit.asked.exposures[name] for name in fit.asked.local]).reshape(-1, *fit.outcome.shape)
    carried = np.array([fit.shapes[name].of(x) for name, x in zip(fit.asked.local, raw, strict=True)]).reshape(raw.shape)
    return raw, carried, fit.controls


def _correlations(fit: Fit, limit: float) -> pd.DataFrame:
    """Multiple correlation of each exposure with the others, raw and carried over; refuses one that moves as the controls do."""
    rows = []
    raw, carried, controls = _main(fit)
    if len(raw):
        plain = Space.plain(*fit.outcome.shape)
        held = np.array(controls).reshape(-1, *fit.outcome.shape)
        grams = [plain.grams(plain.clear(np.concatenate([x, held])), leave_out=False)[0] for x in (raw, carried)]
        rows += _alike(fit.asked.local, grams, limit, "the controls")
    if fit.national is not None:
        flat = [fit.asked.exposures[name].mean(axis=0) for name in fit.asked.flat]
        shaped = [fit.shapes[name].of(x) for name, x in zip(fit.asked.flat, flat, strict=True)]
        grams = []
        for x in (flat, shaped):
            series = np.concatenate([np.array(x), fit.national.held[:, 1:].T])
            series = series - series.mean(axis=1, keepdims=True)
            grams.append(series @ series.T)
        rows += _alike(list(fit.asked.flat), grams, limit, "trend, season and controls")
    return pd.DataFrame(rows)


def _alike(names: list[str], grams: list[Floats], limit: float, held: str) -> list[dict[str, Any]]:
    """From Gram matrices (exposures first, then controls), raw and carried."""
    size = len(names)
    rows = []
    for k, name in enumerate(names):
        others = [j for j in range(size) if j != k]
        beside = [_multiple(gram, k, list(range(size, len(gram)))) for gram in grams]
        if max(beside) > limit:
            raise CannotTell(
                f"{name} moves as {held} do (correlation {max(beside):.2f})", fix="vary it between regions, or leave it out"
            )
        found = [_multiple(gram, k, [*others, *range(size, len(gram))]) for gram in grams]
        pairs = [max(_multiple(gram, k, [j]) for gram in grams) for j in others]
        nearest = names[others[int(np.argmax(pairs))]] if others else ""
        rows.append({"exposure": name, "raw": found[0], "carried": found[1], "nearest": nearest})
    return rows


def _multiple(gram: Floats, k: int, others: list[int]) -> float:
    if not others or gram[k, k] <= 0:
        return 0.0
    scale = np.sqrt(np.maximum(np.diagonal(gram), 1e-300))
    unit = gram / np.outer(scale, scale)
    explained = unit[k, others] @ np.linalg.pinv(unit[np.ix_(others, others)], rcond=1e-9, hermitian=True) @ unit[others, k]
    return float(np.sqrt(np.clip(explained, 0, 1)))


def _refusals(correlation: pd.DataFrame, by: SimultaneousCampaigns) -> dict[str, CannotTell]:
    worst = correlation[["raw", "carried"]].max(axis=1)
    found = {
        row.exposure: CannotTell(
            f"{row.exposure} is not separable from {row.nearest}: their exposures move together (correlation {most:.2f}, limit {by.limit:g})",
            fix="run them in different regions or weeks; the total still stands",
        )
        for row, most in zip(correlation.itertuples(), worst, strict=True) if most > by.limit
    }  # fmt: skip
    if found:
        found["shared"] = CannotTell(
            f"what is shared is not separable while {', '.join(found)} are not", fix="the total still stands"
        )
    return found


def _carryover(fit: Fit) -> pd.DataFrame:
    """Retention of each exposure, and its error: the slope's coefficient over the exposure's own, units left out."""
    rows = []
    parts = [(fit.asked.local, fit.local, fit.theta)] if fit.local is not None else []
    parts += [(list(fit.asked.flat), fit.national.series, fit.national.theta)] if fit.national is not None else []
    for names, series, theta in parts:
        for k, name in enumerate(names):
            at = int(np.flatnonzero(series.owner == k)[0])
            moved = theta[:, at + 1] / np.where(theta[:, at] == 0, np.nan, theta[:, at])
            error = float(np.sqrt((len(theta) - 2) / (len(theta) - 1) * np.nansum((moved[1:] - moved[0]) ** 2)))
            shape = fit.shapes[name]
            rows.append(
                {
                    "exposure": name,
                    "retention": shape.retention,
                    "error": error if series is fit.local else np.nan,
                    "half": shape.half,
                }
            )
    return pd.DataFrame(rows)


# --- what could be wrong


def _checks(
    panel: Panel, fit: Fit, by: SimultaneousCampaigns, correlation: pd.DataFrame, refusals: Mapping[str, CannotTell],
    carryover: pd.DataFrame, window: slice,
) -> tuple[Check, ...]:  # fmt: skip
    found = [_separability(correlation, refusals), _where(fit), _grid_edge(fit, carryover), _one_unit(panel, fit, window)]
    if by.exposure == "intensity":
        found.append(_per_head(panel, fit))
    if fit.local is not None:
        found.append(_ahead(fit))
        if not by.interaction and len(fit.asked.local) > 1:
            found.append(_interaction(fit))
    return tuple(found)


def _separability(correlation: pd.DataFrame, refusals: Mapping[str, CannotTell]) -> Check:
    most = float(correlation[["raw", "carried"]].to_numpy().max())
    verdict: Verdict = "fail" if refusals else "warn" if most > 0.7 else "ok"
    sentence = f"With unit and time effects out, exposures correlate with the others by {most:.2f} at most."
    return Check("separability", verdict, sentence + (" Parts are not told apart." if refusals else ""), correlation)


def _where(fit: Fit) -> Check:
    table = pd.DataFrame(
        {"exposure": list(fit.asked.exposures), "between_units": [between(x) for x in fit.asked.exposures.values()]}
    )
    flat = fit.asked.flat
    if not flat:
        return Check("variation", "ok", "Every exposure differs between units over time.", table)
    sentence = (
        f"{', '.join(flat)} ran alike in all units: identified over time only, against trend, season and controls. Whatever else moved "
        "all units in those periods is counted with it."
    )
    return Check("variation", "warn", sentence, table)


def _grid_edge(fit: Fit, carryover: pd.DataFrame) -> Check:
    most = {name: max(shape.retention for shape in grid) for name, grid in fit.asked.grids.items()}
    over = [
        row.exposure
        for row in carryover.itertuples()
        if len(fit.asked.grids[row.exposure]) > 1 and row.retention >= most[row.exposure] > 0
    ]
    says = ", ".join(f"{row.exposure} {row.retention:.2f}" for row in carryover.itertuples())
    more = f" {', '.join(over)} may last longer than the grid allows." if over else ""
    return Check("carry-over", "warn" if over else "ok", f"Retention per period: {says}.{more}", carryover)


def _one_unit(panel: Panel, fit: Fit, window: slice) -> Check:
    names = list(fit.asked.exposures)
    units = len(panel.units)
    sums = np.array([fit.parts(row)[:, :, window].sum(axis=(1, 2))[-1] for row in range(units + 1)])
    table = pd.DataFrame({"unit": panel.units, "total": sums[1:]})
    turned = bool((np.sign(sums[1:]) != np.sign(sums[0])).any())
    moved = np.abs(sums[1:] - sums[0])
    who, share = panel.units[int(np.argmax(moved))], float(moved.max() / max(abs(sums[0]), 1e-300))
    sentence = f"Without {who} the total of {', '.join(names)} would move most, by {share:.0%}."
    return Check("leave one unit out", "fail" if turned else "warn" if share > 0.25 else "ok", sentence, table)


def _per_head(panel: Panel, fit: Fit) -> Check:
    """Whether exposures look like amounts, which grow with the unit, rather than amounts per head."""
    sizes, rows = panel.matrix.mean(axis=1), []
    for name, x in fit.asked.exposures.items():
        there = x.mean(axis=1) > 0
        varies = name not in fit.asked.flat and there.sum() > 2 and np.ptp(sizes[there]) > 0 and np.ptp(x.mean(axis=1)[there]) > 0
        value = float(np.corrcoef(sizes[there], x.mean(axis=1)[there])[0, 1]) if varies else 0.0
        rows.append({"exposure": name, "correlation_with_size": value})
    table = pd.DataFrame(rows)
    like = list(table.loc[table["correlation_with_size"] > 0.8, "exposure"])
    sentence = "Exposures do not grow with the units' size." if not like else (
        f"{', '.join(like)} grows with the units' size: if it counts money or contacts and not per head, use exposure='amount'."
    )  # fmt: skip
    return Check("per head", "warn" if like else "ok", sentence, table)


def _jackknifed(series: Floats, outcome: Floats, space: Space) -> tuple[Floats, Floats]:
    """Coefficients (m,) of series (m, units, periods) and their p-values by leaving out units."""
    beta = solve(space.grams(space.clear(np.concatenate([series, outcome[None]]))))
    units = len(beta) - 1
    errors = np.sqrt((units - 1) / units * np.sum((beta[1:] - beta[0]) ** 2, axis=0))
    return beta[0], np.array([StudentTest(float(b), float(e), units - 1).p_value for b, e in zip(beta[0], errors, strict=True)])


def _ahead(fit: Fit, lead: int = 4) -> Check:
    """Exposure to come should not move sales: where it does, sales (or what was expected of them) may have moved the exposure."""
    raw, carried, controls = _main(fit)
    names, slope = fit.asked.local, fit.response.slope[:, :-lead]
    series = np.concatenate([raw[:, :, lead:] * slope, carried[:, :, :-lead] * slope, *[x[None, :, :-lead] for x in controls]])
    space = Space.of(fit.space.rho, fit.space.weights, np.empty((series.shape[-1], 0)))
    beta, p = (found[: len(names)] for found in _jackknifed(series, fit.response.working[:, :-lead], space))
    table = pd.DataFrame({"exposure": names, "coefficient_of_lead": beta, "p_value": p})
    least = min(1.0, float(p.min()) * len(names))
    verdict: Verdict = "fail" if least < 0.01 else "warn" if least < 0.05 else "ok"
    says = "seems to move" if verdict != "ok" else "does not seem to move"
    sentence = f"Exposure {lead} periods ahead {says} the outcome ({names[int(np.argmin(p))]}: p = {least:.2g})."
    return Check("anticipation", verdict, sentence, table)


def _interaction(fit: Fit) -> Check:
    """Whether campaigns help or hinder each other beyond how they add up."""
    _, carried, controls = _main(fit)
    names = fit.asked.local
    pairs = list(combinations(range(len(names)), 2))
    both = np.array([carried[a] * carried[b] for a, b in pairs])
    series = np.concatenate([np.concatenate([both, carried]) * fit.response.slope, *[x[None] for x in controls]])
    beta, p = (found[: len(pairs)] for found in _jackknifed(series, fit.response.working, fit.space))
    table = pd.DataFrame({"pair": [f"{names[a]} × {names[b]}" for a, b in pairs], "coefficient": beta, "p_value": p})
    least = min(1.0, float(p.min()) * len(pairs))
    says = f"An interaction of {table['pair'][int(np.argmin(p))]} {'is' if least < 0.05 else 'is not'} seen (p = {least:.2g})."
    return Check(
        "interaction", "warn" if least < 0.05 else "ok", says + (" Use interaction=True." if least < 0.05 else ""), table
    )
