"""What changed since the last fit, and why: each channel's return then and now, taken apart so that the parts sum to the change.

One thing is changed at a time, in this order: the history itself (earlier weeks corrected or gone), the software, the settings, the new
weeks, the model, the lift tests. Between two steps the mix is fitted again with all else held still; where nothing of a kind changed there
is no step and no fit. The order is a convention (another would share interactions out differently); it is the order in which data
arrive before anybody decides anything.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from liftwise.core.errors import LiftwiseError

WORDS = {"history": "earlier weeks corrected", "software": "a new version of liftwise", "settings": "other settings", "weeks": "new weeks",
         "model": "another model", "tests": "lift tests"}  # fmt: skip
QUIET = 0.02  # of a return: a smaller change is not worth a line
COLUMNS = ["channel", "before", "now", "part", "amount"]


@dataclass(frozen=True, eq=False)
class Fit:
    """What a fit was of, so that the next one can be compared with it.

    returns : channel → revenue back for each 1 spent. until : last week. history : digest of all weeks up to it. tests : test_id → digest,
    of those the model heard. settings : seed, hold-out and the like. software : version of the code.
    """

    model: str
    returns: pd.Series = field(repr=False)
    until: pd.Timestamp
    history: str
    tests: Mapping[str, str]
    settings: Mapping[str, Any]
    software: str

    @classmethod
    def of(
        cls, model: str, returns: pd.Series, weekly: pd.DataFrame, tests: pd.DataFrame | None, settings: Mapping[str, Any], software: str
    ) -> Fit:  # fmt: skip
        """Of a mix fitted to `weekly`; `tests` are the lift tests it heard (None where it does not listen)."""
        until = pd.Timestamp(weekly["week"].max())
        return cls(model, returns, until, history(weekly, until), digests(tests), dict(settings), software)

    def to_frame(self) -> pd.DataFrame:
        """Table `mix_facts`: name, value (JSON)."""
        facts = {"model": self.model, "returns": {str(k): float(v) for k, v in self.returns.items()}, "until": str(self.until.date()),
                 "history": self.history, "tests": dict(self.tests), "settings": dict(self.settings), "software": self.software}  # fmt: skip
        return pd.DataFrame({"name": list(facts), "value": [json.dumps(value, sort_keys=True) for value in facts.values()]})

    @classmethod
    def from_frame(cls, table: pd.DataFrame) -> Fit | None:
        """What `to_frame` kept; None when there is nothing."""
        facts = {name: json.loads(value) for name, value in zip(table["name"], table["value"], strict=True)}
        if not facts:
            return None
        return cls(**{**facts, "returns": pd.Series(facts["returns"], dtype=float), "until": pd.Timestamp(facts["until"])})


@dataclass(frozen=True)
class Asked:
    """A fit that is wanted: `model` with `settings` on weeks up to `until`, told of the lift tests `tests`."""

    model: str
    settings: Mapping[str, Any]
    until: pd.Timestamp
    tests: frozenset[str]


@dataclass(frozen=True, eq=False)
class Changes:
    """table : channel, before, now (revenue back for each 1; null where the channel is not in the mix), part, amount; amounts of a channel
    sum to now − before (null counts as 0). left_out : part → why it could not be told apart from the next.
    """

    table: pd.DataFrame
    left_out: Mapping[str, str] = field(default_factory=dict)

    def to_frame(self) -> pd.DataFrame:
        """Table `mix_changes`."""
        return self.table

    def lines(self) -> list[str]:
        """One for each channel whose return moved by more than `QUIET`."""
        return lines(self.table)

    def summary(self) -> str:
        """For a manager."""
        told = self.lines()
        return " ".join(f"{line}." for line in told) if told else "Nothing worth a line changed since the last fit."


def explain(before: Fit, now: Fit, weekly: pd.DataFrame, refit: Callable[[Asked], pd.Series]) -> Changes:
    """Take the change of every return apart.

    weekly : the table `now` was fitted to. refit : gives channel → return for a fit that is asked for; it may refuse (`LiftwiseError`),
    then that step's share goes to the next one.
    """
    steps, left_out, parts = _steps(before, now, history(weekly, before.until)), dict[str, str](), dict[str, pd.Series]()
    names = list(dict.fromkeys([*before.returns.index, *now.returns.index]))
    at = before.returns.reindex(names).fillna(0.0)
    for k, (part, asked) in enumerate(steps):
        if k == len(steps) - 1:
            reached = now.returns.reindex(names).fillna(0.0)
        else:
            try:
                reached = refit(asked).reindex(names)
            except LiftwiseError as reason:
                left_out[part] = str(reason)
                continue
            reached = reached.fillna(at)  # a channel that this step does not know waits for one that does
        parts[part] = reached - at
        at = reached
    rows = [
        (name, before.returns.get(name), now.returns.get(name), part, float(moved[name]))
        for name in names
        for part, moved in parts.items()
    ]
    return Changes(pd.DataFrame(rows, columns=COLUMNS).astype({"before": float, "now": float, "amount": float}), left_out)


def _steps(before: Fit, now: Fit, as_it_is: str) -> list[tuple[str, Asked]]:
    """What changed, in order, and the fit that stands after each change."""
    kept = frozenset(name for name, says in before.tests.items() if now.tests.get(name) == says)
    asked, steps = Asked(before.model, before.settings, before.until, kept), list[tuple[str, Asked]]()
    if as_it_is != before.history:
        steps.append(("history", asked))
    elif now.software != before.software:
        steps.append(("software", asked))
    for part, changed, then in (
        ("settings", dict(now.settings) != dict(before.settings), {"settings": now.settings}),
        ("weeks", now.until > before.until, {"until": now.until}),
        ("model", now.model != before.model, {"model": now.model}),
        ("tests", dict(now.tests) != dict(before.tests), {"tests": frozenset(now.tests)}),
    ):
        asked = replace(asked, **then)
        if changed:
            steps.append((part, asked))
    return steps


def history(weekly: pd.DataFrame, until: pd.Timestamp) -> str:
    """A digest of table `weekly` up to a week, whatever the order of its rows."""
    past = weekly.loc[weekly["week"] <= until, ["week", "region", "role", "name", "value"]].astype(
        {"region": "str", "role": "str", "name": "str"}
    )
    past = past.assign(week=past["week"].astype("datetime64[s]"), value=past["value"].astype(float).round(6))
    return digest(sorted(pd.util.hash_pandas_object(past, index=False).tolist()))


def digests(tests: pd.DataFrame | None) -> dict[str, str]:
    """test_id → digest of what the test says."""
    if tests is None or tests.empty:
        return {}
    rows = tests.to_dict("records")
    return {
        str(row["test_id"]): digest([(name, str(row[name])) for name in sorted(row) if not pd.isna(row[name])]) for row in rows
    }


def digest(value: object) -> str:
    """Sixteen digits that tell whether a value changed."""
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]


def lines(table: pd.DataFrame) -> list[str]:
    """Table `mix_changes` in words: one line for each channel whose return moved by more than `QUIET`, largest first.

    >>> rows = [("tv", 2.0, 1.5, "weeks", -0.1), ("tv", 2.0, 1.5, "model", -0.4), ("radio", 1.0, 1.001, "weeks", 0.001)]
    >>> lines(pd.DataFrame(rows, columns=COLUMNS))
    ['tv returned 2.00 for each 1 at the last fit and 1.50 now: another model -0.40, new weeks -0.10']
    """
    said: list[tuple[float, str]] = []
    for name, mine in table.groupby("channel", sort=False):
        before, now, amount = mine["before"].iloc[0], mine["now"].iloc[0], mine["amount"]
        if amount.abs().max() < QUIET * max(abs(amount.sum()), abs(before if pd.notna(before) else now), 1e-9):
            continue
        largest = mine[amount.abs() >= 0.005].sort_values("amount", key=lambda x: -x.abs())
        if largest.empty:
            continue
        why = ", ".join(f"{WORDS.get(row.part, row.part)} {row.amount:+.2f}" for row in largest.itertuples())
        if pd.isna(before):
            said.append((abs(now), f"{name} is new in the mix and returns {now:.2f} for each 1"))
        elif pd.isna(now):
            said.append((abs(before), f"{name} is no longer in the mix (it returned {before:.2f} for each 1)"))
        else:
            said.append(
                (float(amount.abs().max()), f"{name} returned {before:.2f} for each 1 at the last fit and {now:.2f} now: {why}")
            )
    return [line for _, line in sorted(said, key=lambda pair: -pair[0])]
