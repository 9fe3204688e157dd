"""Mean less ρ · sd over joint draws: the best split, and a bound on all splits.

A draw is one world in which all channels have their curves, so the risk of a split is the sd of the *sum* over channels; channels whose
curves are unsure in different worlds hedge each other. That sd is a maximum over unit vectors u with Σ u = 0 of Σ_d u_d · sum_d / √D, hence

    mean − ρ sd  =  min over u of  Σ_d (1/D − ρ u_d / √D) · revenue_d .

For any one u the right side is a sum of curves, one a channel, which `envelopes` solves with a bound: each u bounds all splits, and the
least of these bounds is the certificate. It is found by simplicial decomposition: the best splits at some u, mixed as well as they can be,
give the next u. Splits are improved by Frank and Wolfe's steps towards the best split at their own u, then by moving money in pairs; where
S-shaped curves leave a gap, ranges are cut in two and each half is bounded again.

References
----------
Ben-Tal, El Ghaoui and Nemirovski (2009), Robust Optimization, ch. 1; Frank and Wolfe (1956), Naval Research
Logistics 3; von Hohenbalken (1977), Mathematical Programming 13, for simplicial decomposition.
"""

# pyright: basic
# (numba's kernels have no types)
from __future__ import annotations

import heapq
from dataclasses import dataclass, field

import numpy as np
from numba import njit
from numpy.typing import NDArray

from liftwise.decisions.allocation.envelopes import CLOSED, PARTS, best_split, envelope_bound, overstated, relax

Floats = NDArray[np.float64]
STEPS, INNER = 30, 12  # of the searches of the whole question, and of a part of it
NODES, WORK = 2_000, 100_000_000  # at most; and points of curves visited by them
GAP = 1e-5  # of the value: closed enough
NEAR = 0.01  # of the best value: a split further below is not worth improving
AHEAD = np.concatenate([[0.0], 2.0 ** -np.arange(12.0, -1.0, -1.0)])  # how far a step may go


def best_risky(
    grid: Floats, curves: Floats, low: Floats, high: Floats, total: float, risk_aversion: float
) -> tuple[Floats, float, float]:  # fmt: skip
    """The best split found, its mean − risk_aversion · sd, and a bound on that of every split.

    Parameters
    ----------
    grid : (channels, points) spend. curves : (channels, draws, points) revenue. low, high : (channels,) limits.
    """
    best, value, bound = best_split(grid, curves.mean(axis=1), low, high, total)
    if risk_aversion <= 0:
        return best, value, bound
    search = _Search(grid, curves, total, risk_aversion)
    search.offer([best, search.climb(low, high, best)], low, high)
    search.branch(low, high)
    return search.best, search.value, max(search.bound, search.value)


