"""What no plan can reach more than: the Lagrangian dual of budgeted maximum coverage.

max Σ_p min(1, Σ_{i∋p} x_i) over Σ price·x ≤ B, Σ x ≤ k, 0 ≤ x ≤ 1. Let each person split one unit: the part u_p ∈ [0, 1] is paid to whoever
reaches them, 1 − u_p is given away. Then for any u

    reach ≤ Σ_p (1 − u_p) + max_x Σ_i x_i Σ_{p∈i} u_p,

where the second term is a fractional knapsack (sort by ratio). The best u is found by subgradient steps along a running mean of 1 − cover
(Held, Wolfe and Crowder 1974; the mean as in Barahona and Anbil's volume algorithm, 2000). Every u gives a valid bound; at the best it is the
value of the linear program, which a plan of whole influencers may miss: part of the gap is the bound's.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (numba's functions have no types)
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liftwise.decisions.reach import kernels

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
STEP = (1.0, 0.03)  # of u, from the first to the last
KEEP = 0.7  # of the running mean at each step


@dataclass(frozen=True)
class Rows:
    """Audiences as compressed rows over `size` people."""

    starts: Ints
    people: NDArray[np.int32]
    size: int

    def of(self, codes: NDArray[np.int32]) -> Rows:
        """Rows of the people whose entry in `codes` (their new code) is not negative."""
        starts, people = kernels.some_people(self.starts, self.people, codes)
        return Rows(starts, people.astype(np.int32, copy=False), int(codes.max(initial=-1)) + 1)


@dataclass(frozen=True)
class Terms:
    """Which influencers may be taken (`open_`, codes), at what price, for how much and how many."""

    open_: Ints
    price: Floats
    money: float
    places: int


def knapsack(worth: Floats, terms: Terms) -> tuple[Floats, float]:
    """Best fractional x for Σ worth·x, and a bound of it (its value, where no more than `places` are wanted).

    Where more are wanted each taken pays a fee θ ≥ 0 of which `places` are returned: valid for any θ, searched by halving.
    """
    taken, value = _by_ratio(worth, terms)
    if taken.sum() <= terms.places + 1e-9:
        return taken, value
    low, high = 0.0, float(worth.max())
    best = value
    for _ in range(25):
        fee = (low + high) / 2
        taken, value = _by_ratio(worth - fee, terms)
        best = min(best, value + fee * terms.places)
        low, high = (fee, high) if taken.sum() > terms.places else (low, fee)
    return taken, best


def _by_ratio(worth: Floats, terms: Terms) -> tuple[Floats, float]:
    order = np.argsort(-worth / terms.price, kind="stable")
    order = order[worth[order] > 0]
    spent = np.cumsum(terms.price[order])
    whole = int(np.searchsorted(spent, terms.money, side="right"))
    taken = np.zeros(len(worth))
    taken[order[:whole]] = 1.0
    if whole < len(order):
        taken[order[whole]] = (terms.money - (spent[whole - 1] if whole else 0.0)) / terms.price[order[whole]]
    return taken, float(worth @ taken)


def bound(rows: Rows, terms: Terms, start: Ints, steps: int) -> tuple[float, Floats]:
    """An upper bound of the people that any plan reaches, and how often each open influencer was taken on the way (0–1).

    Parameters
    ----------
    start : a good plan (codes), where the path begins.
    """
    weight, covered = _begin(rows, start)
    path, best = list[Floats](), float(rows.size)
    for step in np.geomspace(*STEP, steps).astype(np.float32):
        taken, value = _value(rows, terms, weight)
        best = min(best, value)
        path.append(taken)
        kernels.fade_in(rows.starts, rows.people, terms.open_, taken, KEEP, covered)
        kernels.step_down(weight, covered, step)
    best = min(best, _value(rows, terms, weight)[1])
    return best, np.asarray(np.mean(path[len(path) // 2 :], axis=0), dtype=np.float64)


def _begin(rows: Rows, start: Ints) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    covered = kernels.times_reached(rows.starts, rows.people, rows.size, start).astype(np.float32)
    return np.clip(1 - covered / 2, 0, 1).astype(np.float32), covered


def _value(rows: Rows, terms: Terms, weight: NDArray[np.float32]) -> tuple[Floats, float]:
    """The knapsack at u = `weight`, and the bound there (summed in double precision; float32 steps only choose u)."""
    taken, worth = knapsack(kernels.shares_of(rows.starts, rows.people, weight, terms.open_), terms)
    return taken, rows.size - float(weight.sum(dtype=np.float64)) + worth
