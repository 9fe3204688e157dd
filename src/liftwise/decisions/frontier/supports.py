"""Where a front can lie at most: scalarised programs, their plans, and the bounds that hold for every plan.

Weights turn several objectives into one, which the exact engine maximises: a plan, and a limit w·z ≤ L of all plans. A ratio such as ROI
is no sum, but "total return less r times total cost" is, and it is positive exactly where the ratio exceeds r (Dinkelbach 1967): r is moved
to the ratio of the answer until both agree, so that plans at the front's corners are exact and every limit on the way holds too. With two objectives
the weights come from the widest gap between answers (Aneja and Nair 1979), else from an even grid of weights (Das and Dennis 1998).

References
----------
Dinkelbach (1967), Management Science 13(7). Aneja and Nair (1979), Management Science 25(1). Das and Dennis (1998), SIAM J. Optimization 8(3).
"""

# pyright: basic
# (the engine's kernels have no types)
from __future__ import annotations

import heapq
import itertools
import time
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from liftwise.core.errors import CannotTell
from liftwise.core.uncertainty import spawn
from liftwise.decisions.frontier.aims import Aims, with_floors
from liftwise.decisions.selection.engine import refuse_impossible
from liftwise.decisions.selection.integer import Found, search
from liftwise.decisions.selection.program import Program
from liftwise.decisions.selection.sifting import Relaxed, sift

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
GAP = 1e-3  # of a scalarised plan
SAME = 1e-4  # of an objective's range: answers nearer than this are one
DINKELBACH = 5  # times that a rate follows a plan
BENDS = 16  # of a ratio's range, looked at one by one
CELLS = 4_000  # of the area under the bound


@dataclass(frozen=True)
class Support:
    """No plan has weight · z > limit (the ratio's part read by `Aims.lifted`). point : of the linear program. chosen : a plan, or nothing."""

    weight: Floats
    rate: float
    limit: float
    point: Floats
    relaxed: Relaxed
    chosen: Ints

    def allows(self, aims: Aims, z: Floats) -> NDArray[np.bool_]:
        """Which points (k, p) it does not rule out."""
        return self._used(aims, z) <= self.limit * (1 + 1e-9 * np.sign(self.limit)) + 1e-12

    def _used(self, aims: Aims, z: Floats) -> Floats:
        used = np.zeros(len(z))
        for k, w in enumerate(self.weight):
            used += w * (aims.lifted(z[:, k], self.rate) if k == aims.ratio else z[:, k])
        return used

    def ceiling(self, aims: Aims, first: Floats) -> Floats:
        """Two objectives: the most of the second at each value of the first; −∞ where the first itself is ruled out."""
        one, two = self.weight
        used = one * (aims.lifted(first, self.rate) if aims.ratio == 0 else first)
        left = self.limit - used
        if two <= 0:
            return np.where(left >= -1e-9 * abs(self.limit), np.inf, -np.inf)
        left = left / two
        if aims.ratio != 1:
            return left
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.rate + np.where(left >= 0, left / max(aims.least, 1e-12), left / aims.most)


