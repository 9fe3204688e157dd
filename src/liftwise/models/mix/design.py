"""The design of a mix: table `weekly` as arrays, everything relative to its region's mean revenue.

Roles are target, channel (money), control, and, with the channel's name, impressions or reach and frequency: where they are there,
they are what presses on people, and money stays what is paid.

Gaps: every period of the calendar has its place, so that carry-over counts real time. Controls and media measures missing for less than two
weeks are filled from both sides; longer gaps leave their periods out. A missing target is never filled: that would be evidence nobody
has seen. A channel without a row in a period that has others spent nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.uncertainty import Floats
from liftwise.models.mix.transforms import Holidays, Knots, Scale, Season, Trend

FEWEST = 30  # periods
SPARSE = 0.25  # a control missing in more rows than this is left out
ALIKE = 0.95
SHORT_GAP = 14  # days; a gap under this is filled
MEASURES = ("impressions", "reach", "frequency")


@dataclass(frozen=True)
class Design:
    """Arrays of shape (regions, weeks); NaN target = not observed.

    spend : channel → money. controls : name → value. size : mean revenue of each region. notes : what a reader should know.
    pressure : channel → impressions, where they are known; else money is what presses. reach, frequency : of channels that have both.
    Media measures are NaN where a gap was too long to fill.
    """

    weeks: pd.DatetimeIndex
    regions: tuple[str, ...]
    target: Floats
    spend: dict[str, Floats]
    controls: dict[str, Floats]
    size: Floats
    notes: tuple[str, ...]
    pressure: dict[str, Floats] = field(default_factory=dict)
    reach: dict[str, Floats] = field(default_factory=dict)
    frequency: dict[str, Floats] = field(default_factory=dict)

    @property
    def channels(self) -> tuple[str, ...]:
        """Channels that can be told from the baseline."""
        return tuple(self.spend)

    @classmethod
    def of(cls, weekly: pd.DataFrame, holdout: int) -> Design:
        """From table `weekly`.

        Raises
        ------
        CannotTell
            With fewer than 30 periods, more columns than periods, no target that moves, or no channel that does.
        InputError
            With negative spend, impressions, reach or frequency.
        """
        wide = {str(role): part for role, part in weekly.groupby("role")}
        if "target" not in wide:
            raise CannotTell("there is no revenue to explain", fix="deliver sales")
        target = wide["target"].pivot_table(index="region", columns="week", values="value", aggfunc="sum")
        notes: list[str] = []
        target = target.reindex(columns=_calendar(pd.DatetimeIndex(target.columns), notes))
        weeks, regions = pd.DatetimeIndex(target.columns), tuple(map(str, target.index))
        if len(weeks) < FEWEST:
            raise CannotTell(f"{len(weeks)} periods of revenue; a mix needs {FEWEST}", fix="deliver a longer history")
        values = target.to_numpy(dtype=float)
        if not np.nanstd(values) > 0:
            raise CannotTell("revenue never changes", fix="check the sales table")
        spend = _channels(wide.get("channel"), target, holdout, notes)
        measured = {role: _measure(role, wide.get(role), target, spend, notes) for role in MEASURES}
        controls = _controls(wide.get("control"), target, notes)
        if len(spend) + len(controls) + 8 > len(weeks):
            raise CannotTell(
                f"{len(spend)} channels and {len(controls)} controls on {len(weeks)} periods", fix="join channels or add history"
            )
        both = [name for name in measured["reach"] if name in measured["frequency"]]
        reach, frequency = ({name: measured[role][name] for name in both} for role in ("reach", "frequency"))
        pressure = {**{name: reach[name] * frequency[name] for name in both}, **measured["impressions"]}
        return cls(weeks, regions, values, spend, controls, np.nanmean(values, axis=1), tuple(notes), pressure, reach, frequency)

    @property
    def relative(self) -> Floats:
        """Target by region's size."""
        return self.target / self.size[:, None]

    def base(
        self, per_year: float, *, pairs: int | None = None, trend: bool = True, knots: int = 0,
        holidays: Mapping[str, Sequence[Any]] | Holidays | None = None,
    ) -> tuple[Floats, tuple[str, ...], Floats]:  # fmt: skip
        """Columns of everything but media, (regions·weeks, columns), their parts (baseline or outside), and which rows are whole.

        per_year : periods in a year. pairs : of sines and cosines (two, one where a year has four periods or fewer, none where it has one).
        trend : a straight line. knots : periods between bends of the baseline, 0 for none. holidays : name → dates.
        """
        n, t = self.target.shape
        if pairs is None:
            pairs = 2 if per_year > 4 else int(per_year > 1)
        time = [Trend().columns(self.weeks)] if trend and not knots else []
        # a knot's columns hold the line, and with the regions' own levels one of them says nothing new
        time += [Knots(knots, t).columns(self.weeks)[:, 1:]] if knots else []
        time += [Season(per_year, pairs).columns(self.weeks)] if pairs else []
        baseline = [np.kron(np.eye(n), np.ones((t, 1))), *(np.tile(part, (n, 1)) for part in time)]
        outside = [Scale("standard").fit(values.ravel()).apply(values.ravel())[:, None] for values in self.controls.values()]
        if holidays:
            days = holidays if isinstance(holidays, Holidays) else Holidays(holidays)
            outside.append(np.tile(days.columns(self.weeks), (n, 1)))
        columns = np.column_stack([*baseline, *outside])
        own = sum(part.shape[1] for part in baseline)
        parts = ("baseline",) * own + ("outside",) * (columns.shape[1] - own)
        media = np.all([np.isfinite(values).ravel() for values in self.pressure.values()], axis=0) if self.pressure else True
        return columns, parts, np.isfinite(columns).all(axis=1) & np.isfinite(self.target).ravel() & media

    def scaled(self) -> dict[str, Floats]:
        """What presses, by region's size, in units of its mean over all: 1 is usual; long gaps carry a straight line."""
        out = {}
        for name, money in self.spend.items():
            by_size = _bridged(self.pressure.get(name, money)) / self.size[:, None]
            out[name] = by_size / by_size.mean()
        return out


