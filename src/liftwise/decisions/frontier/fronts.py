"""Fronts as arrays: what dominates what, how much they cover, and the exact front of a knapsack with two profits.

All objectives are maximised. A point dominates another where it is at least as good in all and better in one.

References
----------
Bazgan, Hugot and Vanderpooten (2009), Computers & Operations Research 36(1): dynamic programming over items with dominance in (weight, profits)
and bounds. Fonseca, Paquete and López-Ibáñez (2006), CEC: slicing for the hypervolume.
"""

# pyright: basic
# (numba has no types)
from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
LARGEST = 20_000_000  # sum of a profit over all items
STATES = 60_000_000  # of the dynamic program, all items together, 4 bytes each


def nondominated(values: Floats) -> NDArray[np.bool_]:
    """(n,) which of (n, p) points no other dominates; of equal points the first is kept."""
    return _nondominated(np.ascontiguousarray(values, dtype=np.float64), np.lexsort(-values.T[::-1]))


@njit(cache=True)
def _nondominated(values, order):  # type: ignore[no-untyped-def]
    """`order` sorts by the first objective, best first, so that only earlier points can dominate."""
    n, p = values.shape
    keep = np.zeros(n, dtype=np.bool_)
    kept = np.empty(n, dtype=np.int64)
    size, second = 0, -np.inf
    for k in order:
        if p == 2:
            if values[k, 1] > second:
                second = values[k, 1]
                keep[k] = True
            continue
        free = True
        for a in range(size):
            free = False
            for o in range(p):
                if values[kept[a], o] < values[k, o]:
                    free = True
                    break
            if not free:
                break
        if free:
            keep[k] = True
            kept[size] = k
            size += 1
    return keep


def hypervolume(values: Floats, reference: Floats) -> float:
    """Volume between `reference` and the points (n, p) that are better than it in every objective."""
    inside = values[(values > reference).all(axis=1)] - reference
    if not len(inside):
        return 0.0
    return _volume(inside[nondominated(inside)])


def _volume(points: Floats) -> float:
    """Slices along the last objective; each is the volume of the points that reach it in the others."""
    if points.shape[1] == 1:
        return float(points.max())
    if points.shape[1] == 2:
        order = points[np.argsort(-points[:, 0], kind="stable")]
        rises = np.diff(np.maximum.accumulate(np.concatenate([[0.0], order[:, 1]])))
        return float((order[:, 0] * rises).sum())
    order = points[np.argsort(-points[:, -1], kind="stable")]
    depth = order[:, -1] - np.append(order[1:, -1], 0.0)
    total = 0.0
    for k in np.flatnonzero(depth > 0):
        above = order[: k + 1, :-1]
        total += float(depth[k]) * _volume(above[nondominated(above)])
    return total


def thinned(values: Floats, count: int) -> Ints:
    """Which `count` points to keep: one after another the point is left out that covers least alone (p = 2) or is nearest to the others.

    The best point of each objective stays.
    """
    scaled = (values - values.min(axis=0)) / np.maximum(np.ptp(values, axis=0), 1e-12)
    if values.shape[1] == 2:
        kept = list(np.argsort(scaled[:, 0], kind="stable"))
        while len(kept) > max(count, 2):
            z = scaled[kept]
            alone = (z[1:-1, 0] - z[:-2, 0]) * (z[1:-1, 1] - z[2:, 1])
            kept.pop(1 + int(np.argmin(alone)))
        return np.sort(np.array(kept, dtype=np.int64))
    chosen = list(dict.fromkeys(int(k) for k in scaled.argmax(axis=0)))
    far = np.min([np.linalg.norm(scaled - scaled[k], axis=1) for k in chosen], axis=0)
    while len(chosen) < min(count, len(values)):
        chosen.append(int(np.argmax(far)))
        far = np.minimum(far, np.linalg.norm(scaled - scaled[chosen[-1]], axis=1))
    return np.sort(np.array(chosen, dtype=np.int64))


def knee(values: Floats) -> int:
    """The point that is furthest above the plane through the best point of each objective, in units of their ranges."""
    scaled = (values - values.min(axis=0)) / np.maximum(np.ptp(values, axis=0), 1e-12)
    ends = scaled[scaled.argmax(axis=0)]
    try:
        normal = np.linalg.solve(ends, np.ones(len(ends)))
    except np.linalg.LinAlgError:
        normal = np.ones(values.shape[1])
    return int(np.argmax(scaled @ (normal / max(float(np.linalg.norm(normal)), 1e-12))))


