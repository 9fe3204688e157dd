"""What a schedule brings: response curves and carry-over → revenue by draw, and its slope.

A week's media work on with what earlier weeks left behind: carried_t = Σ_l w_l · spend_{t−l}, revenue_t = season_t · f(carried_t), where f
is the channel's response to a steady spend. Curves are cubic between their points and keep their shape (no new humps).

References
----------
Fritsch and Carlson (1980), SIAM J. Numerical Analysis 17(2), for the curves.
"""

# pyright: basic
# (numba and scipy have no types)
from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numba import njit

from liftwise.core.errors import CannotTell
from liftwise.core.uncertainty import Floats
from liftwise.decisions.allocation.curves import curves_of
from liftwise.decisions.allocation.envelopes import envelope
from liftwise.decisions.allocation.weeks import YEAR

FEWEST = 8  # draws
FINE = 8  # parts of a curve's interval in the bound: a kink makes a tangent steeper than need be


@dataclass(frozen=True, eq=False)
class Media:
    """Curves and carry-over of all channels and draws, and what is spent besides the plan.

    Parameters
    ----------
    grid : (channels, points) spend. heights, slopes : (draws, channels, points) of revenue.
    weights : (draws, channels, lags). before : (lags − 1, channels) money of the weeks before the plan, oldest first.
    usual : (channels,) today's money a week.
    seasons : (weeks,) multiples of what media bring in the plan's first weeks; 1 in all weeks after these.
    """

    grid: Floats
    heights: Floats
    slopes: Floats
    weights: Floats
    before: Floats
    usual: Floats
    seasons: Floats = field(default_factory=lambda: np.ones(0))

    @classmethod
    def of(
        cls, responses: pd.DataFrame, carryover: pd.DataFrame, channels: list[str], past: Floats, usual: Floats | None = None
    ) -> Media:  # fmt: skip
        """From the tables; `past` (weeks, channels) is the money spent before, `usual` its mean over the last year unless told."""
        grid, revenue = curves_of(responses, channels)
        wide = [
            carryover[carryover["channel"] == name].pivot_table(index="draw", columns="lag", values="weight") for name in channels
        ]
        if len({each.shape for each in wide}) > 1 or len(wide[0]) != revenue.shape[1] or len(wide[0]) < FEWEST:
            raise CannotTell(f"a schedule needs {FEWEST} draws, the same of curves and carry-over in each channel")
        revenue, weight = (
            np.ascontiguousarray(revenue.swapaxes(0, 1)),
            np.stack([each.to_numpy(dtype=float) for each in wide], axis=1),
        )
        weight = weight / weight.sum(axis=2, keepdims=True)  # beyond the last lag little is left; a steady spend keeps its level
        lags = weight.shape[2]
        known = past[-YEAR:].mean(axis=0) if usual is None else usual
        before = np.vstack([np.tile(known, (max(lags - 1 - len(past), 0), 1)), past[len(past) - min(lags - 1, len(past)) :]])
        return cls(grid, revenue, _gentle_slopes(grid, revenue), weight, before, known)

    @property
    def reach(self) -> Floats:
        """(channels,) the most money a week that the curves know."""
        return self.grid[:, -1]

    def seasons_needed(self, weeks: int) -> int:
        """Weeks in which a plan of so many works."""
        return weeks + self.weights.shape[2] - 1

    def some(self, draws: slice) -> Media:
        """The same with some of the draws."""
        return replace(self, heights=self.heights[draws], slopes=self.slopes[draws], weights=self.weights[draws])

    def concave(self) -> Media:
        """The same with concave curves that lie nowhere below these, straight between `FINE` times as many points."""
        from scipy.interpolate import CubicHermiteSpline

        grid = np.array([np.interp(np.arange((len(x) - 1) * FINE + 1) / FINE, np.arange(len(x)), x) for x in self.grid])
        smooth = [CubicHermiteSpline(x, self.heights[:, c], self.slopes[:, c], axis=1) for c, x in enumerate(self.grid)]
        heights = np.stack([curve(x) for curve, x in zip(smooth, grid, strict=True)], axis=1)
        between = np.stack([curve((x[1:] + x[:-1]) / 2) for curve, x in zip(smooth, grid, strict=True)], axis=1)
        for curves in heights:
            for curve, x in zip(curves, grid, strict=True):
                at = envelope(x, curve)
                curve[:] = np.interp(x, x[at], curve[at])
        over = (
            between - (heights[:, :, 1:] + heights[:, :, :-1]) / 2
        )  # a cubic may rise above the straight line between two points
        heights += 1.1 * np.maximum(over.max(axis=2), 0.0)[:, :, None]
        return replace(self, grid=grid, heights=heights, slopes=np.zeros_like(heights))

    def gains(self, plan: Floats, today: Floats) -> Floats:
        """(draws,) revenue of a plan (weeks, channels) beyond today's."""
        return self.revenue(plan) - self.revenue(today)

    def revenue(self, plan: Floats) -> Floats:
        """(draws,) revenue of a plan (weeks, channels), and of the lags after it."""
        return self.slope(plan)[0]

    def slope(self, plan: Floats, *, straight: bool = False) -> tuple[Floats, Floats]:
        """`revenue` and its slope by money (draws, weeks, channels)."""
        lags = self.weights.shape[2]
        spent = np.vstack([self.before, plan, np.tile(self.usual, (lags - 1, 1))])
        times = np.ones(self.seasons_needed(len(plan)))
        times[: len(self.seasons)] = self.seasons[: len(times)]
        return _run(self.grid, self.heights, self.slopes, self.weights, np.ascontiguousarray(spent), len(plan), straight, times)


@njit(cache=True)
def _run(grid, heights, slopes, weights, spent, weeks, straight, times):
    """Sum over draws' channels and weeks of season · f(Σ w·spend), and its gradient by the plan's cells."""
    draws, channels, points = heights.shape
    lags = weights.shape[2]
    steps = weeks + lags - 1
    total, slope = np.zeros(draws), np.zeros((draws, weeks, channels))
    for d in range(draws):
        for c in range(channels):
            for t in range(steps):
                carried = 0.0
                for lag in range(lags):
                    carried += weights[d, c, lag] * spent[t + lags - 1 - lag, c]
                k = min(max(np.searchsorted(grid[c], carried) - 1, 0), points - 2)
                wide = grid[c, k + 1] - grid[c, k]
                at = min(max((carried - grid[c, k]) / wide, 0.0), 1.0)
                rise = (heights[d, c, k + 1] - heights[d, c, k]) / wide
                if straight:
                    total[d] += times[t] * (heights[d, c, k] + at * wide * rise)
                    steep = rise
                else:
                    one, two = slopes[d, c, k], slopes[d, c, k + 1]
                    cubic = one + at * (3 * rise - 2 * one - two + at * (one + two - 2 * rise))
                    total[d] += times[t] * (heights[d, c, k] + wide * at * cubic)
                    steep = one + at * (2 * (3 * rise - 2 * one - two) + 3 * at * (one + two - 2 * rise))
                if carried >= grid[c, points - 1]:
                    steep = 0.0
                for lag in range(lags):
                    week = t - lag
                    if 0 <= week < weeks:
                        slope[d, week, c] += times[t] * weights[d, c, lag] * steep
    return total, slope


def _gentle_slopes(grid: Floats, heights: Floats) -> Floats:
    """Slopes at the points such that cubics between them rise and fall only where the points do."""
    from scipy.interpolate import PchipInterpolator

    return np.stack([PchipInterpolator(grid[c], heights[:, c], axis=1).derivative()(grid[c]) for c in range(len(grid))], axis=1)