def _calendar(weeks: pd.DatetimeIndex, notes: list[str]) -> pd.DatetimeIndex:
    """All periods from the first to the last, when the usual distance of two says where they must lie."""
    if len(weeks) < 3:
        return weeks
    usual = pd.Series(weeks).diff().mode().iloc[0]
    whole = pd.date_range(weeks[0], weeks[-1], freq=usual if usual.days < 28 else _months(usual.days))
    if len(whole) == len(weeks) or len(whole.intersection(weeks)) < len(weeks):
        return weeks
    there = whole.isin(weeks)
    after = whole[:-1][there[:-1] & ~there[1:]]
    notes.append(f"periods are missing after {', '.join(str(day.date()) for day in after[:3])}: they are left out; deliver them")
    return whole


def _months(days: int) -> str:
    return "MS" if days < 32 else "QS" if days < 93 else "YS"


def _filled(values: Floats, weeks: pd.DatetimeIndex) -> Floats:
    """(regions, weeks) with gaps under two weeks filled from both sides; longer ones stay whole."""
    step = float(np.median(np.diff(weeks.to_numpy()) / np.timedelta64(1, "D")))
    longest = max(int(np.ceil(SHORT_GAP / step)) - 1, 0)
    frame = pd.DataFrame(values.T)
    if not longest or not frame.isna().to_numpy().any():
        return values
    length = frame.apply(lambda series: series.isna().groupby(series.notna().cumsum()).transform("sum"))
    line = frame.interpolate(limit_direction="both")
    return frame.where(frame.notna() | (length > longest), line).to_numpy().T


