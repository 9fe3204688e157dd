"""The best schedule found: climbing the worth within the rules, from several starts."""

# pyright: basic
# (scipy has no types)
from __future__ import annotations

import numpy as np

from liftwise.core.uncertainty import Floats
from liftwise.decisions.allocation.aversion import Aversion
from liftwise.decisions.allocation.calendar_rules import Rules
from liftwise.decisions.allocation.carried_media import Media
from liftwise.decisions.allocation.tangents import bound_of

ROUNDS = 200  # of the optimiser
CELLS = 250  # weeks × channels up to which plans are climbed by quadratic programs: faster by far, and nearer to the bound


def search(media: Media, rules: Rules, today: Floats, kept: Floats, aversion: Aversion) -> tuple[Floats, float]:
    """The best plan (weeks, channels) found, and a bound on the worth of all beyond today's.

    kept : a plan within the rules, as today's as can be; it is left for a better one alone.
    """
    still = media.revenue(today)

    def worth(plan: Floats) -> float:
        return aversion.worth(media.revenue(plan), still)

    def sloped(plan: Floats) -> tuple[float, Floats]:
        revenue, slope = media.slope(plan)
        return aversion.worth(revenue, still), np.tensordot(aversion.shares(revenue, still), slope, axes=1)

    starts = [kept, (kept + rules.best(sloped(kept)[1])) / 2]
    climb = _climb if kept.size <= CELLS and not rules.apart else _walk
    found = [kept, *(climb(sloped, rules, start) for start in starts), starts[1]]
    best = max(found, key=lambda plan: worth(plan) + (1e-9 * rules.money if plan is kept else 0.0))
    return best, bound_of(media.concave(), rules, best, still, aversion)


def _climb(worth, rules: Rules, start: Floats) -> Floats:
    """Sequential quadratic programming in units of the mean cell, from a plan within the rules."""
    from scipy.optimize import minimize

    weeks, channels = start.shape
    unit = rules.money / start.size
    scale = max(abs(worth(start)[0]), rules.money * 0.01)

    def loss(flat: Floats) -> tuple[float, Floats]:
        value, slope = worth(flat.reshape(start.shape) * unit)
        return -value / scale, -slope.ravel() * unit / scale

    of_channel = np.tile(np.eye(channels), weeks)
    bounded = [
        {"type": "eq", "fun": lambda flat: np.array([flat.sum() - start.size]), "jac": lambda flat: np.ones((1, start.size))},
        {"type": "ineq", "fun": lambda flat: of_channel @ flat - rules.least / unit, "jac": lambda flat: of_channel},
        {"type": "ineq", "fun": lambda flat: rules.most / unit - of_channel @ flat, "jac": lambda flat: -of_channel},
    ]
    done = minimize(
        loss, start.ravel() / unit, jac=True, method="SLSQP",
        bounds=list(zip(rules.low.ravel() / unit, rules.high.ravel() / unit, strict=True)),
        constraints=bounded, options={"maxiter": ROUNDS, "ftol": 1e-8},
    )  # fmt: skip
    plan = np.clip(done.x.reshape(start.shape) * unit, rules.low, rules.high)
    rest, room = rules.money - plan.sum(), rules.high - plan if rules.money > plan.sum() else plan - rules.low
    plan = plan + rest * room / max(float(room.sum()), 1e-9)
    return plan if rules.hold(plan) else start


def _walk(worth, rules: Rules, start: Floats) -> Floats:
    """Frank and Wolfe's steps, where cells are too many for quadratic programs: towards the best plan at the slopes, as far as that helps."""
    plan, (value, slope) = start, worth(start)
    for _ in range(ROUNDS):
        ahead = rules.best(slope) - plan
        if float(np.sum(slope * ahead)) <= 1e-6 * abs(value):
            break
        far = max((2.0**-power for power in range(12)), key=lambda far: worth(plan + far * ahead)[0])
        after, turned = worth(plan + far * ahead)
        if after <= value:
            break
        plan, value, slope = plan + far * ahead, after, turned
    return plan
