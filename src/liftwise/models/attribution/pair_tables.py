"""What is told of pairs: effect, multiplier and order of every cell, and of the window of each pair found; steps 4 and 5 of `interactions`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import csc_array, hstack
from scipy.special import ndtr

from liftwise.core.uncertainty import normal_quantile
from liftwise.models.attribution.journeys import Floats, Ints
from liftwise.models.attribution.pair_baseline import OWN, RATE, Data, Fit, column_of, fit_baseline, two_sided, width_of
from liftwise.models.attribution.pair_search import Found

FAR = 2.5  # standard errors from which one step is not enough


@dataclass(frozen=True)
class _Joint:
    """Coefficients and their covariance."""

    value: Floats
    error: Floats

    def interval(self, of: Floats, z: float) -> tuple[float, float, float]:
        """A sum of coefficients, `of` times each, with its interval."""
        middle, half = float(of @ self.value), z * self.sd(of)
        return middle, middle - half, middle + half

    def sd(self, of: Floats) -> float:
        return float(np.sqrt(of @ self.error @ of))

    def times(self, own: Floats, alone: Floats, z: float) -> tuple[float, float, float]:
        """How many times a touch is worth what it is worth alone."""
        ratio = _ratio(
            own @ self.value, alone @ self.value, own @ self.error @ own, alone @ self.error @ alone, own @ self.error @ alone, z
        )
        return 1 + ratio[0], 1 + ratio[1], 1 + ratio[2]


def tables_of(
    data: Data, features: csc_array, pair: Ints, gap: Ints, found: Found, edges: Floats, level: float
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables of cells and of windows, channels as codes."""
    m, k, starts, z, fit = width_of(features), len(data.names), np.append(0.0, edges), normal_quantile(level), found.fit
    first, second = pair // k, pair % k
    _, score, cross = fit.scores(features)
    slope = _slope(data, features, second, fit.weight)
    inside = {int(c): data.base.shape[1] + at for at, c in enumerate(c for p in found.runs for c in np.flatnonzero(pair == p))}
    told, windows = np.full((m, 10), np.nan), []
    for a, b in sorted({(int(min(f, s)), int(max(f, s))) for f, s in zip(first, second, strict=True)}):
        block = np.flatnonzero((pair == a * k + b) | (pair == b * k + a))
        fresh = np.array([c for c in block if int(c) not in inside], dtype=np.int64)
        more = (features[:, fresh], score[fresh], cross[fresh])
        plain, ground = _step(fit, *more), fit
        new = slice(len(fit.beta), None)
        if (np.abs(plain.value[new]) > FAR * np.sqrt(np.diag(plain.error)[new])).any():  # too far for one step
            ground = fit_baseline(data, csc_array(hstack([fit.extra, more[0]])), plain.value)
            plain, more = _Joint(ground.beta, ground.inverse), (features[:, fresh[:0]], score[:0], cross[:0])
        free = plain if a == b else _step_with(ground, *more, data.stock[:, a] * data.stock[:, b])
        at = {**inside, **{int(c): len(fit.beta) + n for n, c in enumerate(fresh)}}
        own, alone, turn = np.zeros((len(block), len(plain.value))), np.zeros((len(block), len(plain.value))), []
        for n, c in enumerate(block):
            own[n, at[int(c)]] = 1.0
            alone[n, data.place[second[c]]], alone[n, data.place[second[c]] + 1] = 1.0, slope[c]
            turn.append(np.flatnonzero((pair[block] == second[c] * k + first[c]) & (gap[block] == gap[c]) & (a != b)))
        less = np.array([own[n] - own[other[0]] if len(other) else np.full(own.shape[1], np.nan) for n, other in enumerate(turn)])
        less = np.hstack([less, np.zeros((len(block), len(free.value) - own.shape[1]))])
        for n, c in enumerate(block):
            p = float(two_sided(plain.interval(own[n], 0.0)[0] / plain.sd(own[n])))
            told[c] = (*plain.interval(own[n], z), *plain.times(own[n], alone[n], z), *free.interval(less[n], z), p)
        for name in sorted({a * k + b, b * k + a} & set(found.runs)):
            run = np.searchsorted(block, found.runs[name])
            part = np.linalg.solve(own[run] @ plain.error @ own[run].T, np.ones(len(run)))  # the surer, the more it counts
            part /= part.sum()
            both = np.isfinite(less[run, 0])
            order = part[both] @ less[run][both] / part[both].sum() if both.any() else np.full(less.shape[1], np.nan)
            share = len(found.runs) / found.tested / found.factor[name]
            wide = normal_quantile(1 - share * (1 - level))
            mine, other = part @ own[run], part @ alone[run]
            wide = max(wide, z)
            effect, times = plain.interval(mine, wide), (plain.times(mine, other, z)[0], *plain.times(mine, other, wide)[1:])
            shrink = _given_chosen(abs(effect[0]) / plain.sd(mine), normal_quantile(1 - share * RATE))
            windows.append((
                name // k, name % k, starts[gap[found.runs[name][0]]], edges[gap[found.runs[name][-1]]], shrink * effect[0], *effect[1:],
                1 + shrink * (times[0] - 1), *times[1:], *free.interval(order, z), found.p_value[name], abs(effect[0]) / plain.sd(mine),
            ))  # fmt: skip
    numbers = [
        "effect",
        "low",
        "high",
        "multiplier",
        "multiplier_low",
        "multiplier_high",
        "order",
        "order_low",
        "order_high",
        "p_value",
    ]
    marked = np.zeros(m, dtype=bool)
    for run in found.runs.values():
        marked[run] = True
    cells = pd.DataFrame(told, columns=numbers).assign(
        first=first, second=second, gap_from=starts[gap], gap_to=edges[gap], found=marked
    )
    table = pd.DataFrame(windows, columns=["first", "second", "gap_from", "gap_to", *numbers, "strength"])
    return cells, table.sort_values("strength", ascending=False, kind="stable")


