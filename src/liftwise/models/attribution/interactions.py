"""Pairs of touches by the gap between them, and short sequences: what they do beyond their parts.

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
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numba import njit
from scipy.sparse import csc_array, csr_array, hstack
from scipy.special import expit, ndtr

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.uncertainty import normal_quantile
from liftwise.models.attribution.journeys import Floats, Ints, Journeys

if TYPE_CHECKING:
    import plotly.graph_objects as go

GAPS = (6.0, 24.0, 48.0, 96.0, 168.0)
RATE = 0.10  # false discovery rate
EVENTS = 10.0  # expected purchases, and non-purchases, that a cell's weights must be worth
OWN = 1e-3  # share of a column's information that the baseline must leave to it
RIDGE = 1e-3  # keeps a fit finite where a column explains every purchase; far below any information that counts
ROUNDS, STEPS = 12, 40
LATER = 4.0  # squared standard errors by which a run that leaves out the first gap must be better
FAR = 2.5  # standard errors from which one step is not enough
CELLS = (
    "first", "second", "gap_from", "gap_to", "effect", "low", "high", "multiplier", "multiplier_low", "multiplier_high", "order",
    "order_low", "order_high", "p_value", "found", "journeys",
)  # fmt: skip
WINDOWS = tuple(name for name in CELLS if name not in ("found", "journeys"))
MOTIFS = ("sequence", "length", "journeys", "observed", "expected", "lift", "low", "high", "p_value", "label")


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
    edges, names = _edges(gaps), journeys.channels
    data = _Data.of(journeys, fresh, organic)
    bins = len(edges)
    features = _cells(data, edges)
    fit = _fit(data, None)
    count, enough = _enough(data, features, fit, least)
    kept = np.flatnonzero(enough)
    if len(kept):
        apart = _apart(features[:, kept], fit)
        kept = kept[apart]
    features = features[:, kept]
    pair = kept // bins  # first * k + second
    found = _search(data, features, pair)
    cells, windows = _told(data, features, pair, kept % bins, found, edges, level)
    for frame in (cells, windows):
        for column in ("first", "second"):
            frame[column] = np.array(names, dtype=object)[frame[column].to_numpy(dtype=np.int64)]
    cells["journeys"] = count[kept]
    return PairEffects(
        cells[list(CELLS)], windows[list(WINDOWS)].reset_index(drop=True), tuple(edges.tolist()), level, found.tested
    )


def motifs(
    journeys: Journeys,
    fresh: Floats,
    organic: Floats,
    *,
    length: int = 3,
    least: int = 200,
    within: float = np.inf,
    level: float = 0.90,
) -> pd.DataFrame:
    """Sequences of touches in a row: purchases of the journeys that hold one, and what the sum of its parts would give.

    Of 2 to `length` touches, no more than `within` hours from the first to the last.

    `lift` = observed / expected, where expected is the additive baseline with the sequence's own part taken out of it (one efficient
    step); `label` is ``lifts`` or ``wastes`` where Benjamini and Hochberg's rule finds it at 10 %, else ``as its parts``. A sequence
    counts however long ago it was, which dilutes what fades: `pairs` sees more. One that lifts will lift the longer ones around it.
    """
    if not 2 <= length <= 5:
        raise InputError(f"sequences of {length} touches", fix="choose 2 to 5")
    z = normal_quantile(level)
    data = _Data.of(journeys, fresh, organic)
    fit = _fit(data, None)
    base = len(data.names) + 1
    held, keys = _sequences(data, length, base, within)
    _, enough = _enough(data, held, fit, least)
    held, keys = held[:, np.flatnonzero(enough)], keys[enough]
    own, score, cross = fit.scores(held)
    left = own - np.einsum("kp,pq,kq->k", cross, fit.inverse, cross)
    told = left > OWN * own
    keys, own, score, left, held = keys[told], own[told], score[told], left[told], held[:, np.flatnonzero(told)]
    step = score / left
    observed, expected = held.T @ data.bought, held.T @ (data.size * fit.p) - step * (own - left)
    with np.errstate(invalid="ignore", divide="ignore"):
        lift = np.where(expected > 0, observed / expected, np.nan)
        error = (left / np.maximum(observed, 0.5) + (own - left) / expected) / np.sqrt(left)  # of log lift, by the delta method
    p = _two_sided(score / np.sqrt(left))
    marked = _discoveries(p)
    words = np.where(~marked, "as its parts", np.where(step > 0, "lifts", "wastes"))
    digits = [[int(key) // base**power % base for power in range(length - 1, -1, -1)] for key in keys]
    table = pd.DataFrame({
        "sequence": [" > ".join(data.names[d - 1] for d in row if d) for row in digits],
        "length": np.array([sum(d > 0 for d in row) for row in digits], dtype=np.int64),
        "journeys": held.T @ data.size, "observed": observed, "expected": expected, "lift": lift, "low": lift * np.exp(-z * error),
        "high": lift * np.exp(z * error), "p_value": p, "label": words.astype(object),
    })  # fmt: skip
    return table.sort_values(["p_value", "sequence"], kind="stable", ignore_index=True)[list(MOTIFS)]


# ── data and the baseline ──────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Data:
    """Checked arrays; touches by journey, oldest first, rows deciding between touches at the same hour."""

    offsets: Ints
    codes: Ints
    hours: Floats
    fresh: Floats
    organic: Floats
    bought: Floats
    size: Floats
    names: tuple[str, ...]

    @classmethod
    def of(cls, journeys: Journeys, fresh: Floats, organic: Floats) -> _Data:
        fresh, organic, hours = (np.asarray(a, float) for a in (fresh, organic, journeys.hours))
        n, touches = len(journeys.ids), len(journeys.codes)
        if fresh.shape != (touches,) or organic.shape != (n,):
            raise InputError(
                f"fresh {fresh.shape} and organic {organic.shape}", fix=f"give one value a touch ({touches}) and a journey ({n})"
            )
        if not (np.isfinite(fresh).all() and (fresh >= 0).all() and np.isfinite(organic).all() and np.isfinite(hours).all()):
            raise InputError(
                "what is left of a touch, organic log-odds or hours are not numbers, or below 0", fix="leave such journeys out"
            )
        if len(np.unique(journeys.codes)) < 2:
            raise CannotTell("fewer than two kinds of touches", fix="deliver journeys with more than one channel or content type")
        journeys.require_conversions()
        if journeys.nulls.sum() <= 0:
            raise CannotTell("every journey converted", fix="deliver journeys that did not convert as well")
        owner = journeys.owner
        order = np.lexsort((-hours, owner))
        return cls(
            journeys.offsets, journeys.codes[order], hours[order], fresh[order], organic, journeys.conversions,
            journeys.conversions + journeys.nulls, journeys.channels,
        )  # fmt: skip

    @cached_property
    def stock(self) -> Floats:
        """(n, channels) fresh touches."""
        n, k = len(self.organic), len(self.names)
        owner = np.repeat(np.arange(n), np.diff(self.offsets))
        return np.bincount(owner * k + self.codes, self.fresh, minlength=n * k).reshape(n, k)

    @cached_property
    def place(self) -> Ints:
        """Column of each channel among the baseline's (−1: no touch)."""
        used = self.stock.max(axis=0) > 0
        return np.where(used, 2 + 2 * (np.cumsum(used) - 1), -1)

    @cached_property
    def base(self) -> Floats:
        """(n, 2 + 2 × channels with touches): 1, organic, and each channel's fresh touches and their log1p."""
        x = self.stock[:, self.place >= 0]
        both = np.stack([x, np.log1p(x)], axis=2).reshape(len(x), -1)
        spread = np.ptp(self.organic) > 0
        return np.column_stack([np.ones(len(x)), self.organic - self.organic.mean() if spread else np.zeros(len(x)), both])


