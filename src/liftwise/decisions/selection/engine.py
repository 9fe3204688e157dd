"""From candidates and rules to a program that can be solved, and from one program to the next when the budget changes."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (numpy loses types over object arrays)
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liftwise.core.errors import Infeasible, InputError
from liftwise.decisions.selection.candidates import Candidates
from liftwise.decisions.selection.integer import Found
from liftwise.decisions.selection.program import Program
from liftwise.decisions.selection.rules import Budget, Frequency, Rule
from liftwise.decisions.selection.sifting import Relaxed
from liftwise.decisions.selection.solver import Basis, model_of, solve

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
INNER = ("influencer", "influencer-week")  # caps that bind one influencer alone: the engine takes them out of the rows


@dataclass(frozen=True)
class Engine:
    """What a plan was made with, kept so that the next one starts from it. before : what `written` gave, where it was kept."""

    everyone: Candidates
    rules: tuple[Any, ...]
    these: Candidates
    program: Program
    root: Relaxed
    found: Found
    before: tuple[Candidates, Program] | None = None

    def within(self, budget: float) -> Engine:
        """With another budget: nothing is solved yet."""
        before = self.before or written(self.everyone, self.rules)
        these, program = within(*before, budget)
        return replace(self, these=these, program=program, before=before)


def compiled(everyone: Candidates, budget: float, rules: Sequence[Any]) -> tuple[Candidates, Program]:
    """The candidates that can be in a plan at all, and their program, with rows that hold for whole posts."""
    return within(*written(everyone, rules), budget)


def written(everyone: Candidates, rules: Sequence[Any]) -> tuple[Candidates, Program]:
    """The candidates that rules do not leave out, and their program before there is a budget: other budgets begin here."""
    kept = np.ones(len(everyone), dtype=np.bool_)
    for rule in rules:
        if not hasattr(rule, "keep") and not hasattr(rule, "blocks"):
            raise InputError(f"{rule!r} is no rule", fix="use the rules of liftwise.decisions.selection.rules")
        if hasattr(rule, "keep"):
            kept &= rule.keep(everyone)
    these = everyone.take(kept)
    caps = [rule for rule in rules if isinstance(rule, Frequency) and rule.per in INNER]
    coupling: list[Rule] = [Budget(np.inf), *(r for r in rules if hasattr(r, "blocks") and not any(r is cap for cap in caps))]
    return these, Program.of(these, [block for rule in coupling for block in rule.blocks(these)], caps)


def within(these: Candidates, program: Program, budget: float) -> tuple[Candidates, Program]:
    """Those that a budget can pay for beside what rules ask of it."""
    program = program.within(budget)
    keep = program.possible() & (these.price <= budget)
    these = these.take(keep)
    return these, program.take(keep, these).tightened()


def refuse_impossible(program: Program, relaxed: Relaxed) -> None:
    """The linear program over all columns misses a floor even at any price: then no plan can keep it."""
    if relaxed.answer.infeasible or relaxed.missed:
        raise _conflict(program, relaxed.missed, relaxed.against)


def named(program: Program, relaxed: Relaxed, otherwise: Infeasible) -> Infeasible:
    """What whole posts cannot keep though parts of posts could: the floors that are missed when as little as possible is missed."""
    columns = np.arange(len(program)) if len(program) <= 20_000 else relaxed.columns
    model = model_of(program, columns, penalty=1.0, value=np.zeros(len(program)))
    least = solve(program, model, integer=True, seconds=10.0)
    missed = np.flatnonzero(program.low > 0)[least.slack > 1e-6] if least.complete and len(least.slack) else ()
    return _conflict(program, tuple(map(int, missed)), ()) if len(missed) else otherwise


def _conflict(program: Program, floors: tuple[int, ...], rows: tuple[int, ...]) -> Infeasible:
    missed, against = ([program.name(row) for row in some] for some in (floors, rows))
    told = [f"{rule} ({label})" for rule, label in missed]
    shown = ", ".join(told[:5]) + (f" and {len(told) - 5} more" if len(told) > 5 else "")
    rivals = sorted({rule for rule, _ in against if not rule.startswith(("total, ", "money per ", "CVaR scenario"))})
    return Infeasible(
        f"no plan can keep {shown or 'these rules'} within {', '.join(['the budget', *(r for r in rivals if r != 'budget')])} and the other rules",
        rules=tuple(sorted({rule for rule, _ in missed})), fix="raise the budget, allow more posts, or ask for less coverage",
    )  # fmt: skip


@dataclass(frozen=True)
class Moved:
    """From one program to another of the same table. where : (rows of the table,) candidate of the new one, or −1."""

    old: Engine
    program: Program
    where: Ints

    @classmethod
    def to(cls, old: Engine, these: Candidates, program: Program) -> Moved:
        """To `program` over `these`."""
        where = np.full(len(these.frame), -1, dtype=np.int64)
        where[these.position] = np.arange(len(these))
        return cls(old, program, where)

    def __call__(self, columns: Ints) -> Ints:
        """Candidates of the old program as those of the new one; some may be gone."""
        now = self.where[self.old.these.position[columns]]
        return np.sort(now[now >= 0])

    def basis(self) -> Basis | None:
        """Where the old linear program ended, in the candidates and rows of the new one."""
        basis = self.old.root.answer.basis
        if basis is None:
            return None
        columns = self.where[self.old.these.position[basis.columns]]
        order = np.argsort(columns, kind="stable")
        order = order[columns[order] >= 0]
        there = replace(basis, columns=columns[order], of_columns=basis.of_columns[order])
        return carried(there, self.old.program, self.program)


def carried(basis: Basis, old: Program, new: Program) -> Basis:
    """A basis in the rows of another program: blocks are known by their rules, and some may have become longer."""
    again = {rule: iter(np.flatnonzero([b.rule == rule for b in new.blocks])) for rule in {b.rule for b in old.blocks}}
    now = [np.arange(len(b.labels)) + new.first[k] if (k := next(again[b.rule], None)) is not None else np.full(len(b.labels), -1)
           for b in old.blocks]  # fmt: skip
    m, coupling = len(old.low), basis.keys < len(old.low)
    keys = np.where(coupling, np.concatenate(now)[np.minimum(basis.keys, m - 1)], basis.keys - m + len(new.low))
    return replace(basis, keys=keys[keys >= 0], of_rows=basis.of_rows[keys >= 0])


def repaired(program: Program, chosen: Ints, budget: float, price: Floats) -> Ints | None:
    """The old plan without the lines that bring least for their price until the rest fits; None where it then breaks a rule."""
    order = np.argsort(-program.value[chosen] / np.maximum(price[chosen], 1e-9), kind="stable")
    kept = np.sort(chosen[order[np.cumsum(price[chosen[order]]) <= budget]])
    fixed = solve(program, model_of(program, kept, forced=kept), integer=False, seconds=5.0)
    return kept if fixed.feasible else None
