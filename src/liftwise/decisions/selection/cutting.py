"""Plans that must reach so many different people: asked again with the rows that were missing, until the plan keeps the rule.

The rule's rows (`reach.Cut`) are too many to write down, so the program begins with one, "audiences added up". Where the linear program's answer, and
later a plan of whole posts, reaches fewer than it says, the row that is tight there is added and the program is solved again from where it
was. Every program so made allows each plan that keeps the rule, so each bound holds. Plans that keep it come from the opposite, a row that is enough
(`Reach.owning`), and are improved by making that row exact at the best plan known, over and over.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (numpy loses types over object arrays)
from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from liftwise.core.errors import CannotTell, Infeasible
from liftwise.decisions.selection.candidates import Candidates
from liftwise.decisions.selection.engine import Engine, Moved, carried, compiled, named, refuse_impossible, repaired
from liftwise.decisions.selection.integer import Found, search
from liftwise.decisions.selection.program import Program
from liftwise.decisions.selection.reach import NAME, Reach
from liftwise.decisions.selection.sifting import Relaxed, sift
from liftwise.decisions.selection.solver import Basis

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
ROUNDS, PLANS = 60, 40  # of the linear program, and of plans
CLOSE = 1e-4  # share of the people asked for by which the linear program may fall short
KEEP = 0.8  # of the running mean of its answers, at each
STALLED = 1e-3  # share of the bound: better by less in six rounds is no better
MENDED = 1e-3  # gap of plans under rows that are enough
SEARCH = 0.3  # of the time that is left, for one search of the relaxation
CLIMBS = 10  # from plan to better plan, at a time
PATIENCE = 0.4  # share of the time that the linear program may take


def asks_for_reach(rules: Sequence[Any]) -> bool:
    """Whether plans under these rules need cutting."""
    return any(isinstance(rule, Reach) and rule.at_least > 0 for rule in rules)


def plan_that_reaches(
    everyone: Candidates, budget: float, rules: Sequence[Any], *, gap: float, until: float, before: Engine | None = None,
    told: Callable[[float, float], None] | None = None,
) -> Engine:  # fmt: skip
    """The best plan under rules of which some are `Reach`, with a bound that holds. before : a plan to begin from.

    Raises
    ------
    Infeasible
        No plan can keep the rules: proven.
    CannotTell
        None was found in time, and it is not proven that there is none.
    """
    relaxed = _tightened(_Relaxation.of(everyone, budget, tuple(rules), until, before), until)
    best = None
    if before is not None:
        chosen = Moved.to(before, relaxed.these, relaxed.program)(before.found.chosen)
        old = repaired(relaxed.program, chosen, budget, relaxed.these.price)
        best = old if old is not None and not relaxed.short(old) else None
    best, bound, seen, tried = (
        _improved(relaxed, best, best, until),
        relaxed.root.bound,
        set[bytes](),
        list[tuple[float, float]](),
    )
    for _ in range(PLANS):
        found = _searched(relaxed, gap, until, best)
        if found is None:  # out of time
            break
        bound, short = min(bound, found.bound), relaxed.short(found.chosen)
        best = _improved(relaxed, found.chosen, best, until) if short else found.chosen
        value = -np.inf if best is None else relaxed.worth(best)
        if best is not None and told is not None:
            told(value, max(bound, value))
        tried.append((value, bound))
        done = bound - value <= gap * max(abs(bound), 1e-9)
        if done or not short or found.chosen.tobytes() in seen or time.monotonic() > until or _stalled(tried):
            break
        seen.add(found.chosen.tobytes())
        relaxed = relaxed.again(relaxed.cuts_at(found.chosen), until)
        bound = min(bound, relaxed.root.bound)
    if best is None:
        raise CannotTell(
            f"no plan that reaches {_asked(relaxed.rules)} was found in time, and it is not proven that there is none",
            fix="give more seconds, raise the budget or ask for fewer people",
        )
    value = relaxed.worth(best)
    return relaxed.engine(Found(np.sort(best), value, max(bound, value)))


@dataclass(frozen=True)
class _Relaxation:
    """A program that allows every plan that keeps the rules, and its linear program."""

    everyone: Candidates
    budget: float
    rules: tuple[Any, ...]
    these: Candidates
    program: Program
    root: Relaxed
    rounds: int = 0

    @classmethod
    def of(
        cls, everyone: Candidates, budget: float, rules: tuple[Any, ...], until: float, before: Engine | None = None
    ) -> _Relaxation:
        these, program = compiled(everyone, budget, rules)
        _refuse_unreachable(these, rules)
        columns = None if before is None else Moved.to(before, these, program)(before.root.columns)
        root = _sifted(rules, program, until, columns, None)
        if not root.answer.feasible:
            raise CannotTell("the linear program was not solved in time", fix="give more seconds")
        return cls(everyone, budget, rules, these, program, root)

    def again(self, cuts: dict[int, tuple[Any, ...]], until: float) -> _Relaxation:
        """With more rows, from where this one ended."""
        rules = tuple(rule.with_cuts(*cuts[k]) if k in cuts else rule for k, rule in enumerate(self.rules))
        these, program = compiled(self.everyone, self.budget, rules)
        basis = self.root.answer.basis and carried(self.root.answer.basis, self.program, program)
        root = _sifted(rules, program, until, self.root.columns, basis)
        if not root.answer.feasible:  # out of time: it says nothing, what is known stands
            return self
        return replace(self, rules=rules, these=these, program=program, root=root, rounds=self.rounds + 1)

    def owning(self, first: Ints | None, until: float, *, turned: bool = False, dense: bool = False) -> _Relaxation:
        """The rows that are enough, people owned by the influencers of plan `first`, then by those whom the linear program uses, then by those
        nearest to it: no relaxation but its opposite, whose every plan keeps the rule. turned : within the plan the other way round.
        dense : first by those who reach most for the money."""
        start, columns = self.program.inner.start, np.append(self.root.reduced, -np.inf)
        nearest = np.maximum.reduceat(columns, start[:-1])
        nearest[start[1:] == start[:-1]] = -np.inf
        rules = list(self.rules)
        for k, rule in self.reaching():
            at = pd.Index(self.these.influencer.labels).get_indexer(pd.Index(rule.audiences.names))
            near = np.where(at >= 0, nearest[at], -np.inf)
            mine = np.zeros(len(near)) if first is None else rule.used(self.names(first))
            mine = rule.densest(np.append(self._cheapest(), np.inf)[at], self.budget) if dense else mine
            used, sign = self.used(rule), np.where((mine > 0) & turned, 1.0, -1.0)
            rules[k] = rule.owning(np.lexsort((sign * near, sign * used, -mine)))
        these, program = compiled(self.everyone, self.budget, rules)
        root = sift(program, max(0.3 * (until - time.monotonic()), 1.0), columns=self.root.columns)
        return replace(self, rules=tuple(rules), these=these, program=program, root=root)

    def _cheapest(self) -> Floats:
        """(influencers,) price of the cheapest post of each; infinite where there is none."""
        price = np.full(self.these.influencer.size, np.inf)
        np.minimum.at(price, self.these.influencer.codes, self.these.price)
        return price

    def used(self, rule: Reach) -> Floats:
        """(influencers of the rule's audiences,) how much of each the linear program uses."""
        posts = np.bincount(
            self.program.inner.influencer(self.root.columns), self.root.answer.y, minlength=self.these.influencer.size
        )
        at = pd.Index(rule.audiences.names).get_indexer(self.these.influencer.labels)
        z = np.zeros(len(rule.audiences.names))
        z[at[at >= 0]] = np.minimum(posts, 1.0)[at >= 0]
        return z

    def reaching(self) -> list[tuple[int, Reach]]:
        """The rules in question, with their places."""
        return [(k, rule) for k, rule in enumerate(self.rules) if isinstance(rule, Reach) and rule.at_least > 0]

    def names(self, chosen: Ints) -> list[str]:
        """Influencers of a plan."""
        return list(map(str, self.these.influencer.labels[np.unique(self.these.influencer.codes[chosen])]))

    def short(self, chosen: Ints) -> dict[int, float]:
        """People that a plan lacks, of each rule it does not keep."""
        names = self.names(chosen)
        return {k: rule.at_least - rule.reached(names)[0] for k, rule in self.reaching() if not rule.kept(names)}

    def cuts_at(self, chosen: Ints) -> dict[int, tuple[Any, ...]]:
        """Both rows that are tight at a plan."""
        covers = {k: rule.cover(rule.used(self.names(chosen))) for k, rule in self.reaching()}
        return {k: tuple(self.rules[k].cut(cover, once=once) for once in (False, True)) for k, cover in covers.items()}

    def worth(self, chosen: Ints) -> float:
        """Of a plan."""
        return float(self.program.value[chosen].sum())

    def engine(self, found: Found) -> Engine:
        """What the plan is told from; its rules know the rows that were needed."""
        return Engine(self.everyone, self.rules, self.these, self.program, self.root, found)


def _searched(relaxed: _Relaxation, gap: float, until: float, start: Ints | None) -> Found | None:
    """The best plan of the relaxation; None where none was found in time (a part of what is left: plans that fall short want mending)."""
    left = until - time.monotonic()
    if left <= 0 and start is not None:
        return None
    try:
        return search(relaxed.program, relaxed.root, gap=gap, seconds=max(SEARCH * left, 0.5), start=start)
    except CannotTell:
        return None
    except Infeasible as why:
        raise _naming(relaxed.rules, named(relaxed.program, relaxed.root, why)) from None


def _improved(relaxed: _Relaxation, first: Ints | None, best: Ints | None, until: float) -> Ints | None:
    """A plan that keeps the rule and is worth more than `best`, or that: from rows that are enough, around plan `first` and then around the best,
    while it gets better."""
    turned = False
    for _ in range(CLIMBS):
        left = until - time.monotonic()
        if left <= 0 and best is not None:
            break
        enough = relaxed.owning(first, until, turned=turned)
        if not enough.root.kept and best is None:
            enough = relaxed.owning(None, until, dense=True)
        if not enough.root.kept:
            break
        begin = best if first is best else None
        try:
            plan = search(enough.program, enough.root, gap=MENDED, seconds=max(0.2 * left, 0.5), start=begin).chosen
        except (Infeasible, CannotTell):
            break
        enough_more = best is None or relaxed.worth(plan) > relaxed.worth(best) + 0.1 * MENDED * abs(relaxed.worth(best))
        if enough_more and not relaxed.short(plan):
            first = best = plan
        elif turned or best is None:
            break
        else:  # who is dropped loses those nobody else owns: let others own them
            first, turned = best, True
    return best


def _tightened(relaxed: _Relaxation, until: float) -> _Relaxation:
    """With the rows that the linear program's answers do not keep, until it reaches nearly as many as asked or its bound hardly falls.

    Rows are taken at a running mean of the answers: at each answer alone they would be tight in one corner after another (the mean is to cutting what it is to
    the volume algorithm's prices).
    """
    began, means, bounds = time.monotonic(), dict[int, Floats](), [relaxed.root.bound]
    for _ in range(ROUNDS):
        cuts = dict[int, tuple[Any, ...]]()
        for k, rule in relaxed.reaching():
            z = relaxed.used(rule)
            cover = rule.cover(z)
            means[k] = KEEP * means.get(k, z) + (1 - KEEP) * z
            if rule.people(cover) >= rule.at_least * (1 - CLOSE):
                continue
            cut = rule.cut(rule.cover(means[k]), once=False)
            idle = cut.constant + float(cut.worth @ z) >= rule.at_least * (1 - CLOSE)
            cuts[k] = (cut, rule.cut(cover, once=False)) if idle else (cut,)
        if not cuts or time.monotonic() > began + PATIENCE * (until - began):
            break
        relaxed = relaxed.again(cuts, until)
        bounds.append(relaxed.root.bound)
        if len(bounds) > 6 and bounds[-7] - bounds[-1] < STALLED * abs(bounds[-1]):
            break
    return relaxed


def _stalled(tried: Sequence[tuple[float, float]]) -> bool:
    """Neither plan nor bound got better by what matters in the last rounds."""
    if len(tried) < 6 or not np.isfinite(tried[-6][0]):
        return False
    (value, bound), (was, above) = tried[-1], tried[-6]
    return (above - bound) + (value - was) < STALLED * abs(bound)


def _sifted(rules: Sequence[Any], program: Program, until: float, columns: Ints | None, basis: Basis | None) -> Relaxed:
    root = sift(program, max(0.5 * (until - time.monotonic()), 1.0), columns=columns, basis=basis)
    try:
        refuse_impossible(program, root)
    except Infeasible as why:
        raise _naming(rules, why) from None
    return root


def _refuse_unreachable(these: Candidates, rules: Sequence[Any]) -> None:
    """Not even everyone who can be hired reaches so many."""
    names = list(map(str, these.influencer.labels[np.unique(these.influencer.codes)]))
    for rule in rules:
        if isinstance(rule, Reach) and rule.at_least > 0 and not rule.kept(names):
            raise Infeasible(
                f"everybody who can be hired ({len(names):,}) reaches {rule.reached(names)[0]:,.0f} different people, not {rule.at_least:,.0f}",
                rules=(NAME,), fix="ask for fewer people, raise the budget, or add influencers",
            )  # fmt: skip


def _naming(rules: Sequence[Any], why: Infeasible) -> Infeasible:
    """The refusal with people in it where reach is among the rules in conflict."""
    if NAME not in why.rules:
        return why
    others = [name for name in why.rules if name != NAME]
    beside = f" and keep {', '.join(others)}" if others else ""
    return Infeasible(
        f"no plan can reach {_asked(rules)}{beside} within the budget and the other rules",
        rules=why.rules, fix="raise the budget, allow more posts, or ask for fewer people",
    )  # fmt: skip


def _asked(rules: Sequence[Any]) -> str:
    people = [rule.at_least for rule in rules if isinstance(rule, Reach) and rule.at_least > 0]
    return " and ".join(f"{count:,.0f}" for count in people) + " different people"
