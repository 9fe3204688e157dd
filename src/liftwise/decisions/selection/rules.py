"""Rules of a plan, as small objects that compile to rows of the program.

A rule bounds a weighted sum of the chosen candidates in each group of a level (an influencer, an event, a week): a `Block`. Rules
that speak of shares need quantities that are not candidates (all money spent, whether a creator is used at all): a `Helper`
column that enters the rows. The engine knows nothing else; a rule that cannot be written so may `keep` some candidates alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from liftwise.core.errors import InputError
from liftwise.decisions.selection.candidates import Candidates

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]
SPENT = "spent"  # the helper column that holds all money spent


@dataclass(frozen=True)
class Helper:
    """A continuous or binary quantity beside the candidates: its bounds, and its entries (row of the block, factor).

    of_money : the bounds are shares of all the money that can be spent.
    """

    name: str
    low: float
    high: float
    entries: tuple[tuple[int, float], ...]
    binary: bool = False
    of_money: bool = False


@dataclass(frozen=True)
class Block:
    """Rows ``low ≤ Σ factor·y + helpers ≤ high``, one for each label.

    level : whose codes say which row a candidate is in. row : (level's values,) row or −1. scale : (level's values,) or None = 1.
    times : what multiplies: a numeric column of the candidates by name (``"price"``) or as (candidates,), None = 1.
    """

    rule: str
    labels: Sequence[str]
    level: str
    row: Ints
    low: Floats
    high: Floats
    scale: Floats | None = None
    times: str | Floats | None = None
    helpers: tuple[Helper, ...] = ()


class Rule(Protocol):
    """Anything that compiles to blocks."""

    def blocks(self, these: Candidates) -> list[Block]:
        """The rule's rows for these candidates."""
        ...


class Filter(Protocol):
    """A rule that leaves candidates out."""

    def keep(self, these: Candidates) -> NDArray[np.bool_]:
        """Which candidates may be used."""
        ...


@dataclass(frozen=True)
class Budget:
    """Posts cost at most `total`: together, or with `per` in each group (market, month, brand).

    total : one number, or one a label (labels that are not named have no limit). of : what is counted, a column of the candidates.
    """

    total: float | Mapping[str, float]
    per: str = "all"
    of: str = "price"

    def blocks(self, these: Candidates) -> list[Block]:
        """One row a group."""
        level, row, labels = these.attribute(self.per)
        high = _limits(self.total, labels, f"Budget per {self.per}", np.inf)
        if (high < 0).any():
            raise InputError(f"a budget of {high.min():g}", where=f"Budget per {self.per}", fix="give a positive amount")
        name = "budget" if self.per == "all" and self.of == "price" else f"budget of {self.of} per {self.per}"
        shown = ["total"] if self.per == "all" else list(map(str, labels))
        return [Block(name, shown, level, row, np.full(len(labels), -np.inf), high, times=self.of)]


@dataclass(frozen=True)
class Frequency:
    """At most `max_posts` for each influencer, influencer-week, or any other group (one slot for each event: ``per="event"``)."""

    max_posts: int = 3
    per: str = "influencer"

    def __post_init__(self) -> None:
        if self.max_posts < 1:
            raise InputError(
                f"at most {self.max_posts} posts", where="Frequency", fix="allow at least one, or exclude the influencer"
            )

    def blocks(self, these: Candidates) -> list[Block]:
        """One row a group."""
        level, row, labels = these.attribute(self.per)
        top = np.full(len(labels), float(self.max_posts))
        return [Block(f"frequency per {self.per}", list(map(str, labels)), level, row, np.full(len(labels), -np.inf), top)]


