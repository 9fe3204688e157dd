"""The level of revenue, and all else that is linear and Gaussian, integrated out of the likelihood of what media leave.

With γ ~ N(0, σ²P), a walk of the level with steps N(0, q²σ²) and σ² ~ IG(a/2, b/2), all three integrate out:
log p(r) = −½ log|S| − (a + n)/2 · log(b + rᵀS⁻¹r) for what is left, r (Zellner 1971, for the Student form). The walk is its smooth part,
the first sines of its Karhunen–Loève expansion, and it is common to all regions. From one decomposition of the baseline and one of the
sines cleared of it, rᵀS⁻¹r costs two thin matrices for every q, so q is sampled like the rest.

A good week is good everywhere: errors of the regions seen in a week have covariance 1 + c·11ᵀ in parts of their own, c being given. What moves
all regions at once, walk and shock, is a number a week, so both are taken out among weeks, not among cells (Woodbury), whatever was seen.

Most columns of a baseline over many regions belong to one region; they are decomposed region by region and keep their zeros. The cleared
sines are sines and columns of the baseline put together, so they are never written out over all regions.
"""

# pyright: basic
# (numba's functions have no types)
from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from liftwise.core.uncertainty import Floats
from liftwise.models.mix.response import dot

SINES, FASTEST = 24, 6  # of the level's walk, and periods that each needs at least


class Level(NamedTuple):
    """Baseline, shock and walk, decomposed.

    basis : (columns, regions · weeks) with basisᵀ basis = 1 − S⁻¹ of the baseline alone. span : (columns, 2) where a column is not 0.
    shock, across : (weeks, weeks) and (columns, weeks); what regions have in common is `shock` times what all of them leave together, cleared
    of the baseline, in which week t is `across` of it. None where regions are independent.
    wander, mixed : (sines, weeks) and (sines, columns); a sine cleared of both is `wander` in every region less `mixed` of `basis`, or of one
    region just `wander`.
    swing : (sines,) variances of the walk along them at q = 1; none = the level does not walk.
    """

    basis: Floats
    span: np.ndarray
    shock: Floats
    across: Floats
    wander: Floats
    mixed: Floats
    swing: Floats

    @classmethod
    def of(cls, base: Floats, sines: Floats, seen: Floats, common: float = 0.0) -> Level:
        """From columns (regions · weeks, columns), 0 where not seen, times their prior sd in sd of the noise; see `walk` for the sines.

        seen : (regions, weeks). common : variance of what moves all regions at once, a region's own being 1. Columns that say the same twice do no harm.
        """
        regions, weeks = seen.shape
        there = np.asarray(base.reshape(regions, weeks, -1).any(axis=1))
        local = there.sum(axis=0) == 1
        parts, spans = list[Floats](), list[tuple[int, int]]()
        rest = base[:, ~local].copy()
        for g in range(regions):
            rows = slice(g * weeks, (g + 1) * weeks)
            left, weight = _decomposed(base[rows][:, local & there[g]])
            parts += list(np.sqrt(weight)[:, None] * left.T)
            spans += [(rows.start, rows.stop)] * len(weight)
            rest[rows] -= (left * (1 - np.sqrt(1 - weight))) @ (left.T @ rest[rows])  # S^(−½)
        left, weight = _decomposed(rest)
        basis = np.zeros((len(parts) + len(weight), len(base)))
        for row, part, (start, stop) in zip(basis, parts, spans, strict=False):
            row[start:stop] = part
        wide = left * np.sqrt(weight)
        for part, (start, stop) in zip(parts, spans, strict=True):  # S^(−½) of what one region alone explains, once more
            share = 1 - float(part @ part)
            wide[start:stop] -= np.outer(part, part @ wide[start:stop]) * (1 / (1 + np.sqrt(share)))
        basis[len(parts) :] = wide.T
        span = np.array([*spans, *[(0, len(base))] * len(weight)], dtype=np.int64).reshape(-1, 2)
        across = basis.reshape(len(basis), regions, weeks).sum(axis=1)
        known = np.diag(seen.sum(axis=0)) - across.T @ across  # of each week's level, in 1 / variance
        heard = np.linalg.inv(np.eye(weeks) + common * known)
        size, turn = np.linalg.eigh(sines.T @ heard @ known @ sines)
        size = np.maximum(size, 1e-12 * size.max(initial=1.0))
        wander = np.ascontiguousarray((heard @ sines @ (turn / np.sqrt(size))).T)
        shock = common * heard if common > 0 else np.empty((0, 0))
        mixed = wander @ across.T
        if regions == 1:  # written out, a sine is no longer than before
            wander, mixed = wander - mixed @ basis, np.empty((len(size), 0))
        return cls(basis, span, shock, across, wander, mixed, size)


