"""The ways to post that a plan may choose from, as arrays: who, what, for which event, in which week, at which price.

Facts of an influencer or an event are kept once per influencer or event (a *level*), not once per candidate, so that five million
candidates take little room and a rule over them is priced by one look-up.
"""

# pyright: basic
# (numba has no types, and pandas' are partial over object arrays)
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.timegrid import TimeGrid

Floats = NDArray[np.float64]
Codes = NDArray[np.int32]
TIERS = (("nano", 10_000), ("micro", 100_000), ("mid", 500_000), ("macro", 1_000_000), ("mega", np.inf))


@dataclass(frozen=True)
class Level:
    """Each candidate's code at a level, and what the codes stand for."""

    codes: Codes
    labels: pd.Index

    @property
    def size(self) -> int:
        """Number of values."""
        return len(self.labels)


@dataclass(frozen=True)
class Candidates:
    """Candidates in order of influencer.

    position : (n,) row of `frame`, which is the table `effectiveness` as it was given. price, worth : (n,).
    influencer, event, content, week : levels. influencers, events, audiences : facts.
    """

    frame: pd.DataFrame
    position: NDArray[np.int64]
    price: Floats
    worth: Floats
    influencer: Level
    event: Level
    content: Level
    week: Level
    influencers: pd.DataFrame | None = None
    events: pd.DataFrame | None = None
    audiences: pd.DataFrame | None = None
    _kept: dict[str, Level] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls, effectiveness: pd.DataFrame, metric: str, risk_aversion: float, *, influencers: pd.DataFrame | None = None,
        events: pd.DataFrame | None = None, audiences: pd.DataFrame | None = None, grid: TimeGrid | None = None,
        pinned: Sequence[tuple[str, str, str, float]] = (), every_day: bool = False,
    ) -> Candidates:  # fmt: skip
        """Read table `effectiveness`; of tuples that differ in the day alone, only the best of a week at its price can matter.

        pinned : tuples that are kept whether or not they are that. every_day : keep all, where a rule counts what differs by day.
        """
        position = _of_metric(effectiveness, metric)
        taken = _numbers(effectiveness, position)
        who, what, when = (_level(effectiveness[name], position) for name in ("influencer_id", "content_type", "event_id"))
        week, days = _weeks(effectiveness["days_from_event"].to_numpy()[position], when, events, grid or TimeGrid())
        worth = taken["predicted"] - risk_aversion * taken["uncertainty"]
        key = ((who.codes.astype(np.int64) * what.size + what.codes) * when.size + when.codes) * week.size + week.codes
        order = None if (key[1:] >= key[:-1]).all() else np.argsort(key, kind="stable")  # as it comes, nothing is copied
        kept = np.full(len(key), every_day, dtype=np.bool_)
        best = _best_of_run(*(of if order is None else of[order] for of in (key, taken["price"], worth, days)))
        kept[best if order is None else order[best]] = True
        for line in pinned:
            kept |= _lines(line, who, what, when, effectiveness["days_from_event"].to_numpy()[position])
        order = np.flatnonzero(kept) if order is None else order[kept[order]]
        part = lambda level: Level(level.codes[order], level.labels)  # noqa: E731
        return cls(
            effectiveness, position[order], taken["price"][order], worth[order], part(who), part(when), part(what), part(week),
            _facts(influencers, "influencer_id", who.labels), _facts(events, "event_id", when.labels), audiences,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.position)

    def take(self, keep: NDArray[np.bool_]) -> Candidates:
        """Some of the candidates; levels keep their codes."""
        if keep.all():
            return self
        part = lambda level: Level(level.codes[keep], level.labels)  # noqa: E731
        return Candidates(
            self.frame, self.position[keep], self.price[keep], self.worth[keep], part(self.influencer), part(self.event), part(self.content),
            part(self.week), self.influencers, self.events, self.audiences,
        )  # fmt: skip

    def column(self, name: str) -> Floats:
        """A numeric column of the frame, as (n,)."""
        if name == "price":
            return self.price
        if name not in self.frame:
            raise InputError(f"predictions have no column {name!r}", fix="add it to the table, or name another")
        values = self.frame[name].to_numpy(dtype=np.float64)[self.position]
        if not np.isfinite(values).all():
            at = int(np.flatnonzero(~np.isfinite(values))[0])
            raise InputError(
                f"{name} is {values[at]}", where=f"effectiveness, {self.told(at)}", fix="give a number or drop the row"
            )
        return values

    def told(self, at: int) -> str:
        """A candidate in words."""
        row = self.frame.iloc[int(self.position[at])]
        return f"{row['influencer_id']}, {row['content_type']}, {row['event_id']}, day {row['days_from_event']:g}"

    def level(self, name: str) -> Level:
        """A level by name: one of its own, a pair of them (``"influencer-week"``), ``"all"`` (one value) or ``"candidate"`` (each its own)."""
        own = {"influencer": self.influencer, "event": self.event, "content": self.content, "week": self.week}
        if name in own:
            return own[name]
        if name not in self._kept:
            self._kept[name] = self._made(name, own)
        return self._kept[name]

    def _made(self, name: str, own: dict[str, Level]) -> Level:
        if name == "all":
            return Level(np.zeros(len(self), dtype=np.int32), pd.Index(["all"]))
        if name == "candidate":
            return Level(np.arange(len(self), dtype=np.int32), pd.RangeIndex(len(self)))
        one, _, other = name.partition("-")
        if one not in own or other not in own:
            raise InputError(
                f"nothing is known per {name!r}", fix=f"choose {', '.join(own)} or two of them, such as influencer-week"
            )
        first, second = own[one], own[other]
        codes, pairs = pd.factorize(first.codes.astype(np.int64) * second.size + second.codes)
        labels = [f"{first.labels[int(p) // second.size]} in {second.labels[int(p) % second.size]}" for p in pairs]
        return Level(codes.astype(np.int32), pd.Index(labels))

    def attribute(self, name: str, *, of: str = "influencer") -> tuple[str, Codes, pd.Index]:
        """(level, code of each of its values or −1, labels) of a fact such as ``"platform"``.

        Where influencers and events both have it, `of` says whose is meant; ``"event.genre"`` names one.
        """
        if name in ("influencer", "event", "content", "week", "all") or (name.count("-") == 1 and "." not in name):
            level = self.level(name)
            return name, np.arange(level.size, dtype=np.int32), level.labels
        owner, _, column = name.rpartition(".")
        asked = (owner,) if owner else (of, "event" if of == "influencer" else "influencer")
        for whose in asked:
            facts = self.influencers if whose == "influencer" else self.events
            if facts is not None and column in facts:
                codes, labels = pd.factorize(facts[column], sort=True)
                return whose, np.asarray(codes, dtype=np.int32), pd.Index(labels).astype("str")
        raise InputError(f"neither influencers nor events tell of {name!r}", fix="pass influencers= or events= with that column")

    def fact(self, name: str, why: str) -> Floats:
        """A numeric fact of each influencer, (influencers,)."""
        if self.influencers is None or name not in self.influencers:
            raise InputError(f"{why} needs the influencers' {name}", fix="pass influencers= with that column")
        return self.influencers[name].to_numpy(dtype=np.float64)


