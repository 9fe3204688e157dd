"""From a few good plans to a whole front: local search and a genetic search over the candidates that matter (the *core*).

Every plan met is kept while no other dominates it. Local search tries, for each plan kept, every post more, every post less and every exchange of
one post, then exchanges of two for two where plans differ: among the posts nearest to the price at which the linear program takes or leaves them
(Pareto local search). The genetic search (NSGA-II, with three objectives or more NSGA-III) joins plans of the front; a child that breaks a rule is
mended: the posts that mend most for what they are worth go out, and what then fits comes in, best first at the linear program's prices.

References
----------
Deb et al. (2002), IEEE TEC 6(2), NSGA-II; Deb and Jain (2014), IEEE TEC 18(4), NSGA-III; Paquete, Chiarandini and Stützle (2004), LNEMS 535, and
Lust and Teghem (2012), ITOR 19(4), Pareto local search and its use on knapsacks with two objectives.
"""

# pyright: basic
# (numba and pymoo have no types)
from __future__ import annotations

import time
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from liftwise.core.uncertainty import spawn
from liftwise.decisions.frontier.plan_core import Core, admits, holds, judged, mend, point, put, state

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
KEPT = 3_000  # plans the archive holds
FINE = 2e-4  # of an objective's range: points nearer than this to one that is kept are no news
WINDOW = 16  # posts on either side that are exchanged two by two
POPULATION, STALLED, GENERATIONS = 100, 30, 2_000


@njit(cache=True)
def _news(values, line, size, z, fine):  # type: ignore[no-untyped-def]
    """Whether no point kept is as good as z (but for `fine`). line : points by falling first objective; with two objectives a search by halves."""
    if len(z) == 2:
        low, high = 0, size
        while low < high:
            middle = (low + high) // 2
            if values[line[middle], 0] >= z[0] - fine[0]:
                low = middle + 1
            else:
                high = middle
        return low == 0 or values[line[low - 1], 1] < z[1] - fine[1]
    for k in range(size):
        at, better = line[k], False
        for o in range(len(z)):
            if values[at, o] < z[o] - fine[o]:
                better = True
                break
        if not better:
            return False
    return True


@njit(cache=True)
def _keep(values, plans, fresh, line, size, z, plan):  # type: ignore[no-untyped-def]
    """Put a plan that is news into the archive and take out what it dominates; returns how many there are. The slots of `line` beyond are free."""
    left, place = 0, 0
    gone = np.empty(size, dtype=np.int64)
    out = 0
    for k in range(size):
        at, worse = line[k], True
        for o in range(len(z)):
            if values[at, o] > z[o]:
                worse = False
                break
        if worse:
            fresh[at] = 0
            gone[out] = at
            out += 1
        else:
            line[left] = at
            left += 1
    for k in range(out):
        line[left + k] = gone[k]
    if left == len(line):
        return left
    free = line[left]
    while place < left and values[line[place], 0] > z[0]:
        place += 1
    for k in range(left, place, -1):
        line[k] = line[k - 1]
    line[place] = free
    values[free], plans[free], fresh[free] = z, plan, 2
    return left + 1


@njit(cache=True)
def _with(core, j, act, posts, slots, used, total, z, plan, values, plans, fresh, line, size, fine):  # type: ignore[no-untyped-def]
    """The plan with one post more is kept where it is news and keeps the rules; state and plan are left as they were."""
    for o in range(len(z)):
        z[o] = total[o] + core.gain[j, o]
    if core.ratio >= 0:
        z[core.ratio] /= max(total[-1] + core.cost[j], 1e-12)
    if not _news(values, line, size, z, fine) or not admits(core, j, act, posts, slots, used):
        return size
    put(core, j, 1, act, posts, slots, used, total)
    if holds(core, act):
        plan[j] = True
        size = _keep(values, plans, fresh, line, size, z, plan)
        plan[j] = False
    put(core, j, -1, act, posts, slots, used, total)
    return size


@njit(cache=True)
def _around(core, at, values, plans, fresh, line, size, fine):  # type: ignore[no-untyped-def]
    """Every plan that differs from plan `at` by one post more, one less or one exchanged; those that are news are kept."""
    plan, m = plans[at].copy(), plans.shape[1]
    fresh[at] = 1
    act, posts, slots, used, total = state(core, plan)
    z = np.empty(core.gain.shape[1])
    gone = np.append(np.flatnonzero(plan), -1)
    for i in gone:
        if i >= 0:
            put(core, i, -1, act, posts, slots, used, total)
            plan[i] = False
            point(core, total, z)
            if total[-1] > 0 and _news(values, line, size, z, fine) and holds(core, act):
                size = _keep(values, plans, fresh, line, size, z, plan)
        for j in range(m):
            if not plan[j] and j != i:
                size = _with(core, j, act, posts, slots, used, total, z, plan, values, plans, fresh, line, size, fine)
        if i >= 0:
            put(core, i, 1, act, posts, slots, used, total)
            plan[i] = True
    return size


