"""How an outcome by unit and period follows exposures: the arithmetic of `simultaneous`.

Everything is done on Gram matrices of series that were whitened in time and cleared of what each unit does by itself, so that leaving out
a unit, time effects learned anew, costs a subtraction. Time runs along the last axis, units along the one before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product

import numpy as np
import pandas as pd

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.transforms import adstock, fourier, hill
from liftwise.core.uncertainty import Floats, spawn
from liftwise.models.causal.calibration import autocorrelation

FLAT = 0.01  # share of an exposure's movement that must differ between units, or it counts as national
MOST_FACTORS, MOST_COMBINATIONS = 3, 5000
SHUFFLES = 19  # circular shifts that show how large a factor noise would make
RETENTIONS = (0.0, 0.97)
STRETCH = 8  # periods left out together when the error over time is found

Factors = int | str


@dataclass(frozen=True)
class Shape:
    """How exposure acts: carried over with `retention`, half of its most at `half` (infinite: straight), in the exposure's unit."""

    retention: float
    half: float = np.inf

    def of(self, x: Floats) -> Floats:
        """In units of the exposure's own movement."""
        size = float(x.std())
        carried = adstock(x, self.retention) / size
        return carried if np.isinf(self.half) else hill(carried, self.half / size)

    def slopes(self, x: Floats) -> list[Floats]:
        """How that changes with retention and, where it bends, with log half: freed in the fit, so that errors know of them."""
        low, high = max(self.retention - 0.01, RETENTIONS[0]), min(self.retention + 0.01, RETENTIONS[1])
        found = [(replace(self, retention=high).of(x) - replace(self, retention=low).of(x)) / (high - low)]
        if np.isfinite(self.half):
            found.append(
                (replace(self, half=self.half * 1.02).of(x) - replace(self, half=self.half / 1.02).of(x)) / (2 * np.log(1.02))
            )
        return found

    def near(self, step: float) -> list[Shape]:
        """Shapes around this one."""
        found = {float(np.clip(self.retention + k * step, *RETENTIONS)) for k in (-2, -1, 0, 1, 2)}
        return [Shape(retention, self.half) for retention in sorted(found)]


@dataclass(frozen=True, eq=False)
class Asked:
    """exposures and controls (units, periods); `flat`: exposures alike in all units; grids of shapes; whether campaigns interact."""

    exposures: dict[str, Floats]
    controls: dict[str, Floats]
    flat: tuple[str, ...]
    grids: dict[str, list[Shape]]
    interaction: bool

    @property
    def local(self) -> list[str]:
        """Exposures that differ between units."""
        return [name for name in self.exposures if name not in self.flat]


def between(x: Floats) -> float:
    """Share of a series' movement over time that differs between units."""
    within = x - x.mean(axis=1, keepdims=True)
    return float(np.sum((within - within.mean(axis=0)) ** 2) / max(np.sum(within**2), 1e-300))


# --- errors


@dataclass(frozen=True, eq=False)
class Space:
    """How series are made comparable: whitened in time, cleared of constants and factors of each unit, weighted.

    Time effects are taken out afterwards, in the Gram matrices, because they change when a unit is left out.
    """

    rho: float
    weights: Floats  # (units,), mean 1
    basis: Floats  # (periods, r): orthonormal, whitened

    @classmethod
    def of(cls, rho: float, weights: Floats, factors: Floats) -> Space:
        held = np.column_stack([np.ones(len(factors)), factors])
        return cls(rho, weights, np.linalg.qr(whiten(held.T, rho).T)[0])

    @classmethod
    def plain(cls, units: int, periods: int) -> Space:
        """No weights, no whitening."""
        return cls.of(0.0, np.ones(units), np.empty((periods, 0)))

    def clear(self, series: Floats) -> Floats:
        """(m, units, periods) of the same shape."""
        white = whiten(series, self.rho)
        return (white - (white @ self.basis) @ self.basis.T) * np.sqrt(self.weights)[:, None]

    def grams(self, cleared: Floats, *, leave_out: bool = True) -> Floats:
        """(units + 1, m, m) products of the m series over all units, then without each; only the first unless `leave_out`."""
        by_unit = np.ascontiguousarray(cleared.transpose(1, 0, 2))  # (units, m, periods)
        share = by_unit * np.sqrt(self.weights)[:, None, None]
        own = by_unit @ by_unit.transpose(0, 2, 1)
        left, kept, mass = share.sum(axis=0)[None], own.sum(axis=0)[None], np.array([self.weights.sum()])
        if leave_out:
            left, kept = np.concatenate([left, left - share]), np.concatenate([kept, kept - own])
            mass = np.concatenate([mass, mass - self.weights])
        return kept - left @ left.transpose(0, 2, 1) / mass[:, None, None]


