"""A plan over some candidates (the *core*) as sums that change with every post: does it keep the rules, by how much not, and how to mend it.

Local and genetic search try millions of plans, so that nothing here asks a solver: helper columns are worked out (totals, influencers used, the
tail of losses), which is possible for every rule of `rules` but not for any rule there might be.
"""

# pyright: basic
# (numba has no types)
from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from liftwise.decisions.selection.program import Program

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
DEFINING = ("total, ", "money per ")  # rows that say what a helper is
SLACK = 1e-9


class Core(NamedTuple):
    """Some candidates with everything that decides whether a plan of them keeps the rules; helper columns are worked out, not searched.

    gain : (m, p) what a post adds to each objective (to the numerator of the ratio). cost : (m,) its denominator. ratio : objective or −1.
    start, row, factor : a candidate's entries in the rows. link_* : a row's entries in other rows' activities (helpers that hold totals).
    scale : (rows,) what a violation is measured in. who, slot : influencer, influencer-week. group_* : of an influencer, those that exclude it.
    loss, money, spent, limit, tail : CVaR: losses (scenarios, groups), rows that hold each group's money and all money, and the bound.
    """

    gain: Floats
    cost: Floats
    ratio: int
    start: Ints
    row: Ints
    factor: Floats
    low: Floats
    high: Floats
    scale: Floats
    link_start: Ints
    link_to: Ints
    link_factor: Floats
    who: Ints
    slot: Ints
    cap: int
    week_cap: int
    group_start: Ints
    group_of: Ints
    group_limit: Floats
    loss: Floats
    money: Ints
    spent: int
    limit: float
    tail: float


def core_of(program: Program, columns: Ints, gain: Floats, cost: Floats, ratio: int) -> Core | None:
    """The core over `columns`; None where a rule has a helper that only a linear program can work out."""
    helpers, blocks, m = program.helpers, program.blocks, len(program.low)
    of_row = np.repeat(np.arange(len(blocks)), np.diff(program.first))
    rule = [block.rule for block in blocks]
    defines = np.array([rule[b].startswith(DEFINING) for b in of_row], dtype=bool)
    defined = np.full(len(helpers.names), -1, dtype=np.int64)
    own = defines[helpers.row]
    defined[helpers.column[own]] = helpers.row[own]
    use = np.array([name.startswith("use ") for name in helpers.names], dtype=bool)
    tail_rows = np.array([rule[b] in ("CVaR", "CVaR scenario") for b in of_row], dtype=bool)
    odd = (defined[helpers.column] < 0) & ~use[helpers.column] & ~tail_rows[helpers.row]
    exclusive = np.unique(helpers.row[use[helpers.column]])
    if odd.any() or any(rule[of_row[r]] != "exclusive" for r in exclusive) or rule.count("CVaR") > 1:
        return None
    low, high = program.low.copy(), program.high.copy()
    whole = np.array([rule[b].startswith("whole posts") for b in of_row], dtype=bool)
    gone = defines | tail_rows | whole
    gone[exclusive] = True
    low[gone], high[gone] = -np.inf, np.inf
    linked = ~own & (defined[helpers.column] >= 0) & ~tail_rows[helpers.row]
    links = (helpers.row[linked], defined[helpers.column[linked]], helpers.factor[linked])
    tail = _tail(program, of_row, rule, defined)
    row, at, factor = program.entries(columns)
    kept = _kept(low, high, row, links, np.concatenate([links[1], tail[1], [tail[2]]]))
    new = np.full(m + 1, -1, dtype=np.int64)
    new[kept] = np.arange(len(kept))
    inside = new[row] >= 0
    row, at, factor = new[row[inside]], at[inside], factor[inside]
    order, lasting = np.argsort(new[links[0]], kind="stable"), new[links[0]] >= 0
    order = order[lasting[order]]
    sums = (
        np.maximum.reduceat(np.abs(factor)[np.argsort(row, kind="stable")], np.searchsorted(np.sort(row), np.unique(row)))
        if len(row)
        else []
    )
    scale = np.ones(len(kept))
    scale[np.unique(row)] = sums
    ends = np.where(np.isfinite(high[kept]), high[kept], np.where(np.isfinite(low[kept]), low[kept], 0.0))
    return Core(
        np.ascontiguousarray(gain, dtype=np.float64), np.ascontiguousarray(cost, dtype=np.float64), ratio,
        np.searchsorted(at, np.arange(len(columns) + 1)).astype(np.int64), row, factor, low[kept], high[kept], np.maximum(scale, np.abs(ends)),
        np.searchsorted(new[links[0]][order], np.arange(len(kept) + 1)).astype(np.int64), new[links[1]][order], links[2][order],
        *_inside(program, columns, exclusive), tail[0], new[tail[1]], int(new[tail[2]]), tail[3], tail[4],
    )  # fmt: skip


