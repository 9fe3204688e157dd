"""Loops over audiences that numpy cannot do without copies: lazy greedy, swaps and the two sums of the reach bound.

Audiences are compressed rows: `people[starts[i]:starts[i + 1]]` are the codes of influencer i's audience. `seen[i]` is the share of
people that a sample of audience i could see (1 when all were seen): a person seen there stands for 1 / seen[i] people, and one seen in
several samples for 1 / the largest of their shares (Cohen and Kaplan 2009), so `held[p]` is the largest share in which person p was seen so
far (0: not yet reached).
"""

# pyright: basic
# (numba's functions have no types)
from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def gain(starts, people, seen, held, i):
    """People that influencer `i` adds to those held."""
    share, new, known = seen[i], 0, 0.0
    for e in range(starts[i], starts[i + 1]):
        before = held[people[e]]
        if before == 0:
            new += 1
        elif share > before:  # seen in a fuller sample: stands for fewer
            known += 1.0 / share - 1.0 / before
    return new / share + known


@njit(cache=True)
def hold(starts, people, seen, held, i):
    """Mark influencer `i`'s audience as reached."""
    for e in range(starts[i], starts[i + 1]):
        held[people[e]] = max(held[people[e]], seen[i])


@njit(cache=True)
def _sink(keys, items, count, at):
    """Restore a heap (largest first) below `at`."""
    key, item = keys[at], items[at]
    while 2 * at + 1 < count:
        child = 2 * at + 1
        if child + 1 < count and (
            keys[child + 1] > keys[child] or (keys[child + 1] == keys[child] and items[child + 1] < items[child])
        ):
            child += 1
        if keys[child] < key or (keys[child] == key and items[child] > item):
            break
        keys[at], items[at] = keys[child], items[child]
        at = child
    keys[at], items[at] = key, item


@njit(cache=True)
def greedy(starts, people, seen, held, gains, divisor, price, money, places):
    """Take the influencer of largest gain / divisor that can still be paid, until none adds anything.

    `gains` (upper bounds, -1: not to be taken) is updated with what was looked at; `held` with whom was reached. Minoux (1978): gains only
    shrink, so the first of the heap whose fresh gain still leads is the best of all. Returns those taken, in order, with their gains.
    """
    total = len(gains)
    keys, items, count = np.empty(total), np.empty(total, np.int64), 0
    for i in range(total):
        if gains[i] > 0 and price[i] <= money:
            keys[count], items[count] = gains[i] / divisor[i], i
            count += 1
    for at in range(count // 2 - 1, -1, -1):
        _sink(keys, items, count, at)
    fresh = np.full(total, -1)
    taken, added = np.empty(min(places, total), np.int64), np.empty(min(places, total))
    number = 0
    while count > 0 and number < places:
        i = items[0]
        if price[i] <= money and fresh[i] == number and gains[i] > 0:
            taken[number], added[number] = i, gains[i]
            hold(starts, people, seen, held, i)
            money -= price[i]
            gains[i] = -1.0
            number += 1
        elif price[i] <= money and fresh[i] != number:
            gains[i] = gain(starts, people, seen, held, i)
            fresh[i] = number
            if gains[i] > 0:
                keys[0] = gains[i] / divisor[i]
                _sink(keys, items, count, 0)
                continue
        count -= 1  # taken, too dear for what is left, or of no use
        keys[0], items[0] = keys[count], items[count]
        _sink(keys, items, count, 0)
    return taken[:number], added[:number]


@njit(cache=True)
def times_reached(starts, people, size, chosen):
    """How often each person is reached by `chosen` (int32)."""
    times = np.zeros(size, np.int32)
    for i in chosen:
        for e in range(starts[i], starts[i + 1]):
            times[people[e]] += 1
    return times


@njit(cache=True)
def alone(starts, people, times, i, level):
    """People of audience `i` who are reached exactly `level` times."""
    number = 0
    for e in range(starts[i], starts[i + 1]):
        number += times[people[e]] == level
    return number


@njit(cache=True)
def swap(starts, people, times, chosen, fixed, price, money, gains, effort):
    """Replace one of `chosen` by one outside wherever that reaches more, looking at no more than `effort` audience entries.

    `gains`: of those outside now (-1: not to be taken). Changes `times`, `chosen` and `gains`; returns the money left and the people won.
    """
    order, won = np.argsort(-gains), 0
    inside = np.zeros(len(gains), np.bool_)
    inside[chosen] = True
    for at in range(len(chosen)):
        j = chosen[at]
        if fixed[at]:
            continue
        _count(starts, people, times, j, -1)
        lost = alone(starts, people, times, j, 0)
        best, found = lost, j
        for i in order:
            if gains[i] + lost <= best or effort <= 0:  # the first cannot win more than that, nor can any later
                break
            if inside[i] or price[i] > money + price[j] or starts[i + 1] - starts[i] <= best:
                continue
            effort -= starts[i + 1] - starts[i]
            now = alone(starts, people, times, i, 0)
            if now > best:
                best, found = now, i
        _count(starts, people, times, found, 1)
        if found != j:
            won += best - lost
            money += price[j] - price[found]
            inside[j], inside[found] = False, True
            gains[j] = lost  # an upper bound from here on, like all others
            chosen[at] = found
    return money, won


@njit(cache=True)
def _count(starts, people, times, i, step):
    for e in range(starts[i], starts[i + 1]):
        times[people[e]] += step


@njit(cache=True)
def shares_of(starts, people, weight, rows):
    """For each influencer of `rows`: the sum of `weight` over its audience."""
    sums = np.empty(len(rows))
    for k in range(len(rows)):
        total = 0.0
        for e in range(starts[rows[k]], starts[rows[k] + 1]):
            total += weight[people[e]]
        sums[k] = total
    return sums


@njit(cache=True)
def step_down(weight, covered, step):
    """Move each person's multiplier against its slope (1 − covered), within [0, 1]."""
    for p in range(len(weight)):
        moved = weight[p] + step * (np.float32(1.0) - covered[p])
        weight[p] = min(max(moved, np.float32(0.0)), np.float32(1.0))


@njit(cache=True)
def fade_in(starts, people, rows, taken, keep, covered):
    """`covered` ← keep · covered + (1 − keep) · cover(taken): a running mean of how much of each person is covered."""
    keep = np.float32(keep)
    for p in range(len(covered)):
        covered[p] *= keep
    for k in range(len(rows)):
        part = np.float32((1.0 - keep) * taken[k])
        if part > 0:
            for e in range(starts[rows[k]], starts[rows[k] + 1]):
                covered[people[e]] += part


@njit(cache=True)
def some_people(starts, people, kept):
    """The rows of those people whose `kept` is not negative, which is also their new code."""
    new_starts = np.zeros_like(starts)
    total = 0
    for e in range(len(people)):
        total += kept[people[e]] >= 0
    codes, at = np.empty(total, people.dtype), 0
    for i in range(len(starts) - 1):
        for e in range(starts[i], starts[i + 1]):
            code = kept[people[e]]
            if code >= 0:
                codes[at] = code
                at += 1
        new_starts[i + 1] = at
    return new_starts, codes