def whiten(series: Floats, rho: float) -> Floats:
    """Prais and Winsten: AR(1) errors of the last axis become independent."""
    return np.concatenate([np.sqrt(1 - rho**2) * series[..., :1], series[..., 1:] - rho * series[..., :-1]], axis=-1)


def noise(left: Floats, held: Floats, factors: Factors, seed: int) -> tuple[Space, int]:
    """From the outcome without campaigns (units, periods): factors (and how many), serial correlation, how loud each unit is.

    held (periods, q): what each unit does by itself, such as a season of its own strength.
    """
    own = np.linalg.qr(np.column_stack([np.ones(left.shape[1]), held]))[0]
    left = left - (left @ own) @ own.T
    weights = np.ones(len(left))
    for _ in range(2):  # weights, then factors, of units on an equal footing
        cleared = left - np.average(left, axis=0, weights=weights)
        found = _factors(cleared * np.sqrt(weights)[:, None], factors, seed)
        rest = cleared - (cleared @ found) @ found.T
        variance = np.mean(rest**2, axis=1)
        variance = (
            variance + np.median(variance) + 1e-300
        )  # halfway to equal: sharper weights fit the noise, and errors would not know
        weights = (1 / variance) / np.mean(1 / variance)
    return Space.of(autocorrelation(rest), weights, np.column_stack([held, found])), found.shape[1]


def _factors(left: Floats, factors: Factors, seed: int) -> Floats:
    """(periods, r) leading directions in time that circularly shifted units, which share nothing, would not show."""
    if factors != "auto":
        return np.linalg.svd(left, full_matrices=False)[2][: int(factors)].T if factors else np.empty((left.shape[1], 0))
    random, periods = spawn(seed, "factors"), left.shape[1]
    found = np.empty((periods, 0))
    for _ in range(MOST_FACTORS):
        rest = left - (left @ found) @ found.T
        _, sizes, right = np.linalg.svd(rest, full_matrices=False)
        most = 0.0
        for _ in range(SHUFFLES):
            turn = (np.arange(periods) - random.integers(periods, size=(len(rest), 1))) % periods
            turned = np.take_along_axis(rest, turn, axis=1)
            most = max(most, float(np.linalg.norm(turned - turned.mean(axis=0), 2)))
        if sizes[0] <= most:
            break
        found = np.column_stack([found, right[0]])
    return found


# --- series and their coefficients


@dataclass(frozen=True, eq=False)
class Series:
    """features (m, units, periods) and whose they are: owner (m,) the exposure's number, −1 interactions, −2 controls."""

    features: Floats
    owner: np.ndarray

    @classmethod
    def at(cls, exposures: list[Floats], shapes: Sequence[Shape], controls: list[Floats], interaction: bool) -> Series:
        """Of chosen shapes, with their slopes."""
        main = [shape.of(x) for x, shape in zip(exposures, shapes, strict=True)]
        parts = [
            (k, one) for k, (x, shape) in enumerate(zip(exposures, shapes, strict=True)) for one in (main[k], *shape.slopes(x))
        ]
        parts += [(-1, a * b) for a, b in combinations(main, 2)] if interaction else []
        parts += [(-2, x) for x in controls]
        return cls(np.array([one for _, one in parts]), np.array([k for k, _ in parts], dtype=int))

    def sum(self, theta: Floats, owner: int) -> Floats:
        """(units, periods) of one owner."""
        own = self.owner == owner
        return np.tensordot(theta[own], self.features[own], 1)

    def seen(self, slope: Floats) -> Floats:
        """As they enter the fit: campaigns times the response's slope, controls as they are."""
        return np.where((self.owner == -2)[:, None, None], self.features, self.features * slope)


