"""The question a design is asked: who was treated and when, and who may stand for them.

The same refusals for every design: a unit that does not exist, dates outside the panel, too short a time before, too few donors,
an outcome that never moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from liftwise.core.errors import CannotTell, InputError
from liftwise.models.causal.checks import Check
from liftwise.models.causal.panel import Panel

LEAST_PRE = 8  # periods before the start: with five blocks held out in turn, fewer would teach nothing
LEAST_DONORS = 3  # so that each placebo still has two


@dataclass(frozen=True)
class Question:
    """Rows and columns of the panel: who is treated, who may be a donor, first and last period of the campaign.

    unfit : units that cannot be donors, and why. cut : the data end before the campaign does.
    """

    treated: list[int]
    donors: list[int]
    first: int
    last: int
    unfit: dict[str, str]
    cut: bool


def ask(panel: Panel, treated: Sequence[str] | str, start: Any, end: Any, exclude: Sequence[str]) -> Question:
    names = sorted({treated} if isinstance(treated, str) else set(treated))
    if not names:
        raise InputError("no treated unit is named", fix="name the units in which the campaign ran")
    rows = panel.rows(names)
    holed = set(panel.dropped.loc[panel.dropped["kind"] == "unit", "name"])
    barred = {*rows, *panel.rows([name for name in exclude if name not in holed])}
    first, last = _window(panel, start, end)
    if first < LEAST_PRE:
        raise CannotTell(f"{first} periods before the start are too few", fix=f"deliver at least {LEAST_PRE}, better 30")
    moves = np.ptp(panel.matrix[:, :first], axis=1) > 0
    if np.ptp(panel.matrix[rows, :first].sum(axis=0)) == 0:
        raise CannotTell(f"{panel.outcome} of {', '.join(names)} never moves before the start", fix="check the data")
    others = [row for row in range(len(panel.units)) if row not in barred]
    donors = [row for row in others if moves[row]]
    if len(donors) < LEAST_DONORS:
        raise CannotTell(
            f"{len(donors)} comparison units are too few beside {len(rows)} treated",
            fix=f"have at least {LEAST_DONORS}; an interval at 90% takes 10",
        )
    unfit = {panel.units[row]: "no movement before the start" for row in others if not moves[row]}
    return Question(rows, donors, first, last, unfit, end is not None and panel.ends_before(end))


def _window(panel: Panel, start: Any, end: Any) -> tuple[int, int]:
    """First and last period of the campaign."""
    span = f"the panel runs from {_day(panel.periods[0])} to {_day(panel.periods[-1])}"
    first = panel.position(start)
    if first < 0 or panel.ends_before(start):
        raise InputError(f"the start {_day(start)} lies outside the panel", fix=span)
    last = len(panel.periods) - 1 if end is None else panel.position(end)
    if last < first:
        raise InputError(f"the end {_day(end)} comes before the start {_day(start)}", fix="swap them, or leave the end out")
    return first, last


def data_check(panel: Panel, question: Question) -> Check:
    """What was left out, and whether the data reach the campaign's end."""
    left = [*panel.dropped["name"], *question.unfit]
    says = [f"{len(question.donors)} donors, {question.first} periods before, {question.last - question.first + 1} counted."]
    if len(left):
        reasons = [*(["holes"] if len(panel.dropped) else []), *dict.fromkeys(question.unfit.values())]
        says.append(f"Left out for {' or '.join(reasons)}: {', '.join(left[:8])}{' …' if len(left) > 8 else ''}.")
    if question.cut:
        says.append(f"The data end at {_day(panel.periods[-1])}, before the campaign does.")
    short = question.first < 2 * (question.last - question.first + 1)
    if short:
        says.append("The time before is short beside the time judged.")
    unfit = pd.DataFrame({"kind": "unit", "name": list(question.unfit), "reason": list(question.unfit.values())}, dtype="str")
    return Check("data", "warn" if left or question.cut or short else "ok", " ".join(says), pd.concat([panel.dropped, unfit]))


def _day(moment: Any) -> str:
    return str(moment)[:10]
