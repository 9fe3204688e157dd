"""Money over channels whose curves are straight between points but need not be concave: the best split, and a bound on all splits.

On the upper concave envelopes the steepest segments are filled first: a price of money is bisected, each channel takes what is steeper than
it, and the few segments at the price share the rest. That is worth at least as much as any split of the true curves, and since at most one
channel ends inside a segment, it overstates in at most one channel. There the range is cut in two and both parts get envelopes of their own
(branch and bound, best bound first), so that the bound comes down to the best split's value, however the curves are bent.

References
----------
Kellerer, Pferschy and Pisinger (2004), Knapsack Problems, ch. 11, for envelopes of multiple-choice problems; Falk and Soland (1969),
Management Science 15(9), for branching on separable functions.
"""

# pyright: basic
# (numba's kernels have no types)
from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
PARTS = 400  # of the money above the floors, which the dynamic program hands out
NODES, WORK = 4_000, 40_000_000  # at most; and points of curves visited by them
CLOSED = 1e-6  # of the value: a gap below it is none
HALVINGS = 40  # of the price of money, before the segments left are sorted


def best_split(grid: Floats, curve: Floats, low: Floats, high: Floats, total: float) -> tuple[Floats, float, float]:
    """The best split of `total` found, its value, and a bound on the value of every split.

    Parameters
    ----------
    grid, curve : (channels, points) spend, ascending, and value; straight between points, level beyond.
    low, high : (channels,) limits, with Σ low ≤ total ≤ Σ high.
    """
    filled, bound = envelope_bound(grid, curve, low, high, total)
    step = max(total / PARTS, 1e-9)
    best = _exchange(grid, curve, filled, low, high, step)
    value = worth(grid, curve, best)
    if bound - value <= CLOSED * abs(bound):
        return best, value, max(bound, value)
    parts = _by_parts(grid, curve, low, high, total, PARTS)
    for start in (parts, _exchange(grid, curve, parts, low, high, step)):
        if start[0] >= 0 and (more := worth(grid, curve, start)) > value:
            best, value = start, more
    nodes = int(np.clip(WORK / grid.size, 100, NODES))
    best, bound = _branch(grid, curve, low, high, total, best, value, nodes, CLOSED, _twins(grid, curve, low, high))
    value = worth(grid, curve, best)
    return best, value, float(max(bound, value))


def _twins(grid: Floats, curve: Floats, low: Floats, high: Floats) -> NDArray[np.intp]:
    """(channels,) a number that channels exactly alike share."""
    seen: dict[bytes, int] = {}
    rows = np.column_stack([grid, curve, low, high])
    return np.array([seen.setdefault(row.tobytes(), k) for k, row in enumerate(rows)], dtype=np.intp)


def envelope_bound(grid: Floats, curve: Floats, low: Floats, high: Floats, total: float) -> tuple[Floats, float]:
    """The best split on the concave envelopes and its value there: no split is worth more on the curves."""
    split, value, _, _, _ = relax(grid, curve, low, high, total)
    return split, float(value)


def overstated(grid: Floats, curve: Floats, low: Floats, high: Floats, split: Floats) -> Floats:
    """(channels,) by how much the envelopes between the limits lie above the curves at a split."""
    return _over(grid, curve, low, high, split)


def envelope(x: Floats, y: Floats) -> list[int]:
    """Points of the upper concave envelope (monotone chain).

    >>> envelope(np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, 0.5, 3.0, 3.5]))
    [0, 2, 3]
    """
    return _chain(np.ascontiguousarray(x, dtype=np.float64), np.ascontiguousarray(y, dtype=np.float64)).tolist()


@njit(cache=True)
def _chain(x, y):
    kept, n = np.empty(len(x), np.int64), 0
    for k in range(len(x)):
        if n and x[k] - x[kept[n - 1]] < 1e-12:
            continue
        while n > 1 and (y[kept[n - 1]] - y[kept[n - 2]]) * (x[k] - x[kept[n - 2]]) <= (y[k] - y[kept[n - 2]]) * (
            x[kept[n - 1]] - x[kept[n - 2]]
        ):
            n -= 1
        kept[n] = k
        n += 1
    return kept[:n].copy()


@njit(cache=True)
def height(x, y, at):
    """The curve at one spend."""
    if at <= x[0]:
        return y[0]
    last = len(x) - 1
    if at >= x[last]:
        return y[last]
    k = np.searchsorted(x, at, side="right") - 1
    return y[k] + (y[k + 1] - y[k]) * (at - x[k]) / (x[k + 1] - x[k])


