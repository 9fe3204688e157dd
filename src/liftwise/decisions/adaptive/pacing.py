"""What a unit of each budget is worth now: shadow prices that make money last until the end and no longer.

The fluid problem of bandits with knapsacks (Badanidiyuru, Kleinberg and Slivkins 2013): max E[r] with E[cost] ≤ what is left per decision. Its dual,

    min_{λ ≥ 0} λ·rate + E_x[max(0, max_a r_a(x) − λ·c_a)],

is convex in as many unknowns as there are budgets. The maximum is smoothed by a log-sum-exp and solved by projected Newton steps over recent
contexts (`fluid_prices`), or followed one decision at a time by its slope (`descend`; Balseiro and Gur 2019).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SOFT = 0.03  # smoothing, per standard deviation of the rewards
STEPS = 25


def fluid_prices(rewards: Floats, costs: Floats, rate: Floats, start: Floats) -> Floats:
    """λ ≥ 0 (budgets,), in reward per unit of budget.

    Parameters
    ----------
    rewards : (contexts, arms); -inf where an arm may not be chosen.
    costs : (contexts, arms, budgets). rate : (budgets,) that may be spent per decision. start : λ to begin from.
    """
    scale = np.maximum(costs.reshape(-1, costs.shape[2]).max(axis=0), 1e-300)
    costs, rate, price = costs / scale, rate / scale, start * scale
    finite = rewards[np.isfinite(rewards)]
    if not len(finite):
        return start
    largest = max(float(np.abs(finite).max()), 1e-12)
    soft = SOFT * max(float(finite.std()), 0.1 * largest)
    here = _dual(rewards, costs, rate, price, soft)
    for _ in range(STEPS):
        value, slope, curve = here
        free = (price > 0) | (slope < 0)
        if not free.any() or float(np.abs(slope[free]).max()) < 1e-4 * float(rate.max() + 1e-12):
            break
        for move in _moves(slope, curve, free, 2 * largest):
            there = np.maximum(price + move, 0.0)
            new = _dual(rewards, costs, rate, there, soft)
            if new[0] < value + 1e-3 * min(float(slope @ (there - price)), 0.0) - 1e-12 * abs(value):
                price, here = there, new
                break
        else:
            break
    return price / scale


def _moves(slope: Floats, curve: Floats, free: NDArray[np.bool_], most: float) -> Iterator[Floats]:
    """Newton's step, that of each price by its own curvature, and each price alone; every one shorter and shorter."""
    ridge = 1e-3 * np.diag(curve) + 1e-3 / most
    newton, own = np.zeros_like(slope), np.where(free, -slope / (np.diag(curve) + ridge), 0.0)
    newton[free] = -np.linalg.solve((curve + np.diag(ridge))[np.ix_(free, free)], slope[free])
    alone = [np.where(np.arange(len(slope)) == k, own, 0.0) for k in np.flatnonzero(free)] if len(slope) > 1 else []
    for move in (newton, own, *alone):
        shortened = move * min(1.0, most / max(float(np.abs(move).max()), 1e-300))
        for _ in range(10):
            yield shortened
            shortened = shortened / 3


def _dual(rewards: Floats, costs: Floats, rate: Floats, price: Floats, soft: float) -> tuple[float, Floats, Floats]:
    """Value, slope and curvature of the smoothed dual."""
    worth = (rewards - costs @ price) / soft
    highest = np.maximum(worth.max(axis=1), 0.0)
    weight = np.exp(worth - highest[:, None])
    total = weight.sum(axis=1) + np.exp(-highest)
    value = float(price @ rate + soft * (highest + np.log(total)).mean())
    weight /= total[:, None]
    spent = np.einsum("na,nab->nb", weight, costs)
    flat, heavy = costs.reshape(-1, costs.shape[2]), weight.reshape(-1, 1)
    curve = ((flat * heavy).T @ flat - spent.T @ spent) / (len(rewards) * soft)
    return value, rate - spent.mean(axis=0), curve


def descend(price: Floats, spent: Floats, rate: Floats, step: float) -> Floats:
    """One step of the dual's slope: dearer after spending more than the rate, cheaper after less."""
    return np.maximum(price + step * (spent - rate) / np.maximum(rate, 1e-300) ** 2, 0.0)