@dataclass(frozen=True)
class Coverage:
    """At least `at_least` for each event, genre or location of events, or any other group.

    at_least : one number, or one a label (others need not be covered). of : ``"posts"``, ``"reach"`` (followers, counted once for every post),
    or a column. With `segment` (a dimension of table `audiences`, such as ``"region"``), reach in each of its values by audience shares.
    """

    by: str = "event"
    at_least: float | Mapping[str, float] = 1
    of: str = "posts"
    segment: str | None = None

    def blocks(self, these: Candidates) -> list[Block]:
        """One row a value; a value that no candidate has cannot be covered and makes the plan infeasible."""
        if self.segment is not None:
            return self._of_audience(these, self.segment)
        level, row, labels = these.attribute(self.by, of="event")
        low = _limits(self.at_least, labels, f"Coverage by {self.by}", -np.inf)
        scale = times = None
        if self.of == "reach":
            if level != "influencer":  # followers are known per influencer: the group is looked up per candidate
                level, row, scale = _by_candidate(these, level, row)
            else:
                scale = these.fact("followers", "coverage of reach")
        elif self.of != "posts":
            times = self.of
        return [
            Block(f"coverage by {self.by}", list(map(str, labels)), level, row, low, np.full(len(labels), np.inf), scale, times)
        ]

    def _of_audience(self, these: Candidates, dimension: str) -> list[Block]:
        shares = audience_shares(these, dimension)
        low = _limits(self.at_least, shares.columns, f"Coverage of {dimension}", -np.inf)
        followers = these.fact("followers", "coverage of an audience")
        return [
            Block(f"coverage of {dimension}", [str(value)], "influencer", np.zeros(len(shares), dtype=np.int32), low[k : k + 1],
                  np.array([np.inf]), followers * shares[value].to_numpy(dtype=np.float64))
            for k, value in enumerate(shares.columns) if np.isfinite(low[k])
        ]  # fmt: skip


@dataclass(frozen=True)
class Diversity:
    """No group takes more than `at_most` (or less than `at_least`) of what is spent, of the budget, or of the posts.

    by : influencer, tier, platform, genre (the influencer's) or any other group. of : ``"spend"`` or a column: share of its own total.
    """

    by: str = "platform"
    at_most: float | Mapping[str, float] = 1.0
    at_least: float | Mapping[str, float] = 0.0
    of: str = "spend"

    def blocks(self, these: Candidates) -> list[Block]:
        """Σ of the group − share · Σ of all ≤ 0, one row a group."""
        level, row, labels = these.attribute(self.by)
        counted = "price" if self.of == "spend" else None if self.of == "posts" else self.of
        total = SPENT if self.of == "spend" else f"all {self.of}"
        found: list[Block] = [total_of(these, counted, total)]
        for share, sense, unlimited in ((self.at_most, 1.0, 1.0), (self.at_least, -1.0, 0.0)):
            limits = _limits(share, labels, f"Diversity by {self.by}", unlimited)
            if not ((limits >= 0) & (limits <= 1)).all():
                raise InputError(f"a share of {limits.max():g}", where=f"Diversity by {self.by}", fix="give shares from 0 to 1")
            bound = limits != unlimited
            if not bound.any():
                continue
            entries = tuple((int(k), -float(limits[k])) for k in np.flatnonzero(bound))
            spent = _holding(these, counted, total, entries)
            low, high = (-np.inf, 0.0) if sense > 0 else (0.0, np.inf)
            rows = np.where(np.append(bound, False)[row], row, -1).astype(np.int32)
            found.append(Block(f"{'at most' if sense > 0 else 'at least'} a share of {self.of} per {self.by}", list(map(str, labels)), level, rows,
                               np.full(len(labels), low), np.full(len(labels), high), times=counted, helpers=(spent,)))  # fmt: skip
        return found


@dataclass(frozen=True)
class Fairness:
    """Each declared group gets at least `floor` of its share of all influencers with a prediction, in exposure (a column, or posts).

    With floor 0.8 a group of 30 % of the creators gets at least 24 % of the exposure. Creators who declared nothing count in the exposure
    alone. Other rules may leave a group's creators out; the floor then stands against them, and says so when both cannot be kept.
    """

    floor: float = 0.8
    group: str = "declared_group"
    of: str = "posts"

    def blocks(self, these: Candidates) -> list[Block]:
        """One row a group."""
        _, row, labels = these.attribute(self.group)
        counts = np.bincount(row[row >= 0], minlength=len(labels)).astype(np.float64)
        shares = {str(label): self.floor * float(c / max(counts.sum(), 1)) for label, c in zip(labels, counts, strict=True)}
        return [
            Block(b.rule.replace(f"per {self.group}", "of exposure, fairness"), b.labels, b.level, b.row, b.low, b.high, b.scale, b.times, b.helpers)
            for b in Diversity(self.group, at_least=shares, of=self.of).blocks(these)
        ]  # fmt: skip


