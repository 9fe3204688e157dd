"""What a split of money must keep: floors, ceilings, locked channels and the reach of the curves; and money to the cent within them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from liftwise.core.errors import CannotTell, Infeasible, InputError

Floats = NDArray[np.float64]
Unit = Literal["share", "money"]
NO_SHARE = 100  # a ceiling above it was meant as money


@dataclass(frozen=True, eq=False)
class Limits:
    """Least and most money of each channel a period; `reach` is what the curves know.

    Parameters
    ----------
    low, high, reach : (channels,) money. locked : names that stay at today's money.
    """

    channels: tuple[str, ...]
    total: float
    low: Floats
    high: Floats
    reach: Floats
    locked: frozenset[str]

    @classmethod
    def of(
        cls, today: pd.Series, reach: Floats, total: float, *, floors: Mapping[str, float] | None = None,
        ceilings: Mapping[str, float] | None = None, locked: Collection[str] = (), limits_in: Unit = "share",
    ) -> Limits:  # fmt: skip
        """From shares of the total or from money.

        Raises
        ------
        InputError
            For an unknown channel, a number that is negative, missing or no share.
        Infeasible
            When they contradict each other or the total.
        CannotTell
            When the curves do not reach that far.
        """
        names = tuple(map(str, today.index))
        floors, ceilings = dict(floors or {}), dict(ceilings or {})
        check_money(today, total, "today's money")
        check_limits(names, floors, ceilings, locked, limits_in)
        times = total if limits_in == "share" else 1.0
        low = np.array([floors.get(name, 0.0) * times for name in names])
        asked = np.array([min(ceilings[name] * times, total) if name in ceilings else total for name in names])
        still = np.array([name in locked for name in names])
        cents = today.to_numpy(dtype=np.float64).round(2)
        _check_locks(names, still, cents, low, asked, reach)
        low, asked = np.where(still, cents, low), np.where(still, cents, asked)
        high = np.minimum(asked, reach)
        made = cls(names, total, low, high, reach, frozenset(locked))
        made._check_total(floors, ceilings, asked)
        return made

    def _check_total(self, floors: Mapping[str, float], ceilings: Mapping[str, float], asked: Floats) -> None:
        total, low, high = self.total, self.low, self.high
        who = "floors and locked channels" if self.locked else "floors"
        if low.sum() > total * (1 + 1e-9):
            rules = tuple(sorted({*floors} | self.locked))
            raise Infeasible(f"{who} ask for {low.sum() / total:.0%} of the total", rules=rules, fix="lower a floor or plan more")
        if crossed := [name for name, least, most in zip(self.channels, low, asked, strict=True) if least > most + 1e-9]:
            raise Infeasible("a floor lies above its ceiling", rules=tuple(crossed), fix="lower the floor or raise the ceiling")
        if short := [name for name, least, most in zip(self.channels, low, high, strict=True) if least > most + 1e-9]:
            raise CannotTell(f"the curve of {', '.join(short)} does not reach its floor", fix="lower the floor")
        if asked.sum() < total * (1 - 1e-9):
            who = "ceilings and locked channels" if self.locked else "ceilings"
            rules = tuple(sorted({*ceilings} | self.locked))
            raise Infeasible(
                f"{who} hold only {asked.sum() / total:.0%} of the total", rules=rules, fix="raise a ceiling or plan less"
            )
        if high.sum() < total * (1 - 1e-9):
            raise CannotTell(
                f"within the limits the curves reach up to {high.sum():,.0f}, the total is {total:,.0f}",
                fix="plan in smaller steps",
            )

    def fits(self, split: Floats) -> bool:
        """Whether a split keeps them, to the cent."""
        return bool(
            abs(split.sum() - self.total) < 0.005 * len(split)
            and (split >= self.low - 0.0051).all() and (split <= self.high + 0.0051).all()
        )  # fmt: skip

    def as_today(self, today: Floats) -> Floats:
        """The total spread as today's money is; see `spread_as`."""
        return spread_as(today, self.total, self.low, self.high)

    def rounded(self, split: Floats) -> Floats:
        """The split to the cent; see `to_cents_within`."""
        return to_cents_within(split, self.total, self.low, self.high)

    def held(self, split: Floats) -> dict[str, tuple[str, ...]]:
        """Channels that the limits stop, by what stops them: locked, floor, ceiling, reach."""
        at_floor = (split <= self.low + 0.0101) & (self.low > 0)
        at_top = split >= self.high - 0.0101
        beyond = self.reach <= self.high + 1e-9
        kinds = {"locked": np.array([name in self.locked for name in self.channels])}
        kinds["floor"] = at_floor & ~kinds["locked"]
        kinds["ceiling"] = at_top & ~beyond & ~kinds["locked"] & (self.high < self.total - 0.005)
        kinds["reach"] = at_top & beyond & ~kinds["locked"]
        return {kind: tuple(np.array(self.channels, dtype=object)[mask]) for kind, mask in kinds.items()}