def solve(grams: Floats) -> Floats:
    """(n, m) coefficients; the outcome is last. Where series are the same to precision the shortest is taken: their sum stands."""
    scale = np.sqrt(np.maximum(np.diagonal(grams[0]), 1e-300))
    scaled = grams / np.outer(scale, scale)
    beta = np.linalg.pinv(scaled[:, :-1, :-1], rcond=1e-9, hermitian=True) @ scaled[:, :-1, -1:]
    return beta[..., 0] * scale[-1] / scale[:-1]


def search(
    exposures: list[Floats],
    grids: list[list[Shape]],
    controls: list[Floats],
    interaction: bool,
    slope: Floats,
    outcome: Floats,
    space: Space,
) -> list[Shape]:
    """The shapes that fit best together, of all combinations."""
    chosen = list(product(*[range(len(grid)) for grid in grids]))
    if len(chosen) > MOST_COMBINATIONS:
        raise InputError(f"{len(chosen)} combinations of carry-over are too many", fix="give shorter grids")
    starts = np.cumsum([0, *[len(grid) for grid in grids]])
    series = [shape.of(x) for x, grid in zip(exposures, grids, strict=True) for shape in grid]
    rows = np.array(chosen) + starts[:-1]
    columns = [rows]
    if interaction:
        for a, b in combinations(range(len(grids)), 2):
            first = len(series)
            series += [one * other for one in series[starts[a] : starts[a + 1]] for other in series[starts[b] : starts[b + 1]]]
            columns.append((first + (rows[:, a] - starts[a]) * len(grids[b]) + rows[:, b] - starts[b])[:, None])
    campaigns = np.array(series) * slope
    held = np.arange(len(series), len(series) + len(controls))
    at = np.concatenate([*columns, np.broadcast_to(held, (len(rows), len(held)))], axis=1)
    gram = space.grams(space.clear(np.concatenate([campaigns, *[c[None] for c in controls], outcome[None]])), leave_out=False)[0]
    scale = np.sqrt(np.maximum(np.diagonal(gram), 1e-300))
    gram = gram / np.outer(scale, scale)
    side = gram[at, -1]
    inner = np.linalg.pinv(gram[at[:, :, None], at[:, None, :]], rcond=1e-9, hermitian=True)
    explained = np.einsum("ci,cij,cj->c", side, inner, side)
    best = chosen[int(np.argmax(explained))]
    return [grid[k] for grid, k in zip(grids, best, strict=True)]


# --- how effects add up


@dataclass(frozen=True, eq=False)
class Response:
    """How effects s add up to the outcome, made linear around what is known so far: working ≈ base + slope · Σ s.

    name : ``"exponential"``: base · exp(Σ s); ``"proportional"``: base · (1 + Σ s); ``"additive"``: base + the unit's mean · Σ s, whatever
    the season; ``"linear"``: the same with errors that do not grow with the outcome.
    """

    name: str
    slope: Floats  # (units, periods)
    working: Floats  # (units, periods)

    @classmethod
    def at(cls, name: str, outcome: Floats, sizes: Floats, s: Floats) -> Response:
        """Around Σ s = `s` (units, periods); `outcome` in logs, or divided by the unit's mean where linear."""
        if name in ("exponential", "linear"):
            return cls(name, np.ones_like(outcome), outcome)
        share = np.ones_like(outcome)
        if name == "additive":
            for _ in range(5):  # the base without noise: unit and time effects
                left = outcome - np.log1p(np.maximum(share * s, -0.9))
                share = sizes[:, None] / np.exp(left.mean(axis=1, keepdims=True) + left.mean(axis=0) - left.mean())
        grown = np.maximum(share * s, -0.9)
        slope = share / (1 + grown)
        return cls(name, slope, outcome - np.log1p(grown) + slope * s)


# --- the fit