@dataclass(frozen=True)
class RiskLimit:
    """Mean risk of the money spent: Σ risk·price ≤ `at_most` · Σ price."""

    at_most: float
    risk: str = "risk_score"

    def blocks(self, these: Candidates) -> list[Block]:
        """One row."""
        risk = np.nan_to_num(these.fact(self.risk, "a risk limit"), nan=1.0)  # an unknown risk counts as the highest
        spent = _holding(these, "price", SPENT, ((0, -float(self.at_most)),))
        here = np.zeros(len(risk), dtype=np.int32)
        return [total_of(these, "price", SPENT),
                Block("risk limit", ["mean risk"], "influencer", here, np.array([-np.inf]), np.array([0.0]), risk, "price", (spent,))]  # fmt: skip


@dataclass(frozen=True)
class CVaR:
    """Mean share of the money that is lost in the worst (1 − level) of scenarios is at most `at_most` (Rockafellar & Uryasev 2000).

    losses : (scenarios, groups) share of a group's money that is lost; columns are labels of `by`.
    """

    losses: pd.DataFrame
    at_most: float
    by: str = "platform"
    level: float = 0.9

    def blocks(self, these: Candidates) -> list[Block]:
        """Money of each group; the excess of each scenario over t; their mean."""
        level, row, labels = these.attribute(self.by)
        missing = [str(label) for label in labels if str(label) not in set(map(str, self.losses.columns))]
        if missing:
            raise InputError(f"no losses for {missing[0]}", where=f"CVaR by {self.by}", fix="give every group a column")
        loss = self.losses.rename(columns=str)[list(map(str, labels))].to_numpy(dtype=np.float64)
        count, worst = len(loss), float(np.abs(loss).max())
        zeros, none = np.zeros(len(labels)), np.full(1, -1, dtype=np.int32)
        names = [f"money in {self.by} {label}" for label in labels]
        mine = f"by {self.by} at {self.level:g} of {np.abs(loss).sum():.9g}"  # rules of other losses have quantities of their own

        def kept(name: str, low: float, high: float, entries: list[tuple[int, float]]) -> Helper:
            return Helper(name, low, high, tuple(entries), of_money=True)

        spent = tuple(kept(name, 0.0, 1.0, [(k, -1.0)]) for k, name in enumerate(names))
        money = Block(f"money per {self.by}", list(map(str, labels)), level, row, zeros, zeros, times="price", helpers=spent)
        # excess_s ≥ loss_s − t, and t + mean excess / (1 − level) ≤ limit · spent
        lost = [kept(name, 0.0, 1.0, [(s, -float(loss[s, k])) for s in range(count)]) for k, name in enumerate(names)]
        over = [kept(f"excess {s} {mine}", 0.0, 2 * worst, [(s, 1.0)]) for s in range(count)]
        value = kept(f"value at risk {mine}", -worst, worst, [(s, 1.0) for s in range(count)])
        rows = Block("CVaR scenario", [str(s) for s in range(count)], "all", none, np.zeros(count), np.full(count, np.inf),
                     helpers=(*lost, *over, value))  # fmt: skip
        mean = [kept(f"excess {s} {mine}", 0.0, 2 * worst, [(0, 1 / ((1 - self.level) * count))]) for s in range(count)]
        tail = Block("CVaR", [f"worst {1 - self.level:.0%} of scenarios"], "all", none, np.array([-np.inf]), np.array([0.0]), helpers=(
            kept(f"value at risk {mine}", -worst, worst, [(0, 1.0)]), kept(SPENT, 0.0, 1.0, [(0, -float(self.at_most))]), *mean))  # fmt: skip
        return [total_of(these, "price", SPENT), money, rows, tail]


@dataclass(frozen=True)
class Exclusive:
    """Of each group of competing influencers at most one is used. groups : pairs or larger groups of ids."""

    groups: Sequence[Sequence[str]]

    def blocks(self, these: Candidates) -> list[Block]:
        """Σ use ≤ 1 a group; the engine ties `use` to the influencer's posts."""
        names = [str(name) for group in self.groups for name in group]
        of_group = np.repeat(np.arange(len(self.groups)), [len(group) for group in self.groups])
        code = these.influencer.labels.get_indexer(pd.Index(names)) if names else np.empty(0, dtype=np.int64)
        if (code < 0).any():
            name = names[int(np.flatnonzero(code < 0)[0])]
            raise InputError(f"unknown influencer {name!r}", where="Exclusive", fix="name influencers that have a prediction")
        entries: dict[int, list[tuple[int, float]]] = {}
        for who, k in zip(code.tolist(), of_group.tolist(), strict=True):
            entries.setdefault(who, []).append((k, 1.0))
        uses = tuple(Helper(f"use {who}", 0.0, 1.0, tuple(rows), True) for who, rows in entries.items())
        none, count = np.full(1, -1, dtype=np.int32), len(self.groups)
        labels = [" or ".join(map(str, group)) for group in self.groups]
        return [Block("exclusive", labels, "all", none, np.full(count, -np.inf), np.ones(count), helpers=uses)]