@dataclass(frozen=True)
class _Fit:
    """Logistic fit of the baseline and of columns that were found."""

    data: _Data
    extra: csc_array
    beta: Floats
    p: Floats
    weight: Floats
    inverse: Floats

    def scores(self, columns: csc_array) -> tuple[Floats, Floats, Floats]:
        """(own information, score, information shared with the fit's columns) of further columns."""
        heavy = _scaled(columns, self.weight)
        own = np.bincount(_column(columns), heavy.data * columns.data, minlength=_width(columns))
        score = columns.T @ (self.data.bought - self.data.size * self.p)
        cross = heavy.T @ self.data.base
        if _width(self.extra):
            cross = np.hstack([cross, (heavy.T @ self.extra).toarray()])
        return own, score, cross

    def block(self, columns: csc_array) -> Floats:
        """Information among a few columns."""
        return (_scaled(columns, self.weight).T @ columns).toarray()


def _scaled(columns: csc_array, weight: Floats) -> csc_array:
    """Rows times weight."""
    return csc_array((columns.data * weight[columns.indices], columns.indices, columns.indptr), shape=columns.shape)


def _width(columns: csc_array) -> int:
    return len(columns.indptr) - 1


def _column(columns: csc_array) -> Ints:
    """Column of each entry."""
    return np.repeat(np.arange(_width(columns)), np.diff(columns.indptr))