@dataclass(frozen=True, eq=False)
class Fit:
    """Everything learned: coefficients of the whole (row 0) and without each unit."""

    outcome: Floats  # (units, periods), on the scale of the fit
    periods: pd.Index
    sizes: Floats  # (units,) mean outcome
    response: Response
    asked: Asked
    held: Floats  # (periods, q) a season that each unit has in its own strength
    shapes: dict[str, Shape]
    local: Series | None
    theta: Floats  # (1 or units + 1, m) of the local series
    space: Space
    factors: int
    national: National | None = None

    @classmethod
    def start(cls, matrix: Floats, periods: pd.Index, asked: Asked, log: bool, pairs: int) -> Fit:
        """Nothing learned yet."""
        sizes = matrix.mean(axis=1)
        if not log and (sizes <= 0).any():
            raise CannotTell("the mean outcome of a unit is not positive", fix="leave the unit out")
        outcome = np.log(matrix) if log else matrix / sizes[:, None]
        response = Response.at("exponential" if log else "linear", outcome, sizes, np.zeros_like(outcome))
        return cls(
            outcome,
            periods,
            sizes,
            response,
            asked,
            own_season(periods, pairs),
            {},
            None,
            np.zeros((1, 0)),
            Space.plain(*outcome.shape),
            0,
        )

    @property
    def controls(self) -> list[Floats]:
        """Those that differ between units."""
        return [x for x in self.asked.controls.values() if between(x) >= FLAT]

    def again(self, *, factors: Factors | None = None, seed: int = 7, near: float | None = None, last: bool = False) -> Fit:
        """One more round: errors from what is left (with `factors`), shapes from the grid or `near` the last ones, coefficients.

        The `last` round keeps the shapes and leaves out each unit, too.
        """
        effects = self.sum_of_effects()
        response = Response.at(self.response.name, self.outcome, self.sizes, effects)
        space, count = (
            (self.space, self.factors) if factors is None else noise(self._left(response, effects), self.held, factors, seed)
        )
        names = self.asked.local
        local, theta, shapes = None, np.zeros((len(self.sizes) + 1 if last else 1, 0)), dict(self.shapes)
        if names:
            here = [self.asked.exposures[name] for name in names]
            if not last:
                grids = [self.asked.grids[name] if near is None else shapes[name].near(near) for name in names]
                grids = [
                    [shape for shape in grid if shape.retention <= max(s.retention for s in self.asked.grids[name])]
                    for name, grid in zip(names, grids, strict=True)
                ]
                found = search(here, grids, self.controls, self.asked.interaction, response.slope, response.working, space)
                shapes |= dict(zip(names, found, strict=True))
            local = Series.at(here, [shapes[name] for name in names], self.controls, self.asked.interaction)
            theta = fitted(np.concatenate([local.seen(response.slope), response.working[None]]), space, self.held, count, last)
        now = replace(self, response=response, local=local, theta=theta, space=space, factors=count, shapes=shapes)
        if not self.asked.flat:
            return now
        found = National.of(now, None if last else near, last)
        return replace(now, national=found, shapes={**shapes, **dict(zip(self.asked.flat, found.shapes, strict=True))})

    def _left(self, response: Response, effects: Floats) -> Floats:
        """The outcome without campaigns and controls."""
        controls = 0.0 if self.local is None else self.local.sum(self.theta[0], -2)
        return response.working - response.slope * effects - controls

    def squared_error(self) -> float:
        """What is left of the whole, time effects out."""
        cleared = self.space.clear(self._left(self.response, self.sum_of_effects())[None])
        return float(self.space.grams(cleared, leave_out=False)[0, 0, 0])

    def freedom(self) -> float:
        """Degrees of freedom of that, counting errors within a unit as if they were independent."""
        units, periods = self.outcome.shape
        return float((units - 1) * (periods - self.space.basis.shape[1]) - self.theta.shape[1])

    def design_effect(self) -> float:
        """How much larger the variance of coefficients is, units left out, than independent errors would make it."""
        if self.local is None or len(self.theta) == 1:
            return 1.0
        units = len(self.outcome)
        gram = self.space.grams(self.space.clear(self.local.seen(self.response.slope)), leave_out=False)[0]
        promised = np.diagonal(np.linalg.pinv(gram, rcond=1e-9, hermitian=True)) * self.squared_error() / self.freedom()
        found = (units - 1) / units * np.sum((self.theta[1:] - self.theta[0]) ** 2, axis=0)
        return max(1.0, float(np.median(found[self.local.owner >= 0] / promised[self.local.owner >= 0])))

    def sum_of_effects(self) -> Floats:
        """Σ s (units, periods)."""
        each, shared = self.paths()
        return np.sum(each, axis=0) + shared

    def paths(self, row: int = 0, shift: Floats | None = None) -> tuple[list[Floats], Floats]:
        """s_k (units, periods) of every exposure and s_shared; `row` 0 is the whole, i without unit i − 1; national moved by `shift`."""
        found = {name: np.zeros_like(self.outcome) for name in self.asked.exposures}
        shared = np.zeros_like(self.outcome)
        if self.local is not None:
            for k, name in enumerate(self.asked.local):
                found[name] = self.local.sum(self.theta[row], k)
            shared = self.local.sum(self.theta[row], -1)
        if self.national is not None:
            beta = self.national.theta[row] + (0 if shift is None else shift)
            for k, name in enumerate(self.asked.flat):
                found[name] = np.broadcast_to(self.national.series.sum(beta, k), self.outcome.shape)
        return list(found.values()), shared

    def parts(self, row: int = 0, shift: Floats | None = None) -> Floats:
        """(k + 2, units, periods) in the outcome's unit: each campaign, shared, total."""
        each, shared = self.paths(row, shift)
        every = np.concatenate([np.array(each), shared[None]])
        both = every.sum(axis=0)
        if self.response.name == "exponential":
            base = np.exp(self.outcome - both)
            alone = base * np.expm1(every[:-1])
            total = np.exp(self.outcome) - base
            return np.concatenate([alone, (total - alone.sum(axis=0))[None], total[None]])
        per = np.exp(self.outcome) / np.maximum(1 + both, 0.1) if self.response.name == "proportional" else self.sizes[:, None]
        return np.concatenate([every * per, (both * per)[None]])


