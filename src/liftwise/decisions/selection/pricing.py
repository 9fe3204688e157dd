"""The best of each influencer alone at given prices, and what it would cost to turn any candidate over: exact, in one pass each.

At prices of the coupling rows, what is left is one small problem an influencer: at most `cap` candidates and `week_cap` in a week,
a laminar matroid, whose best set is found by taking the best first. Forcing a candidate in displaces the least of the circuit it closes; leaving one out lets the next best in.
"""

# pyright: basic
# (numba has no types)
from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.int32]


@njit(cache=True)
def _take(values, order, count, week, first, cap, week_cap, chosen):  # type: ignore[no-untyped-def]
    """Positions of the greedy set in `chosen`; returns how many and their sum. `order` holds `count` candidates, best first."""
    size, total = 0, 0.0
    for at in range(count):
        if size == cap:
            break
        j = order[at]
        if week_cap < count:
            same = 0
            for k in range(size):
                if week[chosen[k]] == week[j]:
                    same += 1
            if same >= week_cap:
                continue
        chosen[size] = j
        size += 1
        total += values[j]
    return size, total


@njit(cache=True)
def _positive(values, first, last, order):  # type: ignore[no-untyped-def]
    """Candidates of first:last that are worth more than their price, best first (the earlier wins ties)."""
    count = 0
    for j in range(first, last):
        if values[j] > 0.0:
            order[count] = j
            count += 1
    if count > 1:
        if count < 24:
            for a in range(1, count):
                j = order[a]
                b = a - 1
                while b >= 0 and values[order[b]] < values[j]:
                    order[b + 1] = order[b]
                    b -= 1
                order[b + 1] = j
        else:
            some = order[:count].copy()
            by = np.argsort(-values[some], kind="mergesort")
            for a in range(count):
                order[a] = some[by[a]]
    return count


@njit(cache=True)
def _charge(left, price, codes, times):  # type: ignore[no-untyped-def]
    for j in range(len(left)):
        left[j] -= price[codes[j]] * times[j]


@njit(cache=True)
def _charge_once(left, price, codes):  # type: ignore[no-untyped-def]
    for j in range(len(left)):
        left[j] -= price[codes[j]]


def charge(left: Floats, price: Floats, codes: Codes, times: Floats | None) -> None:
    """Take from what is `left` of each candidate the price of its code, `times` over (None = once)."""
    if times is None:
        _charge_once(left, price, codes)
    else:
        _charge(left, price, codes, times)


@njit(cache=True)
def leading(score, group, groups, each):  # type: ignore[no-untyped-def]
    """(groups, each) candidates of the highest scores in each group, −1 where it has fewer; those of group −1 are left out."""
    found, size = np.full((groups, each), -1, dtype=np.int64), np.zeros(groups, dtype=np.int64)
    for j in range(len(score)):
        g = group[j]
        if g < 0 or (size[g] == each and score[j] <= score[found[g, each - 1]]):
            continue
        k = min(size[g], each - 1)
        while k > 0 and score[found[g, k - 1]] < score[j]:
            found[g, k] = found[g, k - 1]
            k -= 1
        found[g, k] = j
        size[g] = min(size[g] + 1, each)
    return found


@njit(cache=True)
def best_of_each(values, start, week, cap, week_cap):  # type: ignore[no-untyped-def]
    """(influencers,) value of the best set of each influencer, and the candidates in these sets."""
    influencers = len(start) - 1
    worth = np.zeros(influencers)
    widest = 0
    for i in range(influencers):
        widest = max(widest, start[i + 1] - start[i])
    order, chosen = np.empty(widest, dtype=np.int64), np.empty(widest, dtype=np.int64)
    found = np.empty(1024, dtype=np.int64)
    size = 0
    for i in range(influencers):
        count = _positive(values, start[i], start[i + 1], order)
        if count == 0:
            continue
        taken, total = _take(values, order, count, week, start[i], cap, week_cap, chosen)
        worth[i] = total
        if size + taken > len(found):
            grown = np.empty(2 * (size + taken), dtype=np.int64)
            grown[:size] = found[:size]
            found = grown
        found[size : size + taken] = chosen[:taken]
        size += taken
    return worth, found[:size]


@njit(cache=True)
def flips(values, start, week, cap, week_cap, entry):  # type: ignore[no-untyped-def]
    """(candidates,) how much the bound falls when each candidate is turned over, and whether it is in (else out) to begin with.

    entry : (influencers,) price of using an influencer at all.
    """
    influencers = len(start) - 1
    loss = np.empty(len(values))
    widest, weeks = 0, 0
    for i in range(influencers):
        widest = max(widest, start[i + 1] - start[i])
    for j in range(len(week)):
        weeks = max(weeks, week[j] + 1)
    order, chosen = np.empty(widest, dtype=np.int64), np.empty(widest, dtype=np.int64)
    others, instead = np.empty(widest, dtype=np.int64), np.empty(widest, dtype=np.int64)
    in_week, least_in_week = np.zeros(weeks, dtype=np.int64), np.zeros(weeks)
    inside = np.zeros(len(values), dtype=np.bool_)
    for i in range(influencers):
        count = _positive(values, start[i], start[i + 1], order)
        taken, total = _take(values, order, count, week, start[i], cap, week_cap, chosen)
        used = total > entry[i]
        best = max(0.0, total - entry[i])
        least = np.inf
        for k in range(taken):
            j = chosen[k]
            inside[j] = used
            least = min(least, values[j])
            if in_week[week[j]] == 0 or values[j] < least_in_week[week[j]]:
                least_in_week[week[j]] = values[j]
            in_week[week[j]] += 1
        for j in range(start[i], start[i + 1]):
            if inside[j]:
                continue
            displaced = 0.0
            if in_week[week[j]] >= week_cap:
                displaced = least_in_week[week[j]]
            elif taken >= cap:
                displaced = least
            loss[j] = max(0.0, best - (total - displaced + values[j] - entry[i]))
        for k in range(taken):
            j = chosen[k]
            in_week[week[j]] = 0
            if not used:  # it is in the influencer's best set, and the influencer is not used
                loss[j] = max(0.0, best - (total - entry[i]))
                continue
            size = 0
            for at in range(count):
                if order[at] != j:
                    others[size] = order[at]
                    size += 1
            _, without = _take(values, others, size, week, start[i], cap, week_cap, instead)
            loss[j] = max(0.0, best - max(0.0, without - entry[i]))
    return loss, inside