@dataclass(frozen=True)
class Include:
    """These influencers post at least `at_least` times; `lines` are full tuples (influencer, content, event, day) that are in."""

    influencers: Sequence[str] = ()
    lines: Sequence[tuple[str, str, str, float]] = ()
    at_least: int = 1

    def blocks(self, these: Candidates) -> list[Block]:
        """One row an influencer or line."""
        found: list[Block] = []
        if self.influencers:
            code = _codes(these, self.influencers, "Include")
            row = np.full(these.influencer.size, -1, dtype=np.int32)
            row[code] = np.arange(len(code), dtype=np.int32)
            low = np.full(len(code), float(self.at_least))
            found.append(Block("include", list(self.influencers), "influencer", row, low, np.full(len(code), np.inf)))
        if self.lines:
            row = np.full(len(these), -1, dtype=np.int32)
            days = these.column("days_from_event")
            for k, (who, what, when, day) in enumerate(self.lines):
                at = np.flatnonzero(
                    _is(these.influencer, who) & _is(these.content, what) & _is(these.event, when) & (days == float(day))
                )
                row[at] = k  # none where another rule leaves it out: then no plan can keep both
            ones = np.ones(len(self.lines))
            found.append(Block("include line", [", ".join(map(str, line)) for line in self.lines], "candidate", row, ones, np.full(len(ones), np.inf)))  # fmt: skip
        return found


@dataclass(frozen=True)
class Exclude:
    """These influencers, contents or events are not used."""

    influencers: Sequence[str] = ()
    contents: Sequence[str] = ()
    events: Sequence[str] = ()

    def keep(self, these: Candidates) -> NDArray[np.bool_]:
        """All but those."""
        keep = np.ones(len(these), dtype=np.bool_)
        asked = (
            (these.influencer, self.influencers, "influencer"),
            (these.content, self.contents, "content"),
            (these.event, self.events, "event"),
        )
        for level, names, kind in asked:  # fmt: skip
            codes = level.labels.get_indexer(pd.Index(list(map(str, names))))
            if (codes < 0).any():
                unknown = list(names)[int(np.flatnonzero(codes < 0)[0])]
                raise InputError(f"unknown {kind} {unknown!r}", where="Exclude", fix=f"name {kind}s that have a prediction")
            keep &= ~np.isin(level.codes, codes)
        return keep


@dataclass(frozen=True)
class BrandRule:
    """Who fits the brand: alignment at least, topics (genres) wanted or banned, paid posts disclosed at least this often."""

    alignment: float | None = None
    topics: Sequence[str] = ()
    banned: Sequence[str] = ()
    disclosure: float | None = None

    def keep(self, these: Candidates) -> NDArray[np.bool_]:
        """Candidates of influencers who fit; what is not known of an influencer does not fit."""
        keep = np.ones(these.influencer.size, dtype=np.bool_)
        for floor, name in ((self.alignment, "brand_alignment"), (self.disclosure, "disclosure_rate")):
            if floor is not None:
                keep &= np.nan_to_num(these.fact(name, "a brand rule"), nan=-np.inf) >= floor
        if self.topics or self.banned:
            _, code, labels = these.attribute("influencer.genre")
            if self.topics:
                keep &= np.isin(code, labels.get_indexer(pd.Index(list(self.topics)))) & (code >= 0)
            keep &= ~(np.isin(code, labels.get_indexer(pd.Index(list(self.banned)))) & (code >= 0))
        return keep[these.influencer.codes]