def _kept(low: Floats, high: Floats, row: Ints, links: tuple[Ints, Ints, Floats], needed: Ints) -> Ints:
    """Rows that candidates or totals could break, and those that others refer to."""
    there = np.bincount(row, minlength=len(low)) > 0
    rising = np.bincount(links[0], links[2] > 0, minlength=len(low)) > 0
    binds = (np.isfinite(high) & (there | rising | (high < 0))) | (
        np.isfinite(low) & (there | (low > 0) | (np.bincount(links[0], minlength=len(low)) > 0))
    )
    binds[needed[needed >= 0]] = True
    return np.flatnonzero(binds)


def _tail(program: Program, of_row: Ints, rule: list[str], defined: Ints) -> tuple[Floats, Ints, int, float, float]:
    """(losses, rows of each group's money, row of all money, limit, 1 / (scenarios in the tail)) of the CVaR rule, or nothing."""
    helpers = program.helpers
    if "CVaR" not in rule:
        return np.zeros((0, 0)), np.zeros(0, dtype=np.int64), -1, 0.0, 0.0
    scenario, last = rule.index("CVaR scenario"), int(program.first[rule.index("CVaR")])
    mine = (of_row[helpers.row] == scenario) & (defined[helpers.column] >= 0)
    columns = np.unique(helpers.column[mine])
    loss = np.zeros((len(program.blocks[scenario].labels), len(columns)))
    loss[helpers.row[mine] - program.first[scenario], np.searchsorted(columns, helpers.column[mine])] = -helpers.factor[mine]
    ends = helpers.row == last
    money = ends & (defined[helpers.column] >= 0)
    excess = ends & np.array([helpers.names[c].startswith("excess ") for c in helpers.column])
    return (
        loss,
        defined[columns],
        int(defined[helpers.column[money]][0]),
        -float(helpers.factor[money][0]),
        float(helpers.factor[excess][0]),
    )


def _inside(program: Program, columns: Ints, exclusive: Ints) -> tuple[Ints, Ints, int, int, Ints, Ints, Floats]:
    """Influencers and their weeks as codes, their caps, and the groups of which only so many are used."""
    inner, helpers = program.inner, program.helpers
    names, who = np.unique(inner.influencer(columns), return_inverse=True)
    weeks = int(inner.week.max(initial=0)) + 1
    _, slot = np.unique(who * weeks + inner.week[columns], return_inverse=True)
    groups: list[list[int]] = [[] for _ in names]
    where = {int(use): k for k, use in enumerate(inner.use[names]) if use >= 0}
    for r, c in zip(helpers.row, helpers.column, strict=True):
        if int(c) in where and r in set(exclusive.tolist()):
            groups[where[int(c)]].append(int(np.searchsorted(exclusive, r)))
    sizes = np.array([len(group) for group in groups], dtype=np.int64)
    return (who.astype(np.int64), slot.astype(np.int64), int(inner.cap), int(inner.week_cap), np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            np.array([g for group in groups for g in group], dtype=np.int64), program.high[exclusive].astype(np.float64))  # fmt: skip


@njit(cache=True)
def state(core, plan):  # type: ignore[no-untyped-def]
    """Activities of the rows, posts of each influencer and influencer-week, influencers used of each group, totals of objectives and cost."""
    act = np.zeros(len(core.low))
    posts, slots = np.zeros(len(core.group_start), dtype=np.int64), np.zeros(len(core.who) + 1, dtype=np.int64)
    used, total = np.zeros(len(core.group_limit)), np.zeros(core.gain.shape[1] + 1)
    for j in range(len(plan)):
        if plan[j]:
            put(core, j, 1, act, posts, slots, used, total)
    return act, posts, slots, used, total


@njit(cache=True)
def put(core, j, sign, act, posts, slots, used, total):  # type: ignore[no-untyped-def]
    """A post comes in (sign 1) or goes out (−1)."""
    for e in range(core.start[j], core.start[j + 1]):
        act[core.row[e]] += sign * core.factor[e]
    w = core.who[j]
    before = posts[w]
    posts[w] += sign
    slots[core.slot[j]] += sign
    if before == 0 or posts[w] == 0:
        for g in range(core.group_start[w], core.group_start[w + 1]):
            used[core.group_of[g]] += sign
    for o in range(core.gain.shape[1]):
        total[o] += sign * core.gain[j, o]
    total[-1] += sign * core.cost[j]


@njit(cache=True)
def admits(core, j, act, posts, slots, used):  # type: ignore[no-untyped-def]
    """Whether the influencer may post once more, then, and no row that stands alone is overfilled."""
    w = core.who[j]
    if posts[w] >= core.cap or slots[core.slot[j]] >= core.week_cap:
        return False
    if posts[w] == 0:
        for g in range(core.group_start[w], core.group_start[w + 1]):
            if used[core.group_of[g]] >= core.group_limit[core.group_of[g]]:
                return False
    for e in range(core.start[j], core.start[j + 1]):
        r = core.row[e]
        if (
            core.factor[e] > 0
            and core.link_start[r] == core.link_start[r + 1]
            and act[r] + core.factor[e] > core.high[r] + SLACK * core.scale[r]
        ):
            return False
    return True


