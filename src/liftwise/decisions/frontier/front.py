"""Plans between which only taste can choose: the Pareto front of return, brand equity, reach, risk.

Method: the exact engine gives plans and bounds at several weights of the objectives (`supports`); local search and a genetic search fill what lies between
(`evolve`), and integer programs look into the widest gaps. How much of what is possible at all the front covers is said by its hypervolume
against the bounds. Small problems are solved exactly: a knapsack by dynamic programming (`fronts`), others box by box.

ROI is total return over total cost of the plan, never a sum of ratios. Without more, one cheap post would be the best ROI there is, so a
plan that is judged by ROI must spend at least `least_spend` of the budget (half of it unless told otherwise).
"""

# pyright: basic
# (plotly and the search's kernels have no types)
from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from liftwise.core.errors import CannotTell, Infeasible, InputError
from liftwise.core.timegrid import TimeGrid
from liftwise.decisions.frontier.aims import Aims
from liftwise.decisions.frontier.fronts import hypervolume, knee, nondominated, thinned
from liftwise.decisions.frontier.objectives import read_objectives
from liftwise.decisions.frontier.search import Market
from liftwise.decisions.frontier.supports import Prober, bound_volume, ceiling, tops
from liftwise.decisions.selection import readings
from liftwise.decisions.selection.candidates import Candidates
from liftwise.decisions.selection.choose import DEFAULT
from liftwise.decisions.selection.cutting import asks_for_reach
from liftwise.decisions.selection.engine import compiled, refuse_impossible
from liftwise.decisions.selection.rules import Block
from liftwise.decisions.selection.sifting import sift

if TYPE_CHECKING:
    import plotly.graph_objects as go

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
FIRST = {
    "roi": "return first",
    "revenue": "return first",
    "brand_equity": "brand first",
    "risk": "safety first",
    "cost": "thrift first",
}
CENTS = 1e-6


@dataclass(frozen=True)
class SpendingFloor:
    """A plan costs at least `at_least`."""

    at_least: float

    def blocks(self, these: Candidates) -> list[Block]:
        """One row."""
        one = np.zeros(1, dtype=np.int32)
        return [Block("spending floor", ["total"], "all", one, np.array([self.at_least]), np.array([np.inf]), times="price")]


@dataclass(frozen=True)
class Frontier:
    """Plans that no plan found is better than in every objective.

    points : point, plan_id, the objectives, cost, posts, name; by falling first objective (risk and cost: rising).
    plans : the lines of each, as in table `plans`.
    bound : the objectives; with two of them no plan lies beyond this line, with more the linear programs' answers. Empty where `exact`.
    hypervolume : in the objectives' units, with the worst of each objective on the front as reference; `hypervolume_bound`: as a share of what no front
    can exceed (1 where exact).
    knee : the point furthest above the plane through the best of each objective.  named : three or more names → point.
    exact : proven to hold every non-dominated point.  note : what could not be done.
    """

    objectives: tuple[str, ...]
    points: pd.DataFrame
    plans: pd.DataFrame
    bound: pd.DataFrame
    hypervolume: float
    hypervolume_bound: float
    knee: int
    named: dict[str, int]
    exact: bool
    budget: float
    note: str = ""
    engine: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def frontier_id(self) -> str:
        """Of its plans."""
        return _digest(self.points["plan_id"])

    def to_frame(self) -> pd.DataFrame:
        """Table `frontier`."""
        long = self.points.melt("plan_id", list(self.objectives), "objective", "value")
        return long.assign(frontier_id=self.frontier_id)[["frontier_id", "plan_id", "objective", "value"]]

    def plan(self, which: str | int) -> pd.DataFrame:
        """The lines of a point, by its number or name."""
        point = self.named.get(which, -1) if isinstance(which, str) else which
        mine = self.points.loc[self.points["point"] == point, "plan_id"]
        if mine.empty:
            raise InputError(
                f"no plan {which!r}",
                where="frontier",
                fix=f"choose {', '.join(self.named)} or a point from 1 to {len(self.points)}",
            )
        return self.plans[self.plans["plan_id"] == mine.item()].reset_index(drop=True)

    def summary(self) -> str:
        """For a manager."""
        rows = self.points.set_index("point")
        told = "; ".join(
            f"{name}: " + ", ".join(f"{o.replace('_', ' ')} {rows.loc[k, o]:,.4g}" for o in self.objectives) + f" for {rows.loc[k, 'cost']:,.0f}"
            for name, k in self.named.items()
        )  # fmt: skip
        covers = (
            "They are all there are" if self.exact else f"They cover {self.hypervolume_bound:.1%} of what no plans can exceed"
        )
        return f"{len(rows)} plans within {self.budget:,.0f}. {told}. {covers}.{' ' + self.note if self.note else ''}"

    def plot(self) -> go.Figure:
        """First against second objective, with the bound and the named plans."""
        import plotly.graph_objects as go

        one, two = self.objectives[:2]
        colour = (
            {"color": self.points[self.objectives[2]], "colorbar": {"title": self.objectives[2]}}
            if len(self.objectives) > 2
            else {}
        )
        figure = go.Figure(go.Scatter(x=self.points[one], y=self.points[two], mode="markers", name="plans", marker={"size": 6, **colour},
                                      text=[f"point {k}" for k in self.points["point"]]))  # fmt: skip
        if len(self.bound) and len(self.objectives) == 2:
            figure.add_scatter(
                x=self.bound[one], y=self.bound[two], mode="lines", name="no plan lies beyond", line={"dash": "dot"}
            )
        chosen = self.points.set_index("point").loc[list(self.named.values())]
        figure.add_scatter(x=chosen[one], y=chosen[two], mode="markers+text", text=list(self.named), textposition="top right",
                           marker={"size": 11, "symbol": "diamond"}, showlegend=False)  # fmt: skip
        return figure.update_layout(template="plotly_white", xaxis_title=one.replace("_", " "), yaxis_title=two.replace("_", " "))


