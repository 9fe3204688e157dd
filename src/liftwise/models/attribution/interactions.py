"""Pairs of touches by the gap between them: what they do beyond their parts (short sequences: `motifs`).

"This demo works within 48 hours of a tutorial, after a week it does not." A touch of `second` may be worth more, or less, when a
touch of `first` came shortly before. The baseline knows no such thing: a logistic model of organic log-odds and, for each
channel, its fresh touches and log(1 + fresh touches), so that plain saturation is not mistaken for a pair. A cell is
(first → second, gap): the fresh touches of `second` whose latest touch of `first` before them lies within the gap. Its effect is
the log-odds that such a fresh touch adds beyond what it adds otherwise. A channel may follow itself.

How pairs are found. Testing every cell alone would throw power away, since what lasts two days shows weakly in each of its bins.

1. Efficient scores (Rao 1948; Bickel et al. 1993): residuals against a cell, with information from which the baseline's columns
   are projected out, so that the cost of having fitted the baseline is in every error.
2. For each ordered pair, the windows "within g hours" for every g; their p-values are combined by Simes (1986).
3. Benjamini and Hochberg (1995) over all ordered pairs, at 10 %. What is found enters the model with its best window; all pairs are
   judged again given the others (scores for those outside, Wald for those inside) until nothing changes: a pair that was only
   the shadow of another leaves and does not come back.
4. Joint maximum likelihood of the baseline and every gap of the pairs found; the run of gaps that an effect fills is then the
   likeliest one of all runs, those that begin later only where clearly better. All other cells: one step from it, each pair
   together with its reverse (fitted to the end where a cell lies far from 0).
5. What was chosen for being large looks too large. For the windows of pairs found, the effect is the mean of its likelihood given that
   it passed (Ghosh, Zou and Wright 2008), and the interval is widened so that, of all intervals shown, the stated share holds the
   truth (Benjamini and Yekutieli 2005); it leaves out 0 as surely as the pair was found. Single cells are as fitted.

A cell is `found` when it lies in the run of a pair that was found: the false discovery rate is that of pairs; a run's ends
are its most likely ones and carry no guarantee.

`effect` is not immune to what makes two touches meet: an order-free synergy of two channels, or a hidden intent. So `order` =
effect(first → second) − effect(second → first), each per fresh touch of what came second, in a model that also has the product of
both channels' fresh touches, whichever came first. Where `organic` misses an intent that starts shortly before a purchase, pairs
of late touches will be found that do nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from liftwise.models.attribution.journeys import Floats, Journeys
from liftwise.models.attribution.pair_baseline import Data, fit_baseline, seen_enough, told_apart
from liftwise.models.attribution.pair_cells import cells_of, edges_of
from liftwise.models.attribution.pair_search import search
from liftwise.models.attribution.pair_tables import tables_of

if TYPE_CHECKING:
    import plotly.graph_objects as go

GAPS = (6.0, 24.0, 48.0, 96.0, 168.0)
CELLS = (
    "first", "second", "gap_from", "gap_to", "effect", "low", "high", "multiplier", "multiplier_low", "multiplier_high", "order",
    "order_low", "order_high", "p_value", "found", "journeys",
)  # fmt: skip
WINDOWS = tuple(name for name in CELLS if name not in ("found", "journeys"))


@dataclass(frozen=True)
class PairEffects:
    """What pairs of touches do beyond their parts.

    Attributes
    ----------
    cells : one row for each pair and gap that could be told: effect (log-odds of a fresh touch of `second`) with its interval;
        `multiplier`, how many times the touch is worth compared with the same touch otherwise (empty where that is not surely
        above 0); `order`, less the reverse; `p_value` of the cell alone; `found`; `journeys` that hold it.
    windows : one row for each pair found, strongest first: the same over the whole run of gaps, corrected for having been chosen;
        `p_value` is the pair's, over its windows.
    gaps : upper ends of the gaps, hours.
    level : of intervals.
    tested : ordered pairs that were judged.
    """

    cells: pd.DataFrame
    windows: pd.DataFrame
    gaps: tuple[float, ...]
    level: float
    tested: int

    def to_frame(self) -> pd.DataFrame:
        """One row for each pair and gap."""
        return self.cells.copy()

    def window(self, first: str, second: str) -> float | None:
        """Hours until which the effect of `first` on `second` lasts; None when none was found."""
        mine = self.cells[(self.cells["first"] == first) & (self.cells["second"] == second) & self.cells["found"]]
        return float(mine["gap_to"].max()) if len(mine) else None

    def summary(self) -> str:
        """One sentence on the strongest pair found."""
        if not self.tested:
            return "no pair of touches was seen often enough to tell it apart from its parts"
        if self.windows.empty:
            return "no pair of touches can be told apart from its parts"
        top = self.windows.iloc[0]
        start, end = float(top["gap_from"]), float(top["gap_to"])
        when = f"within {_spell(end)} of" if start == 0 else f"{_spell(start)} to {_spell(end)} after"
        more = bool(top["effect"] > 0)
        text = f"{top['second']} {when} {top['first']} "
        if np.isfinite(top["multiplier_low"]) and top["multiplier"] > 0:
            text += f"adds {'' if more else 'only '}{top['multiplier']:.1f} times as much as otherwise"
            text += f" ({self.level:.0%} interval {top['multiplier_low']:.1f} to {top['multiplier_high']:.1f})"
        else:
            text += f"adds {'more' if more else 'less'} than otherwise"
        if end < self.gaps[-1]:
            text += f"; after that, no {'more' if more else 'less'} than otherwise could be found"
        if top["first"] != top["second"] and not (top["order_low"] > 0 or top["order_high"] < 0):
            text += "; whether it matters which comes first cannot be told"
        return text

    def plot(self) -> go.Figure:
        """Pairs by gap: colour is the effect, a frame and a number mark what was found."""
        from liftwise.models.attribution.plots import pair_map

        return pair_map(self.cells)


def pairs(
    journeys: Journeys, fresh: Floats, organic: Floats, *, gaps: Sequence[float] = GAPS, level: float = 0.90, least: int = 200
) -> PairEffects:
    """Effects of ordered pairs of touches by the gap between them.

    Parameters
    ----------
    journeys : touches may be of channels, content types or anything else with a name.
    fresh : (touches,) share left of each touch at the journey's end, from a fitted decay; not below 0.
    organic : (n,) log-odds of buying without touches; its level and slope are fitted again.
    gaps : upper ends of the gaps in hours, each belonging to its gap; touches at the same hour are in the first, in order of rows.
    least : journeys that a cell needs.

    Raises
    ------
    CannotTell
        Fewer than two kinds of touches, no purchase, or nothing but purchases.
    InputError
        Arrays that do not fit the journeys, or values that are not numbers.

    Assumes journeys that are independent given their touches and `organic`, and a decay that holds for every touch of a channel.
    """
    edges, names = edges_of(gaps), journeys.channels
    data = Data.of(journeys, fresh, organic)
    bins = len(edges)
    features = cells_of(data, edges)
    fit = fit_baseline(data, None)
    count, enough = seen_enough(data, features, fit, least)
    kept = np.flatnonzero(enough)
    if len(kept):
        apart = told_apart(features[:, kept], fit)
        kept = kept[apart]
    features = features[:, kept]
    pair = kept // bins  # first * k + second
    found = search(data, features, pair)
    cells, windows = tables_of(data, features, pair, kept % bins, found, edges, level)
    for frame in (cells, windows):
        for column in ("first", "second"):
            frame[column] = np.array(names, dtype=object)[frame[column].to_numpy(dtype=np.int64)]
    cells["journeys"] = count[kept]
    return PairEffects(
        cells[list(CELLS)], windows[list(WINDOWS)].reset_index(drop=True), tuple(edges.tolist()), level, found.tested
    )


def _spell(hours: float) -> str:
    return f"{hours:g} hours" if hours <= 48 else f"{hours / 24:g} days"
