# pyright: basic
"""What touches add to the log-odds of buying, compiled: one equation for the draw, the truth and the tests (see `journey_worlds`)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

Array = np.ndarray
CURVE = 0.5  # how fast a channel saturates: slope 1 at nothing, 1/CURVE at most
WITHIN = 2.0  # days in which what came before counts for what comes after
ALL = 1_000_000


class Equation(NamedTuple):
    """A market's numbers: strength, fades, law (channels,); pairs (p, 2) and what they lend (p,); orders (q, 2) and how much."""

    strength: Array
    fades: Array
    law: Array
    pairs: Array
    lends: Array
    orders: Array
    ordered: float


@njit(cache=True)
def fresh(age: float, fades: float, law: int) -> float:  # pragma: no cover - compiled
    """What is left of a touch: exponential, hyperbolic, or delayed (nothing at once, most after half of `fades`)."""
    if law == 0:
        return np.exp(-age / fades)
    if law == 1:
        return (1.0 + 2.0 * age / fades) ** -1.5
    x = 2.0 * age / fades
    return x * np.exp(1.0 - x)


@njit(cache=True)
def media(eq, codes, born, day, first, last, at, skip, off, whole):  # pragma: no cover - compiled
    """Log-odds added at time `at`, without touch `skip` and channel `off` (ALL: without any); `whole`: with what it induced."""
    k = len(eq.strength)
    stock = np.zeros(k)
    if off == ALL:
        return 0.0
    for i in range(first, last):
        if day[i] > at:
            break
        if i == skip or codes[i] == off or (whole and off >= 0 and born[i] == off):
            continue
        weight = 1.0
        for q in range(len(eq.orders)):
            if codes[i] == eq.orders[q, 1]:
                for j in range(i - 1, first - 1, -1):
                    if day[i] - day[j] > WITHIN:
                        break
                    if (
                        codes[j] == eq.orders[q, 0]
                        and j != skip
                        and codes[j] != off
                        and not (whole and off >= 0 and born[j] == off)
                    ):
                        weight = 1.0 + eq.ordered
                        break
        stock[codes[i]] += weight * fresh(at - day[i], eq.fades[codes[i]], eq.law[codes[i]])
    total = 0.0
    for c in range(k):
        stock[c] = (1.0 - np.exp(-CURVE * stock[c])) / CURVE
        total += eq.strength[c] * stock[c]
    for p in range(len(eq.pairs)):
        total += eq.lends[p] * stock[eq.pairs[p, 0]] * stock[eq.pairs[p, 1]]
    return total


@njit(cache=True)
def chance(eta: float) -> float:  # pragma: no cover - compiled
    """Logistic."""
    return 1.0 / (1.0 + np.exp(-eta))


@njit(cache=True)
def truths(eq, offsets, codes, born, day, at, eta):  # pragma: no cover - compiled
    """(probability, organic, without each channel, less without each touch) at each journey's end."""
    n, k = len(at), len(eq.strength)
    whole, organic, without, effect = np.empty(n), np.empty(n), np.empty((n, k)), np.empty(len(codes))
    for j in range(n):
        first, last = offsets[j], offsets[j + 1]
        whole[j] = chance(eta[j] + media(eq, codes, born, day, first, last, at[j], -1, -1, False))
        organic[j] = chance(eta[j])
        for c in range(k):
            without[j, c] = chance(eta[j] + media(eq, codes, born, day, first, last, at[j], -1, c, False))
        for i in range(first, last):
            effect[i] = whole[j] - chance(eta[j] + media(eq, codes, born, day, first, last, at[j], i, -1, False))
    return whole, organic, without, effect


@njit(cache=True)
def by_the_end(eq, offsets, codes, born, day, window, eta, wants, starts, daily):  # pragma: no cover - compiled
    """(n, channels + 1): probability of having bought by the window's end: with everything, and without each channel and what it induced."""
    n, k = len(eta), len(eq.strength)
    out = np.empty((n, k + 1))
    for j in range(n):
        first, last = offsets[j], offsets[j + 1]
        for c in range(-1, k):
            if not daily:
                out[j, c + 1] = chance(
                    eta[j] + wants * (starts[j] < window) + media(eq, codes, born, day, first, last, window, -1, c, True)
                )
                continue
            alive = 1.0
            for d in range(int(window)):
                now = eta[j] + wants * (starts[j] <= d)
                alive *= 1.0 - chance(now + media(eq, codes, born, day, first, last, float(d), -1, c, True))
            out[j, c + 1] = 1.0 - alive
    return out


@njit(cache=True)
def first_purchase(eq, offsets, codes, born, day, window, eta, wants, starts, draws):  # pragma: no cover - compiled
    """Day of the first purchase, infinite without one; each day's chance is that of its beginning."""
    out = np.full(len(eta), np.inf)
    for j in range(len(eta)):
        for d in range(int(window)):
            now = eta[j] + wants * (starts[j] <= d)
            if draws[j, d] < chance(now + media(eq, codes, born, day, offsets[j], offsets[j + 1], float(d), -1, -1, False)):
                out[j] = float(d)
                break
    return out
