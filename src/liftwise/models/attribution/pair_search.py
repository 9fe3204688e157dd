"""Which pairs are found, and the run of gaps that each fills: steps 2 to 4 of `interactions`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csc_array

from liftwise.models.attribution.journeys import Floats, Ints
from liftwise.models.attribution.pair_baseline import Data, Fit, discoveries, fit_baseline, two_sided, width_of

ROUNDS = 12
LATER = 4.0  # squared standard errors by which a run that leaves out the first gap must be better


@dataclass(frozen=True)
class Found:
    """By pair found: the cells of its run, its p-value, and how many times that is the p-value of its best window; the joint fit with
    every gap of theirs, and how many pairs were judged.
    """

    runs: dict[int, Ints]
    p_value: dict[int, float]
    factor: dict[int, float]
    fit: Fit
    tested: int


def search(data: Data, features: csc_array, pair: Ints) -> Found:
    """See the steps above."""
    fit = fit_baseline(data, None)
    beta = fit.beta
    groups = {int(p): np.flatnonzero(pair == p) for p in np.unique(pair)}
    runs: dict[int, Ints] = {}
    factor: dict[int, float] = {}
    never: set[int] = set()
    level: dict[int, float] = {}
    for _ in range(ROUNDS):
        names, p_values, best = [], [], {}
        _, score, cross = fit.scores(features)
        for name, cells in groups.items():
            if name in runs:
                at = data.base.shape[1] + list(runs).index(name)
                p = min(1.0, factor[name] * float(two_sided(fit.beta[at] / np.sqrt(fit.inverse[at, at]))))
            else:
                information = fit.block(features[:, cells]) - cross[cells] @ fit.inverse @ cross[cells].T
                p, alone, run = _scan(information, score[cells], np.zeros(len(cells), np.int64), np.arange(len(cells)))
                best[name] = (cells[run], p / alone if alone > 0 else 1.0)
            names.append(name)
            p_values.append(p)
        marked = discoveries(np.array(p_values))
        level = dict(zip(names, p_values, strict=True))
        chosen = [name for name, yes in zip(names, marked, strict=True) if yes and name not in never]
        if set(chosen) == set(runs):
            break
        never |= set(runs) - set(chosen)
        for name in set(chosen) - set(runs):
            runs[name], factor[name] = best[name][0], best[name][1]
        runs = {name: runs[name] for name in chosen}
        fit = fit_baseline(data, _pooled(features, list(runs.values())), beta)
    cells = [groups[name] for name in runs]
    if runs:
        fit = fit_baseline(data, _pooled(features, [np.array([c]) for group in cells for c in group]), beta)
        at = data.base.shape[1]
        for name, group in zip(list(runs), cells, strict=True):
            mine = slice(at, at + len(group))
            information = np.linalg.inv(fit.inverse[mine, mine])
            runs[name] = group[_scan(information, information @ fit.beta[mine], *np.triu_indices(len(group)))[2]]
            at += len(group)
    return Found(runs, {name: level[name] for name in runs}, {name: factor[name] for name in runs}, fit, len(groups))


def _pooled(features: csc_array, groups: list[Ints]) -> csc_array | None:
    """One column for each group of cells."""
    if not groups:
        return None
    rows, columns = np.concatenate(groups), np.repeat(np.arange(len(groups)), [len(g) for g in groups])
    return csc_array(features @ csc_array((np.ones(len(rows)), (rows, columns)), shape=(width_of(features), len(groups))))


def _scan(information: Floats, score: Floats, first: Ints, last: Ints) -> tuple[float, float, Ints]:
    """Over runs of neighbours from `first` to `last`: Simes' p-value, the smallest, and the run it belongs to."""
    m = len(score)
    sums = np.append(0.0, np.cumsum(score))
    area = np.zeros((m + 1, m + 1))
    area[1:, 1:] = information.cumsum(axis=0).cumsum(axis=1)
    held = area[last + 1, last + 1] - area[first, last + 1] - area[last + 1, first] + area[first, first]
    z = (sums[last + 1] - sums[first]) / np.sqrt(np.maximum(held, 1e-12))
    p = two_sided(z)
    top = int(np.argmax(z**2 - LATER * (first > 0)))
    order = np.sort(p)
    return float(min(1.0, (order * len(p) / np.arange(1, len(p) + 1)).min())), float(p[top]), np.arange(first[top], last[top] + 1)
