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
from liftwise.decisions.selection.rules import Block, Budget, Frequency, Rule
from liftwise.decisions.selection.sifting import Relaxed
from liftwise.decisions.selection.solver import Basis, model_of, solve

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
INNER = ("influencer", "influencer-week")  # caps that bind one influencer alone: the engine takes them out of the rows


@dataclass(frozen=True)
class Engine:
    """What a plan was made with, kept so that the next one starts from it."""

    everyone: Candidates
    rules: tuple[Any, ...]
    these: Candidates
    program: Program
    root: Relaxed
    found: Found


def compiled(everyone: Candidates, budget: float, rules: Sequence[Any]) -> tuple[Candidates, Program]:
    """The candidates that can be in a plan at all, and their program, with rows that hold for whole posts."""
    kept = np.ones(len(everyone), dtype=np.bool_)
    for rule in rules:
        if not hasattr(rule, "keep") and not hasattr(rule, "blocks"):
            raise InputError(f"{rule!r} is no rule", fix="use the rules of liftwise.decisions.selection.rules")
        if hasattr(rule, "keep"):
            kept &= rule.keep(everyone)
    these = everyone.take(kept & (everyone.price <= budget))
    caps = [rule for rule in rules if isinstance(rule, Frequency) and rule.per in INNER]
    coupling: list[Rule] = [Budget(budget), *(r for r in rules if hasattr(r, "blocks") and not any(r is cap for cap in caps))]
    for _ in range(2):
        blocks = [block for rule in coupling for block in rule.blocks(these)]
        program = Program.of(these, blocks, caps)
        possible = program.possible()
        if possible.all():
            break
        these = these.take(possible)
    blocks = [block for rule in coupling for block in rule.blocks(these)]
    whole: list[Block] = Program.of(these, blocks, caps).rounded()
    return these, Program.of(these, [*blocks, *whole], caps)


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
    names = program.names
    missed, against = ([names[row] for row in some] for some in (floors, rows))
    told = [f"{rule} ({label})" for rule, label in missed]
    shown = ", ".join(told[:5]) + (f" and {len(told) - 5} more" if len(told) > 5 else "")
    rivals = sorted({rule for rule, _ in against if not rule.startswith(("total, ", "money per ", "CVaR scenario"))})
    return Infeasible(
        f"no plan can keep {shown or 'these rules'} within {', '.join(['the budget', *(r for r in rivals if r != 'budget')])} and the other rules",
        rules=tuple(sorted({rule for rule, _ in missed})), fix="raise the budget, allow more posts, or ask for less coverage",
    )  # fmt: skip


def moved(engine: Engine, these: Candidates, columns: Ints) -> Ints:
    """Candidates of the old program as those of the new one; some may be gone."""
    where = np.full(len(engine.everyone.frame), -1, dtype=np.int64)
    where[these.position] = np.arange(len(these))
    now = where[engine.these.position[columns]]
    return np.sort(now[now >= 0])


def moved_basis(engine: Engine, these: Candidates, program: Program) -> Basis | None:
    """Where the old linear program ended, in the new one's candidates; None where it has other rows."""
    basis = engine.root.answer.basis
    if basis is None or program.names != engine.program.names:
        return None
    where = np.full(len(engine.everyone.frame), -1, dtype=np.int64)
    where[these.position] = np.arange(len(these))
    columns = where[engine.these.position[basis.columns]]
    order = np.argsort(columns, kind="stable")
    order = order[columns[order] >= 0]
    return replace(basis, columns=columns[order], of_columns=basis.of_columns[order])


def repaired(program: Program, chosen: Ints, budget: float, price: Floats) -> Ints | None:
    """The old plan without the lines that bring least for their price until the rest fits; None where it then breaks a rule."""
    order = np.argsort(-program.value[chosen] / np.maximum(price[chosen], 1e-9), kind="stable")
    kept = np.sort(chosen[order[np.cumsum(price[chosen[order]]) <= budget]])
    fixed = solve(program, model_of(program, kept, forced=kept), integer=False, seconds=5.0)
    return kept if fixed.feasible else None
