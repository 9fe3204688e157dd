"""What would have happened had more or less been spent? Asked of any fitted mix, over the weeks it knows.

Weeks are answered with their own carry-over, so a change near the end shows only what had arrived by then. Where spend carried over
would have been larger than all that was ever seen, the answer rests on the curve's form and not on data: the share of such weeks is
told, and above `FEW` of them the answer is called extrapolated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from liftwise.core.errors import InputError
from liftwise.core.uncertainty import Floats
from liftwise.models.mix.learned import FEW
from liftwise.models.mix.readings import Readings, interval

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from liftwise.models.mix.learned import Curves

FACTORS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)


@dataclass(frozen=True, eq=False)
class WhatIf:
    """table : a row a channel, then synergy (where there is any) and total; see `Counterfactuals.what_if`. periods : it is about."""

    table: pd.DataFrame
    periods: int

    def to_frame(self) -> pd.DataFrame:
        """The table."""
        return self.table

    @property
    def moved(self) -> pd.DataFrame:
        """Rows that a reader wants: what was changed, what changed with it, and the total."""
        total = self.table["channel"] == "total"
        return self.table[
            total | (self.table["factor"] != 1) & self.table["factor"].notna() | (self.table["change"].abs() > 1e-6)
        ]

    def summary(self) -> str:
        """For a manager."""
        total, moved = self.table.iloc[-1], self.table[self.table["factor"].notna() & (self.table["factor"] != 1)]
        if moved.empty:
            return "Nothing is changed, so nothing changes."
        told = ", ".join(f"{row.channel} at {row.factor:g} times its spend" for row in moved.itertuples())
        way = "more" if total["change"] >= 0 else "less"
        ends = (
            sorted((abs(total["low"]), abs(total["high"]))) if total["low"] * total["high"] > 0 else (total["low"], total["high"])
        )
        said = (
            f"With {told} over these {self.periods} periods, revenue would have been {abs(total['change']):,.0f} {way} "
            f"(90 %: {ends[0]:,.0f} to {ends[1]:,.0f}) for {abs(total['spend']):,.0f} {'more' if total['spend'] >= 0 else 'less'} spent"
        )
        said += f": {total['change'] / total['spend']:.2f} for each 1." if abs(total["spend"]) > 0 else "."
        for row in moved[moved["extrapolated"]].itertuples():
            said += f" In {row.beyond:.0%} of the weeks {row.channel} would have been beyond all spend seen: take that part as a guess."
        return said

    def plot(self) -> go.Figure:
        """Change by channel, with its interval."""
        from liftwise.models.mix.plots import bars

        shown = self.moved
        return bars(shown["channel"], shown["change"], shown["low"], shown["high"], "Change of revenue")


class Counterfactuals(Readings):
    """Questions of what was not."""

    def simulate(self, multipliers: dict[str, float]) -> pd.DataFrame:
        """What if spend had been multiplied? A row a channel, and one for synergy where there is any.

        channel, factor, spend (change of money over all periods), change of revenue with its 90 % interval (low, high), beyond (share of
        weeks in which spend carried over would have been above all seen), extrapolated (beyond more than `FEW`).

        Raises
        ------
        InputError
            With a channel that is not in the mix, or a negative multiplier.
        """
        return self.what_if(multipliers).table.iloc[:-1]

    def what_if(self, multipliers: dict[str, float]) -> WhatIf:
        """As `simulate`, with the total."""
        names, data = self.design_.channels, self._data
        unknown = sorted(set(multipliers) - set(names))
        if unknown or not min(multipliers.values(), default=1.0) >= 0:
            raise InputError(
                f"no channel {', '.join(unknown)} in the mix" if unknown else "spend cannot be multiplied by less than 0",
                fix=f"use {', '.join(names)} with factors from 0 up",
            )
        times = np.array([multipliers.get(name, 1.0) for name in names])
        then = data.spend * times[:, None, None]

        def totals(curves: Curves, spend: Floats) -> Floats:
            own, synergy = self._effects(curves, spend)
            change = np.append(own.sum(axis=1), synergy.sum())
            return np.append(change, change.sum())

        mean = totals(self.learned_.curves, then) - totals(self.learned_.curves, data.spend)
        now = self._drawn.sum(axis=2)
        drawn = np.array([totals(curves, then) for curves in self.curves_]) - np.column_stack([now, now.sum(axis=1)])
        low, high = interval(drawn, mean)
        money = np.array([self.design_.spend[name].sum() for name in names]) * (times - 1)
        beyond = self._beyond(then)
        out = pd.DataFrame({"channel": [*names, "synergy", "total"], "factor": [*times, np.nan, np.nan],
                            "spend": [*money, 0.0, money.sum()], "change": mean, "low": low, "high": high,
                            "beyond": [*beyond, 0.0, beyond.max()], "extrapolated": [*(beyond > FEW), False, bool((beyond > FEW).any())]})  # fmt: skip
        together = self._drawn[:, -1].any() or self._effects(self.learned_.curves, data.spend)[1].any()
        return WhatIf(out if together else out[out["channel"] != "synergy"].reset_index(drop=True), data.shape[1])

    def _beyond(self, spend: Floats) -> Floats:
        """Share of weeks (and regions) in which each channel's `spend`, carried over, is larger than all seen, (channels,)."""
        then, seen = (self.learned_.curves.carried(x) for x in (spend, self._data.spend))
        largest = seen.max(axis=(2, 3), keepdims=True)
        return (then > largest * (1 + 1e-9)).mean(axis=(1, 2, 3))

    def partial_dependence(self, channels: Sequence[str] | None = None, factors: Sequence[float] = FACTORS) -> pd.DataFrame:
        """Table `partial_dependence`: revenue over all weeks had one channel got `factor` times its spend, the others as they were.

        model, channel, factor, spend (money over all weeks), revenue (predicted over all weeks), change of it against what was, with its
        90 % interval (low, high), beyond (as in `simulate`).
        """
        names = self.design_.channels if channels is None else tuple(channels)
        unknown = sorted(set(names) - set(self.design_.channels))
        if unknown or not min(factors, default=1.0) >= 0:
            raise InputError(f"no channel {', '.join(unknown)} in the mix" if unknown else "a factor below 0",
                             fix=f"use {', '.join(self.design_.channels)} with factors from 0 up")  # fmt: skip
        chosen, fitted = [self.design_.channels.index(name) for name in names], float(self.predict()["predicted"].sum())
        mean = self._partial(self.learned_.curves, chosen, factors)
        low, high = interval(np.array([self._partial(curves, chosen, factors) for curves in self.curves_]), mean)
        beyond = np.array([self._beyond(self._data.spend * factor)[chosen] for factor in factors]).T
        money = np.array([self.design_.spend[name].sum() for name in names])[:, None] * np.asarray(factors, dtype=float)
        return pd.DataFrame({"model": self.name, "channel": np.repeat(names, len(factors)), "factor": np.tile(factors, len(names)).astype(float),
                             "spend": money.ravel(), "revenue": (fitted + mean).ravel(), "change": mean.ravel(), "low": low.ravel(),
                             "high": high.ravel(), "beyond": beyond.ravel()})  # fmt: skip

    def _partial(self, curves: Curves, chosen: list[int], factors: Sequence[float]) -> Floats:
        """Change of revenue over all weeks, (chosen, factors)."""
        now, out = curves.carried(self._data.spend), np.zeros((len(chosen), len(factors)))
        together = not curves.additive or bool(curves.synergy(now).any())
        was, as_it_was = self._by_channel(curves, now), curves.media(now)
        for j, factor in enumerate(factors):
            if factor == 1:
                continue
            then = curves.carried(self._data.spend * factor)
            if not together:
                out[:, j] = (self._by_channel(curves, then) - was)[chosen]
                continue
            for i, k in enumerate(chosen):
                mixed = now.copy()
                mixed[k] = then[k]
                out[i, j] = float(((curves.media(mixed) - as_it_was) * self._size).sum())
        return out

    def _by_channel(self, curves: Curves, carried: Floats) -> Floats:
        """Own effects over all weeks and regions, (channels,)."""
        return (curves.own(carried) * self._size).sum(axis=(1, 2))