def _fit(data: _Data, extra: csc_array | None, start: Floats | None = None) -> _Fit:
    """Newton's method with halved steps."""
    base, y, size = data.base, data.bought, data.size
    more = extra if extra is not None else csc_array((len(y), 0))
    m = base.shape[1]
    wide = _width(more)
    beta = np.zeros(m + wide)
    beta[0] = np.log(y.sum() / (size - y).sum())
    if start is not None:
        beta[: len(start)] = start

    def predictor(at: Floats) -> Floats:
        return base @ at[:m] + (more @ at[m:] if wide else 0.0)

    def loss(eta: Floats, at: Floats) -> float:
        return float((size * np.logaddexp(0.0, eta) - y * eta).sum() + 0.5 * RIDGE * at @ at)

    eta = predictor(beta)
    now = loss(eta, beta)
    for _ in range(STEPS):
        information, gradient, _, _ = _curvature(base, more, eta, y, size, beta)
        step = np.linalg.solve(information, gradient)
        if gradient @ step < 1e-9 * max(1.0, abs(now)) * 1e-3:
            break
        scale = 1.0
        for _ in range(30):
            ahead = predictor(beta + scale * step)
            then = loss(ahead, beta + scale * step)
            if then <= now:
                break
            scale /= 2
        else:
            break
        beta, eta, now = beta + scale * step, ahead, then
    information, _, p, weight = _curvature(base, more, eta, y, size, beta)
    return _Fit(data, more, beta, p, weight, np.linalg.inv(information))