def spread_as(today: Floats, total: float, low: Floats, high: Floats) -> Floats:
    """A total in today's proportions, as far as the limits allow; evenly on top where proportions do not suffice.

    >>> spread_as(np.array([10.0, 30.0]), 80.0, np.zeros(2), np.array([80.0, 50.0])).round(6).tolist()
    [30.0, 50.0]
    """

    def scaled(factor: float) -> Floats:
        return np.clip(today * factor, low, high)

    def raised(more: float) -> Floats:
        return np.clip(today + more - total, low, high)

    spread = _until(scaled, total, 1.0)
    return spread if abs(float(np.sum(spread)) - total) < 1e-6 * total else _until(raised, total, total)


def to_cents_within(split: Floats, total: float, low: Floats, high: Floats) -> Floats:
    """The split to the cent: exactly the total's cents, no limit broken by a cent that need not be.

    Cents go to the largest remainders that have room, earlier parts first.

    >>> to_cents_within(np.array([33.335, 33.335, 33.33]), 100.0, np.zeros(3), np.array([33.33, 50.0, 50.0])).tolist()
    [33.33, 33.34, 33.33]
    """
    least, most = np.ceil(low * 100 - 1e-4), np.floor(high * 100 + 1e-4)
    exact = np.clip(split * 100, np.minimum(least, most), np.maximum(least, most))
    cents = np.floor(exact + 1e-6)
    left = round(round(total * 100) - cents.sum())
    order = np.argsort(cents - exact, kind="stable") if left > 0 else np.argsort(exact - cents, kind="stable")
    while left:
        sign, before = (1 if left > 0 else -1), left
        for k in order:
            if left and least[k] <= cents[k] + sign <= most[k]:
                cents[k] += sign
                left -= sign
        if left == before:  # the limits hold the total only in parts of a cent
            least, most = least - 1, most + 1
    return cents / 100


def _until(spread: Callable[[float], Floats], total: float, above: float) -> Floats:
    """The member of a growing family of splits whose sum is the total, or its largest."""
    below = 0.0
    for _ in range(200):
        if float(np.sum(spread(above))) >= total:
            break
        above *= 2
    while below < (middle := (below + above) / 2) < above:
        below, above = (middle, above) if float(np.sum(spread(middle))) < total else (below, middle)
    return spread(above)


def check_money(today: pd.Series, total: float, what: str) -> None:
    """Refuse money that is missing, infinite or negative."""
    values = today.to_numpy(dtype=np.float64)
    if (bad := ~np.isfinite(values)).any():
        raise InputError(f"{what} of {today.index[int(np.argmax(bad))]} is missing or infinite", fix="give an amount, 0 if none")
    if (bad := values < 0).any():
        name = today.index[int(np.argmax(bad))]
        raise InputError(f"{what} of {name} is negative ({values.min():,.2f})", fix="give amounts from 0")
    if not np.isfinite(total) or total < 0.01:
        raise InputError(f"a total of {total} cannot be split", fix="give an amount of at least a cent")


def check_limits(
    names: Sequence[str], floors: Mapping[str, float], ceilings: Mapping[str, float], locked: Collection[str], limits_in: Unit
) -> None:
    """Refuse limits of unknown channels, or that are no numbers from 0."""
    if isinstance(locked, str):
        raise InputError(f"locked channels come as a collection, not as {locked!r}", fix=f"write locked=({locked!r},)")
    if limits_in not in ("share", "money"):
        raise InputError(f"limits in {limits_in!r} are not known", fix="use 'share' or 'money'")
    if unknown := ({*floors} | {*ceilings} | {*locked}) - {*names}:
        raise InputError(f"no response curve or spend for {', '.join(sorted(map(str, unknown)))}")
    for kind, told in (("floor", floors), ("ceiling", ceilings)):
        for name, value in told.items():
            if not np.isfinite(value) or value < 0:
                raise InputError(f"the {kind} of {name} is {value}", fix="give a number from 0")
            if limits_in == "share" and value > (1 + 1e-9 if kind == "floor" else NO_SHARE):
                raise InputError(f"the {kind} of {name}, {value:,g}, is no share", fix="for money say limits_in='money'")


def _check_locks(names: Sequence[str], still: NDArray[np.bool_], money: Floats, low: Floats, high: Floats, reach: Floats) -> None:
    for k in map(int, np.flatnonzero(still)):
        if money[k] > reach[k] + 0.005:
            told = f"{names[k]} is locked at {money[k]:,.0f} and its curve reaches up to {reach[k]:,.0f}"
            raise CannotTell(told, fix="unlock it, or draw its curve further")
        if not low[k] - 0.005 <= money[k] <= high[k] + 0.005:
            raise Infeasible(
                f"locked at {money[k]:,.2f}, outside its limits", rules=(names[k],), fix="unlock it or drop its limit"
            )