def frontier(
    effectiveness: pd.DataFrame,
    *,
    objectives: Sequence[str] = ("roi", "brand_equity"),
    budget: float,
    influencers: pd.DataFrame | None = None,
    events: pd.DataFrame | None = None,
    audiences: pd.DataFrame | None = None,
    rules: Sequence[Any] | None = None,
    risk_aversion: float = 0.5,
    least_spend: float | None = None,
    seconds: float = 30.0,
    points: int | None = None,
    seed: int = 0,
    exact: bool | None = None,
    grid: TimeGrid | None = None,
) -> Frontier:
    """The front of plans within `budget` under `rules` (default: three posts an influencer, one a week).

    Parameters
    ----------
    effectiveness : table of that name.
    objectives : metrics of the table, each as Σ (f − ρσ); ``"roi"``: Σ (revenue − ρσ) / Σ cost; ``"reach"``: Σ followers of the posts' influencers, counted
    once a post (or a column of that name); ``"risk"``: Σ σ of revenue (else of the first metric), ``"cost"``: both the less the better; any numeric column.
    risk_aversion : ρ ≥ 0.
    least_spend : share of the budget a plan must spend; default 0.5 with ROI among the objectives, else 0.
    seconds : how long to look for more and better plans (the first time on a machine, kernels are compiled before that); with the same seed and enough time the same answer.
    points : keep at most so many points, those that cover most.
    exact : every non-dominated point, proven (two objectives); None: where that is quick.

    Raises
    ------
    CannotTell
        No prediction of a metric.
    InputError
        A number that is none, a negative price, an unknown objective or id, a mix of currencies; `exact` for what is too large.
    Infeasible
        No plan can keep the rules (the spending floor is one); those in conflict are named.
    """
    until = time.monotonic() + seconds
    names = _checked(objectives, budget, risk_aversion, seconds, points)
    least = (0.5 if "roi" in names else 0.0) if least_spend is None else least_spend
    if not (0 <= least <= 1 and (least > 0 or "roi" not in names)):
        raise InputError(f"a least spend of {least:g}", where="frontier", fix="give a share of the budget above 0 and at most 1")
    given = [*(DEFAULT if rules is None else rules), *([SpendingFloor(least * budget)] if least > 0 else [])]
    if asks_for_reach(given):  # its rows alone are a relaxation: points would fall short of it
        raise CannotTell("a front of plans does not know the rule Reach", fix="leave it out here, or make one plan with select")
    everyone, gain, sense = read_objectives(effectiveness, names, given, risk_aversion, influencers, events, audiences, grid)
    these, program = compiled(everyone, budget, given)
    aims = Aims(gain[these.position], these.price, names.index("roi") if "roi" in names else -1, least * budget, budget)
    if exact and len(names) != 2:
        raise InputError("an exact front is for two objectives", where="frontier", fix="leave exact out")
    if not len(these):
        refuse_impossible(program, sift(program, seconds))
        raise CannotTell("no way to post fits the budget and the rules", fix="raise the budget or relax a rule")
    market = Market(these, program, aims, until, seconds, seed)
    chosen, prober, proven, note = market.solved(exact)
    return _described(market, names, sense, budget, chosen, prober, proven, note, points)


def _checked(
    objectives: Sequence[str], budget: float, risk_aversion: float, seconds: float, points: int | None
) -> tuple[str, ...]:
    names = tuple(objectives)
    if isinstance(objectives, str) or len(names) < 2 or len(set(names)) < len(names):
        raise InputError(f"objectives {objectives!r}", where="frontier", fix="name two or more different ones")
    if not risk_aversion >= 0 or not 0 < budget < np.inf:
        raise InputError("a budget must be positive and risk aversion not negative")
    if not seconds > 0 or (points is not None and points < 2):
        raise InputError("a front needs some seconds and at least two points", where="frontier")
    return names


