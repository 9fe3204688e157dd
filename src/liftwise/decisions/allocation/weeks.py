"""The weeks of a schedule: when it begins, and what is asked of single weeks, told by any of their days."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from liftwise.core.errors import InputError
from liftwise.core.uncertainty import Floats

YEAR = 52  # weeks whose mean is today's plan


def weeks_of(history: pd.DataFrame, weeks: int, start: str | date | None) -> tuple[pd.DatetimeIndex, int]:
    """First days of the plan's weeks (and of as many after it), and how many weeks lie between history and plan."""
    if len(history) < 2 or weeks < 1:
        raise InputError("a schedule needs two weeks of history and a week to plan", fix="give more weeks")
    ends = pd.DatetimeIndex(history.index)
    step = ends[-1] - ends[-2]
    first = ends[-1] + step if start is None else pd.Timestamp(start)
    waiting, odd = divmod(first - ends[-1] - step, step)
    if waiting < 0 or odd:
        raise InputError(
            f"no week begins on {first.date()} after the history of spend",
            fix=f"start on {(ends[-1] + step).date()} or later weeks",
        )
    return pd.date_range(first, periods=2 * weeks + YEAR, freq=step, name="week"), int(waiting)


def _which(when: pd.DatetimeIndex, day: str | date) -> int:
    """The week that holds a day; refused where none does."""
    at = int(when.searchsorted(pd.Timestamp(day), side="right")) - 1
    if at < 0 or pd.Timestamp(day) >= when[-1] + (when[-1] - when[-2] if len(when) > 1 else pd.Timedelta(weeks=1)):
        raise InputError(
            f"{pd.Timestamp(day).date()} lies in no week of the plan", fix=f"plan from {when[0].date()} to {when[-1].date()}"
        )
    return at


def seasons_of(when: pd.DatetimeIndex, weeks: int, needed: int, told: Mapping[str | date, float]) -> Floats:
    """(weeks and those after, while carry-over lasts,) multiples of what media bring."""
    out = np.ones(max(needed, weeks))
    for day, times in told.items():
        if not np.isfinite(times) or times < 0:
            raise InputError(f"the season of {day} is {times}", fix="give a multiple from 0")
        out[_which(when[: len(out)], day)] = times
    return out


def cells_of(when: pd.DatetimeIndex, channels: list[str], told: Mapping[tuple[str | date, str], float]) -> Floats:
    """(weeks, channels) least money."""
    out = np.zeros((len(when), len(channels)))
    for (day, name), money in told.items():
        if name not in channels:
            raise InputError(f"no response curve, carry-over or spend for {name}")
        if not np.isfinite(money) or money < 0:
            raise InputError(f"the least money of {name} in the week of {day} is {money}", fix="give an amount from 0")
        out[_which(when, day), channels.index(name)] = money
    return out


def quarters_of(when: pd.DatetimeIndex) -> NDArray[np.int64]:
    return np.unique(when.year * 4 + when.quarter, return_inverse=True)[1].astype(np.int64)