@dataclass
class Prober:
    """Asks the engine for scalarised plans; columns of one answer start the next. supports : all limits found; bends : those of `at`. scale : ranges of the objectives."""

    program: Program
    aims: Aims
    supports: list[Support] = field(default_factory=list)
    columns: Ints | None = None
    scale: Floats | None = None
    bends: list[Support] = field(default_factory=list)

    def ask(self, weight: Floats, rate: float, seconds: float) -> Support:
        """The linear program at these weights; the rate follows the answer's ratio."""
        until = time.monotonic() + seconds
        follows = self.aims.ratio >= 0 and weight[self.aims.ratio] > 0
        for turn in range(6):
            relaxed = sift(
                self.program.worth(self.aims.mixed(weight, rate)), max(until - time.monotonic(), 1.0), columns=self.columns
            )
            if self.columns is None:
                refuse_impossible(self.program, relaxed)
            if not relaxed.answer.feasible:  # no answer in this time: what is known stays
                return self.supports[-1]
            self.columns = relaxed.columns
            point = self.aims.values(relaxed.columns, relaxed.answer.y)
            found = Support(weight, rate, relaxed.bound, point, relaxed, np.empty(0, dtype=np.int64))
            self.supports.append(found)
            if (
                not follows
                or abs(point[self.aims.ratio] - rate) <= 1e-6 * max(abs(rate), 1e-9)
                or (turn and time.monotonic() > until)
            ):
                break
            rate = float(point[self.aims.ratio])
        return found

    def at(self, rate: float, weight: Floats, seconds: float) -> None:
        """The most of the other objectives, at these weights, among plans whose ratio is at least `rate`, and what the ratio is worth there:
        corners of the front where its line bends inward, which no fixed weights reach."""
        aims, scale, p = self.aims, self.scale, self.aims.count
        assert scale is not None
        floor = np.where(np.arange(p) == aims.ratio, rate, -np.inf)
        program = with_floors(self.program, aims, floor, scale).worth(aims.gain @ weight)
        relaxed = sift(program, seconds, columns=self.columns)
        if not relaxed.answer.feasible or relaxed.missed:
            return
        self.columns = relaxed.columns
        worth = max(-float(relaxed.answer.duals[-1]), 0.0) / (scale[aims.ratio] * aims.most)
        weight = np.where(np.arange(p) == aims.ratio, worth, weight)
        point = aims.values(relaxed.columns, relaxed.answer.y)
        found = Support(weight, rate, relaxed.bound, point, relaxed, np.empty(0, dtype=np.int64))
        self.supports.append(found)
        self.bends.append(found)

    def whole(self, support: Support, seconds: float, start: Ints | None = None) -> Support:
        """With a plan of whole posts, and its proven bound as the limit where that is lower. start : a plan that keeps the rules.

        With a ratio, the rate follows the plan (Dinkelbach), since that of the linear program is out of reach.
        """
        until, ratio = time.monotonic() + seconds, self.aims.ratio
        for turn in range(DINKELBACH):
            found = self._searched(support, until - time.monotonic(), start)
            if found is None:
                return support  # not in this time; other weights may be luckier
            better = replace(support, limit=min(support.limit, found.bound), chosen=found.chosen)
            self.supports[next(k for k, s in enumerate(self.supports) if s is support)] = better
            after = float(self.aims.values(found.chosen)[ratio]) if ratio >= 0 else support.rate
            still = abs(after - support.rate) <= 1e-9 * max(abs(after), 1e-9) or not np.isfinite(after)
            if ratio < 0 or support.weight[ratio] <= 0 or still or time.monotonic() > until or turn == DINKELBACH - 1:
                return better
            worth = self.aims.mixed(support.weight, after)
            relaxed = sift(self.program.worth(worth), max(until - time.monotonic(), 0.5), columns=self.columns)
            if not relaxed.answer.feasible:
                return better
            point, start = self.aims.values(relaxed.columns, relaxed.answer.y), found.chosen
            support = Support(support.weight, after, relaxed.bound, point, relaxed, found.chosen)
            self.supports.append(support)
        raise AssertionError("unreachable")

    def _searched(self, support: Support, seconds: float, start: Ints | None) -> Found | None:
        worth, answer = self.aims.mixed(support.weight, support.rate), support.relaxed.answer
        # a ratio's worth is near 0 at its rate, which is no scale for a gap: what is paid and earned is
        moved = float(answer.y @ np.abs(self.aims.gain[support.relaxed.columns] @ support.weight))
        gap = GAP * moved / max(abs(support.relaxed.bound), 1e-9)
        try:
            return search(self.program.worth(worth), support.relaxed, gap=gap, seconds=max(seconds, 0.2), start=start)
        except CannotTell:  # out of time
            return None


def probe(program: Program, aims: Aims, count: int, seconds: float) -> tuple[Prober, list[Support]]:
    """Linear programs at about `count` weights, and which of them ended a search for a rate: ends first, then from wide gaps to narrow ones.

    Raises
    ------
    Infeasible
        No plan can keep the rules.
    """
    until = time.monotonic() + seconds
    prober, p = Prober(program, aims), aims.count
    ends = [prober.ask(np.eye(p)[k], 0.0, 0.3 * seconds / p) for k in range(p)]
    points = np.array([end.point for end in ends])
    prober.scale = np.maximum(np.ptp(points, axis=0), 1e-9 * np.maximum(np.abs(points).max(axis=0), 1e-9))
    asked = list[Support]()
    for k in range(p):  # the best of one objective, and of those plans one that is good in the others
        weight = np.where(np.arange(p) == k, 1.0, 1e-3) / prober.scale
        asked.append(prober.ask(_by_cost(aims, weight, ends[k]), _rate(aims, ends[k].point), 0.1 * seconds / p))
    middle = until - (0.35 if aims.ratio >= 0 else 0.0) * (until - time.monotonic())
    asked += _between(prober, asked, count - p, middle) if p == 2 else _grid(prober, asked, count - p, middle)
    if aims.ratio >= 0:
        _bends(prober, asked, until)
    return prober, asked