def _bridged(values: Floats) -> Floats:
    """Straight lines over gaps, so that carry-over has something to carry; the periods themselves are left out."""
    return (
        values
        if np.isfinite(values).all()
        else pd.DataFrame(values.T).interpolate(limit_direction="both").fillna(0.0).to_numpy().T
    )


def _channels(part: pd.DataFrame | None, target: pd.DataFrame, holdout: int, notes: list[str]) -> dict[str, Floats]:
    if part is None or part.empty:
        raise CannotTell("there is no media spend", fix="deliver a spend table")
    if (part["value"] < 0).any():
        row = part[part["value"] < 0].iloc[0]
        raise InputError(
            f"negative spend of {row['name']} in {row['week'].date()}", where="weekly", fix="book refunds where they belong"
        )
    spend: dict[str, Floats] = {}
    silent = ~target.columns.isin(part["week"])  # no channel has a row: nothing is known
    for name, group in part.groupby("name"):
        wide = group.pivot_table(index="region", columns="week", values="value", aggfunc="sum").reindex_like(target).fillna(0.0)
        money = _bridged(wide.mask(np.broadcast_to(silent, wide.shape)).to_numpy(dtype=float))
        if not money.std() > 1e-9 * max(money.mean(), 1e-9):
            notes.append(f"{name} never changes, so its effect cannot be told from the baseline; it is left out")
            continue
        if not money[:, :-holdout].any():
            notes.append(f"{name} ran only in the hold-out: nothing could be learned of it before; it is left out")
            continue
        spend[str(name)] = money
    if not spend:
        raise CannotTell("no channel's spend changes", fix="vary spend over time or regions, or run a lift test")
    flat = pd.DataFrame({name: money.ravel() for name, money in spend.items()}).corr()
    for i, one in enumerate(flat):
        for other in list(flat)[i + 1 :]:
            if flat.loc[one, other] > ALIKE:
                notes.append(f"{one} and {other} move together ({flat.loc[one, other]:.2f}): only their sum can be told")
    return spend


def _controls(part: pd.DataFrame | None, target: pd.DataFrame, notes: list[str]) -> dict[str, Floats]:
    controls: dict[str, Floats] = {}
    for name, group in part.groupby("name") if part is not None else []:
        values = group.pivot_table(index="region", columns="week", values="value").reindex_like(target).to_numpy(dtype=float)
        values = _filled(values, pd.DatetimeIndex(target.columns))
        if np.isnan(values).mean() > SPARSE:
            notes.append(f"{name} is missing in {np.isnan(values).mean():.0%} of the periods; it is left out")
        elif np.nanstd(values) > 0:
            controls[str(name)] = values
    return controls


def _measure(
    role: str, part: pd.DataFrame | None, target: pd.DataFrame, spend: dict[str, Floats], notes: list[str]
) -> dict[str, Floats]:
    """Impressions, reach or frequency of each channel that has them."""
    out: dict[str, Floats] = {}
    if part is None or part.empty:
        return out
    if (part["value"] < 0).any():
        row = part[part["value"] < 0].iloc[0]
        raise InputError(f"negative {role} of {row['name']} in {row['week'].date()}", where="weekly", fix="check the export")
    for name, group in part.groupby("name"):
        if name not in spend:
            continue
        wide = group.pivot_table(index="region", columns="week", values="value", aggfunc="mean" if role == "frequency" else "sum")
        values = wide.reindex_like(target).to_numpy(dtype=float)
        # no money and no row: nobody was reached
        values = _filled(np.where(np.isnan(values) & (spend[str(name)] == 0), 0.0, values), pd.DatetimeIndex(target.columns))
        if np.isnan(values).mean() > SPARSE or not np.nanstd(values) > 0:
            notes.append(
                f"{role} of {name} are missing in {np.isnan(values).mean():.0%} of the periods or never change: spend is used instead"
            )
            continue
        out[str(name)] = values
    return out