@dataclass(frozen=True)
class MinimumFee:
    """Fees are negotiable: b between `share`·p and p. A post paid the least brings `worth` of its value, and value grows with the fee as

    worth + (1 − worth)·x^bend, x from 0 (the least) to 1 (in full), concave for bend ≤ 1. The plan chooses among `levels` fees.
    """

    share: float = 0.6
    worth: float = 0.7
    bend: float = 0.5
    levels: int = 4

    def __post_init__(self) -> None:
        if not (0 <= self.share < 1 and 0 <= self.worth <= 1 and 0 < self.bend <= 1 and self.levels >= 2):
            raise InputError("fees must lie between 0 and 1 of the price, with worth that grows less and less", where="MinimumFee",
                             fix="share in [0, 1), worth in [0, 1], bend in (0, 1], two levels or more")  # fmt: skip

    def blocks(self, these: Candidates) -> list[Block]:
        """A way to post is paid one fee: of its levels at most one is chosen."""
        size = these.content.size, these.event.size, these.week.size
        who, what, when, week = (
            np.asarray(level.codes, dtype=np.int64) for level in (these.influencer, these.content, these.event, these.week)
        )
        key = ((who * size[0] + what) * size[1] + when) * size[2] + week
        codes, first = np.unique(key, return_inverse=True)[1], len(np.unique(key))
        return [
            Block(
                "one fee a post",
                [str(k) for k in range(first)],
                "candidate",
                codes.astype(np.int32),
                np.full(first, -np.inf),
                np.ones(first),
            )
        ]


def total_of(these: Candidates, counted: str | None, name: str) -> Block:
    """Σ of all − helper = 0: the helper `name` holds the total. Rules that share a total write it twice; the program keeps one."""
    helper = _holding(these, counted, name, ((0, -1.0),))
    return Block(
        f"total, {name}", [name], "all", np.zeros(1, dtype=np.int32), np.zeros(1), np.zeros(1), times=counted, helpers=(helper,)
    )


def audience_shares(these: Candidates, dimension: str) -> pd.DataFrame:
    """(influencers, values) latest known share of each influencer's audience, 0 where unknown."""
    table = these.audiences
    if table is None or not (table["dimension"] == dimension).any():
        raise InputError(f"no audience is known by {dimension!r}", fix="pass audiences= with that dimension")
    mine = table[table["dimension"] == dimension].sort_values("observed_on", kind="stable")
    wide = mine.pivot_table(index="influencer_id", columns="value", values="share", aggfunc="last")
    wide.index = wide.index.astype("str")
    return wide.reindex(these.influencer.labels).fillna(0.0)


def _holding(these: Candidates, counted: str | None, name: str, entries: tuple[tuple[int, float], ...]) -> Helper:
    """The helper that holds the total of `counted`."""
    if counted == "price":
        return Helper(name, 0.0, 1.0, entries, of_money=True)
    return Helper(name, 0.0, _most(these, counted), entries)


def _most(these: Candidates, counted: str | None) -> float:
    """More than the total of `counted` can ever be."""
    values = np.ones(len(these)) if counted is None else these.column(counted)
    if (values < 0).any():
        raise InputError(f"{counted} is negative", where="a rule about shares", fix="use a quantity that is not")
    return float(values.sum()) + 1.0


def _limits(given: float | Mapping[str, float], labels: pd.Index, where: str, otherwise: float) -> Floats:
    """One limit a label."""
    if not isinstance(given, Mapping):
        return np.full(len(labels), float(given))
    names = list(map(str, labels))
    unknown = set(map(str, given)) - set(names)
    if unknown:
        raise InputError(f"unknown {sorted(unknown)[0]!r}", where=where, fix=f"choose from {', '.join(names[:8])}")
    told = {str(name): float(limit) for name, limit in given.items()}
    return np.array([told.get(name, otherwise) for name in names], dtype=np.float64)


def _codes(these: Candidates, names: Sequence[str], where: str) -> NDArray[np.int64]:
    code = these.influencer.labels.get_indexer(pd.Index(list(map(str, names))))
    if (code < 0).any():
        name = list(names)[int(np.flatnonzero(code < 0)[0])]
        raise InputError(f"unknown influencer {name!r}", where=where, fix="name influencers that have a prediction")
    return code.astype(np.int64)


def _is(level: object, name: str) -> NDArray[np.bool_]:
    at = level.labels.get_indexer(pd.Index([str(name)]))[0]  # type: ignore[attr-defined]
    return level.codes == at  # type: ignore[attr-defined]


def _by_candidate(these: Candidates, level: str, row: Ints) -> tuple[str, Ints, Floats]:
    """Rows and followers per candidate, where the group is not the influencer's."""
    rows = row[these.level(level).codes]
    followers = these.fact("followers", "coverage of reach")
    return "candidate", rows.astype(np.int32), followers[these.influencer.codes]