def _lines(line: tuple[str, str, str, float], who: Level, what: Level, when: Level, days: Floats) -> NDArray[np.bool_]:
    here = days == float(line[3])
    for level, name in ((who, line[0]), (what, line[1]), (when, line[2])):
        here &= level.codes == level.labels.get_indexer(pd.Index([str(name)]))[0]
    if not here.any():
        raise InputError(f"no such way to post: {', '.join(map(str, line[:3]))}, day {line[3]:g}", where="Include",
                         fix="name a line of table effectiveness")  # fmt: skip
    return here


def _of_metric(frame: pd.DataFrame, metric: str) -> NDArray[np.int64]:
    chosen = np.flatnonzero((frame["metric"] == metric).to_numpy())
    if not len(chosen):
        raise CannotTell(f"there is no prediction of {metric}", fix="predict it first")
    currencies = frame["currency"].unique() if "currency" in frame else ()
    if len(currencies) > 1:
        names = ", ".join(sorted(map(str, currencies)))
        raise InputError(f"prices are in {names}", where="effectiveness", fix="convert them to one currency")
    return chosen


def _numbers(frame: pd.DataFrame, position: NDArray[np.int64]) -> dict[str, Floats]:
    """Predicted, uncertainty and price, refused with the row named where they are no numbers or negative."""
    taken = dict[str, Floats]()
    for name, floor in (("predicted", -np.inf), ("uncertainty", 0.0), ("price", 0.0)):
        values = frame[name].to_numpy(dtype=np.float64)
        values = values if len(position) == len(values) else values[position]
        bad = np.flatnonzero(~np.isfinite(values) | (values < floor))
        if len(bad):
            row = frame.iloc[int(position[bad[0]])]
            told = f"{row['influencer_id']}, {row['content_type']}, {row['event_id']}, day {row['days_from_event']:g}"
            more = f" ({len(bad)} such rows)" if len(bad) > 1 else ""
            raise InputError(f"{name} is {values[bad[0]]:g}{more}", where=f"effectiveness, {told}", fix="mend the row or drop it")
        taken[name] = values
    return taken