@njit(cache=True)
def worth(grid, curve, split):
    """Value of a split."""
    total = 0.0
    for k in range(len(split)):
        total += height(grid[k], curve[k], split[k])
    return total


@njit(cache=True)
def _hulls(grid, curve, low, high):
    """Envelope of each channel between its limits: corners (channels, corners), slopes before each corner, and how many."""
    channels, points = grid.shape
    at, slope, height_ = np.zeros((channels, points + 2)), np.zeros((channels, points + 2)), np.zeros((channels, points + 2))
    count = np.zeros(channels, np.int64)
    for k in range(channels):
        n = 0
        for j in range(-1, points + 1):
            x = low[k] if j < 0 else high[k] if j == points else grid[k, j]
            if 0 <= j < points and (x <= low[k] or x >= high[k]):
                continue
            y = curve[k, j] if 0 <= j < points else height(grid[k], curve[k], x)
            if n and x - at[k, n - 1] < 1e-12:
                continue
            while n > 1 and (height_[k, n - 1] - height_[k, n - 2]) * (x - at[k, n - 2]) <= (y - height_[k, n - 2]) * (
                at[k, n - 1] - at[k, n - 2]
            ):
                n -= 1
            at[k, n], height_[k, n] = x, y
            n += 1
        for j in range(1, n):
            slope[k, j] = (height_[k, j] - height_[k, j - 1]) / (at[k, j] - at[k, j - 1])
        count[k] = n
    return at, slope, height_, count


@njit(cache=True)
def _over(grid, curve, low, high, split):
    at, _, tall, count = _hulls(grid, curve, low, high)
    out = np.empty(len(split))
    for k in range(len(split)):
        out[k] = height(at[k, : count[k]], tall[k, : count[k]], split[k]) - height(grid[k], curve[k], split[k])
    return out


@njit(cache=True)
def _steeper(slope, n, price):
    """The last corner whose segments are all steeper than the price."""
    first, last = 0, n - 1
    while first < last:
        middle = (first + last + 1) // 2
        if slope[middle] > price:
            first = middle
        else:
            last = middle - 1
    return first


@njit(cache=True)
def relax(grid, curve, low, high, total):
    """The split that fills the envelopes, its value on them, and the channel inside a segment (−1: none) with the segment's ends."""
    at, slope, high_, count = _hulls(grid, curve, low, high)
    channels = len(low)
    above, below = -np.inf, np.inf
    for k in range(channels):
        if count[k] > 1:
            above, below = max(above, slope[k, 1]), min(below, slope[k, count[k] - 1])
    if above < below:  # every channel is held
        value = 0.0
        for k in range(channels):
            value += high_[k, 0]
        return low.copy(), value, -1, 0.0, 0.0
    above, below = above + abs(above) * 1e-9 + 1e-300, below - abs(below) * 1e-9 - 1e-300
    for _ in range(HALVINGS):
        price, taken = (above + below) / 2, 0.0
        for k in range(channels):
            taken += at[k, _steeper(slope[k], count[k], price)]
        if taken > total:
            below = price
        else:
            above = price
    split, value, left = np.empty(channels), 0.0, total
    lasts = np.empty(channels, np.int64)
    amount = 0
    for k in range(channels):
        lasts[k] = _steeper(slope[k], count[k], above)
        split[k] = at[k, lasts[k]]
        value += high_[k, lasts[k]]
        left -= split[k]
        amount += count[k] - 1 - lasts[k]
    # what lies at the price, steepest first (a corner's slope never exceeds the one before it, so a channel's own order holds)
    slopes, whose, width = np.empty(amount), np.empty(amount, np.int64), np.empty(amount)
    n = 0
    for k in range(channels):
        for j in range(lasts[k] + 1, count[k]):
            if slope[k, j] < below and n:
                break
            slopes[n], whose[n], width[n] = -slope[k, j], k, at[k, j] - at[k, j - 1]
            n += 1
    odd, start, end = -1, 0.0, 0.0
    for s in np.argsort(slopes[:n], kind="mergesort"):
        if left <= 0:
            break
        step = min(left, width[s])
        split[whose[s]] += step
        value -= slopes[s] * step
        left -= step
        if step < width[s]:
            odd, start = whose[s], split[whose[s]] - step
            end = start + width[s]
    return split, value, odd, start, end


