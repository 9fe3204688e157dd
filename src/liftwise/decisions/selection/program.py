"""The plan as a mathematical program: candidates y ∈ {0, 1}, helper columns, coupling rows, and what binds one influencer alone.

max value·y subject to rows  low ≤ A y + H h ≤ high  and, for each influencer, at most `cap` candidates, `week_cap` in a week, none
unless its `use` helper is 1 where it has one. The inner part is a laminar matroid, so it is solved by taking the best first;
only the coupling rows need prices (Lagrange multipliers).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from liftwise.decisions.selection.candidates import Candidates
from liftwise.decisions.selection.rules import Block, Frequency, Helper

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Codes = NDArray[np.int32]


@dataclass(frozen=True)
class Inner:
    """What binds one influencer alone. start : (influencers + 1,) candidates of influencer i are start[i]:start[i + 1].

    use : (influencers,) its helper column or −1.
    """

    start: Ints
    week: Codes
    cap: int
    week_cap: int
    use: Ints

    def influencer(self, columns: Ints) -> Ints:
        """Influencer of each candidate."""
        return np.searchsorted(self.start, columns, side="right") - 1


@dataclass(frozen=True)
class Helpers:
    """Columns beside the candidates: value (objective), bounds, and entries in coupling rows as triplets."""

    names: tuple[str, ...]
    value: Floats
    low: Floats
    high: Floats
    binary: NDArray[np.bool_]
    row: Ints
    column: Ints
    factor: Floats

    def priced(self, duals: Floats) -> Floats:
        """Value less the price of what each helper uses."""
        return self.value - np.bincount(self.column, self.factor * duals[self.row], minlength=len(self.names))


@dataclass(frozen=True)
class Program:
    """See the module. first : (blocks + 1,) first row of each block. codes, times : of each block, shared arrays (times None = 1)."""

    value: Floats
    blocks: tuple[Block, ...]
    first: Ints
    codes: tuple[Codes, ...]
    times: tuple[Floats | None, ...]
    low: Floats
    high: Floats
    helpers: Helpers
    inner: Inner

    @classmethod
    def of(cls, these: Candidates, rules: Sequence[Block], frequencies: Sequence[Frequency]) -> Program:
        """Stack the blocks' rows; equal totals are kept once."""
        blocks = list({(b.rule if b.rule.startswith(("total, ", "money per ")) else k): b for k, b in enumerate(rules)}.values())
        first = np.concatenate([[0], np.cumsum([len(b.labels) for b in blocks])]).astype(np.int64)
        columns = {name: these.column(name) for name in {b.times for b in blocks if isinstance(b.times, str)}}
        helpers = _helpers(blocks, first, _money(these, blocks))
        return cls(
            these.worth, tuple(blocks), first, tuple(these.level(b.level).codes for b in blocks),
            tuple(columns[b.times] if isinstance(b.times, str) else b.times for b in blocks),
            np.concatenate([b.low for b in blocks]), np.concatenate([b.high for b in blocks]), helpers,
            _inner(these, frequencies, helpers.names),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.value)

    @cached_property
    def names(self) -> list[tuple[str, str]]:
        """(rule, label) of each row."""
        return [(block.rule, str(label)) for block in self.blocks for label in block.labels]

    def _room(self) -> Floats:
        """What candidates may use of each row at most: its upper limit less the least that helpers can add."""
        helpers = self.helpers
        ends = helpers.factor[:, None] * np.column_stack([helpers.low, helpers.high])[helpers.column]
        return self.high - np.bincount(helpers.row, ends.min(axis=1), minlength=len(self.low))

    def possible(self) -> NDArray[np.bool_]:
        """Which candidates break no row by themselves, whatever else is chosen: the others can be left out beforehand.

        In a row whose factors are not negative, a candidate needs its own factor and the least that helpers can add.
        """
        keep = np.ones(len(self), dtype=np.bool_)
        free = self._room()
        for k, block in enumerate(self.blocks):
            rows = slice(self.first[k], self.first[k + 1])
            times, scale, codes = self.times[k], block.scale, self.codes[k]
            signed = (times is not None and bool((times < 0).any())) or (scale is not None and bool((scale < 0).any()))
            if signed or not np.isfinite(self.high[rows]).any():
                continue
            room = np.append(free[rows], np.inf)[block.row]
            with np.errstate(divide="ignore", invalid="ignore"):
                room = room if scale is None else np.where(scale > 0, room / scale, np.inf)
            keep &= (1.0 if times is None else times) <= room[codes] * (1 + 1e-9) + 1e-9
        return keep

    def rounded(self, most: int = 3) -> list[Block]:
        """Rows that hold for whole posts and not for parts of them: of candidates that take more than 1/(t + 1) of what their row has room
        for, at most t fit (Chvátal & Gomory rounding). They make the linear program's bound tight where few dear posts fill a limit."""
        found: list[Block] = []
        free = self._room()
        for k, block in enumerate(self.blocks):
            times, codes = self.times[k], self.codes[k]
            if times is None or block.scale is not None or len(block.labels) == 1 or (times < 0).any():
                continue
            rows = slice(self.first[k], self.first[k + 1])
            room = np.append(free[rows], np.inf)[block.row]
            inverse = np.where(room > 0, 1 / np.where(room > 0, room, 1.0), 0.0)
            share = times * inverse[codes]
            large = np.flatnonzero(share * (most + 1) >= 1)  # no other candidate counts in any of them
            for t in range(1, most + 1):
                few = np.floor(share[large] * (t + 1) - 1e-9)
                fits = np.bincount(codes[large], few, minlength=len(block.row))
                if not (fits > t).any():
                    continue
                row = np.where(fits > t, block.row, -1).astype(np.int32)
                count = np.zeros(len(times))
                count[large] = few
                found.append(
                    Block(
                        f"whole posts, {block.rule} {t}",
                        block.labels,
                        block.level,
                        row,
                        np.full(len(block.labels), -np.inf),
                        np.full(len(block.labels), float(t)),
                        times=count,
                    )
                )
        return found

    def worth(self, value: Floats) -> Program:
        """The same rules with another objective."""
        return replace(self, value=value)

    def priced(self, duals: Floats, value: Floats | None = None) -> Floats:
        """Value of every candidate less the price of what it uses in the coupling rows; `duals` has one entry a row."""
        left = (self.value if value is None else value).copy()
        tables: dict[tuple[str, str | int | None], tuple[Floats, Codes, Floats | None]] = {}
        for k, block in enumerate(self.blocks):  # blocks of one level and column are looked up once
            mine = np.append(duals[self.first[k] : self.first[k + 1]], 0.0)[block.row]
            mine = mine if block.scale is None else mine * block.scale
            if not mine.any():
                continue
            key = (block.level, block.times if isinstance(block.times, str | None) else k)
            before = tables[key][0] if key in tables else 0.0
            tables[key] = (mine + before, self.codes[k], self.times[k])
        for table, codes, times in tables.values():
            left -= table[codes] if times is None else table[codes] * times
        return left

    def entries(self, columns: Ints) -> tuple[Ints, Ints, Floats]:
        """Non-zeros of some candidates in the coupling rows: (row, position among `columns`, factor), by candidate."""
        rows, factors = np.empty((len(columns), len(self.blocks)), dtype=np.int64), np.empty((len(columns), len(self.blocks)))
        for k, block in enumerate(self.blocks):
            at = self.codes[k][columns]
            mine = block.row[at]
            rows[:, k] = np.where(mine >= 0, mine + self.first[k], -1)
            times, scale = self.times[k], block.scale
            factors[:, k] = (1.0 if times is None else times[columns]) * (1.0 if scale is None else scale[at])
        at, block = np.nonzero((rows >= 0) & (factors != 0))
        return rows[at, block], at.astype(np.int64), factors[at, block]

    def used(self, chosen: Ints) -> Floats:
        """Σ over the chosen candidates in each coupling row, helpers left out."""
        row, _, factor = self.entries(chosen)
        return np.bincount(row, factor, minlength=len(self.low)).astype(np.float64)


