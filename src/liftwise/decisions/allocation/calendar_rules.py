"""What a schedule must keep: money of channels, weeks and quarters; and the best schedule within for given worths of cells.

The best schedule at fixed worths is a linear program. Without quarters it is one that filling the worthiest cells first solves exactly: the
rules nest (cells within channels within the total), so that they are a polymatroid.

References
----------
Edmonds (1970), Submodular functions, matroids, and certain polyhedra, for filling the best first.
"""

# pyright: basic
# (scipy has no types)
from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liftwise.core.errors import Infeasible
from liftwise.core.uncertainty import Floats
from liftwise.decisions.allocation.limits import Unit, check_limits, spread_as, to_cents_within


@dataclass(frozen=True, eq=False)
class Rules:
    """What a plan (weeks, channels) must keep.

    Parameters
    ----------
    money : of all weeks. least, most : (channels,) of each channel in all weeks. reach : (channels,) most of a channel in a week.
    low, high : (weeks, channels) of each cell. quarter : (weeks,) numbers of the parts of the plan whose money stays in them.
    """

    money: float
    least: Floats
    most: Floats
    reach: Floats
    low: Floats
    high: Floats
    quarter: NDArray[np.int64]

    @classmethod
    def of(
        cls, channels: list[str], reach: Floats, weeks: int, money: float, floors: Mapping[str, float], ceilings: Mapping[str, float], *,
        usual: Floats, locked: Collection[str] = (), limits_in: Unit = "share", cells: Floats | None = None,
        quarter: NDArray[np.int64] | None = None,
    ) -> Rules:  # fmt: skip
        """From limits of channels in all weeks, locks and least money of cells; no week of a channel beyond what its curve knows."""
        check_limits(channels, floors, ceilings, locked, limits_in)
        times = money if limits_in == "share" else 1.0
        low = np.zeros((weeks, len(channels))) if cells is None else cells.copy()
        high = np.tile(reach, (weeks, 1))
        still = np.array([name in locked for name in channels])
        if over := [name for k, name in enumerate(channels) if still[k] and low[:, k].max() > usual[k].round(2)]:
            raise Infeasible("a week asks for more than the locked money", rules=tuple(over), fix="unlock it, or ask for less")
        low[:, still] = high[:, still] = usual[still].round(2)
        least = np.maximum([floors.get(name, 0.0) * times for name in channels], low.sum(axis=0))
        most = np.minimum([ceilings[name] * times if name in ceilings else money for name in channels], high.sum(axis=0))
        rules = cls(money, least, most, reach, low, high, np.zeros(weeks, dtype=np.int64) if quarter is None else quarter)
        rules._refuse(channels, floors, ceilings, locked)
        return rules

    def _refuse(
        self, channels: list[str], floors: Mapping[str, float], ceilings: Mapping[str, float], locked: Collection[str]
    ) -> None:  # fmt: skip
        money, least, most = self.money, self.least, self.most
        if beyond := [name for k, name in enumerate(channels) if (self.low[:, k] > self.reach[k] + 0.005).any()]:
            raise Infeasible(
                "a week's least or locked money lies beyond what the curve knows", rules=tuple(beyond), fix="lower it"
            )
        if least.sum() > money * (1 + 1e-9):
            told = {*floors} | {*locked} | {name for k, name in enumerate(channels) if self.low[:, k].any()}
            raise Infeasible(
                f"floors ask for {least.sum() / money:.0%} of the total", rules=tuple(sorted(told)), fix="lower a floor"
            )
        if crossed := [name for name, low, high in zip(channels, least, most, strict=True) if low > high + 1e-6]:
            raise Infeasible(
                "a floor lies above its ceiling or what the curves know",
                rules=tuple(crossed),
                fix="lower the floor or raise the ceiling",
            )
        if most.sum() < money * (1 - 1e-9):
            raise Infeasible(
                f"ceilings and curves hold only {most.sum():,.0f} of {money:,.0f}",
                rules=tuple(sorted({*ceilings} | {*locked})),
                fix="raise a ceiling or plan less",
            )
        if self.apart:
            self.best(np.zeros_like(self.low))

    @property
    def apart(self) -> bool:
        """Whether money of some weeks must stay in them."""
        return bool(self.quarter.max() > 0)

    def shares(self) -> Floats:
        """(quarters,) money of each."""
        return self.money * np.bincount(self.quarter) / len(self.quarter)

    def rounded(self, plan: Floats) -> Floats:
        """To the cent, exactly the total."""
        out, owed = np.zeros_like(plan), self.money
        ends = self.shares().round(2)
        for q in range(len(ends)):
            mine = self.quarter == q
            money = ends[q] if q < len(ends) - 1 else round(owed, 2)
            owed -= money
            out[mine] = to_cents_within(plan[mine].ravel(), money, self.low[mine].ravel(), self.high[mine].ravel()).reshape(
                -1, plan.shape[1]
            )
        return out

    def as_today(self, usual: Floats) -> Floats:
        """Today's plan, `usual` (channels,) money in every week, if it keeps them; else its mix at this money, as near as they allow."""
        weeks = len(self.low)
        today = np.tile(usual, (weeks, 1))
        if self.hold(today):
            return today
        return self.near(np.tile(spread_as(usual * weeks, self.money, self.least, self.most) / weeks, (weeks, 1)))

    def held(self, plan: Floats) -> dict[str, NDArray[np.bool_]]:
        """(channels,) which of them the rules stop, by what stops them: locked, floor, ceiling, reach."""
        sums, slack = plan.sum(axis=0), 0.0101 * len(plan)
        locked = (self.low == self.high).all(axis=0)
        beyond = (plan >= self.reach - 0.0101).all(axis=0) & ~locked
        floor = (sums <= self.least + slack) & (self.least > 0) & ~locked
        ceiling = (sums >= self.most - slack) & (self.most < self.money - slack) & ~locked & ~beyond
        return {"locked": locked, "floor": floor, "ceiling": ceiling, "reach": beyond}

    def near(self, plan: Floats) -> Floats:
        """A plan within the rules that differs from this one by as little money as can be."""
        return plan if self.hold(plan) else self._program(np.zeros_like(plan), plan)

    def _program(self, worth: Floats, to: Floats | None = None) -> Floats:
        """The plan with the most Σ worth · money, less the money by which it differs from `to`."""
        from scipy.optimize import linprog
        from scipy.sparse import csr_array, eye_array, hstack, kron, vstack

        weeks, channels = worth.shape
        cells = weeks * channels
        of_quarter = csr_array(
            np.repeat(self.quarter[None] == np.arange(self.quarter.max() + 1)[:, None], channels, axis=1).astype(float)
        )
        of_channel = kron(np.ones((1, weeks)), eye_array(channels), format="csr")
        equal, right = of_quarter, self.shares()
        above, top = vstack([of_channel, -of_channel]), np.concatenate([self.most, -self.least])
        cost, bounds = (
            -worth.ravel() / max(float(np.abs(worth).max()), 1e-12),
            [*zip(self.low.ravel(), self.high.ravel(), strict=True)],
        )
        if to is not None:
            one, none = eye_array(cells), csr_array((len(right), 2 * cells))
            equal, right = vstack([hstack([equal, none]), hstack([one, -one, one])]), np.concatenate([right, to.ravel()])
            above = hstack([above, csr_array((2 * channels, 2 * cells))])
            cost, bounds = np.concatenate([cost, np.ones(2 * cells)]), bounds + [(0.0, np.inf)] * (2 * cells)
        done = linprog(cost, A_ub=above, b_ub=top, A_eq=equal, b_eq=right, bounds=bounds, method="highs")
        if done.x is None:
            raise Infeasible(
                "the money of a quarter cannot be spent in it within the limits", fix="plan quarters together, or widen a limit"
            )
        return np.clip(done.x[:cells].reshape(worth.shape), self.low, self.high)

    def best(self, worth: Floats) -> Floats:
        """The plan with the largest Σ worth · money: floors first, then the worthiest cells while there is room."""
        if self.apart:
            return self._program(worth)
        plan = self.low.copy()
        order = np.argsort(-worth, axis=0)
        for c, least in enumerate(self.least):
            need = least - plan[:, c].sum()
            for t in order[:, c]:
                step = min(max(need, 0.0), self.high[t, c] - plan[t, c])
                plan[t, c] += step
                need -= step
        rest, left = self.money - plan.sum(), self.most - plan.sum(axis=0)
        for cell in np.argsort(-worth, axis=None):
            t, c = divmod(int(cell), worth.shape[1])
            step = min(rest, left[c], self.high[t, c] - plan[t, c])
            if step > 0:
                plan[t, c] += step
                left[c] -= step
                rest -= step
        return plan

    def hold(self, plan: Floats) -> bool:
        """Whether a plan keeps them, to the cent."""
        sums, slack = plan.sum(axis=0), 0.005 * plan.size
        return bool(
            abs(plan.sum() - self.money) < slack and (sums >= self.least - slack).all() and (sums <= self.most + slack).all()
            and (plan >= self.low - 0.005).all() and (plan <= self.high + 0.01).all()
            and (np.abs(np.bincount(self.quarter, plan.sum(axis=1)) - self.shares()) < slack).all()
        )  # fmt: skip
