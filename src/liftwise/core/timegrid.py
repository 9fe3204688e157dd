"""The time grid: the only place where a date is truncated.

A *week* in every table is the first day of its period on the workspace's grid. The same rule exists twice, for
frames (`floor`) and for SQL (`sql`), side by side, and a test holds them equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

import pandas as pd

from liftwise.core.errors import SettingsError

Grid = Literal["day", "week", "month", "quarter", "year"]
GRIDS: tuple[Grid, ...] = ("day", "week", "month", "quarter", "year")
PERIODS_PER_YEAR = {"day": 365.25, "week": 365.25 / 7, "month": 12.0, "quarter": 4.0, "year": 1.0}
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_FREQUENCIES = {"day": "D", "month": "MS", "quarter": "QS", "year": "YS"}
_PANDAS_PERIODS = {"month": "M", "quarter": "Q", "year": "Y"}


@dataclass(frozen=True)
class TimeGrid:
    """Periods of equal name: days, weeks, months, quarters or years.

    Parameters
    ----------
    grid : the length of a period.
    week_start : first day of a week (grid ``"week"`` only).
    timezone : the zone in which a timestamp's day is read.
    fiscal_start : month in which the fiscal year begins; its first week is the one holding the first of that month.

    >>> TimeGrid().floor_one("2025-06-04")
    datetime.date(2025, 6, 2)
    """

    grid: Grid = "week"
    week_start: str = "monday"
    timezone: str = "UTC"
    fiscal_start: int = 1

    def __post_init__(self) -> None:
        if self.grid not in GRIDS:
            raise SettingsError(f"unknown grid {self.grid!r}", where="[time] grid", fix=f"use one of {', '.join(GRIDS)}")
        if self.week_start not in _WEEKDAYS:
            raise SettingsError(f"unknown weekday {self.week_start!r}", where="[time] week_start", fix="use monday…sunday")
        if not 1 <= self.fiscal_start <= 12:
            raise SettingsError(f"month {self.fiscal_start}", where="[time] fiscal_start", fix="use 1 to 12")
        try:
            pd.Timestamp("2025-01-01", tz=self.timezone)
        except Exception:
            raise SettingsError(
                f"unknown time zone {self.timezone!r}", where="[time] timezone", fix="use a name such as Europe/Berlin"
            ) from None

    @property
    def _offset(self) -> int:
        return _WEEKDAYS.index(self.week_start)

    @property
    def per_year(self) -> float:
        """Mean number of periods in a year."""
        return PERIODS_PER_YEAR[self.grid]

    def days(self, moments: pd.Series, *, timestamp: bool = False) -> pd.Series:
        """The calendar day of each date or, with `timestamp`, the local day of each moment in UTC."""
        moments = pd.to_datetime(moments)
        if timestamp and self.timezone != "UTC":
            moments = moments.dt.tz_localize("UTC").dt.tz_convert(self.timezone).dt.tz_localize(None)
        return moments.dt.normalize()

    def floor(self, moments: pd.Series, *, timestamp: bool = False) -> pd.Series:
        """First day of the period of each date or, with `timestamp`, of each moment in UTC."""
        days = self.days(moments, timestamp=timestamp)
        if self.grid == "day":
            return days
        if self.grid == "week":
            into: pd.Series = (days.dt.day_of_week - self._offset) % 7
            return pd.Series(days - pd.to_timedelta(into, unit="D"))
        return days.dt.to_period(_PANDAS_PERIODS[self.grid]).dt.start_time

    def floor_one(self, day: str | date) -> date:
        """`floor` for a single date."""
        return self.floor(pd.Series([pd.Timestamp(day)])).iloc[0].date()

    def between(self, first: str | date, last: str | date) -> pd.DatetimeIndex:
        """All periods from the one holding `first` to the one holding `last`, both included."""
        frequency = f"W-{self.week_start[:3].upper()}" if self.grid == "week" else _FREQUENCIES[self.grid]
        return pd.date_range(self.floor_one(first), self.floor_one(last), freq=frequency)

    def sql(self, expression: str, *, timestamp: bool = False) -> str:
        """The same rule as `floor`, for a DuckDB date (or, with `timestamp`, TIMESTAMP in UTC) expression."""
        if timestamp and self.timezone != "UTC":
            expression = f"timezone('{self.timezone}', timezone('UTC', {expression}))"
        day = f"CAST({expression} AS DATE)"
        if self.grid == "week":
            shift = self._offset
            return f"CAST(date_trunc('week', {day} - INTERVAL {shift} DAY) + INTERVAL {shift} DAY AS DATE)"
        return f"CAST(date_trunc('{self.grid}', {day}) AS DATE)"

    def fiscal(self, day: str | date) -> tuple[int, int]:
        """Fiscal year (named for the calendar year it begins in) and fiscal week, counted from 1.

        >>> TimeGrid(fiscal_start=4).fiscal("2025-04-02"), TimeGrid(fiscal_start=4).fiscal("2025-03-20")
        ((2025, 1), (2024, 51))
        """
        weeks = TimeGrid("week", self.week_start, self.timezone)
        week = weeks.floor_one(day)
        year = pd.Timestamp(day).year
        starts = [weeks.floor_one(date(y, self.fiscal_start, 1)) for y in (year + 1, year, year - 1)]
        begun = next(start for start in starts if start <= week)
        named = (begun + timedelta(days=6)).year
        return named, (week - begun).days // 7 + 1