@njit(cache=True)
def _worst(core, act):  # type: ignore[no-untyped-def]
    """Mean loss in the worst scenarios less what is allowed: the least over t of t + tail · Σ (loss − t)⁺, which is at one of the losses."""
    scenarios, groups = core.loss.shape
    lost = np.zeros(scenarios)
    for s in range(scenarios):
        for k in range(groups):
            lost[s] += core.loss[s, k] * act[core.money[k]]
    lost.sort()
    best, above = np.inf, 0.0
    for s in range(scenarios - 1, -1, -1):
        above += lost[s]
        best = min(best, lost[s] + core.tail * (above - (scenarios - s) * lost[s]))
    return best - core.limit * act[core.spent]


@njit(cache=True)
def holds(core, act):  # type: ignore[no-untyped-def]
    """Whether all rows hold."""
    for r in range(len(core.low)):
        x = act[r]
        for e in range(core.link_start[r], core.link_start[r + 1]):
            x += core.link_factor[e] * act[core.link_to[e]]
        if x > core.high[r] + SLACK * core.scale[r] or x < core.low[r] - SLACK * core.scale[r]:
            return False
    return len(core.loss) == 0 or _worst(core, act) <= SLACK * max(1.0, act[core.spent])


@njit(cache=True)
def _excess(core, act, posts, slots, used):  # type: ignore[no-untyped-def]
    """By how much rules are broken, each in its own unit; 0 where all hold."""
    out = 0.0
    for r in range(len(core.low)):
        x = act[r]
        for e in range(core.link_start[r], core.link_start[r + 1]):
            x += core.link_factor[e] * act[core.link_to[e]]
        over = max(x - core.high[r], core.low[r] - x) / core.scale[r]
        if over > SLACK:
            out += over
    if len(core.loss):
        over = _worst(core, act) / max(core.limit * act[core.spent], 1.0)
        if over > SLACK:
            out += over
    for w in range(len(posts)):
        out += max(posts[w] - core.cap, 0)
    for s in range(len(slots)):
        out += max(slots[s] - core.week_cap, 0)
    for g in range(len(used)):
        out += max(used[g] - core.group_limit[g], 0.0)
    return out


@njit(cache=True)
def point(core, total, out):  # type: ignore[no-untyped-def]
    """Objectives of a plan."""
    for o in range(len(out)):
        out[o] = total[o]
    if core.ratio >= 0:
        out[core.ratio] = total[core.ratio] / total[-1] if total[-1] > 0 else -np.inf


@njit(cache=True)
def judged(core, plans):  # type: ignore[no-untyped-def]
    """(k, p) objectives of plans (k, m), and by how much each breaks the rules."""
    values, broken = np.empty((len(plans), core.gain.shape[1])), np.empty(len(plans))
    for k in range(len(plans)):
        act, posts, slots, used, total = state(core, plans[k])
        point(core, total, values[k])
        broken[k] = _excess(core, act, posts, slots, used)
    return values, broken


@njit(cache=True)
def mend(core, plan, order, worth):  # type: ignore[no-untyped-def]
    """Make `plan` keep the rules where that can be done one post at a time, then add what fits. order : candidates, best first; worth : (m,) at prices."""
    act, posts, slots, used, total = state(core, plan)
    broken, least = _excess(core, act, posts, slots, used), worth.min()
    for _ in range(2 * len(plan)):
        if broken <= 0:
            break
        best, most, after = -1, 0.0, broken
        for sense in (-1, 1):  # posts go out before others come in
            for j in range(len(plan)):
                if plan[j] == (sense > 0):
                    continue
                if sense > 0 and not admits(core, j, act, posts, slots, used):
                    continue
                put(core, j, sense, act, posts, slots, used, total)
                left = _excess(core, act, posts, slots, used)
                put(core, j, -sense, act, posts, slots, used, total)
                if left < broken - 1e-12:
                    lost = max(worth[j] - least, 1e-12) if sense < 0 else 1.0 / max(worth[j] - least, 1e-12)
                    if (broken - left) / lost > most:
                        best, most, after = j, (broken - left) / lost, left
            if best >= 0:
                break
        if best < 0:
            return broken
        put(core, best, -1 if plan[best] else 1, act, posts, slots, used, total)
        plan[best] = not plan[best]
        broken = after
    if broken > 0:
        return broken
    for j in order:
        if plan[j] or not admits(core, j, act, posts, slots, used):
            continue
        put(core, j, 1, act, posts, slots, used, total)
        if holds(core, act):
            plan[j] = True
        else:
            put(core, j, -1, act, posts, slots, used, total)
    return 0.0