def _bends(prober: Prober, asked: list[Support], until: float) -> None:
    """Ratios in the middle of the widest steps between the answers' ratios, while steps are wide; with more objectives an even grid."""
    aims, p = prober.aims, prober.aims.count
    assert prober.scale is not None
    ratios = sorted(float(support.point[aims.ratio]) for support in asked)
    others = np.insert(_even(p - 1, 3) if p > 2 else np.ones((1, 1)), aims.ratio, 0.0, axis=1) / prober.scale
    if p > 2:
        ratios = [ratios[0], ratios[-1]]
    for _ in range(BENDS if p == 2 else BENDS // 2):
        steps = np.diff(ratios)
        widest = int(np.argmax(steps))
        if steps[widest] < (ratios[-1] - ratios[0]) / BENDS:
            return
        rate = ratios[widest] + 0.5 * float(steps[widest])
        ratios.insert(widest + 1, rate)
        for weight in others:
            if time.monotonic() > until:
                return
            prober.at(rate, weight, max(until - time.monotonic(), 0.5))


def _rate(aims: Aims, point: Floats) -> float:
    return float(point[aims.ratio]) if aims.ratio >= 0 else 0.0


def _by_cost(aims: Aims, weight: Floats, near: Support) -> Floats:
    """Weights of objectives as weights of sums: a ratio moves by its sum over the cost."""
    if aims.ratio < 0:
        return weight
    relaxed = near.relaxed
    cost = float(relaxed.answer.y @ aims.cost[relaxed.columns])
    weight = weight.copy()
    weight[aims.ratio] /= max(cost, 1e-9)
    return weight


def _between(prober: Prober, ends: list[Support], count: int, until: float) -> list[Support]:
    """Two objectives: weights that see the two answers furthest apart as equal, again and again."""
    aims, scale = prober.aims, prober.scale
    assert scale is not None
    found, queue, ticket = list[Support](), list[tuple[float, int, Support, Support]](), itertools.count()

    def push(one: Support, other: Support) -> None:
        apart = np.abs(one.point - other.point) / scale
        if apart.min() > SAME:
            heapq.heappush(queue, (-float(np.hypot(*apart)), next(ticket), one, other))

    push(ends[0], ends[1])
    while queue and len(found) < count and time.monotonic() < until:
        _, _, one, other = heapq.heappop(queue)
        apart = np.abs(one.point - other.point)
        middle = 0.5 * (one.point + other.point)
        near = one if aims.ratio < 0 else other
        new = prober.ask(_by_cost(aims, apart[::-1] / apart.sum(), near), _rate(aims, middle), max(until - time.monotonic(), 0.5))
        found.append(new)
        if min(np.abs((new.point - end.point) / scale).max() for end in (one, other)) > SAME:
            push(one, new)
            push(new, other)
    return found


def _grid(prober: Prober, ends: list[Support], count: int, until: float) -> list[Support]:
    """Three objectives or more: even weights, the finest grid with at most `count` of them."""
    aims, p = prober.aims, prober.aims.count
    parts = 1
    while len(_even(p, parts + 1)) <= max(count, p + 1):
        parts += 1
    middle, found = np.mean([end.point for end in ends], axis=0), list[Support]()
    inner = [w for w in _even(p, parts) if w.max() < 1] + [np.full(p, 1 / p)]
    for weight in inner:
        if time.monotonic() > until:
            break
        mixed = (weight + 1e-3) / prober.scale
        found.append(prober.ask(_by_cost(aims, mixed, ends[0]), _rate(aims, middle), max(until - time.monotonic(), 0.5)))
    return found


def _even(p: int, parts: int) -> Floats:
    cuts = itertools.combinations(range(parts + p - 1), p - 1)
    return np.array([np.diff([-1, *cut, parts + p - 1]) - 1 for cut in cuts]) / parts


def ceiling(aims: Aims, supports: list[Support], first: Floats) -> Floats:
    """Two objectives: no plan has more than this of the second at each value of the first."""
    return np.min([support.ceiling(aims, first) for support in supports], axis=0)


def tops(aims: Aims, supports: list[Support]) -> Floats:
    """(p,) no plan has more of each objective."""
    found = np.full(aims.count, np.inf)
    for support in supports:
        k = int(support.weight.argmax())
        if np.count_nonzero(support.weight) == 1:
            top = support.limit / support.weight[k]
            found[k] = min(found[k], support.rate + max(top, 0.0) / max(aims.least, 1e-12) if k == aims.ratio else top)
    return found


def bound_volume(aims: Aims, supports: list[Support], reference: Floats, seed: int = 0) -> float:
    """Hypervolume that no front can exceed: the area under the bounds (rounded up), with three objectives or more at quasi-random points."""
    top = tops(aims, supports)
    if (top <= reference).any():
        return 0.0
    if aims.count == 2:
        edges = np.linspace(reference[0], top[0], CELLS + 1)[:-1]
        height = np.minimum(ceiling(aims, supports, edges), top[1]) - reference[1]
        return float(np.maximum(height, 0.0).sum() * (top[0] - reference[0]) / CELLS)
    from scipy.stats import qmc

    draws = reference + qmc.Sobol(aims.count, rng=spawn(seed, "points under the bound")).random_base2(15) * (top - reference)
    inside = np.ones(len(draws), dtype=bool)
    for support in supports:
        inside &= support.allows(aims, draws)
    return float(inside.mean() * np.prod(top - reference))
