"""Lift tests as the likelihood reads them: what was spent, what would have been spent, and what the difference brought.

A test's `effect` is revenue with the spend there was, less revenue without the test, over the weeks measured: negative when spend
was withheld. Its `spend` is the change of spend the test made, in total over its weeks and regions: positive when added, negative
when withheld; empty means all there was (no spend without the test). The `weekly` table holds what was really spent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from liftwise.core.errors import InputError
from liftwise.core.uncertainty import Floats
from liftwise.models.mix.density import LiftTests
from liftwise.models.mix.design import Design

CONTRADICTS = 3.0  # standard deviations
NEEDED = ("test_id", "channel", "starts_on", "ends_on", "effect", "standard_error")


def read(tests: pd.DataFrame | None, weeks: pd.DataFrame | None, design: Design) -> tuple[LiftTests, list[str], list[str]]:
    """Tests measured in full within the design's weeks, in usual spend; the test of each measurement, and notes on what was left aside.

    tests, weeks : tables `lift_tests` and `lift_test_weeks`; a test with weeks is read week by week, its total is not used then.

    Raises
    ------
    InputError
        With a missing column, a standard error that is not positive, an unknown region, or more spend added than was spent.
    """
    (regions, periods), pressure = design.target.shape, design.scaled()
    rows, names, notes = (
        list[tuple[int, int, int, Floats, Floats, list[tuple[int, int, float, float]]]](),
        list[str](),
        list[str](),
    )
    for test in (tests if tests is not None else pd.DataFrame(columns=list(NEEDED))).to_dict("records"):
        missing = [column for column in NEEDED if pd.isna(test.get(column))]
        name = str(test.get("test_id"))
        if missing:
            raise InputError(f"test {name} does not say {', '.join(missing)}", where="lift_tests", fix="fill it in")
        if test["channel"] not in design.channels:
            notes.append(f"test {name} is of {test['channel']}, which is not in the mix: not used")
            continue
        if test.get("metric") not in (None, "revenue") and not pd.isna(test["metric"]):
            notes.append(f"test {name} measured {test['metric']}, not revenue: not used")
            continue
        first, after = _span(design.weeks, test["starts_on"], test["ends_on"])
        measured = _measured(test, weeks, design.weeks, first, after)
        if first < 0 or not measured or max(row[1] for row in measured) > periods:
            notes.append(f"test {name} is not within the weeks learned from: not used")
            continue
        if any(not row[3] > 0 for row in measured):
            raise InputError(f"test {name} has no standard error above 0", where="lift_tests", fix="give the error the test had")
        channel = design.channels.index(test["channel"])
        inside = _inside(test, design)
        spent = design.spend[test["channel"]]
        other = _pressed(_other(spent, test, inside, first, after, name), spent, pressure[test["channel"]], design.size)
        rows.append((channel, first, max(after, *(row[1] for row in measured)), other, design.size * inside, measured))
        names += [name] * len(measured)
    if not rows:
        return LiftTests.none(regions, periods), [], notes
    channel, start, stop, other, size, measured = zip(*rows, strict=True)
    flat = [row for test in measured for row in test]
    since, to, effect, error = (np.array(column) for column in zip(*flat, strict=True))
    counts = np.concatenate([[0], np.cumsum([len(test) for test in measured])])
    whole = (np.array(values, dtype=np.int64) for values in (channel, start, stop))
    return (
        LiftTests(*whole, np.array(other), np.array(size, dtype=float), counts.astype(np.int64), since.astype(np.int64),
                  to.astype(np.int64), effect.astype(float), error.astype(float), np.empty(len(effect))),
        names,
        notes,
    )  # fmt: skip


def compared(names: Sequence[str], tests: LiftTests, fit: Floats, alone: Floats) -> tuple[pd.DataFrame, list[str]]:
    """Each measurement beside what the fit and the weeks alone expect, from draws (draws, rows); and the tests that the weeks contradict.

    Columns test_id, effect, standard_error, expected, sd, without, without_sd, gap (between effect and `without`, in standard deviations).
    A fit that has heard a test is bent towards it, so only the weeks alone can contradict it.
    """
    without, without_sd = alone.mean(axis=0), alone.std(axis=0)
    gap = (tests.effect - without) / np.hypot(tests.error, without_sd)
    frame = pd.DataFrame({"test_id": list(names), "effect": tests.effect, "standard_error": tests.error, "expected": fit.mean(axis=0),
                          "sd": fit.std(axis=0), "without": without, "without_sd": without_sd, "gap": gap})  # fmt: skip
    notes = [f"test {test} measured {mine['effect'].sum():,.0f}; without it the weeks say {mine['without'].sum():,.0f}: one of them is wrong"
             for test, mine in frame.groupby("test_id", sort=False) if float(np.sqrt((mine["gap"] ** 2).mean())) > CONTRADICTS]  # fmt: skip
    return frame, notes


def by_test(names: Sequence[str], tests: LiftTests, channels: Sequence[str], fit: Floats, alone: Floats) -> pd.DataFrame:
    """The same, a row a test over all its measurements: table `mix_tests` but for the model's name."""
    rows = []
    for first, stop, channel in zip(tests.first_row[:-1], tests.first_row[1:], tests.channel, strict=True):
        at = slice(int(first), int(stop))
        effect, error = float(tests.effect[at].sum()), float(np.sqrt((tests.error[at] ** 2).sum()))
        ours, theirs = fit[:, at].sum(axis=1), alone[:, at].sum(axis=1)
        gap = (effect - theirs.mean()) / np.hypot(error, theirs.std())
        rows.append(
            (names[int(first)], channels[int(channel)], effect, error, ours.mean(), ours.std(), theirs.mean(), theirs.std(), gap)
        )
    return pd.DataFrame(
        rows,
        columns=["test_id", "channel", "effect", "standard_error", "expected", "expected_sd", "without", "without_sd", "gap"],
    )