@dataclass
class _Search:
    """What is known of one question: the best split so far and the least bound on all.

    Ranges are cut where the envelopes overstate the mean of the splits met at a node's prices, best bound first. At a single point the
    revenue of each draw is linear, mean − ρ sd is concave, and bound and value meet: small enough ranges always close the gap.
    """

    grid: Floats
    curves: Floats
    total: float
    risk_aversion: float
    best: Floats = field(default_factory=lambda: np.zeros(0))
    value: float = -np.inf
    bound: float = np.inf

    def worth(self, split: Floats) -> float:
        """Mean less ρ sd."""
        return worth_risky(self.grid, self.curves, split, self.risk_aversion)

    def shares(self, split: Floats) -> Floats:
        """What each draw counts at the worst u of a split."""
        return _counts(revenue(self.grid, self.curves, split), self.risk_aversion)

    def climb(self, low: Floats, high: Floats, split: Floats) -> Floats:
        """Frank and Wolfe's steps."""
        for _ in range(STEPS):
            ahead, _ = envelope_bound(self.grid, _at(self.curves, self.shares(split)), low, high, self.total)
            tried = [self.worth(split + step * (ahead - split)) for step in AHEAD]
            if (far := int(np.argmax(tried))) == 0:
                break
            split = split + AHEAD[far] * (ahead - split)
        return split

    def offer(self, splits: list[Floats], low: Floats, high: Floats) -> None:
        """Keep the best of these after moving money in pairs, within the limits of the question."""
        first = max(splits, key=self.worth)
        if (now := self.worth(first)) <= self.value - NEAR * abs(self.value):
            return
        moved = _exchange(self.grid, self.curves, first, low, high, self.total / PARTS, self.risk_aversion)
        for split, value in ((first, now), (moved, self.worth(moved))):
            if value > self.value:
                self.best, self.value = split, value

    def node(self, low: Floats, high: Floats, shares: Floats, steps: int) -> tuple[float, Floats, Floats, Floats]:
        """The least bound between these limits, its u (as shares of draws), the splits met on the way to it and their weights."""
        enough = self.value + CLOSED * abs(self.value)
        bound, kept, met, weights = _node(
            self.grid, self.curves, low, high, self.total, self.risk_aversion, shares, steps, enough
        )
        return float(bound), kept, met, weights

    def branch(self, low: Floats, high: Floats) -> None:
        """Close the gap as far as the nodes allow."""
        bound, shares, met, weights = self.node(low, high, self.shares(self.best), STEPS)
        self.offer([*met, weights @ met], low, high)
        heap, made, shut = [(-bound, 0, low, high, shares, met, weights)], 1, self.value
        for _ in range(int(np.clip(WORK / self.curves.size, 20, NODES))):
            if not heap or -heap[0][0] <= self.value + GAP * abs(self.value):
                break
            over, _, least, most, shares, met, weights = heapq.heappop(heap)
            k, cut = self.cut(least, most, shares, met, weights)
            if k < 0:
                shut = max(shut, -over)
                continue
            for ends in _halves(least, most, k, cut):
                if ends[0].sum() <= self.total <= ends[1].sum():
                    bound, own, met, weights = self.node(*ends, shares, INNER)
                    self.offer([*met, weights @ met], low, high)
                    heapq.heappush(heap, (-min(bound, -over), made, *ends, own, met, weights))
                    made += 1
        self.bound = max(-heap[0][0] if heap else self.value, shut, self.value)

    def cut(self, low: Floats, high: Floats, shares: Floats, met: Floats, weights: Floats) -> tuple[int, float]:
        """The channel whose envelope overstates the mean of the splits met by most, or they differ in most, or with the widest range; −1: none."""
        mean, curve, least = weights @ met, _at(self.curves, shares), 1e-6 * self.total / len(low)
        inside = np.minimum(mean - low, high - mean) > least
        over = overstated(self.grid, curve, low, high, mean)
        for score in (over - CLOSED * abs(self.value), weights @ np.abs(met - mean)):
            k = int(np.argmax(np.where(inside, score, -1.0)))
            if inside[k] and score[k] > 0:
                return k, float(mean[k])
        k = int(np.argmax(high - low))
        return (k, float(low[k] + high[k]) / 2) if high[k] - low[k] > 2 * least else (-1, 0.0)


def _halves(low: Floats, high: Floats, k: int, cut: float) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """The limits with one channel's range cut in two."""
    least, most = low.copy(), high.copy()
    least[k] = most[k] = cut
    return (low, most), (least, high)


def worth_risky(grid: Floats, curves: Floats, split: Floats, risk_aversion: float) -> float:
    """Mean over draws of a split's revenue, less `risk_aversion` standard deviations of it."""
    sums = revenue(grid, np.ascontiguousarray(curves), split)
    return float(sums.mean() - risk_aversion * sums.std())


def _at(curves: Floats, shares: Floats) -> Floats:
    """(channels, points): the curves at one u."""
    return np.ascontiguousarray(np.einsum("kdp,d->kp", curves, shares))


@njit(cache=True)
def _node(grid, curves, low, high, total, risk_aversion, shares, steps, enough):
    """Prices u that make the least bound: the best splits at some u, mixed as well as they can be, give the next u, until nothing new."""
    channels, draws, points = curves.shape
    met, sums, weights = np.empty((steps, channels)), np.empty((steps, draws)), np.zeros(steps)
    bound, kept, n, curve, one = np.inf, shares, 0, np.empty((channels, points)), np.empty(draws)
    for j in range(steps):
        for k in range(channels):
            curve[k] = 0.0
            for d in range(draws):
                curve[k] += shares[d] * curves[k, d]
        split, over, odd, start, end = relax(grid, curve, low, high, total)
        if over < bound:
            bound, kept = over, shares
        met[j], sums[j], n = split, revenue(grid, curves, split), j + 1
        if odd >= 0:  # an envelope's segment mixes its ends in every draw
            part = (split[odd] - start) / (end - start)
            for at, share in ((split[odd], -1.0), (start, 1 - part), (end, part)):
                _into(grid[odd], curves[odd], at, one)
                sums[j] += share * one
        mixed = _mix(sums[:n], weights[:n], risk_aversion)
        if bound <= enough or bound - mixed <= 1e-7 * abs(bound):
            break
        shares = _counts((sums[:n] * weights[:n].reshape(-1, 1)).sum(axis=0), risk_aversion)
    return bound, kept, met[:n].copy(), weights[:n].copy()