def fitted(series: Floats, space: Space, held: Floats, factors: int, last: bool) -> Floats:
    """Coefficients of all units, then, in the `last` round, without each; `series` ends with the outcome.

    Factors bend to the unit that is left out, so where there are some, they, too, are learned again without it.
    """
    grams = space.grams(space.clear(series), leave_out=last and not factors)
    theta = solve(grams)
    if not last or not factors:
        return theta
    left = series[-1] - np.tensordot(theta[0], series[:-1], 1)
    rows = [theta[0]]
    for unit in range(series.shape[1]):
        kept = np.delete(np.arange(series.shape[1]), unit)
        thinner = noise(left[kept], held, factors, 0)[0]
        rows.append(solve(thinner.grams(thinner.clear(series[:, kept]), leave_out=False))[0])
    return np.array(rows)


# --- exposure that is the same in all units


@dataclass(frozen=True, eq=False)
class National:
    """Exposures without variation between units, from the time effects alone.

    theta (rows, m) as in `Fit`; moved (stretches, m): theta without each stretch of time; held (periods, q): trend, season, controls; df of the
    error over time.
    """

    series: Series  # (m, 1, periods)
    shapes: list[Shape]
    theta: Floats
    moved: Floats
    held: Floats
    df: float

    @classmethod
    def of(cls, fit: Fit, near: float | None, last: bool) -> National:
        asked, weights = fit.asked, fit.space.weights
        effects = _time_effects(fit)
        slope = np.average(fit.response.slope, axis=0, weights=weights)[None]
        flat = [asked.exposures[name].mean(axis=0)[None] for name in asked.flat]
        held = over_time(fit.periods, [x.mean(axis=0) for x in asked.controls.values() if between(x) < FLAT])
        shapes = [fit.shapes[name] for name in asked.flat] if last else []
        rho = 0.0
        for _ in range(3):
            basis = np.linalg.qr(whiten(held.T, rho).T)[0]
            if not last:
                grids = [asked.grids[name] if near is None else fit.shapes[name].near(near) for name in asked.flat]
                shapes = _best_over_time(flat, grids, slope, effects[0], basis, rho)
            series = Series.at(flat, shapes, [], False)
            x, y = (_cleared(one, basis, rho) for one in (series.features[:, 0] * slope, effects))
            inverse = np.linalg.pinv(x @ x.T, rcond=1e-9, hermitian=True)
            theta = y @ x.T @ inverse
            left = effects[0] - theta[0] @ (series.features[:, 0] * slope)
            rho = autocorrelation((left - held @ np.linalg.lstsq(held, left, rcond=None)[0])[None])
        moved = _without_stretches(
            whiten(np.concatenate([held.T, series.features[:, 0] * slope]), rho), whiten(effects[:1], rho)[0]
        )
        return cls(series, shapes, theta, moved[:, held.shape[1] :], held, float(len(moved) - 1))

    def variance(self, gradient: Floats) -> float:
        """Of gradient · theta, over time: stretches of time left out in turn."""
        moved = self.moved @ gradient
        return float((len(moved) - 1) / len(moved) * np.sum(moved**2))