@njit(cache=True)
def _window(plan, order, width):  # type: ignore[no-untyped-def]
    """The `width` posts of the plan that are worth least at the order's prices, and the `width` others worth most: where plans differ."""
    outs, ins = np.empty(width, dtype=np.int64), np.empty(width, dtype=np.int64)
    ranked = np.zeros(len(plan), dtype=np.bool_)
    out, into = 0, 0
    for j in order:
        ranked[j] = True
        if not plan[j] and into < width:
            ins[into] = j
            into += 1
    for j in range(len(plan)):
        if plan[j] and not ranked[j] and out < width:
            outs[out] = j
            out += 1
    for k in range(len(order) - 1, -1, -1):
        if plan[order[k]] and out < width:
            outs[out] = order[k]
            out += 1
    return outs[:out], ins[:into]


@njit(cache=True)
def _pairs(core, at, order, values, plans, fresh, line, size, fine):  # type: ignore[no-untyped-def]
    """Plans that differ from plan `at` by up to two posts less and two more within the window of `order`; those that are news are kept."""
    plan, p = plans[at].copy(), core.gain.shape[1]
    fresh[at] = 0
    act, posts, slots, used, total = state(core, plan)
    z = np.empty(p)
    outs, ins = _window(plan, order, WINDOW)
    for a in range(-1, len(outs)):
        for b in range(a, len(outs) if a >= 0 else 0):  # a = b: one post less
            gone = (outs[a] if a >= 0 else -1, outs[b] if b > a else -1)
            for i in gone:
                if i >= 0:
                    put(core, i, -1, act, posts, slots, used, total)
                    plan[i] = False
            for c in range(len(ins)):
                if not admits(core, ins[c], act, posts, slots, used):
                    continue
                put(core, ins[c], 1, act, posts, slots, used, total)
                plan[ins[c]] = True
                point(core, total, z)
                if _news(values, line, size, z, fine) and holds(core, act):
                    size = _keep(values, plans, fresh, line, size, z, plan)
                for d in range(c + 1, len(ins)):
                    size = _with(core, ins[d], act, posts, slots, used, total, z, plan, values, plans, fresh, line, size, fine)
                put(core, ins[c], -1, act, posts, slots, used, total)
                plan[ins[c]] = False
            for i in gone:
                if i >= 0:
                    put(core, i, 1, act, posts, slots, used, total)
                    plan[i] = True
    return size