def _helpers(blocks: Sequence[Block], first: Ints, money: float) -> Helpers:
    """Helpers of one name are one column, with the narrowest bounds. money : the most that can be spent."""
    known: dict[str, Helper] = {}
    triplets: list[tuple[int, str, float]] = []
    for k, block in enumerate(blocks):
        for given in block.helpers:
            low, high = (given.low * money, given.high * money) if given.of_money else (given.low, given.high)
            before = known.get(given.name)
            if before is None or low > before.low or high < before.high:
                known[given.name] = replace(
                    given,
                    low=low if before is None else max(before.low, low),
                    high=high if before is None else min(before.high, high),
                )
            triplets += [(int(first[k]) + row, given.name, factor) for row, factor in given.entries]
    at = {name: k for k, name in enumerate(known)}
    listed = list(known.values())
    return Helpers(
        tuple(known), np.zeros(len(listed)), np.array([h.low for h in listed], dtype=np.float64), np.array([h.high for h in listed], dtype=np.float64),
        np.array([h.binary for h in listed], dtype=np.bool_), np.array([t[0] for t in triplets], dtype=np.int64),
        np.array([at[t[1]] for t in triplets], dtype=np.int64), np.array([t[2] for t in triplets], dtype=np.float64),
    )  # fmt: skip


def _money(these: Candidates, blocks: Sequence[Block]) -> float:
    """The most that can be spent: the budget and a little, so that the budget's row binds and not this."""
    most = float(these.price.sum()) + 1.0
    for block in blocks:
        if block.level == "all" and block.times == "price" and block.scale is None and not block.helpers:
            most = min(most, float(block.high[0]) * (1 + 1e-6) + 1e-6)
    return most


def _inner(these: Candidates, frequencies: Sequence[Frequency], helpers: tuple[str, ...]) -> Inner:
    """The tightest caps per influencer and per influencer-week; without any, as many as there are candidates."""
    caps = {per: min((rule.max_posts for rule in frequencies if rule.per == per), default=len(these) + 1)
            for per in ("influencer", "influencer-week")}  # fmt: skip
    size = these.influencer.size
    start = np.searchsorted(these.influencer.codes, np.arange(size + 1)).astype(np.int64)
    use = np.full(size, -1, dtype=np.int64)
    for k, name in enumerate(helpers):
        if name.startswith("use "):
            use[int(name[4:])] = k
    week = np.asarray(these.week.codes, dtype=np.int32)
    return Inner(start, week, caps["influencer"], caps["influencer-week"], use)