def _level(column: pd.Series, position: NDArray[np.int64]) -> Level:
    if isinstance(column.dtype, pd.CategoricalDtype):
        codes, labels = column.cat.codes.to_numpy()[position].astype(np.int32), pd.Index(column.cat.categories).astype("str")
    else:
        found, names = pd.factorize(column.iloc[position] if len(position) < len(column) else column, sort=True)
        codes, labels = found.astype(np.int32), pd.Index(names).astype("str")
    if (codes < 0).any():
        raise InputError(f"{column.name} is empty", where="effectiveness", fix="name it or drop the row")
    return Level(codes, labels)


def _weeks(days: Floats, event: Level, events: pd.DataFrame | None, grid: TimeGrid) -> tuple[Level, Codes]:
    """The period of each candidate's day, and its day as a code in order of days; without events all lie in one period."""
    values, codes = np.unique(days, return_inverse=True)
    codes = codes.astype(np.int32)
    if events is None:
        return Level(np.zeros(len(days), dtype=np.int32), pd.Index(["all"])), codes
    known = events.drop_duplicates("event_id").set_index("event_id")["date"].reindex(event.labels)
    if known.isna().any():
        raise InputError(f"event {known.index[known.isna()][0]} has no date", where="events", fix="add it to the events")
    day = pd.to_datetime(known).to_numpy()[:, None] + pd.to_timedelta(values, unit="D").to_numpy()[None, :]
    period, names = pd.factorize(grid.floor(pd.Series(day.ravel())), sort=True)
    return Level(period.astype(np.int32).reshape(day.shape)[event.codes, codes], pd.Index(names)), codes


def _facts(table: pd.DataFrame | None, key: str, labels: pd.Index) -> pd.DataFrame | None:
    """One row a label, in order; a tier by followers where the table has none."""
    if table is None:
        return None
    facts = table.drop_duplicates(key).set_index(key)
    facts.index = facts.index.astype("str")
    facts = facts.reindex(labels)
    if "followers" in facts and "tier" not in facts:
        edges = [-np.inf, *(edge for _, edge in TIERS)]
        tiers = pd.cut(facts["followers"], edges, labels=[name for name, _ in TIERS], right=False).astype("object")
        facts = facts.assign(tier=tiers)
    return facts


@njit(cache=True)
def _best_of_run(key, price, worth, day):  # type: ignore[no-untyped-def]
    """Positions of the best candidate of each (key, price); `key` is sorted; the earlier day wins ties."""
    n = len(key)
    kept = np.empty(n, dtype=np.int64)
    count, first = 0, 0
    while first < n:
        last = first + 1
        while last < n and key[last] == key[first]:
            last += 1
        for j in range(first, last):
            best = True
            for other in range(first, last):
                if other != j and price[other] == price[j]:
                    better = worth[other] > worth[j] or (
                        worth[other] == worth[j] and (day[other] < day[j] or (day[other] == day[j] and other < j))
                    )
                    if better:
                        best = False
                        break
            if best:
                kept[count] = j
                count += 1
        first = last
    return kept[:count]