class Archive:
    """Plans of a core that no other one dominates. values : (KEPT, p). plans : (KEPT, m). line : the `size` in use, by falling first objective."""

    def __init__(self, core: Core, fine: Floats) -> None:
        self.core, self.fine, p, m = core, fine, core.gain.shape[1], len(core.who)
        self.values, self.plans = np.full((KEPT, p), -np.inf), np.zeros((KEPT, m), dtype=np.bool_)
        self.fresh, self.line, self.size = np.zeros(KEPT, dtype=np.int64), np.arange(KEPT), 0

    def add(self, plans: Bools) -> int:
        """Keep those of the plans (k, m) that keep the rules and are news; returns how many."""
        values, broken = judged(self.core, plans)
        count = 0
        for k in np.flatnonzero(broken <= 0):
            if np.isfinite(values[k]).all() and _news(self.values, self.line, self.size, values[k], self.fine):
                self.size = _keep(self.values, self.plans, self.fresh, self.line, self.size, values[k], plans[k])
                count += 1
        return count

    def front(self) -> tuple[Floats, Bools]:
        """Points by falling first objective, and their plans."""
        kept = self.line[: self.size]
        return self.values[kept].copy(), self.plans[kept].copy()

    def climb(self, orders: list[Ints], until: float) -> None:
        """Local search until no plan has a better neighbour or time is over: exchanges of one post, then of two; plans far apart come first.

        orders : candidates, best first, from the first objective's end of the front to the last one's.
        """
        while time.monotonic() < until:
            kept = self.line[: self.size].copy()
            level = int(self.fresh[kept].max(initial=0))
            new = kept[self.fresh[kept] == level]
            if level == 0 or (level == 1 and not orders):
                return
            for at in new[:: max(1, len(new) // 16)]:
                if self.fresh[at] != level or time.monotonic() > until:
                    continue
                if level == 2:
                    self.size = _around(self.core, at, self.values, self.plans, self.fresh, self.line, self.size, self.fine)
                else:
                    place = int(np.flatnonzero(self.line[: self.size] == at)[0])
                    order = orders[place * len(orders) // self.size]
                    self.size = _pairs(self.core, at, order, self.values, self.plans, self.fresh, self.line, self.size, self.fine)


def evolve(archive: Archive, orders: list[Ints], worths: list[Floats], *, until: float, seed: int, told: Any = None) -> int:
    """Genetic search from the archive's plans; what it finds enters the archive and is climbed from. Returns how many generations it took.

    orders, worths : for mending, one for each direction: candidates best first, and (m,) what each is worth at prices.
    It ends when time is over or `STALLED` generations brought nothing new.
    """
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.algorithms.moo.nsga3 import NSGA3
    from pymoo.core.problem import Problem
    from pymoo.core.repair import Repair
    from pymoo.operators.crossover.ux import UniformCrossover
    from pymoo.operators.mutation.bitflip import BitflipMutation
    from pymoo.util.ref_dirs import get_reference_directions

    core, rng = archive.core, spawn(seed, "front by generations")
    m, p = len(core.who), core.gain.shape[1]

    class Plans(Problem):
        def __init__(self) -> None:
            super().__init__(n_var=m, n_obj=p, n_ieq_constr=1, xl=0, xu=1, vtype=bool)

        def _evaluate(self, x: Any, out: Any, *_: Any, **__: Any) -> None:
            values, broken = judged(core, np.ascontiguousarray(x, dtype=np.bool_))
            out["F"], out["G"] = -np.where(np.isfinite(values), values, -1e30), broken[:, None]

    class Mend(Repair):
        def _do(self, problem: Any, x: Any, **_: Any) -> Any:
            x = np.ascontiguousarray(x, dtype=np.bool_)
            for k, d in enumerate(rng.integers(0, len(orders), len(x))):
                if time.monotonic() < until:
                    mend(core, x[k], orders[d], worths[d])
            return x

    def algorithm() -> Any:
        first = archive.front()[1]
        size = min(POPULATION, max(len(first), 8))
        common = {"sampling": first[np.sort(rng.permutation(len(first))[:size])], "crossover": UniformCrossover(),
                  "mutation": BitflipMutation(prob=0.5, prob_var=1.5 / m), "repair": Mend(), "eliminate_duplicates": True}  # fmt: skip
        if p == 2:
            return NSGA2(pop_size=size, n_offsprings=size, **common)
        dirs = get_reference_directions("das-dennis", p, n_partitions=12 if p == 3 else 5)
        return NSGA3(ref_dirs=dirs, pop_size=max(size, 8), **common)

    count, quiet = 0, 0
    while time.monotonic() < until and quiet < STALLED and count < GENERATIONS:
        search, problem = algorithm(), Plans()
        search.setup(problem, seed=int(rng.integers(2**31 - 1)), verbose=False)
        for _ in range(5):  # then the population is drawn anew from the archive, which local search has improved
            if time.monotonic() > until:
                break
            children = search.ask()
            search.evaluator.eval(problem, children)
            new = archive.add(np.ascontiguousarray(children.get("X"), dtype=np.bool_))
            search.tell(infills=children)
            count, quiet = count + 1, 0 if new else quiet + 1
        archive.climb(orders, until)
        if told is not None:
            told(archive)
    return count


def compiled_once() -> None:
    """Run every kernel on three posts, so that none compiles while a clock runs."""
    one, none, n = np.ones(3), np.zeros(0, dtype=np.int64), np.arange(3)
    core = Core(np.column_stack([one, one]), one, -1, np.arange(4), np.zeros(3, dtype=np.int64), one, np.array([-np.inf]), np.array([2.0]), np.ones(1),
                np.zeros(2, dtype=np.int64), none, np.zeros(0), n, n, 4, 4, np.zeros(4, dtype=np.int64), none, np.zeros(0), np.zeros((0, 0)), none, -1, 0.0, 0.0)  # fmt: skip
    archive, plan = Archive(core, np.zeros(2)), np.ones(3, dtype=np.bool_)
    mend(core, plan, n, one)
    archive.add(plan[None, :])
    archive.climb([n], time.monotonic() + 60.0)
