"""The plan as a mathematical program: candidates y ∈ {0, 1}, helper columns, coupling rows, and what binds one influencer alone.

max value·y subject to rows  low ≤ A y + H h ≤ high  and, for each influencer, at most `cap` candidates, `week_cap` in a week, none
unless its `use` helper is 1 where it has one. The inner part is a laminar matroid, so it is solved by taking the best first;
only the coupling rows need prices (Lagrange multipliers).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from liftwise.decisions.selection.candidates import Candidates
from liftwise.decisions.selection.pricing import charge
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
    """Columns beside the candidates: value (objective), bounds, and entries in coupling rows as triplets.

    money : the most that can be spent; the bounds of those `of_money` are shares of it.
    """

    names: tuple[str, ...]
    value: Floats
    low: Floats
    high: Floats
    binary: NDArray[np.bool_]
    row: Ints
    column: Ints
    factor: Floats
    money: float
    of_money: NDArray[np.bool_]

    def within(self, budget: float) -> Helpers:
        """Bounds where not more than `budget` can be spent, and a little, so that the budget's row binds and not this."""
        money = min(self.money, budget * (1 + 1e-6) + 1e-6)
        low, high = (np.where(self.of_money, end * (money / self.money), end) for end in (self.low, self.high))
        return replace(self, low=low, high=high, money=money)

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

    def name(self, row: int) -> tuple[str, str]:
        """(rule, label) of a row."""
        k = int(np.searchsorted(self.first, row, side="right")) - 1
        return self.blocks[k].rule, str(self.blocks[k].labels[row - self.first[k]])

    def _room(self) -> Floats:
        """What candidates may use of each row at most: its upper limit less the least that helpers can add."""
        helpers = self.helpers
        ends = helpers.factor[:, None] * np.column_stack([helpers.low, helpers.high])[helpers.column]
        return self.high - np.bincount(helpers.row, ends.min(axis=1), minlength=len(self.low))

    def within(self, budget: float) -> Program:
        """The same rules with a budget: the first row is the budget's, which had no limit until now."""
        first = replace(self.blocks[0], high=np.array([float(budget)]))
        high = self.high.copy()
        high[0] = budget
        return replace(self, blocks=(first, *self.blocks[1:]), high=high, helpers=self.helpers.within(budget))

    def take(self, keep: NDArray[np.bool_], these: Candidates) -> Program:
        """The same rows over some of the candidates, which are `these`."""
        if keep.all():
            return self
        own = {"influencer": these.influencer, "event": these.event, "content": these.content, "week": these.week}
        codes = [own[b.level].codes if b.level in own else codes[keep] for b, codes in zip(self.blocks, self.codes, strict=True)]
        times = [these.price if isinstance(b.times, str) and b.times == "price" else None if times is None else times[keep]
                 for b, times in zip(self.blocks, self.times, strict=True)]  # fmt: skip
        start = np.append(0, np.cumsum(keep))[self.inner.start]
        inner = replace(self.inner, start=start, week=these.week.codes)
        return replace(self, value=these.worth, codes=tuple(codes), times=tuple(times), inner=inner)

    def possible(self) -> NDArray[np.bool_]:
        """Which candidates break no row by themselves, whatever else is chosen: the others can be left out beforehand.

        In a row whose factors are not negative, a candidate needs its own factor and the least that helpers can add.
        """
        keep = np.ones(len(self), dtype=np.bool_)
        free = self._room()
        for k, block in enumerate(self.blocks):
            rows = slice(self.first[k], self.first[k + 1])
            times, scale, codes = self.times[k], block.scale, self.codes[k]
            if not np.isfinite(self.high[rows]).any() or _negative(scale) or _negative(times):
                continue
            room = np.append(free[rows], np.inf)[block.row]
            if scale is not None:
                room = np.divide(room, scale, out=np.full(len(room), np.inf), where=scale > 0)
            room = room * (1 + 1e-9) + 1e-9
            if times is None:
                keep &= (room >= 1)[codes]
            else:  # few are larger than the smallest room
                large = np.flatnonzero(times > room.min(initial=np.inf))
                keep[large] &= times[large] <= room[codes[large]]
        return keep

    def tightened(self, most: int = 3) -> Program:
        """With rows that hold for whole posts and not for parts of them: of candidates that take more than 1/(t + 1) of what their row has room
        for, at most t fit (Chvátal & Gomory rounding). They make the linear program's bound tight where few dear posts fill a limit."""
        found, counts, codes = list[Block](), list[Floats](), list[Codes]()
        free = self._room()
        for k, block in enumerate(self.blocks):
            times = self.times[k]
            if times is None or block.scale is not None or len(block.labels) == 1 or _negative(times):
                continue
            room = np.append(free[self.first[k] : self.first[k + 1]], np.inf)[block.row]
            inverse = np.divide(1.0, room, out=np.zeros(len(room)), where=room > 0)
            large = np.flatnonzero(
                times * (inverse.max(initial=0.0) * (most + 1)) >= 1
            )  # no other candidate counts in any of them
            mine = self.codes[k][large]
            share = times[large] * inverse[mine]
            for t in range(1, most + 1):
                few = np.floor(share * (t + 1) - 1e-9)
                fits = np.bincount(mine, few, minlength=len(block.row))
                if not (fits > t).any():
                    continue
                count, none = np.zeros(len(times)), np.full(len(block.labels), -np.inf)
                count[large] = np.maximum(few, 0.0)
                row = np.where(fits > t, block.row, -1).astype(np.int32)
                found.append(Block(f"whole posts, {block.rule} {t}", block.labels, block.level, row, none, np.full(len(none), float(t)), times=count))  # fmt: skip
                counts.append(count)
                codes.append(self.codes[k])
        return replace(
            self, blocks=(*self.blocks, *found), codes=(*self.codes, *codes), times=(*self.times, *counts),
            first=np.append(self.first, self.first[-1] + np.cumsum([len(b.labels) for b in found], dtype=np.int64)),
            low=np.concatenate([self.low, *(b.low for b in found)]), high=np.concatenate([self.high, *(b.high for b in found)]),
        )  # fmt: skip

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
            charge(left, table, codes, times)
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


def _negative(factor: Floats | None) -> bool:
    return factor is not None and bool((factor < 0).any())


def _helpers(blocks: Sequence[Block], first: Ints, money: float) -> Helpers:
    """Helpers of one name are one column, with the narrowest bounds. money : the most that can be spent."""
    at: dict[str, int] = {}
    low, high, known = list[float](), list[float](), list[Helper]()
    row, column, factor = list[int](), list[int](), list[float]()
    for k, block in enumerate(blocks):
        for given in block.helpers:
            unit = money if given.of_money else 1.0
            here = at.setdefault(given.name, len(known))
            if here == len(known):
                known.append(given)
                low.append(given.low * unit)
                high.append(given.high * unit)
            low[here], high[here] = max(low[here], given.low * unit), min(high[here], given.high * unit)
            row += [int(first[k]) + its for its, _ in given.entries]
            factor += [its for _, its in given.entries]
            column += [here] * len(given.entries)
    return Helpers(
        tuple(at), np.zeros(len(known)), np.array(low, dtype=np.float64), np.array(high, dtype=np.float64),
        np.array([h.binary for h in known], dtype=np.bool_), np.array(row, dtype=np.int64), np.array(column, dtype=np.int64),
        np.array(factor, dtype=np.float64), money, np.array([h.of_money for h in known], dtype=np.bool_),
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