def knapsack_front(
    profits: Ints, weights: Ints, capacity: int, known: NDArray[np.bool_]
) -> tuple[Ints, NDArray[np.bool_]] | None:
    """Every non-dominated point of a knapsack with two profits, and a plan of each; None where it would take too much memory.

    profits : (n, 2) not negative. weights : (n,) positive. known : (k, n) plans that fit, the better the quicker; points that they do not
    reach are searched item by item: of partial plans only those are kept that none with less weight dominates and whose bounds (at weights
    of the profits taken from the known front) leave room for a point that is new.

    Source: Bazgan, Hugot and Vanderpooten (2009), with bounds at several weights of the profits instead of one.
    """
    if profits.sum(axis=0).max() > LARGEST:
        return None
    lower = np.vstack([known @ profits, _greedy(profits, weights, capacity) @ profits])
    plans = np.vstack([known, _greedy(profits, weights, capacity)])
    first = nondominated(lower.astype(np.float64))
    lower, plans = lower[first], plans[first]
    order = np.argsort(-lower[:, 0], kind="stable")
    lower, plans = lower[order], plans[order]
    corners = np.column_stack([np.append(lower[:, 0], -1) + 1, np.append(0, lower[:, 1] + 1)]).astype(np.int64)
    corners[0, 1] = 0
    mix = _weights_of(lower)
    rank = np.zeros(len(weights))
    for a, b in mix:
        rank += np.argsort(np.argsort(-(profits @ np.array([a, b])) / weights, kind="stable"), kind="stable")
    items = np.argsort(rank, kind="stable")
    found = _states(profits[items].astype(np.int64), weights[items].astype(np.int64), int(capacity), corners, mix, STATES)
    if found is None:
        return None
    values, taken = found
    fresh = np.zeros((len(values), len(weights)), dtype=np.bool_)
    fresh[:, items] = taken
    everything, everyone = np.vstack([lower, values]), np.vstack([plans, fresh])
    best = np.flatnonzero(nondominated(everything.astype(np.float64)))
    best = best[np.argsort(-everything[best, 0], kind="stable")]
    return everything[best], everyone[best]


def _greedy(profits: Ints, weights: Ints, capacity: int, count: int = 64) -> NDArray[np.bool_]:
    """Plans by profit for weight, at `count` weights of the two profits; (count, n)."""
    plans = np.zeros((count, len(weights)), dtype=np.bool_)
    for k, share in enumerate(np.linspace(0.0, 1.0, count)):
        room = capacity
        for j in np.argsort(-(profits @ np.array([share, 1 - share])) / weights, kind="stable"):
            if weights[j] <= room:
                plans[k, j] = True
                room -= weights[j]
    return plans


def _weights_of(lower: Ints, most: int = 24) -> Ints:
    """Weights (integers) of the two profits: the slopes of the known front's upper hull, spread evenly where they are many."""
    hull: list[tuple[int, int]] = []
    for x, y in lower[::-1]:  # by falling second profit
        while len(hull) > 1 and (hull[-1][0] - hull[-2][0]) * (y - hull[-2][1]) >= (hull[-1][1] - hull[-2][1]) * (
            x - hull[-2][0]
        ):
            hull.pop()
        hull.append((int(x), int(y)))
    slopes = [(hull[k][1] - hull[k + 1][1], hull[k + 1][0] - hull[k][0]) for k in range(len(hull) - 1)]
    if len(slopes) > most:
        slopes = [slopes[k] for k in np.unique(np.linspace(0, len(slopes) - 1, most).round().astype(int))]
    return np.array([(1, 0), (0, 1), *slopes], dtype=np.int64)


@njit(cache=True)
def _bounds(profits, weights, order, k, capacity, mix, out):  # type: ignore[no-untyped-def]
    """out[i, r]: what items k, k + 1, … bring at most within weight r, at weights `mix[i]` of the profits (the linear program, rounded down)."""
    for i in range(len(mix)):
        at, value, room = 0, 0, 0
        for j in order[i]:
            if j < k:
                continue
            worth = mix[i, 0] * profits[j, 0] + mix[i, 1] * profits[j, 1]
            last = min(room + weights[j], capacity)
            for r in range(at, last):
                out[i, r] = value + (worth * (r - room)) // weights[j]
            at = max(at, last)
            room += weights[j]
            value += worth
            if room > capacity:
                break
        for r in range(at, capacity + 1):
            out[i, r] = value


@njit(cache=True)
def _useful(w, a, b, capacity, bound, mix, own, corners, needed, first, last, group):  # type: ignore[no-untyped-def]
    """Whether a partial plan can still lead to a point that is not known: some corner between known points is within all its bounds."""
    room = capacity - w
    top, side = a + bound[0, room], b + bound[1, room]
    for g in range(len(first)):
        if first[g] == last[g]:
            continue
        i = own[g]
        mine = mix[i, 0] * a + mix[i, 1] * b + bound[i, room]
        if mine < needed[g]:
            continue
        for c in range(first[g], last[g]):
            x, y = corners[group[c], 0], corners[group[c], 1]
            if x > top or y > side:
                continue
            fits = True
            for m in range(2, len(mix)):
                if mix[m, 0] * x + mix[m, 1] * y > mix[m, 0] * a + mix[m, 1] * b + bound[m, room]:
                    fits = False
                    break
            if fits:
                return True
    return False