def _without_stretches(x: Floats, y: Floats) -> Floats:
    """(stretches, q) how far coefficients of x (q, periods) move without each stretch of time, long enough to outlast most errors."""

    def coefficients(kept: Floats) -> Floats:
        return np.linalg.lstsq(x[:, kept].T, y[kept], rcond=1e-9)[0]

    periods = np.arange(len(y))
    whole = coefficients(periods)
    stretches = np.array_split(periods, int(np.clip(len(y) // STRETCH, 6, 26)))
    return np.array([coefficients(np.setdiff1d(periods, stretch)) - whole for stretch in stretches])


def _cleared(series: Floats, basis: Floats, rho: float) -> Floats:
    white = whiten(series, rho)
    return white - (white @ basis) @ basis.T


def _best_over_time(
    flat: list[Floats], grids: list[list[Shape]], slope: Floats, effects: Floats, basis: Floats, rho: float
) -> list[Shape]:
    y = _cleared(effects, basis, rho)

    def explained(shapes: tuple[Shape, ...]) -> float:
        x = _cleared(np.concatenate([shape.of(one) * slope for shape, one in zip(shapes, flat, strict=True)]), basis, rho)
        return float((x @ y) @ np.linalg.pinv(x @ x.T, rcond=1e-9, hermitian=True) @ (x @ y))

    return list(max(product(*grids), key=explained))


def _time_effects(fit: Fit) -> Floats:
    """(rows of theta, periods) what all units did together beside the local campaigns: of all units, then without each."""
    rows = []
    for row, theta in enumerate(fit.theta):
        left = fit.response.working
        if fit.local is not None:
            left = left - np.tensordot(theta, fit.local.seen(fit.response.slope), 1)
        kept = fit.space.weights.copy()
        if row:
            kept[row - 1] = 0
        rows.append(kept @ left / kept.sum())
    return np.array(rows)


def over_time(periods: pd.Index, controls: list[Floats]) -> Floats:
    """(periods, q) constant, trend, a year's season where the periods are dates and span one, controls."""
    count = np.arange(len(periods), dtype=float)
    columns = [np.ones(len(count)), count / len(count) - 0.5, *controls]
    if isinstance(periods, pd.DatetimeIndex) and (periods[-1] - periods[0]).days >= 360:
        columns += list(fourier((periods - periods[0]).days.to_numpy(float), 365.25, 3).T)
    return np.column_stack(columns)


def own_season(periods: pd.Index, pairs: int) -> Floats:
    """(periods, 2 · pairs) of a year, where the periods are dates and span one and a half; else (periods, 0)."""
    if not pairs or not isinstance(periods, pd.DatetimeIndex) or (periods[-1] - periods[0]).days < 540:
        return np.empty((len(periods), 0))
    return fourier((periods - periods[0]).days.to_numpy(float), 365.25, pairs)
