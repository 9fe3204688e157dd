"""Audience segments as donors, and three more ways to doubt a lift: spill-over, anticipation, and a shock nobody saw.

A campaign for one audience leaves others untouched in the same region: cells of segment × region are units like any other, and share
their region's weather and prices. But where the campaign may spill over within a region (friends talk), cells of that region are
no donors; `segment_panel` leaves them out when asked.

References
----------
Rambachan and Roth (2023), Review of Economic Studies 90(5), for relative magnitudes: how much worse than what was seen before must it
have been? Cao and Dowd (2019), for effects on neighbours from the same design.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import pandas as pd

from liftwise.core.errors import CannotTell, InputError, TableError
from liftwise.core.uncertainty import Floats
from liftwise.models.causal.calibrated import CalibratedControl
from liftwise.models.causal.checks import Check, Verdict
from liftwise.models.causal.lift import Lift
from liftwise.models.causal.panel import Panel
from liftwise.models.causal.words import amount, one_line

BESIDE = " · "  # between the names of a cell


class Design(Protocol):
    """What estimates a lift from donors."""

    def estimate(
        self, panel: Panel, *, treated: Sequence[str] | str, start: Any, end: Any = None, exclude: Sequence[str] = ()
    ) -> Lift:
        """See `DonorDesign.estimate`."""
        ...


def cell(*names: str) -> str:
    """Name of the unit that a segment and a region make.

    >>> cell("18-24", "north")
    '18-24 · north'
    """
    return BESIDE.join(names)


def segment_panel(
    frame: pd.DataFrame, unit: Sequence[str] = ("segment", "region"), time: str = "week", outcome: str = "revenue", *,
    treated: Sequence[Sequence[str]] = (), apart: Sequence[str] = (),
) -> Panel:  # fmt: skip
    """A panel whose units are cells, such as segment × region; rows of one cell and period are summed.

    Parameters
    ----------
    unit : columns that make a cell; rows that lack one are left out, and listed in `Panel.dropped`.
    treated : cells in which the campaign ran, such as ``[("18-24", "north")]``.
    apart : columns of `unit` within which it may spill over: untreated cells that share one with a treated cell are left out.

    Raises
    ------
    TableError
        If a column is missing or cannot be read.
    InputError
        If a treated cell does not exist, or a column of `apart` is not part of the unit.
    CannotTell
        If no cell is whole, or spill-over leaves no donor.

    Examples
    --------
    >>> frame = pd.DataFrame({"segment": ["a", "b", "a", "b"] * 2, "region": ["n", "n", "s", "s"] * 2, "week": [1] * 4 + [2] * 4,
    ...                       "revenue": range(8)})
    >>> panel = segment_panel(frame, treated=[("a", "n")], apart=["region"])
    >>> panel.units, list(panel.dropped["reason"])
    (('a · n', 'a · s', 'b · s'), ["shares region 'n' with a treated cell"])
    """
    columns = list(unit)
    absent = [name for name in columns if name not in frame.columns]
    if absent:
        raise TableError(
            f"missing column {', '.join(absent)}", where="panel", fix=f"there are {', '.join(map(str, frame.columns))}"
        )
    if wrong := [name for name in apart if name not in columns]:
        raise InputError(f"{', '.join(wrong)} is not part of a unit", fix=f"name one of {', '.join(columns)}")
    whole = frame[columns].notna().all(axis=1)
    words = frame[columns].astype("str")
    if words[whole].apply(lambda column: column.str.contains(BESIDE, regex=False)).to_numpy().any():
        raise InputError(f"a name holds {BESIDE!r}, which stands between the names of a cell", fix="rename it")
    cells = words[columns[0]].str.cat([words[name] for name in columns[1:]], sep=BESIDE).where(whole)
    panel = Panel.of(frame.assign(**{"cell of": cells}), "cell of", time, outcome)
    return _without_shared(panel, columns, [cell(*map(str, one)) for one in treated], list(apart))


def _without_shared(panel: Panel, columns: list[str], treated: list[str], apart: list[str]) -> Panel:
    """Leave out cells that share a value of `apart` with a treated one."""
    rows = set(panel.rows(treated))
    hit = {name: {panel.units[row].split(BESIDE)[columns.index(name)] for row in rows} for name in apart}
    reasons: dict[int, str] = {}
    for row, one in enumerate(panel.units):
        shared = [(name, value) for name in apart if (value := one.split(BESIDE)[columns.index(name)]) in hit[name]]
        if shared and row not in rows:
            reasons[row] = " and ".join(f"shares {name} {value!r}" for name, value in shared) + " with a treated cell"
    if not reasons:
        return panel
    kept = [row for row in range(len(panel.units)) if row not in reasons]
    if len(kept) == len(rows):
        raise CannotTell("every cell shares something with a treated one", fix="let apart name fewer columns")
    dropped = pd.DataFrame(
        {"kind": "unit", "name": [panel.units[row] for row in reasons], "reason": list(reasons.values())}, dtype="str"
    )
    return replace(
        panel, matrix=panel.matrix[kept], units=tuple(panel.units[row] for row in kept),
        dropped=pd.concat([panel.dropped, dropped], ignore_index=True),
        covariates={name: x[kept] for name, x in panel.covariates.items()}, exposure={name: x[kept] for name, x in panel.exposure.items()},
    )  # fmt: skip


def spillover(
    panel: Panel,
    lift: Lift,
    neighbours: Mapping[str, Sequence[str]],
    *,
    design: Design | None = None,
    exclude: Sequence[str] = (),
) -> Check:
    """Whether sales moved in the treated units' neighbours, too, by the same design; and what the lift is without them as donors.

    Parameters
    ----------
    neighbours : by treated unit, those next to it. Treated units and units not in the panel are passed over.
    design : what made the lift; `CalibratedControl` by default.
    exclude : units that are no donors, as when the lift was made.

    Raises
    ------
    InputError
        If no treated unit has a neighbour in the panel.
    """
    by = design or CalibratedControl()
    known = {*panel.units} - {*lift.treated} - {*exclude}
    near = sorted({name for unit in lift.treated for name in neighbours.get(unit, ()) if name in known})
    if not near:
        raise InputError("no treated unit has an untreated neighbour in the panel", fix="name neighbours by treated unit")
    table = pd.DataFrame({"unit": near})
    name, when = "spill-over", {"start": lift.start, "end": lift.end}
    try:
        found = by.estimate(panel, treated=near, **when, exclude=[*lift.treated, *exclude])
        without = by.estimate(panel, treated=list(lift.treated), **when, exclude=[*near, *exclude])
    except CannotTell as reason:
        return Check(name, "warn", f"Spill-over to {len(near)} neighbours cannot be told: {one_line(reason)}.", table)
    table = table.assign(effect=found.effect, p_value=found.p_value, lift_without_neighbours=without.effect, lift=lift.effect)
    says = f"{len(near)} neighbours together had {amount(found.effect)} beyond what was expected (p = {found.p_value:.2g})"
    sentence = f"{says}; without them as donors the lift is {amount(without.effect)} beside {amount(lift.effect)}."
    return Check(name, _by_p(found.p_value), sentence, table)


def anticipation(
    panel: Panel, lift: Lift, periods: int = 2, *, design: Design | None = None, exclude: Sequence[str] = ()
) -> Check:
    """Whether something happened in the `periods` before the start, by the same design with its start moved back.

    Raises
    ------
    InputError
        If `periods` is not at least 1.
    """
    if periods < 1:
        raise InputError(f"{periods} periods before the start are none", fix="give 1 or more")
    first, name = lift.pre_periods, "anticipation"
    if periods >= first:
        return Check(name, "warn", f"There are not {periods} periods before the start to look at.", pd.DataFrame())
    start, end = panel.periods[first - periods], panel.periods[first - 1]
    try:
        early = (design or CalibratedControl()).estimate(
            panel, treated=list(lift.treated), start=start, end=end, exclude=list(exclude)
        )
    except CannotTell as reason:
        return Check(name, "warn", f"Anticipation cannot be told: {one_line(reason)}.", pd.DataFrame())
    table = early.to_frame().tail(periods)
    sentence = f"In the {periods} periods before the start {amount(early.effect)} happened that was not expected (p = {early.p_value:.2g})."
    return Check(name, _by_p(early.p_value), sentence, table)


def _by_p(p: float) -> Verdict:
    return "fail" if p < 0.05 else "warn" if p < 0.10 else "ok"


def sensitivity(lift: Lift, level: float = 0.90) -> Check:
    """How large a shock nobody saw must have been for the interval to hold 0.

    In two forms: one that lasts the whole campaign, as a multiple of the largest step from one period to the next before the start (and of
    the largest gap of a placebo, where there are some); and a drift that adds as much every period (relative magnitudes).
    """
    name = "sensitivity"
    try:
        low, high = lift.interval(level)
    except CannotTell as reason:
        return Check(name, "warn", f"Sensitivity cannot be told: {one_line(reason)}.", pd.DataFrame())
    if low <= 0 <= high:
        return Check(
            name,
            "ok",
            f"The {level:.0%} interval holds 0 as it is: there is nothing that a hidden shock would have to explain.",
            pd.DataFrame(),
        )
    gap, pre = lift.gap.to_numpy(float), lift.pre_periods
    periods = len(gap) - pre
    near = min(abs(low), abs(high))
    step = float(np.abs(np.diff(gap[:pre])).max())
    placebo = _largest_placebo(lift, periods)
    lasting, drifting = near / periods / max(step, 1e-300), near / (periods * (periods + 1) / 2) / max(step, 1e-300)
    beside = near / max(placebo, 1e-300) if np.isfinite(placebo) else float("nan")
    table = pd.DataFrame({
        "form": ["lasting shock", "drift", "placebo"], "unit": ["largest step before", "largest step before", "largest placebo"],
        "size_of_unit": [step, step, placebo], "multiple": [lasting, drifting, beside],
    })  # fmt: skip
    least = lasting if np.isnan(beside) else min(lasting, beside)
    verdict: Verdict = "ok" if least >= 1 else "warn" if least >= 0.33 else "fail"
    sentence = f"To leave the effect in doubt, a hidden shock would have to last throughout at {lasting:.2g} times the largest step seen before"
    sentence += "" if np.isnan(beside) else f", or {beside:.2g} times the largest placebo"
    return Check(name, verdict, f"{sentence}; a drift, to grow by {drifting:.2g} times that step each period.", table)


def _largest_placebo(lift: Lift, periods: int) -> float:
    """Largest effect found where nothing happened, on the treated units' scale; not a number without placebos."""
    of = lift.placebos
    if of is None or not len(of.placebo):
        return float("nan")
    totals: Floats = of.size * of.placebo[:, -periods:].sum(axis=1) * of.scale / of.scales
    return float(np.abs(totals).max())
