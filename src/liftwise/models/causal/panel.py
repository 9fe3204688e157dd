"""A panel: one outcome, by unit and period, without holes.

Rules, in this order; whatever they leave out is listed in `Panel.dropped`:

1. rows of the same unit and period are summed (products, segments);
2. first or last periods that more than half of the units lack are left out (a week still running);
3. a unit that still lacks a period, or has no number there, is left out: a hole is not a zero.

Covariates and exposures follow the outcome's units and periods and never decide about them: where they are unknown they are
not a number. Of rows of the same unit and period, a covariate (a property) is averaged and an exposure (an amount) is summed.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from liftwise.core.errors import CannotTell, InputError, TableError
from liftwise.core.uncertainty import Floats


@dataclass(frozen=True, eq=False)
class Panel:
    """Outcome of every unit in every period.

    Parameters
    ----------
    matrix : array (units, periods), in the outcome's unit.
    units : names, sorted.
    periods : first moment of each period (datetime64), or numbers such as years; increasing.
    outcome : what is counted.
    dropped : frame kind (rows, unit, period), name, reason.
    covariates : by name, array (units, periods), such as income; not a number where unknown.
    exposure : by name, array (units, periods), such as television GRPs; not a number where unknown.
    """

    matrix: Floats = field(repr=False)
    units: tuple[str, ...]
    periods: pd.Index = field(repr=False)
    outcome: str = "revenue"
    dropped: pd.DataFrame = field(default_factory=lambda: _listed([]), repr=False)
    covariates: Mapping[str, Floats] = field(default_factory=dict, repr=False)
    exposure: Mapping[str, Floats] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls, frame: pd.DataFrame, unit: str = "region", time: str = "week", outcome: str = "revenue",
        *, covariates: Sequence[str] = (), exposure: Sequence[str] = (),
    ) -> Panel:  # fmt: skip
        """Read a long frame, such as table `sales`; `covariates` and `exposure` name further columns of it.

        Raises
        ------
        TableError
            If a column is missing, or one of them cannot be read.
        CannotTell
            If periods are missing for everybody, or no unit is whole.

        >>> long = pd.DataFrame({"region": ["n", "n", "s"], "week": [1, 2, 1], "revenue": [3.0, 4.0, 5.0]})
        >>> panel = Panel.of(long)
        >>> panel.units, list(panel.dropped["reason"])
        (('n',), ['lacks 1 of 2 periods, the first 2'])
        """
        _columns(frame, [unit, time, outcome, *covariates, *exposure])
        known = frame[frame[unit].notna() & frame[time].notna()]
        where = known[unit].astype("str"), _times(known[time])
        grid = _grid(*where, _amounts(known[outcome]))
        if grid.empty:
            raise CannotTell("there are no rows to make a panel of", fix=f"give rows with {unit}, {time} and {outcome}")
        edges = _thin_edges(grid)
        grid = grid.drop(columns=edges)
        _no_common_gap(grid.columns)
        holed = grid.index[grid.isna().any(axis=1)]
        nameless = len(frame) - len(known)
        left_out = [("rows", str(nameless), f"lack {unit} or {time}")] if nameless else []
        left_out += [("period", _label(p), "more than half of the units lack it") for p in edges]
        left_out += [("unit", str(name), _hole(grid.loc[name])) for name in holed]
        whole = grid.drop(index=holed)
        if whole.empty:
            raise CannotTell(f"no unit has {outcome} in every period", fix="fill the missing periods, or shorten the panel")

        def beside(names: Sequence[str], how: str) -> dict[str, Floats]:
            return {name: _beside(whole, *where, _amounts(known[name]), how) for name in names}

        return cls(
            whole.to_numpy(float), tuple(map(str, whole.index)), whole.columns, outcome, _listed(left_out),
            beside(covariates, "mean"), beside(exposure, "sum"),
        )  # fmt: skip

    def rows(self, names: Sequence[str]) -> list[int]:
        """Row numbers of the named units.

        Raises
        ------
        CannotTell
            If a unit was left out when the panel was made.
        InputError
            If there is no such unit; names its near matches.
        """
        known = {name: k for k, name in enumerate(self.units)}
        reasons = dict(self.dropped.loc[self.dropped["kind"] == "unit", ["name", "reason"]].itertuples(index=False))
        for name in names:
            if name in reasons:
                raise CannotTell(f"unit {name!r} {reasons[name]}", where="panel", fix="fill the hole, or leave the unit out")
            if name not in known:
                near = difflib.get_close_matches(name, self.units, n=3, cutoff=0.5) or list(self.units[:3])
                raise InputError(
                    f"there is no unit {name!r} among {len(self.units)}", where="panel", fix=f"did you mean {', '.join(near)}?"
                )
        return [known[name] for name in names]

    def position(self, moment: Any) -> int:
        """Number of the period that holds `moment`: the last one that begins at or before it (−1: before all)."""
        return int(self.periods.searchsorted(self._moment(moment), side="right")) - 1

    def ends_before(self, moment: Any) -> bool:
        """Whether `moment` lies beyond the last period, taken to be as long as the usual one."""
        steps = np.diff(self.periods.to_numpy())
        return len(steps) > 0 and bool(self._moment(moment) >= self.periods[-1] + np.median(steps))

    def _moment(self, moment: Any) -> Any:
        if not isinstance(self.periods, pd.DatetimeIndex):
            if isinstance(moment, int | float | np.number):
                return moment
            raise InputError(f"{moment!r} is not a period", fix=f"the periods are numbers from {self.periods[0]}")
        if isinstance(moment, str | date | np.datetime64):  # a bare number is no date
            stamp = pd.to_datetime(moment, errors="coerce", utc=True)
            if not pd.isna(stamp):
                return stamp.tz_localize(None)
        raise InputError(f"{moment!r} is not a date", fix="write it like 2025-06-02")


def _columns(frame: pd.DataFrame, names: list[str]) -> None:
    absent = [name for name in names if name not in frame.columns]
    if absent:
        raise TableError(
            f"missing column {', '.join(absent)}", where="panel", fix=f"there are {', '.join(map(str, frame.columns))}"
        )


def _grid(units: pd.Series, times: pd.Series, amounts: pd.Series) -> pd.DataFrame:
    """Sums by unit and time, both sorted; not a number where there is no row, or one without a number."""
    row, names = pd.factorize(units, sort=True)
    column, periods = pd.factorize(times, sort=True)
    sums, seen = np.zeros((len(names), len(periods))), np.zeros((len(names), len(periods)), dtype=bool)
    np.add.at(sums, (row, column), amounts.to_numpy())
    seen[row, column] = True
    return pd.DataFrame(np.where(seen, sums, np.nan), index=names, columns=periods)


def _beside(grid: pd.DataFrame, units: pd.Series, times: pd.Series, amounts: pd.Series, how: str) -> Floats:
    """Another column on the outcome's units and periods: mean or sum of the rows that have a number."""
    cells = amounts.dropna().groupby([units, times]).agg(how)
    return cells.unstack().reindex(index=grid.index, columns=grid.columns).to_numpy(float)