def _step(fit: Fit, columns: csc_array, score: Floats, cross: Floats) -> _Joint:
    """One Newton step from the fit with further columns: all coefficients and their covariance."""
    if not len(score):
        return _Joint(fit.beta, fit.inverse)
    reach = cross @ fit.inverse
    information = fit.block(columns) - reach @ cross.T
    within = np.linalg.inv(information + 1e-9 * np.diag(np.diag(information)))
    value = within @ score
    shared = -reach.T @ within
    return _Joint(
        np.append(fit.beta - reach.T @ value, value), np.block([[fit.inverse - shared @ reach, shared], [shared.T, within]])
    )


def _step_with(fit: Fit, columns: csc_array, score: Floats, cross: Floats, met: Floats) -> _Joint:
    """The same with one more column, the last."""
    more = csc_array(met[:, None])
    own, gain, shared = fit.scores(more)
    if float(own[0] - shared[0] @ fit.inverse @ shared[0]) <= OWN * own[0]:
        return _step(fit, columns, score, cross)
    if not len(score):
        return _step(fit, more, gain, shared)
    return _step(fit, csc_array(hstack([columns, more])), np.append(score, gain), np.vstack([cross, shared]))


def _given_chosen(z: float, passed: float) -> float:
    """Share of an estimate that is left given that it passed: mean of the conditional likelihood over `z`."""
    z = max(z, passed)
    at = np.linspace(-4.0, z + 5.0, 2001)
    weight = np.exp(-0.5 * (z - at) ** 2) / (ndtr(at - passed) + ndtr(-at - passed))
    return float(np.clip((at * weight).sum() / weight.sum() / z, 0.0, 1.0))


def _ratio(top: float, bottom: float, var_top: float, var_bottom: float, both: float, z: float) -> tuple[float, float, float]:
    """A ratio and its interval by Fieller (1954); empty where what it is divided by is not surely above 0."""
    a = bottom**2 - z**2 * var_bottom
    if bottom <= 0 or a <= 0:
        return np.nan, np.nan, np.nan
    b, c = top * bottom - z**2 * both, top**2 - z**2 * var_top
    half = np.sqrt(max(b**2 - a * c, 0.0))
    return top / bottom, (b - half) / a, (b + half) / a


def _slope(data: Data, features: csc_array, second: Ints, weight: Floats) -> Floats:
    """What a cell's touches add to log1p of their channel, a fresh touch, were they the last to come."""
    m, column, f = width_of(features), column_of(features), features.data
    x = data.stock[features.indices, second[column]]
    heavy = weight[features.indices] * f
    gain = np.log1p(x) - np.log1p(np.maximum(x - f, 0.0))
    return np.bincount(column, heavy * gain, minlength=m) / np.maximum(np.bincount(column, heavy * f, minlength=m), 1e-300)
