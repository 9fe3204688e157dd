"""How others split a budget over Hill curves, on the curves themselves: one scheme over a file of instances.

The peers' own allocators need their own fitted models; here are their rules, written anew on the same curves as ours. Robyn: AUGLAG with
SLSQP inside (nlopt), from today's split. PyMC-Marketing: SLSQP with gradient from an equal split in units of money. Meridian: a grid of
spend, always the jump with the best average slope, until a jump breaks the budget.
"""

from __future__ import annotations

import sys

import nlopt
import numpy as np
from scipy.optimize import Bounds, LinearConstraint, minimize
from stopwatch import measure
from tell import tell


def revenue(x, top, half, slope):
    up = np.maximum(x, 0.0) ** slope
    return float(np.sum(top * up / (up + half**slope)))


def gradient(x, top, half, slope):
    x = np.maximum(x, 1e-9)
    up, down = x**slope, half**slope
    return top * slope * up / x * down / (up + down) ** 2


def slsqp(one, start, unit, jac):
    low, high, total, hill = one["low"], one["high"], one["total"], one["hill"]
    worth = revenue(start, *hill) if unit != 1 else 1.0
    done = minimize(
        lambda z: -revenue(z * unit, *hill) / worth, start / unit, method="SLSQP",
        jac=(lambda z: -gradient(z * unit, *hill) * unit / worth) if jac else None, bounds=list(zip(low / unit, high / unit, strict=True)),
        constraints=[{"type": "eq", "fun": lambda z: z.sum() - total / unit} | ({"jac": lambda z: np.ones_like(z)} if jac else {})],
        options={"maxiter": 1000, "ftol": 1e-9 if jac else 1e-6},
    )  # fmt: skip
    return done.x * unit


def trust(one):
    hill, unit = one["hill"], one["total"] / len(one["low"])
    done = minimize(
        lambda z: -revenue(z * unit, *hill), one["start"] / unit, method="trust-constr", jac=lambda z: -gradient(z * unit, *hill) * unit,
        bounds=Bounds(one["low"] / unit, one["high"] / unit), constraints=[LinearConstraint(np.ones(len(one["low"])), len(one["low"]), len(one["low"]))],
        options={"maxiter": 1000},
    )  # fmt: skip
    return done.x * unit


def robyn(one):
    n, hill = len(one["low"]), one["hill"]

    def loss(x, slope):
        if slope.size:
            slope[:] = -gradient(x, *hill)
        return -revenue(x, *hill)

    def spent(x, slope):
        if slope.size:
            slope[:] = 1.0
        return float(x.sum() - one["total"])

    outer, inner = nlopt.opt(nlopt.LD_AUGLAG, n), nlopt.opt(nlopt.LD_SLSQP, n)
    inner.set_xtol_rel(1e-10)
    outer.set_local_optimizer(inner)
    outer.set_lower_bounds(one["low"])
    outer.set_upper_bounds(one["high"])
    outer.set_min_objective(loss)
    outer.add_equality_constraint(spent, 1e-8)
    outer.set_xtol_rel(1e-10)
    outer.set_maxeval(20_000)
    try:
        return outer.optimize(np.clip(one["start"], one["low"], one["high"]))
    except (RuntimeError, ValueError):
        return one["start"]


def meridian(one):
    low, high, total = one["low"], one["high"], one["total"]
    step = total / 1000
    grids = [np.append(np.arange(a, b, step), b) for a, b in zip(low, high, strict=True)]
    top, half, slope = one["hill"]
    heights = [t * g**s / (g**s + h**s) for g, t, h, s in zip(grids, top, half, slope, strict=True)]
    at = np.zeros(len(low), dtype=int)

    def jump(k):
        i = at[k]
        if i + 1 >= len(grids[k]):
            return -np.inf, i
        steep = (heights[k][i + 1 :] - heights[k][i]) / (grids[k][i + 1 :] - grids[k][i])
        j = int(np.argmax(steep))
        return steep[j], i + 1 + j

    jumps, spent = [jump(k) for k in range(len(low))], low.sum()
    while True:
        k = int(np.argmax([each[0] for each in jumps]))
        to = jumps[k][1]
        spent += grids[k][to] - grids[k][at[k]]
        if not np.isfinite(jumps[k][0]) or spent > total:
            break
        at[k] = to
        jumps[k] = jump(k)
    return np.array([grid[i] for grid, i in zip(grids, at, strict=True)])


SCHEMES = {
    "SLSQP raw": lambda one: slsqp(one, one["start"], 1.0, False),
    "SLSQP scaled": lambda one: slsqp(one, one["start"], one["total"] / len(one["low"]), True),
    "trust-constr": trust,
    "Robyn's scheme": robyn,
    "Meridian's rule": meridian,
    "PyMC-Marketing's rule": lambda one: slsqp(
        one, np.clip(np.full(len(one["low"]), one["total"] / len(one["low"])), one["low"], one["high"]), 1.0, True
    ),
}


def main(file: str, scheme: str, many: str) -> None:
    data = np.load(file)
    ones = [
        {"low": data["low"][i], "high": data["high"][i], "total": float(data["total"][i]), "start": data["today"][i],
         "hill": (data["top"][i], data["half"][i], data["slope"][i])}
        for i in range(int(many))
    ]  # fmt: skip
    spent, splits = measure(lambda: [SCHEMES[scheme](one).tolist() for one in ones])
    tell(spent, splits=splits)


main(*sys.argv[1:])
