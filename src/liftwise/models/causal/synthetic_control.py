"""Synthetic control: a mix of untreated units that moved like the treated ones before the campaign.

The treated units' mean is matched by donors with weights w ≥ 0, Σ w = 1 that minimise the squared gap over the
pre-period; what it has above that mix afterwards is the effect. Several treated units are averaged before fitting and the
effect multiplied by their number (one fit of a smoother series errs less than a fit of each). With
``level="fixed_effects"`` each unit's own pre-period mean is taken out first: donors must then move alike, not be alike.

References
----------
Abadie, Diamond and Hainmueller (2010), JASA 105(490); Doudchenko and Imbens (2016) and Ferman and Pinto (2021),
Quantitative Economics 12(4), for the version with fixed effects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from liftwise.core.errors import CannotTell, InputError
from liftwise.models.causal.checks import Check, Setting, run_checks
from liftwise.models.causal.lift import Lift
from liftwise.models.causal.panel import Panel
from liftwise.models.causal.placebo import run_placebos

LEAST_PRE = 8  # periods before the start: with five blocks held out in turn, fewer would teach nothing
LEAST_DONORS = 3  # so that each placebo still has two


class SyntheticControl:
    """The effect of a campaign from the units in which it did not run.

    Parameters
    ----------
    level : ``"fixed_effects"`` compares changes from each unit's pre-period mean, ``"outcome"`` the outcome as it is.
    inference : ``"placebo"``: studentised placebo in space (see `liftwise.models.causal.placebo`).
    seed : for the draw of placebo groups when several units are treated.

    Examples
    --------
    >>> weeks = pd.date_range("2025-01-06", periods=30, freq="W-MON")
    >>> wave = np.random.default_rng(1).normal(size=(12, 30)).cumsum(axis=1) + 100
    >>> wave[0, 24:] += 40
    >>> panel = Panel(wave, tuple(f"r{k:02d}" for k in range(12)), weeks)
    >>> lift = SyntheticControl().estimate(panel, treated=["r00"], start="2025-06-23")
    >>> lift.p_value, lift.interval(0.90)[0] > 0
    (0.08333333333333333, True)
    """

    def __init__(self, *, level: str = "fixed_effects", inference: str = "placebo", seed: int = 7) -> None:
        if level not in ("outcome", "fixed_effects"):
            raise InputError(f"level {level!r} is unknown", fix="choose outcome or fixed_effects")
        if inference != "placebo":
            raise InputError(f"inference {inference!r} is unknown", fix="choose placebo")
        self.level, self.inference, self.seed = level, inference, seed

    def estimate(
        self, panel: Panel, *, treated: Sequence[str] | str, start: Any, end: Any = None, exclude: Sequence[str] = ()
    ) -> Lift:
        """Estimate the effect in `treated` from the period holding `start` to the one holding `end` (default: the last).

        Parameters
        ----------
        treated : units in which the campaign ran.
        start, end : dates (or numbers, where the panel's periods are numbers).
        exclude : units that are no donors, such as those with a campaign of their own.

        Raises
        ------
        InputError
            For a unit that does not exist, or dates outside the panel.
        CannotTell
            With fewer than 8 periods before, fewer than 3 donors, a treated unit with holes, or an outcome that never moves.
        """
        design = _design(panel, treated, start, end, exclude)
        values = panel.matrix[[*design.treated, *design.donors], : design.last + 1]
        size, demean = len(design.treated), self.level == "fixed_effects"
        placebos = run_placebos(values, list(range(size)), design.first, demean=demean, seed=self.seed)
        test = placebos.test(slice(design.first, None))
        mean = values[:size].mean(axis=0)
        names = tuple(panel.units[row] for row in design.donors)
        setting = Setting(values[size:], names, mean, design.first, demean, placebos, test)
        weights = pd.Series(placebos.fit.weights, index=pd.Index(names, name="donor"), name="weight")
        when = panel.periods[: design.last + 1]
        return Lift(
            effect=test.effect, treated=tuple(panel.units[row] for row in design.treated), outcome=panel.outcome,
            method=f"synthetic_control/{self.level}",
            weights=weights[weights > 0].sort_values(ascending=False, kind="stable"),
            actual=pd.Series(size * mean, index=when, name="actual"),
            counterfactual=pd.Series(size * (mean - placebos.treated), index=when, name="counterfactual"),
            pre_periods=design.first, pre_rmspe=float(np.sqrt(np.mean(placebos.treated[: design.first] ** 2))),
            checks=(*run_checks(setting), _data_check(panel, design)), placebos=placebos, test=test,
        )  # fmt: skip


@dataclass(frozen=True)
class _Design:
    """Rows and columns of the panel: who is treated, who may be a donor, first and last period of the campaign."""

    treated: list[int]
    donors: list[int]
    first: int
    last: int
    still: tuple[str, ...]
    cut: bool


def _design(panel: Panel, treated: Sequence[str] | str, start: Any, end: Any, exclude: Sequence[str]) -> _Design:
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
    still = tuple(panel.units[row] for row in others if not moves[row])
    return _Design(rows, donors, first, last, still, end is not None and panel.ends_before(end))


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


def _data_check(panel: Panel, design: _Design) -> Check:
    """What was left out, and whether the data reach the campaign's end."""
    left = [*panel.dropped["name"], *design.still]
    says = [f"{len(design.donors)} donors, {design.first} periods before, {design.last - design.first + 1} counted."]
    if len(left):
        says.append(f"Left out for holes or no movement: {', '.join(left[:8])}{' …' if len(left) > 8 else ''}.")
    if design.cut:
        says.append(f"The data end at {_day(panel.periods[-1])}, before the campaign does.")
    short = design.first < 2 * (design.last - design.first + 1)
    if short:
        says.append("The time before is short beside the time judged.")
    still = pd.DataFrame({"kind": "unit", "name": list(design.still), "reason": "does not move before the start"}, dtype="str")
    return Check("data", "warn" if left or design.cut or short else "ok", " ".join(says), pd.concat([panel.dropped, still]))


def _day(moment: Any) -> str:
    return str(moment)[:10]