def _curvature(
    base: Floats, more: csc_array, eta: Floats, y: Floats, size: Floats, beta: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    """Information, gradient, probabilities and weights."""
    p = expit(eta)
    weight, rest = size * p * (1 - p), y - size * p
    information, gradient = base.T @ (weight[:, None] * base), base.T @ rest
    if _width(more):
        heavy = _scaled(more, weight)
        shared = heavy.T @ base
        information = np.block([[information, shared.T], [shared, (heavy.T @ more).toarray()]])
        gradient = np.append(gradient, more.T @ rest)
    return information + RIDGE * np.eye(len(beta)), gradient - RIDGE * beta, p, weight


# ── features ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _edges(gaps: Sequence[float]) -> Floats:
    edges = np.asarray(gaps, float)
    if edges.ndim != 1 or not len(edges) or not np.isfinite(edges).all() or edges[0] <= 0 or (np.diff(edges) <= 0).any():
        raise InputError("gaps between touches", fix="give rising hours above 0, such as (6, 24, 48, 96, 168)")
    return edges


def _cells(data: _Data, edges: Floats) -> csc_array:
    """(n, first × second × gap) fresh touches of second by the gap since the latest first."""
    k, lengths = len(data.names), np.diff(data.offsets)
    width = k * k * len(edges)
    room = int(np.minimum(lengths * np.minimum(lengths, k), width).sum())
    starts, columns, values = _walk(data.offsets, data.codes, data.hours, data.fresh, edges, k, room)
    return csr_array((values, columns, starts), shape=(len(lengths), width)).tocsc()


@njit(cache=True)
def _walk(offsets, codes, hours, fresh, edges, k, room):  # pragma: no cover - compiled
    """Rows of the features, one pass: for each touch the channels seen before it, not the touches."""
    bins = len(edges)
    starts = np.zeros(len(offsets), np.int64)
    columns, values = np.empty(room, np.int64), np.empty(room)
    slot = np.full(k * k * bins, -1)
    latest, seen, inside = np.zeros(k), np.zeros(k, np.int64), np.zeros(k, np.bool_)
    at = 0
    for j in range(len(offsets) - 1):
        begin, many = at, 0
        for i in range(offsets[j], offsets[j + 1]):
            second = codes[i]
            if fresh[i] > 0:
                for s in range(many):
                    first = seen[s]
                    gap = latest[first] - hours[i]
                    if gap > edges[bins - 1]:
                        continue
                    g = 0
                    while gap > edges[g]:
                        g += 1
                    cell = (first * k + second) * bins + g
                    if slot[cell] < begin:
                        slot[cell] = at
                        columns[at], values[at] = cell, 0.0
                        at += 1
                    values[slot[cell]] += fresh[i]
            if not inside[second]:
                inside[second] = True
                seen[many] = second
                many += 1
            latest[second] = hours[i]
        for s in range(many):
            inside[seen[s]] = False
        starts[j + 1] = at
    return starts, columns[:at], values[:at]


def _sequences(data: _Data, length: int, base: int, within: float) -> tuple[csc_array, Ints]:
    """(n, sequences) 1 where a journey holds the sequence, and the sequences as digits, 0 for none."""
    owner = np.repeat(np.arange(len(data.organic)), np.diff(data.offsets))
    key, rows, keys = data.codes + 1, [], []
    for back in range(1, length):
        key = key[1:] + (data.codes[: len(data.codes) - back] + 1) * base**back
        whole = (owner[back:] == owner[: len(owner) - back]) & (data.hours[: len(owner) - back] - data.hours[back:] <= within)
        rows.append(owner[back:][whole])
        keys.append(key[whole])
    row, key = np.concatenate(rows), np.concatenate(keys)
    distinct, at = np.unique(key, return_inverse=True)
    both = np.unique(at * len(data.organic) + row)
    row, column = both % len(data.organic), both // len(data.organic)
    return csc_array((np.ones(len(both)), (row, column)), shape=(len(data.organic), len(distinct))), distinct


def _enough(data: _Data, columns: csc_array, fit: _Fit, least: int) -> tuple[Floats, np.ndarray]:
    """Journeys of each column, and whether they, and the purchases its weights are worth, suffice."""
    ones = csc_array((np.ones(len(columns.data)), columns.indices, columns.indptr), shape=columns.shape)
    squared = csc_array((columns.data**2, columns.indices, columns.indptr), shape=columns.shape)
    count, total, square = ones.T @ data.size, columns.T @ data.size, squared.T @ data.size
    with np.errstate(invalid="ignore", divide="ignore"):
        share = (columns.T @ (data.size * fit.p)) / total
        worth = total**2 / square * np.minimum(share, 1 - share)
    return count, (count >= least) & (np.nan_to_num(worth) >= EVENTS)


def _apart(columns: csc_array, fit: _Fit) -> np.ndarray:
    """Whether the fit's columns leave something of a column."""
    own, _, cross = fit.scores(columns)
    return own - np.einsum("kp,pq,kq->k", cross, fit.inverse, cross) > OWN * own


# ── search ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Found:
    """By pair found: the cells of its run, its p-value, and how many times that is the p-value of its best window; the joint fit with
    every gap of theirs, and how many pairs were judged.
    """

    runs: dict[int, Ints]
    p_value: dict[int, float]
    factor: dict[int, float]
    fit: _Fit
    tested: int


def _search(data: _Data, features: csc_array, pair: Ints) -> _Found:
    """See the steps above."""
    fit = _fit(data, None)
    beta = fit.beta
    groups = {int(p): np.flatnonzero(pair == p) for p in np.unique(pair)}
    runs: dict[int, Ints] = {}
    factor: dict[int, float] = {}
    never: set[int] = set()
    level: dict[int, float] = {}
    for _ in range(ROUNDS):
        names, p_values, best = [], [], {}
        _, score, cross = fit.scores(features)
        for name, cells in groups.items():
            if name in runs:
                at = data.base.shape[1] + list(runs).index(name)
                p = min(1.0, factor[name] * float(_two_sided(fit.beta[at] / np.sqrt(fit.inverse[at, at]))))
            else:
                information = fit.block(features[:, cells]) - cross[cells] @ fit.inverse @ cross[cells].T
                p, alone, run = _scan(information, score[cells], np.zeros(len(cells), np.int64), np.arange(len(cells)))
                best[name] = (cells[run], p / alone if alone > 0 else 1.0)
            names.append(name)
            p_values.append(p)
        marked = _discoveries(np.array(p_values))
        level = dict(zip(names, p_values, strict=True))
        chosen = [name for name, yes in zip(names, marked, strict=True) if yes and name not in never]
        if set(chosen) == set(runs):
            break
        never |= set(runs) - set(chosen)
        for name in set(chosen) - set(runs):
            runs[name], factor[name] = best[name][0], best[name][1]
        runs = {name: runs[name] for name in chosen}
        fit = _fit(data, _pooled(features, list(runs.values())), beta)
    cells = [groups[name] for name in runs]
    if runs:
        fit = _fit(data, _pooled(features, [np.array([c]) for group in cells for c in group]), beta)
        at = data.base.shape[1]
        for name, group in zip(list(runs), cells, strict=True):
            mine = slice(at, at + len(group))
            information = np.linalg.inv(fit.inverse[mine, mine])
            runs[name] = group[_scan(information, information @ fit.beta[mine], *np.triu_indices(len(group)))[2]]
            at += len(group)
    return _Found(runs, {name: level[name] for name in runs}, {name: factor[name] for name in runs}, fit, len(groups))


def _pooled(features: csc_array, groups: list[Ints]) -> csc_array | None:
    """One column for each group of cells."""
    if not groups:
        return None
    rows, columns = np.concatenate(groups), np.repeat(np.arange(len(groups)), [len(g) for g in groups])
    return csc_array(features @ csc_array((np.ones(len(rows)), (rows, columns)), shape=(_width(features), len(groups))))


def _scan(information: Floats, score: Floats, first: Ints, last: Ints) -> tuple[float, float, Ints]:
    """Over runs of neighbours from `first` to `last`: Simes' p-value, the smallest, and the run it belongs to."""
    m = len(score)
    sums = np.append(0.0, np.cumsum(score))
    area = np.zeros((m + 1, m + 1))
    area[1:, 1:] = information.cumsum(axis=0).cumsum(axis=1)
    held = area[last + 1, last + 1] - area[first, last + 1] - area[last + 1, first] + area[first, first]
    z = (sums[last + 1] - sums[first]) / np.sqrt(np.maximum(held, 1e-12))
    p = _two_sided(z)
    top = int(np.argmax(z**2 - LATER * (first > 0)))
    order = np.sort(p)
    return float(min(1.0, (order * len(p) / np.arange(1, len(p) + 1)).min())), float(p[top]), np.arange(first[top], last[top] + 1)


def _discoveries(p: Floats) -> np.ndarray:
    """Benjamini and Hochberg's rule."""
    if not len(p):
        return np.zeros(0, dtype=bool)
    order = np.sort(p)
    under = np.flatnonzero(order <= RATE * np.arange(1, len(p) + 1) / len(p))
    return p <= (order[under[-1]] if len(under) else -1.0)


def _two_sided(z: Floats) -> Floats:
    return 2 * ndtr(-np.abs(z))


# ── what is told ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Joint:
    """Coefficients and their covariance."""

    value: Floats
    error: Floats

    def interval(self, of: Floats, z: float) -> tuple[float, float, float]:
        """A sum of coefficients, `of` times each, with its interval."""
        middle, half = float(of @ self.value), z * self.sd(of)
        return middle, middle - half, middle + half

    def sd(self, of: Floats) -> float:
        return float(np.sqrt(of @ self.error @ of))

    def times(self, own: Floats, alone: Floats, z: float) -> tuple[float, float, float]:
        """How many times a touch is worth what it is worth alone."""
        ratio = _ratio(
            own @ self.value, alone @ self.value, own @ self.error @ own, alone @ self.error @ alone, own @ self.error @ alone, z
        )
        return 1 + ratio[0], 1 + ratio[1], 1 + ratio[2]


def _told(
    data: _Data, features: csc_array, pair: Ints, gap: Ints, found: _Found, edges: Floats, level: float
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables of cells and of windows, channels as codes."""
    m, k, starts, z, fit = _width(features), len(data.names), np.append(0.0, edges), normal_quantile(level), found.fit
    first, second = pair // k, pair % k
    _, score, cross = fit.scores(features)
    slope = _slope(data, features, second, fit.weight)
    inside = {int(c): data.base.shape[1] + at for at, c in enumerate(c for p in found.runs for c in np.flatnonzero(pair == p))}
    told, windows = np.full((m, 10), np.nan), []
    for a, b in sorted({(int(min(f, s)), int(max(f, s))) for f, s in zip(first, second, strict=True)}):
        block = np.flatnonzero((pair == a * k + b) | (pair == b * k + a))
        fresh = np.array([c for c in block if int(c) not in inside], dtype=np.int64)
        more = (features[:, fresh], score[fresh], cross[fresh])
        plain, ground = _step(fit, *more), fit
        new = slice(len(fit.beta), None)
        if (np.abs(plain.value[new]) > FAR * np.sqrt(np.diag(plain.error)[new])).any():  # too far for one step
            ground = _fit(data, csc_array(hstack([fit.extra, more[0]])), plain.value)
            plain, more = _Joint(ground.beta, ground.inverse), (features[:, fresh[:0]], score[:0], cross[:0])
        free = plain if a == b else _step_with(ground, *more, data.stock[:, a] * data.stock[:, b])
        at = {**inside, **{int(c): len(fit.beta) + n for n, c in enumerate(fresh)}}
        own, alone, turn = np.zeros((len(block), len(plain.value))), np.zeros((len(block), len(plain.value))), []
        for n, c in enumerate(block):
            own[n, at[int(c)]] = 1.0
            alone[n, data.place[second[c]]], alone[n, data.place[second[c]] + 1] = 1.0, slope[c]
            turn.append(np.flatnonzero((pair[block] == second[c] * k + first[c]) & (gap[block] == gap[c]) & (a != b)))
        less = np.array([own[n] - own[other[0]] if len(other) else np.full(own.shape[1], np.nan) for n, other in enumerate(turn)])
        less = np.hstack([less, np.zeros((len(block), len(free.value) - own.shape[1]))])
        for n, c in enumerate(block):
            p = float(_two_sided(plain.interval(own[n], 0.0)[0] / plain.sd(own[n])))
            told[c] = (*plain.interval(own[n], z), *plain.times(own[n], alone[n], z), *free.interval(less[n], z), p)
        for name in sorted({a * k + b, b * k + a} & set(found.runs)):
            run = np.searchsorted(block, found.runs[name])
            part = np.linalg.solve(own[run] @ plain.error @ own[run].T, np.ones(len(run)))  # the surer, the more it counts
            part /= part.sum()
            both = np.isfinite(less[run, 0])
            order = part[both] @ less[run][both] / part[both].sum() if both.any() else np.full(less.shape[1], np.nan)
            share = len(found.runs) / found.tested / found.factor[name]
            wide = normal_quantile(1 - share * (1 - level))
            mine, other = part @ own[run], part @ alone[run]
            wide = max(wide, z)
            effect, times = plain.interval(mine, wide), (plain.times(mine, other, z)[0], *plain.times(mine, other, wide)[1:])
            shrink = _given_chosen(abs(effect[0]) / plain.sd(mine), normal_quantile(1 - share * RATE))
            windows.append((
                name // k, name % k, starts[gap[found.runs[name][0]]], edges[gap[found.runs[name][-1]]], shrink * effect[0], *effect[1:],
                1 + shrink * (times[0] - 1), *times[1:], *free.interval(order, z), found.p_value[name], abs(effect[0]) / plain.sd(mine),
            ))  # fmt: skip
    numbers = [
        "effect",
        "low",
        "high",
        "multiplier",
        "multiplier_low",
        "multiplier_high",
        "order",
        "order_low",
        "order_high",
        "p_value",
    ]
    marked = np.zeros(m, dtype=bool)
    for run in found.runs.values():
        marked[run] = True
    cells = pd.DataFrame(told, columns=numbers).assign(
        first=first, second=second, gap_from=starts[gap], gap_to=edges[gap], found=marked
    )
    table = pd.DataFrame(windows, columns=["first", "second", "gap_from", "gap_to", *numbers, "strength"])
    return cells, table.sort_values("strength", ascending=False, kind="stable")


def _step(fit: _Fit, columns: csc_array, score: Floats, cross: Floats) -> _Joint:
    """One Newton step from the fit with further columns: all coefficients and their covariance."""
    if not len(score):
        return _Joint(fit.beta, fit.inverse)
    reach = cross @ fit.inverse
    information = fit.block(columns) - reach @ cross.T
    within = np.linalg.inv(information + 1e-9 * np.diag(np.diag(information)))
    value = within @ score
    shared = -reach.T @ within
    return _Joint(
        np.append(fit.beta - reach.T @ value, value), np.block([[fit.inverse - shared @ reach, shared], [shared.T, within]])
    )


def _step_with(fit: _Fit, columns: csc_array, score: Floats, cross: Floats, met: Floats) -> _Joint:
    """The same with one more column, the last."""
    more = csc_array(met[:, None])
    own, gain, shared = fit.scores(more)
    if float(own[0] - shared[0] @ fit.inverse @ shared[0]) <= OWN * own[0]:
        return _step(fit, columns, score, cross)
    if not len(score):
        return _step(fit, more, gain, shared)
    return _step(fit, csc_array(hstack([columns, more])), np.append(score, gain), np.vstack([cross, shared]))


def _given_chosen(z: float, passed: float) -> float:
    """Share of an estimate that is left given that it passed: mean of the conditional likelihood over `z`."""
    z = max(z, passed)
    at = np.linspace(-4.0, z + 5.0, 2001)
    weight = np.exp(-0.5 * (z - at) ** 2) / (ndtr(at - passed) + ndtr(-at - passed))
    return float(np.clip((at * weight).sum() / weight.sum() / z, 0.0, 1.0))


def _ratio(top: float, bottom: float, var_top: float, var_bottom: float, both: float, z: float) -> tuple[float, float, float]:
    """A ratio and its interval by Fieller (1954); empty where what it is divided by is not surely above 0."""
    a = bottom**2 - z**2 * var_bottom
    if bottom <= 0 or a <= 0:
        return np.nan, np.nan, np.nan
    b, c = top * bottom - z**2 * both, top**2 - z**2 * var_top
    half = np.sqrt(max(b**2 - a * c, 0.0))
    return top / bottom, (b - half) / a, (b + half) / a


def _slope(data: _Data, features: csc_array, second: Ints, weight: Floats) -> Floats:
    """What a cell's touches add to log1p of their channel, a fresh touch, were they the last to come."""
    m, column, f = _width(features), _column(features), features.data
    x = data.stock[features.indices, second[column]]
    heavy = weight[features.indices] * f
    gain = np.log1p(x) - np.log1p(np.maximum(x - f, 0.0))
    return np.bincount(column, heavy * gain, minlength=m) / np.maximum(np.bincount(column, heavy * f, minlength=m), 1e-300)


def _spell(hours: float) -> str:
    return f"{hours:g} hours" if hours <= 48 else f"{hours / 24:g} days"