def _described(
    market: Market, names: tuple[str, ...], sense: Floats, budget: float, chosen: list[Ints], prober: Prober | None, proven: bool, note: str,
    most: int | None,
) -> Frontier:  # fmt: skip
    """Points, lines, bound and names of the plans that no other dominates."""
    if not chosen and proven:
        raise Infeasible("no plan keeps the rules with whole posts", fix="relax a rule")
    if not chosen:
        raise CannotTell("no plan was found in the time given", fix="give more seconds or relax a rule")
    aims = market.aims
    z = np.array([aims.values(plan) for plan in chosen])
    best = np.flatnonzero(nondominated(z))
    complete = z[best] if proven else None
    if most is not None and len(best) > most:
        best, proven = best[thinned(z[best], most)], False
    best = best[np.lexsort(-z[best].T[::-1])]
    z, plans = z[best], [np.sort(chosen[k]) for k in best]
    reference = z.min(axis=0)
    volume = hypervolume(z, reference)
    if complete is not None or prober is None:
        room, bound = hypervolume(z if complete is None else complete, reference), pd.DataFrame(columns=list(names))
    else:
        room, bound = bound_volume(aims, prober.supports, reference, market.seed), _line(aims, prober, reference, names, sense)
    ends, middle = z.argmax(axis=0), knee(z)
    named = dict[str, int]()
    for k, name in enumerate(names):
        word = FIRST.get(name, f"{name} first")
        named[f"{name} first" if word in named else word] = int(ends[k]) + 1
        if k == 0:
            named["balanced"] = middle + 1
    lines, place = _lines(market, names, plans)
    keys = lines[readings.KEYS].astype("str")
    keys = (
        keys["influencer_id"] + "|" + keys["content_type"] + "|" + keys["event_id"] + "|" + keys["days_from_event"]
    ).to_numpy()
    ids = [_digest(keys[at]) for at in place]
    shown = {point: name for name, point in named.items()}
    table: dict[str, Any] = {"point": np.arange(1, len(z) + 1), "plan_id": ids}
    table |= {name: sense[k] * z[:, k] for k, name in enumerate(names)}
    table |= {"cost": [float(aims.cost[plan].sum()) for plan in plans], "posts": [len(plan) for plan in plans]}
    frame = pd.DataFrame({**table, "name": [shown.get(k, "") for k in range(1, len(z) + 1)]})
    every = lines.iloc[np.concatenate(place)].reset_index(drop=True)
    every.insert(0, "plan_id", np.repeat(np.array(ids, dtype=object), [len(at) for at in place]))
    return Frontier(names, frame, every, bound, volume, min(volume / room, 1.0) if room > 0 else 1.0, middle + 1, named, proven, float(budget), note,
                    {"these": market.these, "program": market.program, "aims": aims, "plans": plans, "prober": prober})  # fmt: skip


def _line(aims: Aims, prober: Prober, reference: Floats, names: tuple[str, ...], sense: Floats) -> pd.DataFrame:
    """Two objectives: the bound as a line; more: the linear programs' answers."""
    if aims.count > 2:
        found = np.array([support.point for support in prober.supports])
        return pd.DataFrame(found[nondominated(found)] * sense, columns=list(names))
    top = tops(aims, prober.supports)
    first = np.linspace(reference[0], max(top[0], reference[0]), 201)
    second = np.minimum(ceiling(aims, prober.supports, first), top[1])
    return pd.DataFrame({names[0]: sense[0] * first, names[1]: sense[1] * second})


def _lines(market: Market, names: tuple[str, ...], plans: list[Ints]) -> tuple[pd.DataFrame, list[Ints]]:
    """Every line of some plan, with how many of the front's plans it is in; and the lines of each plan by their place among these."""
    these, times = market.these, np.bincount(np.concatenate(plans), minlength=len(market.these))
    used = np.flatnonzero(times)
    rows = these.frame.iloc[these.position[used]]
    per = market.aims.gain[used] / np.maximum(these.price[used], CENTS)[:, None]
    told = [
        ", ".join(
            f"{abs(x):,.3g} {name.replace('_', ' ') if name != 'roi' else 'return'}" for x, name in zip(row, names, strict=True)
        )
        for row in per
    ]
    table = pd.DataFrame({
        "influencer_id": rows["influencer_id"].astype("str").to_numpy(), "content_type": rows["content_type"].astype("str").to_numpy(),
        "event_id": rows["event_id"].astype("str").to_numpy(), "days_from_event": rows["days_from_event"].to_numpy(dtype=np.float64),
        "week": these.week.labels[these.week.codes[used]], "budget": these.price[used],
        "predicted": rows["predicted"].to_numpy(dtype=np.float64), "uncertainty": rows["uncertainty"].to_numpy(dtype=np.float64),
        "why": [f"per unit of money: {words}; in {times[j]} of {len(plans)} plans" for words, j in zip(told, used, strict=True)],
    })  # fmt: skip
    return table, [np.searchsorted(used, plan) for plan in plans]


def _digest(words: Any) -> str:
    return hashlib.blake2b("\n".join(words).encode(), digest_size=8).hexdigest()
