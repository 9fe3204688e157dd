"""Reach without double counting: whom to hire so that the most different people are reached for the money.

Budgeted maximum coverage (Khuller, Moss and Naor 1999): lazy greedy by people per unit of money, by people alone where only so many may be
hired, and guided by the linear program; the best single influencer; then swaps. An upper bound says how far any plan could be above
(`reach_bound`). Audiences may be complete or coordinated samples (table `audience_samples`): then reach, bound and lines are estimates, and
what choosing flattered is taken off.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (plotly and numba have no types)
from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from liftwise.core.errors import Infeasible, InputError
from liftwise.decisions.reach import kernels
from liftwise.decisions.reach.audiences import Audiences
from liftwise.decisions.reach.bound import Floats, Ints, Terms, bound

if TYPE_CHECKING:
    import plotly.graph_objects as go

STEPS, WORK = (12, 60), 5e8  # steps of the bound: fewest and most, and audience entries that all together may look at
ENUMERATED = 2e7  # audience entries that trying every first influencer may look at
GUIDE = 0.3  # how much the linear program's choice counts in the guided greedy
TRIED = 8  # plans in which swaps are tried, where there are few influencers
EFFORT = 0.3  # audience entries that swaps may look at, per entry there is


@dataclass(frozen=True)
class PlanReach:
    """What a set of influencers reaches, line by line.

    lines : influencer_id, audience, adds (people beyond those of the lines above), lost_without (people nobody else of the plan reaches).
    reach : different people. summed : Σ audience. standard_error : of `reach`, 0 where audiences are complete.
    """

    lines: pd.DataFrame
    reach: float
    summed: float
    standard_error: float

    @property
    def double_counting(self) -> float:
        """By how much adding up audiences overstates the reach."""
        return self.summed / self.reach if self.reach else 1.0

    def to_frame(self) -> pd.DataFrame:
        """The lines."""
        return self.lines

    def summary(self) -> str:
        """For a manager."""
        error = f" (± {1.96 * self.standard_error:,.0f})" if self.standard_error else ""
        return (
            f"{len(self.lines)} influencers reach {self.reach:,.0f}{error} different people; adding up their audiences "
            f"would say {self.summed:,.0f}, {self.double_counting:.2f} times as many."
        )

    def plot(self) -> go.Figure:
        """New and already reached people of each line."""
        import plotly.graph_objects as go

        figure = go.Figure()
        figure.add_bar(x=self.lines["influencer_id"], y=self.lines["adds"], name="new people")
        again = (self.lines["audience"] - self.lines["adds"]).clip(lower=0)
        figure.add_bar(x=self.lines["influencer_id"], y=again, name="reached already", opacity=0.4)
        return figure.update_layout(template="plotly_white", barmode="stack", yaxis_title="people")


@dataclass(frozen=True)
class Reach:
    """A plan of most reach and its proof.

    plan : lines with price; cost : their sum.  bound : no plan reaches more; gap : (bound − reach) / bound.
    flattered : people taken off `reach` because the sample that chose the plan also counted it (0 where audiences are complete).
    Where audiences are sampled the bound is an estimate too (biased upwards, if at all).
    """

    plan: PlanReach
    budget: float
    cost: float
    bound: float
    flattered: float = 0.0

    @property
    def chosen(self) -> tuple[str, ...]:
        """Influencers, in the order of hiring."""
        return tuple(self.plan.lines["influencer_id"])

    @property
    def reach(self) -> float:
        """Different people."""
        return self.plan.reach - self.flattered

    @property
    def standard_error(self) -> float:
        """Of `reach`, from sampling people."""
        return self.plan.standard_error

    @property
    def gap(self) -> float:
        """How far any plan could lie above this one."""
        return max(0.0, self.bound - self.reach) / self.bound if self.bound > 0 else 0.0

    def to_frame(self) -> pd.DataFrame:
        """The lines, with price."""
        return self.plan.lines

    def summary(self) -> str:
        """For a manager."""
        error = f" (± {1.96 * self.standard_error:,.0f})" if self.standard_error else ""
        told = "estimated" if self.standard_error else "proven"
        return (
            f"{len(self.chosen)} influencers for {self.cost:,.0f} of {self.budget:,.0f} reach {self.reach:,.0f}{error} different people, "
            f"{told} to be within {self.gap:.1%} of the most possible; adding up audiences would overstate it {self.plan.double_counting:.2f} times."
        )

    def plot(self) -> go.Figure:
        """People reached as money is spent line by line."""
        import plotly.graph_objects as go

        lines = self.plan.lines
        figure = go.Figure(
            go.Scatter(x=lines["price"].cumsum(), y=lines["adds"].cumsum(), text=lines["influencer_id"], name="different people")
        )
        figure.add_scatter(x=lines["price"].cumsum(), y=lines["audience"].cumsum(), name="audiences added up", line_dash="dot")
        figure.add_hline(y=self.bound, line_dash="dash", annotation_text="no plan reaches more")
        return figure.update_layout(template="plotly_white", xaxis_title="money", yaxis_title="people")


def reach_of(audiences: Audiences, chosen: Sequence[str]) -> PlanReach:
    """Different people reached by `chosen`, and what each adds.

    Raises
    ------
    InputError
        An influencer without audience, or named twice.
    """
    codes = audiences.codes(chosen, "chosen")
    if len(set(codes.tolist())) < len(codes):
        raise InputError("an influencer is named twice", where="chosen")
    held, adds = _held(audiences), list[float]()
    for code in codes:
        adds.append(float(kernels.gain(audiences.starts, audiences.people, audiences.seen, held, code)))
        kernels.hold(audiences.starts, audiences.people, audiences.seen, held, code)
    audience = audiences.audience[codes]
    lines = pd.DataFrame(
        {"influencer_id": list(chosen), "audience": audience, "adds": adds, "lost_without": _lost(audiences, codes, sum(adds))}
    )
    share = held[held > 0].astype(np.float64)
    error = float(np.sqrt(((1 - share) / share**2).sum())) if audiences.sampled else 0.0
    return PlanReach(lines, float(sum(adds)), float(audience.sum()), error)


def _held(audiences: Audiences) -> NDArray[np.float64] | NDArray[np.uint8]:
    """Nobody reached yet; one byte a person where everybody was seen."""
    return np.zeros(audiences.size, np.float64) if audiences.sampled else np.zeros(audiences.size, np.uint8)


def _lost(audiences: Audiences, codes: Ints, total: float) -> list[float]:
    starts, people = audiences.starts, audiences.people
    if audiences.even:
        times = kernels.times_reached(starts, people, audiences.size, codes)
        return [float(kernels.alone(starts, people, times, code, 1) / audiences.seen[code]) for code in codes]
    lost = list[float]()
    for code in codes:
        held, rest = _held(audiences), 0.0
        for other in codes[codes != code]:
            rest += kernels.gain(starts, people, audiences.seen, held, other)
            kernels.hold(starts, people, audiences.seen, held, other)
        lost.append(total - rest)
    return lost


def maximise_reach(
    audiences: Audiences,
    prices: Mapping[str, float] | pd.Series,
    budget: float,
    *,
    at_most: int | None = None,
    must: Collection[str] = (),
    forbid: Collection[str] = (),
) -> Reach:
    """The influencers who together reach the most different people within `budget`.

    Parameters
    ----------
    prices : influencer → money ≥ 0, for all of `audiences` but those forbidden.
    at_most : how many may be hired, `must` included.

    Raises
    ------
    InputError
        A price that is missing, negative or not finite; an unknown name.
    Infeasible
        `must` breaks the budget, `at_most` or `forbid`; or nobody can be paid.
    """
    price = _prices(audiences, prices, forbid)
    required = audiences.codes(list(dict.fromkeys(must)), "must")
    barred = audiences.codes(list(dict.fromkeys(forbid)), "forbid")
    places = len(price) if at_most is None else at_most
    _refuse(price, budget, places, required, barred, set(must) & set(forbid))
    may = np.ones(len(price), np.bool_)
    may[barred] = may[required] = False
    search = _Search(audiences, price, budget, places, required, may)
    chosen, limit = search.run()
    plan = reach_of(audiences, [audiences.names[code] for code in chosen])
    plan.lines.insert(1, "price", price[chosen])
    flattered = _flattered(search) if audiences.sampled else 0.0
    return Reach(plan, budget, float(price[chosen].sum()), max(limit, plan.reach - flattered), flattered)


def _prices(audiences: Audiences, prices: Mapping[str, float] | pd.Series, forbid: Collection[str]) -> Floats:
    told = pd.Series(prices, dtype=np.float64).reindex(list(audiences.names)).to_numpy(dtype=np.float64).copy()
    barred = np.isin(np.array(audiences.names, dtype=object), list(forbid))
    wrong = np.flatnonzero(~(np.isfinite(told) & (told >= 0)) & ~barred)
    if len(wrong):
        raise InputError(
            f"{audiences.names[wrong[0]]} has no price ≥ 0", where="prices", fix="give one, or forbid the influencer"
        )
    return np.where(barred, 0.0, told)


def _refuse(price: Floats, budget: float, places: int, required: Ints, barred: Ints, both: set[str]) -> None:
    if not (np.isfinite(budget) and budget >= 0):
        raise InputError(f"{budget} is not an amount of money", where="budget")
    if both:
        raise Infeasible(f"{sorted(both)[0]} is both required and forbidden", rules=("must", "forbid"))
    if price[required].sum() > budget * (1 + 1e-12):
        raise Infeasible(f"those required cost {price[required].sum():,.2f} of {budget:,.2f}", rules=("must", "budget"))
    if len(required) > places or places < 1:
        raise Infeasible(f"{len(required)} are required and {places} may be hired", rules=("must", "at_most"))
    free = np.delete(price, np.concatenate([required, barred]))
    if not len(required) and (not len(free) or free.min() > budget):
        raise Infeasible("nobody may be hired at that price", rules=("budget",), fix="raise the budget or forbid fewer")


@dataclass(frozen=True)
class _Search:
    """One problem: audiences, prices, money, places, whom to take in any case and who may be taken beside."""

    audiences: Audiences
    price: Floats
    budget: float
    places: int
    required: Ints
    may: NDArray[np.bool_]

    @property
    def divisor(self) -> Floats:
        """Prices, never 0: what is free comes first."""
        paid = self.price[self.price > 0]
        return np.maximum(self.price, 1e-6 * float(paid.min()) if len(paid) else 1.0)

    @property
    def money(self) -> float:
        """What is left for those not required."""
        return self.budget - float(self.price[self.required].sum()) + 1e-9 * self.budget

    def run(self) -> tuple[Ints, float]:
        """The plan (codes, in order of hiring) and an upper bound of any plan's reach."""
        plans = [self.greedy(self.divisor)]
        if self.places < len(self.price):
            plans += [self.greedy(self.divisor**power) for power in (0.0, 0.5)]
        limit, taken = self.bound(max(plans, key=lambda plan: plan[1])[0])
        plans += [self.greedy(self.divisor / (0.02 + taken) ** GUIDE)]
        plans += [self.greedy(self.divisor, first) for first in self._firsts(max(reached for _, reached in plans))]
        different = {tuple(sorted(plan.tolist())): (plan, reached) for plan, reached in plans}
        plans = sorted(different.values(), key=lambda plan: -plan[1])
        if self.audiences.even:  # swap in the best, or the best few where that costs little
            few = TRIED if len(self.audiences.people) * len(self.price) <= ENUMERATED else 1
            plans = [self._swapped(plan) for plan, _ in plans[:few]]
        return max(plans, key=lambda plan: plan[1])[0], limit

    def greedy(self, divisor: Floats, first: Sequence[int] = ()) -> tuple[Ints, float]:
        """Those required, `first`, then the best by gain / divisor; and the people reached."""
        a = self.audiences
        begun = np.concatenate([self.required, np.array(first, dtype=np.int64)])
        held, gains, reached = _held(a), np.where(self.may, a.audience, -1.0), 0.0
        for code in begun:
            reached += float(kernels.gain(a.starts, a.people, a.seen, held, code))
            kernels.hold(a.starts, a.people, a.seen, held, code)
        gains[begun] = -1.0
        left = self.money - float(self.price[begun[len(self.required) :]].sum())
        taken, added = kernels.greedy(
            a.starts, a.people, a.seen, held, gains, divisor, self.price, left, self.places - len(begun)
        )
        return np.concatenate([begun, taken]), reached + float(added.sum())

    def _firsts(self, reached: float) -> list[tuple[int, ...]]:
        """Whom to begin with: each in turn where there are few, and in pairs where very few, else a giant that alone reaches half as much."""
        if len(self.required) >= self.places:
            return []
        able = np.flatnonzero(self.may & (self.price <= self.money))
        if len(able) * len(self.audiences.people) > ENUMERATED:
            giant = able[self.audiences.audience[able] > reached / 2]
            return [(int(code),) for code in giant[np.argsort(-self.audiences.audience[giant], kind="stable")][:3]]
        pairs = (
            combinations(able.tolist(), 2)
            if len(able) ** 2 * len(self.audiences.people) <= ENUMERATED and len(self.required) + 2 <= self.places
            else ()
        )
        return [(code,) for code in able.tolist()] + [pair for pair in pairs if self.price[list(pair)].sum() <= self.money]

    def _swapped(self, plan: Ints) -> tuple[Ints, float]:
        """One for another wherever that reaches more, then whoever can still be paid; those required stay."""
        a, plan = self.audiences, plan.copy()
        times = kernels.times_reached(a.starts, a.people, a.size, plan)
        gains = np.array(
            [kernels.alone(a.starts, a.people, times, i, 0) if self.may[i] else -1 for i in range(len(self.price))], np.float64
        )
        gains[plan] = -1.0
        left = self.money + float(self.price[self.required].sum()) - float(self.price[plan].sum())
        fixed = np.arange(len(plan)) < len(self.required)
        kernels.swap(a.starts, a.people, times, plan, fixed, self.price, left, gains, int(EFFORT * len(a.people)) + 10_000)
        return self.greedy(self.divisor, plan[len(self.required) :].tolist())

    def bound(self, start: Ints) -> tuple[float, Floats]:
        """Of the people any plan reaches; and how often the linear program takes each influencer."""
        a = self.audiences
        share = float(a.seen.min())
        if not a.even:  # the people seen in every sample: each stands for 1 / share
            assert a.position is not None
            a = a.only(a.position < share)
        held = kernels.times_reached(a.starts, a.people, a.size, self.required) > 0
        rest = a.only(~held) if held.any() else a
        open_ = np.flatnonzero(self.may)
        price = self.divisor[open_]
        given = float((price - self.price[open_]).sum())  # so that what is free costs nothing here either
        terms = Terms(open_, price, self.money + given, self.places - len(self.required))
        steps = int(np.clip(WORK / max(len(rest.people), 1), *STEPS))
        limit, often = bound(rest.rows, terms, start[len(self.required) :], steps)
        taken = np.zeros(len(self.price))
        taken[open_] = often
        return (limit + float(held.sum())) / share, taken


def _flattered(search: _Search) -> float:
    """How much a plan chosen by half of the sampled people looks better there than in the other half; half of it for the whole.

    The luck that a choice picks up is in its error's square, so it halves as the sample doubles.
    """
    gaps = list[float]()
    halves = [np.arange(search.audiences.size) % 2 == part for part in (0, 1)]
    sides = [search.audiences.only(half, 0.5) for half in halves]
    for one, other in (sides, sides[::-1]):
        half = _Search(one, search.price, search.budget, search.places, search.required, search.may)
        chosen, reached = half.greedy(half.divisor)
        gaps.append(reached - reach_of(other, [other.names[code] for code in chosen]).reach)
    return max(0.0, float(np.mean(gaps)) / 2)