@njit(cache=True)
def _counts(sums, risk_aversion):
    """What each draw counts at the worst u of these sums."""
    draws, off = len(sums), sums - sums.mean()
    long = np.sqrt((off * off).sum())
    return 1 / draws - (risk_aversion / np.sqrt(draws) / long if long > 0 else 0.0) * off


@njit(cache=True)
def _mix(sums, weights, risk_aversion):
    """Weights (changed in place) of rows whose mix has the most mean − ρ sd, and that: pairwise Frank–Wolfe steps, exact in length."""
    if weights.sum() == 0:
        weights[0] = 1.0
    mixed = (sums * weights.reshape(-1, 1)).sum(axis=0)
    factor = risk_aversion / np.sqrt(len(mixed))
    for _ in range(200):
        worth = (sums * _counts(mixed, risk_aversion)).sum(axis=1)
        up, down = np.argmax(worth), -1
        for j in range(len(weights)):
            if weights[j] > 0 and (down < 0 or worth[j] < worth[down]):
                down = j
        if worth[up] - worth[down] <= 1e-8 * abs(worth[up]):
            break
        step = sums[up] - sums[down]
        rise = step.mean()
        off, turn = mixed - mixed.mean(), step - rise
        a, b, c = (off * off).sum(), (off * turn).sum(), (turn * turn).sum()
        first, last = 0.0, weights[down]
        if rise <= factor * (b + c * last) / np.sqrt(max(a + 2 * b * last + c * last * last, 1e-300)):
            for _ in range(40):
                middle = (first + last) / 2
                if rise > factor * (b + c * middle) / np.sqrt(max(a + 2 * b * middle + c * middle * middle, 1e-300)):
                    first = middle
                else:
                    last = middle
        weights[up] += last
        weights[down] = max(weights[down] - last, 0.0)
        mixed = mixed + last * step
    return _worth(mixed, risk_aversion)


@njit(cache=True)
def _into(x, curve, at, out):
    """The revenue of one channel in each draw, at one spend."""
    last = len(x) - 1
    k = min(max(np.searchsorted(x, at, side="right") - 1, 0), last - 1)
    part = min(max((at - x[k]) / (x[k + 1] - x[k]), 0.0), 1.0)
    for d in range(len(out)):
        out[d] = curve[d, k] + part * (curve[d, k + 1] - curve[d, k])


@njit(cache=True)
def revenue(grid, curves, split):
    """(draws,) revenue of a split by curves (channels, draws, points)."""
    total, one = np.zeros(curves.shape[1]), np.empty(curves.shape[1])
    for k in range(len(split)):
        _into(grid[k], curves[k], split[k], one)
        total += one
    return total


@njit(cache=True)
def _worth(sums, risk_aversion):
    return sums.mean() - risk_aversion * sums.std()


@njit(cache=True)
def _exchange(grid, curves, split, low, high, step, risk_aversion):
    """Move money in pairs while mean − ρ sd gains: the pair that gains most at the split's own u, which no pair gains more than."""
    split, least = split.copy(), step / 1024
    channels, draws = len(split), curves.shape[1]
    now, less, more = np.empty((channels, draws)), np.empty(draws), np.empty(draws)
    for k in range(channels):
        _into(grid[k], curves[k], split[k], now[k])
    sums = now.sum(axis=0)
    value = _worth(sums, risk_aversion)
    for _ in range(20 * channels + 400):
        if step < least:
            break
        shares = _counts(sums, risk_aversion)
        loss, gain, give, take = np.inf, -np.inf, -1, -1
        for k in range(channels):
            if split[k] - step >= low[k]:
                _into(grid[k], curves[k], split[k] - step, less)
                one = ((now[k] - less) * shares).sum()
                if one < loss:
                    loss, give = one, k
        for k in range(channels):
            if k != give and split[k] + step <= high[k]:
                _into(grid[k], curves[k], split[k] + step, more)
                one = ((more - now[k]) * shares).sum()
                if one > gain:
                    gain, take = one, k
        if give < 0 or take < 0 or gain <= loss:
            step /= 2
            continue
        _into(grid[give], curves[give], split[give] - step, less)
        _into(grid[take], curves[take], split[take] + step, more)
        after = sums - now[give] - now[take] + less + more
        worth = _worth(after, risk_aversion)
        if worth <= value + 1e-12 * abs(value):
            step /= 2
            continue
        split[give] -= step
        split[take] += step
        now[give], now[take] = less, more
        sums, value = after, worth
    return split
