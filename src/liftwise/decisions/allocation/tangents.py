"""A bound on all schedules.

On concave envelopes of the curves a schedule's revenue is concave in each draw, and so is any sum of draws at prices from 0 that bounds the
worth (`aversion`). Its tangent at any schedule, maximised over all that the rules allow, is worth at least as much as the best of them (the
Frank–Wolfe gap). The bound is the least of several such maxima.

References
----------
Jaggi (2013), ICML, for the gap; Brown (1951), in Activity Analysis of Production and Allocation, for averaging answers.
"""

from __future__ import annotations

import numpy as np

from liftwise.core.uncertainty import Floats
from liftwise.decisions.allocation.aversion import Aversion
from liftwise.decisions.allocation.calendar_rules import Rules
from liftwise.decisions.allocation.carried_media import Media

TANGENTS = 10  # at and near the best schedule found
MIXED = 60  # rounds for the averse


def bound_of(media: Media, rules: Rules, plan: Floats, still: Floats, aversion: Aversion) -> float:
    """No plan is worth more beyond today's, whose revenue is `still` (draws,); `media` is concave, `plan` (weeks, channels) a good plan."""
    best, at = np.inf, plan
    for step in range(TANGENTS):
        revenue, slope = media.slope(at, straight=True)
        prices, added = aversion.prices(revenue, still)
        steep = np.tensordot(prices, slope, axes=1)
        ahead = rules.best(steep)
        best = min(best, float(prices @ revenue) + added + float(np.sum(steep * (ahead - at))))
        at = at + (ahead - at) * 0.02 / (step + 1)
    return min(best, _mixed(media, rules, plan, still, aversion)) if aversion != Aversion() else best


def _mixed(media: Media, rules: Rules, plan: Floats, still: Floats, aversion: Aversion) -> float:
    """A bound for the averse: which draws are dear changes near the plan, so that several answers to that are averaged.

    Prices that bound the worth do so on average too: each is a sum of weights out of convex sets, and so is their mean.
    """
    revenue, slope = media.slope(plan, straight=True)
    (prices, added), moved, best = aversion.prices(revenue, still), np.zeros_like(plan), np.inf
    for step in range(MIXED):
        steep = np.tensordot(prices, slope, axes=1)
        ahead = rules.best(steep) - plan
        best = min(best, float(prices @ revenue) + added + float(np.sum(steep * ahead)))
        moved += (ahead - moved) / (step + 1)
        turned, more = aversion.prices(revenue + np.tensordot(slope, moved, axes=2), still)
        prices, added = prices + (turned - prices) / (step + 2), added + (more - added) / (step + 2)
    return best