def _states(profits, weights, capacity, corners, mix, most):  # type: ignore[no-untyped-def]
    """Complete plans that may be new: values (m, 2) and which items each takes, in order of items."""
    order = np.array([np.argsort(-(profits @ pair) / weights, kind="stable") for pair in mix])
    # each corner belongs to the weight at which it is hardest to reach: where it is furthest out beside the bound of everything
    whole = np.zeros((len(mix), capacity + 1), dtype=np.int64)
    _bounds(profits, weights, order, 0, capacity, mix, whole)
    slack = (whole[:, -1][None, :] - corners @ mix.T) / np.maximum(mix.sum(axis=1), 1)[None, :]
    owner = slack.argmin(axis=1)
    group = np.argsort(owner, kind="stable")
    own = np.arange(len(mix))
    first, last = np.searchsorted(owner[group], own), np.searchsorted(owner[group], own, side="right")
    worth = (corners @ mix.T)[np.arange(len(corners)), owner]
    needed = np.array([worth[group[a:b]].min() if b > a else 0 for a, b in zip(first, last, strict=True)], dtype=np.int64)
    return _run(profits, weights, capacity, corners, mix, order, own, needed, first, last, group, most)


def _run(profits, weights, capacity, corners, mix, order, own, needed, first, last, group, most):  # type: ignore[no-untyped-def]
    n, bound = len(weights), np.zeros((len(mix), capacity + 1), dtype=np.int64)
    w, a, b = (np.zeros(1, dtype=np.int64) for _ in range(3))
    history, total = [], 0
    size = int(profits[:, 0].sum()) + 2
    for k in range(n):
        _bounds(profits, weights, order, k + 1, capacity, mix, bound)
        w, a, b, parent = _stage(
            w,
            a,
            b,
            weights[k],
            profits[k, 0],
            profits[k, 1],
            capacity,
            bound,
            mix,
            own,
            corners,
            needed,
            first,
            last,
            group,
            size,
        )
        history.append(parent)
        total += len(w)
        if total > most:
            return None
        if not len(w):
            break
    if not len(w):
        return np.zeros((0, 2), dtype=np.int64), np.zeros((0, n), dtype=np.bool_)
    values = np.column_stack([a, b])
    at, taken = np.arange(len(w)), np.zeros((len(w), n), dtype=np.bool_)
    for k in range(n - 1, -1, -1):
        code = history[k][at]
        taken[:, k] = code & 1
        at = code >> 1
    return values, taken


@njit(cache=True)
def _stage(w, a, b, weight, one, two, capacity, bound, mix, own, corners, needed, first, last, group, size):  # type: ignore[no-untyped-def]
    """Partial plans after one more item, in order of weight: without it and with it merged, the dominated and the useless left out.

    tree : for each first profit, the best second profit of lighter plans with at least that much of the first (a Fenwick tree of maxima).
    """
    n = len(w)
    new_w, new_a, new_b = np.empty(2 * n, dtype=np.int64), np.empty(2 * n, dtype=np.int64), np.empty(2 * n, dtype=np.int64)
    parent = np.empty(2 * n, dtype=np.int32)
    tree = np.full(size + 1, -1, dtype=np.int64)
    i = j = count = 0
    while i < n or j < n:
        without = j >= n or w[j] + weight > capacity
        if without and i >= n:
            break
        if not without and i < n:
            heavy = w[j] + weight
            without = w[i] < heavy or (w[i] == heavy and (a[i] > a[j] + one or (a[i] == a[j] + one and b[i] >= b[j] + two)))
        if without:
            cw, ca, cb, code = w[i], a[i], b[i], 2 * i
            i += 1
        else:
            cw, ca, cb, code = w[j] + weight, a[j] + one, b[j] + two, 2 * j + 1
            j += 1
        best, at = -1, size - ca
        while at > 0:
            best = max(best, tree[at])
            at -= at & -at
        if best >= cb or not _useful(cw, ca, cb, capacity, bound, mix, own, corners, needed, first, last, group):
            continue
        at = size - ca
        while at <= size:
            tree[at] = max(tree[at], cb)
            at += at & -at
        new_w[count], new_a[count], new_b[count], parent[count] = cw, ca, cb, code
        count += 1
    return new_w[:count].copy(), new_a[:count].copy(), new_b[:count].copy(), parent[:count].copy()