def walk(weeks: int) -> Floats:
    """A random walk's sines, times their sd when a step's is 1, (weeks, sines); Karhunen–Loève."""
    rate = (np.arange(min(SINES, weeks // FASTEST)) + 0.5) * np.pi / weeks
    return np.sqrt(2 / weeks) * np.sin(np.outer(np.arange(weeks) + 1.0, rate)) / rate


def independent(columns: Floats, seen: Floats, common: float) -> Floats:
    """Columns (regions · weeks, …), 0 where not seen, such that errors with `common` variance become independent with variance 1."""
    cells, count = columns.reshape(*seen.shape, -1), seen.sum(axis=0)
    share = (1 - 1 / np.sqrt(1 + common * count)) / np.maximum(count, 1)
    return (cells - (share * seen)[:, :, None] * cells.sum(axis=0)).reshape(columns.shape)


def _decomposed(columns: Floats) -> tuple[Floats, Floats]:
    """Left singular vectors of columns, and the share of each that a prior of variance 1 lets them explain."""
    if not columns.shape[1]:
        return np.empty((len(columns), 0)), np.empty(0)
    left, values, _ = np.linalg.svd(columns, full_matrices=False)
    keep = values > 1e-8 * values[0]
    return left[:, keep], values[keep] ** 2 / (1 + values[keep] ** 2)


@njit(cache=True, error_model="numpy", fastmath={"contract"})
def marginal(level, seen, noise, log_q, residual, pull):
    """Log likelihood of `residual` with baseline, walk and noise integrated out; the force on `pull`, which gets S⁻¹ r; the slope by log q.

    noise : (2,) a + n and b. What was not seen is set to 0 in `residual`.
    """
    regions, weeks = seen.shape
    basis, span, shock, across, wander, mixed, swing = level
    columns, sines = basis.shape[0], swing.shape[0]
    over_regions = np.zeros(weeks)
    for g in range(regions):
        for t in range(weeks):
            i = g * weeks + t
            residual[i] *= seen[g, t]
            pull[i] = residual[i]
            over_regions[t] += residual[i]
    square, parts = dot(residual, residual), np.empty(columns)
    for b in range(columns):
        start, stop = span[b]
        parts[b] = dot(basis[b, start:stop], residual[start:stop])
        square -= parts[b] * parts[b]
    told, taken = parts.copy(), np.zeros(weeks)
    if shock.shape[0]:
        left = over_regions.copy()
        for b in range(columns):
            part = told[b]
            for t in range(weeks):
                left[t] -= part * across[b, t]
        for t in range(weeks):
            taken[t] = dot(shock[t], left)
        square -= dot(left, taken)
        for b in range(columns):
            parts[b] -= dot(across[b], taken)
    value, by_walk, by_square, variance = 0.0, 0.0, 0.0, math.exp(2 * log_q)
    for b in range(sines):
        ratio = variance * swing[b]
        part, weight = dot(wander[b], over_regions) - dot(mixed[b], told), ratio / (1 + ratio)
        value -= 0.5 * math.log1p(ratio)
        square -= weight * part * part
        by_walk -= weight
        by_square += weight * (1 - weight) * part * part
        for t in range(weeks):
            taken[t] += weight * part * wander[b, t]
        for k in range(mixed.shape[1]):
            parts[k] -= weight * part * mixed[b, k]
    everything = noise[1] + square
    if not everything > 0:
        return -np.inf, 0.0, 0.0
    for b in range(columns):
        mine, column, part = pull[span[b, 0] : span[b, 1]], basis[b, span[b, 0] : span[b, 1]], parts[b]
        for i in range(mine.shape[0]):
            mine[i] -= part * column[i]
    if sines or shock.shape[0]:
        for g in range(regions):
            for t in range(weeks):
                pull[g * weeks + t] -= taken[t] * seen[g, t]
    force = noise[0] / everything
    return value - 0.5 * noise[0] * math.log(everything), force, by_walk + force * by_square