@njit(cache=True)
def _exchange(grid, curve, split, low, high, step):
    """Move money from the channel that misses it least to the one that gains most, while that helps, in ever smaller steps."""
    split, least, channels = split.copy(), step / 4096, len(split)
    for _ in range(200 * channels + 2_000):
        if step < least:
            break
        best, give, take = 0.0, -1, -1
        for one in range(channels):  # two passes would pair a channel with itself: the second looks beyond the cheapest giver
            if split[one] - step < low[one]:
                continue
            now = height(grid[one], curve[one], split[one])
            loss = now - height(grid[one], curve[one], split[one] - step)
            if give >= 0 and loss >= best:
                continue
            best, give = loss, one
        loss, best = best, 0.0
        if give >= 0:
            for other in range(channels):
                if other == give or split[other] + step > high[other]:
                    continue
                gain = height(grid[other], curve[other], split[other] + step) - height(grid[other], curve[other], split[other])
                if take < 0 or gain > best:
                    best, take = gain, other
        if take < 0 or best - loss <= 1e-12 * (abs(best) + abs(loss)):
            step /= 2
            continue
        split[give] -= step
        split[take] += step
    return split


@njit(cache=True)
def _by_parts(grid, curve, low, high, total, parts):
    """The best split of the true curves in equal parts above the floors (max-plus convolution); −1 where ceilings leave none."""
    channels, part = len(low), (total - low.sum()) / parts
    best, taken = np.full(parts + 1, -np.inf), np.zeros((channels, parts + 1), np.int64)
    best[0] = 0.0
    if part <= 0:
        return np.full(channels, -1.0)
    values = np.empty(parts + 1)
    for k in range(channels):
        room = int(min((high[k] - low[k]) / part + 1e-9, parts))
        for j in range(room + 1):
            values[j] = height(grid[k], curve[k], low[k] + j * part)
        after = np.full(parts + 1, -np.inf)
        for spent in range(parts + 1):
            for j in range(min(room, spent) + 1):
                if best[spent - j] + values[j] > after[spent]:
                    after[spent] = best[spent - j] + values[j]
                    taken[k, spent] = j
        best = after
    if not np.isfinite(best[parts]):
        return np.full(channels, -1.0)
    split, left = low.copy(), parts
    for k in range(channels - 1, -1, -1):
        split[k] += taken[k, left] * part
        left -= taken[k, left]
    return np.minimum(split, high)


@njit(cache=True)
def _branch(grid, curve, low, high, total, best, value, nodes, closed, twin):
    """Cut the range of the channel that its envelope overstates, best bound first; the best split and a bound on all."""
    channels = len(low)
    lows, highs = np.empty((2 * nodes + 1, channels)), np.empty((2 * nodes + 1, channels))
    splits, odds = np.empty((2 * nodes + 1, channels)), np.empty(2 * nodes + 1, np.int64)
    bounds = np.full(2 * nodes + 1, -np.inf)  # −inf: not open
    lows[0], highs[0] = low, high
    splits[0], bounds[0], odds[0], _, _ = relax(grid, curve, low, high, total)
    made, step, shut = 1, total / 400, -np.inf
    for _ in range(nodes):
        node = np.argmax(bounds[:made])
        if bounds[node] <= value + closed * abs(value):
            break
        k, cut = odds[node], splits[node, odds[node]]
        top = bounds[node]
        bounds[node] = -np.inf
        if k < 0 or cut - lows[node, k] < 1e-9 or highs[node, k] - cut < 1e-9:
            shut = max(shut, top)
            continue
        for side in range(2):
            lows[made], highs[made] = lows[node], highs[node]
            for j in range(channels):  # of channels exactly alike the first gets most, else each order of them would be searched
                if twin[j] == twin[k] and side == 0 and j >= k:
                    highs[made, j] = min(highs[made, j], cut)
                elif twin[j] == twin[k] and side == 1 and j <= k:
                    lows[made, j] = max(lows[made, j], cut)
            if (lows[made] > highs[made]).any():
                continue
            if lows[made].sum() > total * (1 + 1e-12) or highs[made].sum() < total * (1 - 1e-12):
                continue
            split, bound, odds[made], _, _ = relax(grid, curve, lows[made], highs[made], total)
            splits[made], bounds[made] = split, min(bound, top)
            true = worth(grid, curve, split)
            if true > value:
                best = _exchange(grid, curve, split, low, high, step)
                value = worth(grid, curve, best)
                if true > value:
                    best, value = split, true
            made += 1
    return best, max(np.max(bounds[:made]), max(shut, value))