def tested(mix: Any) -> list[str]:
    """Channels of which a fitted mix has heard a test."""
    tests = getattr(mix, "tests_", pd.DataFrame())
    return [] if tests.empty else tests["channel"].unique().tolist()


def _span(grid: pd.DatetimeIndex, first: object, last: object) -> tuple[int, int]:
    """(start, stop) of the periods from `first` to `last`; start is −1 outside the grid."""
    start = int(grid.searchsorted(pd.Timestamp(first), side="right")) - 1
    stop = int(grid.searchsorted(pd.Timestamp(last), side="right"))
    return start, stop


def _measured(
    test: dict, weeks: pd.DataFrame | None, grid: pd.DatetimeIndex, first: int, after: int
) -> list[tuple[int, int, float, float]]:
    """(since, until, effect, standard error) of each measurement of a test."""
    if weeks is not None and (weeks["test_id"] == test["test_id"]).any():
        mine = weeks[weeks["test_id"] == test["test_id"]].sort_values("week")
        at = [int(grid.searchsorted(pd.Timestamp(week), side="right")) - 1 for week in mine["week"]]
        return [(t, t + 1, float(effect), float(error))
                for t, effect, error in zip(at, mine["effect"], mine["standard_error"], strict=True) if t >= first]  # fmt: skip
    return [(first, after, float(test["effect"]), float(test["standard_error"]))] if first < after else []


def _inside(test: dict, design: Design) -> np.ndarray:
    """Which regions a test ran in."""
    told = test.get("regions")
    if not isinstance(told, str) or not told.strip():
        return np.ones(len(design.regions), dtype=bool)
    names: Sequence[str] = [name.strip() for name in told.split(";") if name.strip()]
    unknown = sorted(set(names) - set(design.regions))
    if unknown:
        raise InputError(f"test {test['test_id']} names the unknown region {unknown[0]}", where="lift_tests",
                         fix=f"use {', '.join(design.regions[:5])}")  # fmt: skip
    return np.isin(design.regions, names)


def _pressed(other: Floats, spent: Floats, pressure: Floats, size: Floats) -> Floats:
    """Other money as what presses, in usual spend: where there was money, impressions are taken to follow it in proportion."""
    share = np.divide(other, spent, out=np.zeros_like(other), where=spent > 0)
    return np.where(spent > 0, pressure * share, other / size[:, None] / (spent / size[:, None]).mean())


def _other(spent: Floats, test: dict, inside: np.ndarray, first: int, after: int, name: str) -> Floats:
    """The spend (regions, weeks), in money, there would have been without the test."""
    other = spent.copy()
    window = np.zeros(spent.shape, dtype=bool)
    window[inside, first:after] = True
    change, there = test.get("spend"), float(spent[window].sum())
    if change is None or pd.isna(change):
        if not there > 0:
            raise InputError(f"test {name} ran without spend", where="lift_tests", fix="give `spend`: minus what was withheld")
        other[window] = 0.0
    elif change > 0:
        if change > 1.001 * there:
            raise InputError(f"test {name} added {change:,.0f}, but only {there:,.0f} was spent in its weeks and regions",
                             where="lift_tests", fix="correct `spend`, regions or dates")  # fmt: skip
        other[window] *= max(1 - change / there, 0.0)
    else:  # what was withheld would have been spread as the channel usually is over these regions
        usual = np.where(inside, spent.mean(axis=1), 0.0)
        other[:, first:after] += -change / (after - first) * usual[:, None] / usual.sum()
    return other