def _times(raw: pd.Series) -> pd.Series:
    """Datetimes; plain numbers (years, counters) stay numbers."""
    if pd.api.types.is_numeric_dtype(raw) or isinstance(raw.dtype, pd.DatetimeTZDtype):
        return raw.dt.tz_convert("UTC").dt.tz_localize(None) if isinstance(raw.dtype, pd.DatetimeTZDtype) else raw
    try:
        return pd.to_datetime(raw)
    except (ValueError, TypeError):
        raise TableError(f"column {raw.name} is not dates", where="panel", fix="write them like 2025-06-02") from None


def _amounts(raw: pd.Series) -> pd.Series:
    try:
        amounts = pd.to_numeric(raw).astype("float64")
    except (ValueError, TypeError):
        raise TableError(f"column {raw.name} is not numbers", where="panel", fix="give plain numbers") from None
    if np.isinf(amounts).any():
        raise TableError(f"column {raw.name} holds infinite numbers", where="panel", fix="remove or correct them")
    return amounts


def _thin_edges(grid: pd.DataFrame) -> list[Any]:
    """Periods at either end that more than half of the units lack."""
    thin = (grid.isna().mean() > 0.5).to_numpy()
    if thin.all():
        return []
    first, last = int(np.argmin(thin)), len(thin) - int(np.argmin(thin[::-1]))
    return [*grid.columns[:first], *grid.columns[last:]]


def _no_common_gap(periods: pd.Index) -> None:
    """Refuse periods that are missing for everybody: before and after would not be told apart from trend."""
    steps = np.diff(periods.to_numpy())
    if len(steps) < 2:
        return
    wide = np.flatnonzero(steps > 1.5 * np.median(steps))
    if len(wide):
        where = f"{_label(periods[wide[0]])} and {_label(periods[wide[0] + 1])}"
        raise CannotTell(f"periods are missing for every unit between {where}", where="panel", fix="deliver them, or start later")


def _hole(row: pd.Series) -> str:
    missing = row.index[row.isna()]
    return f"lacks {len(missing)} of {len(row)} periods, the first {_label(missing[0])}"


def _label(period: Any) -> str:
    return str(period.date()) if isinstance(period, pd.Timestamp) else str(period)


def _listed(rows: list[tuple[str, str, str]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["kind", "name", "reason"], dtype="str")
