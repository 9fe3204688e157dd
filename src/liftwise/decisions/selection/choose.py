"""Who posts what for which event and when: seed B's problem, solved with a proven bound.

max Σ (f − ρσ) y over tuples (i, c, e, t), y ∈ {0, 1}, with Σ b ≤ B and b = p·y. As written (b ≤ p·y alone) the best plan would
pay nobody, so b is read as *paid in full*; `MinimumFee` reads it as negotiated, `literal` as it stands. Engine: of tuples that differ in
the day alone only the best in a week can matter (exact); the linear program is solved by sifting, tightened by rows that hold for whole posts;
a small tree and integer programs over the candidates that could still be in a best plan close the gap.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (plotly has no types, and numpy loses them over object arrays)
from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from liftwise.core.errors import Infeasible, InputError
from liftwise.core.timegrid import TimeGrid
from liftwise.core.uncertainty import at_most
from liftwise.decisions.selection import readings
from liftwise.decisions.selection.candidates import Candidates
from liftwise.decisions.selection.cutting import asks_for_reach, plan_that_reaches
from liftwise.decisions.selection.engine import Engine, Moved, named, refuse_impossible, repaired, within, written
from liftwise.decisions.selection.explain import binding_rules, left_out, lines_of
from liftwise.decisions.selection.integer import Found, search
from liftwise.decisions.selection.reach import Reach
from liftwise.decisions.selection.rules import Frequency, Include, MinimumFee
from liftwise.decisions.selection.sifting import sift

if TYPE_CHECKING:
    import plotly.graph_objects as go

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
SAME_EACH_DAY = ("price", "spend", "posts", "reach")  # what a rule may count that does not differ by day
DEFAULT = (Frequency(3), Frequency(1, "influencer-week"))


@dataclass(frozen=True)
class Selection:
    """A plan and its proof.

    assignments : the lines (columns of table `plans` but plan_id), with the reason of each.
    cost, value : of the plan, Σ b and Σ (f − ρσ).  bound : no plan under the rules is worth more.  gap : (bound − value) / |bound|.
    binding : rules at their limit, with what one more unit would be worth.  next_best : the best line left out, and why.
    reached : different people, and how sure that is, where a rule asks for them.
    """

    metric: str
    budget: float
    assignments: pd.DataFrame
    cost: float
    value: float
    bound: float
    gap: float
    binding: pd.DataFrame
    next_best: str
    rules: tuple[str, ...]
    warning: str = ""
    reached: str = ""
    engine: Engine | None = field(default=None, repr=False, compare=False)

    def to_frame(self) -> pd.DataFrame:
        """The lines."""
        return self.assignments

    @property
    def roi(self) -> float:
        """Total predicted over total cost (never a mean of lines' ratios); NaN where nothing is spent."""
        return float(self.assignments["predicted"].sum() / self.cost) if self.cost > 0 else float("nan")

    def plan_row(self) -> dict[str, Any]:
        """A row of table `plan_runs`, but for plan_id, made_at and state."""
        facts = {name: getattr(self, name) for name in ("metric", "budget", "cost", "value", "bound", "gap")}
        return {**facts, "rules": json.dumps(list(self.rules))}

    def replan(self, *, budget: float, seconds: float = 60.0, gap: float = 1e-4) -> Selection:
        """The best plan with another budget, beginning from this one."""
        return _again(self, budget, seconds, gap)

    def next_money(self, more: float = 0.10) -> pd.DataFrame:
        """What `more` of the budget would buy: lines that would come in, by the linear program (a bound of what they can bring)."""
        return _next_money(self, more)

    def summary(self) -> str:
        """For a manager."""
        posts = len(self.assignments)
        if not posts:
            return f"No post is worth its price under these rules with {self.budget:,.0f}. {self.next_best}"
        more = self.binding[self.binding["rule"] == "budget"]
        next_euro = f" One more euro would bring {more['price'].iloc[0]:,.3g} more." if len(more) else ""
        return (
            f"{posts} posts by {self.assignments['influencer_id'].nunique()} influencers for {self.cost:,.0f} of {self.budget:,.0f}; "
            f"expected {self.metric.replace('_', ' ')} {self.assignments['predicted'].sum():,.0f}. "
            f"Proven to be within {at_most(self.gap)} of the best possible plan.{next_euro}"
            + "".join(f" {words}" for words in (self.reached, self.warning) if words)
        )

    def plot(self) -> go.Figure:
        """Price against value of every line."""
        import plotly.graph_objects as go

        lines = self.assignments
        figure = go.Figure(go.Scatter(x=lines["budget"], y=lines["predicted"], mode="markers", text=lines["why"],
                                      error_y={"array": lines["uncertainty"], "thickness": 0.6}))  # fmt: skip
        return figure.update_layout(template="plotly_white", xaxis_title="price", yaxis_title=f"predicted {self.metric}")


def select(
    effectiveness: pd.DataFrame,
    *,
    metric: str | Mapping[str, float],
    budget: float,
    influencers: pd.DataFrame | None = None,
    events: pd.DataFrame | None = None,
    audiences: pd.DataFrame | None = None,
    rules: Sequence[Any] | None = None,
    risk_aversion: float = 0.5,
    gap: float = 1e-4,
    seconds: float = 60.0,
    literal: bool = False,
    grid: TimeGrid | None = None,
    told: Callable[[float, float], None] | None = None,
) -> Selection:
    """The best plan within `budget` under `rules` (default: three posts an influencer, one a week).

    Parameters
    ----------
    effectiveness : table of that name; rows of `metric` are used. A mapping metric → weight is a mixture.
    influencers, events, audiences : facts that rules speak of; events give dates (for weeks).
    risk_aversion : ρ ≥ 0.
    gap : stop when the plan is proven to be this close to the best; after `seconds` the best plan known is returned with the gap it has.
    literal : read b ≤ p·y as it stands, for audit: nobody is paid, and the answer warns.
    told : called with (value, bound) as the plan gets better.

    Raises
    ------
    CannotTell
        No prediction of that metric; or no plan was found in time, though none is ruled out.
    InputError
        A number that is none, a negative price, an unknown id in a rule, a mix of currencies.
    Infeasible
        No plan can keep the rules; those in conflict are named.
    """
    began = time.monotonic()
    if not risk_aversion >= 0 or not 0 < budget < np.inf:
        raise InputError("a budget must be positive and risk aversion not negative")
    given = list(DEFAULT if rules is None else rules)
    frame, name = readings.of_metric(effectiveness, metric)
    frame = readings.paid(frame, [rule for rule in given if isinstance(rule, MinimumFee)], literal=literal)
    pinned = [line for rule in given if isinstance(rule, Include) for line in rule.lines]
    everyone = Candidates.of(
        frame, name, risk_aversion, influencers=influencers, events=events, audiences=audiences, grid=grid, pinned=pinned,
        every_day=any(getattr(rule, "of", "price") not in SAME_EACH_DAY for rule in given),
    )  # fmt: skip
    warning = "Read literally, nobody is paid: b = 0 keeps every rule of the seed. Use this for audit only." if literal else ""
    if asks_for_reach(given):
        return described(
            name, budget, plan_that_reaches(everyone, budget, given, gap=gap, until=began + seconds, told=told), warning
        )
    before = written(everyone, given)
    these, program = within(*before, budget)
    root = sift(program, 0.5 * seconds)
    refuse_impossible(program, root)
    try:
        found = search(program, root, gap=gap, seconds=seconds - (time.monotonic() - began), told=told)
    except Infeasible as why:
        raise named(program, root, why) from None
    return described(name, budget, Engine(everyone, tuple(given), these, program, root, found, before), warning)


def described(metric: str, budget: float, engine: Engine, warning: str = "") -> Selection:
    """The plan with its reasons."""
    found = engine.found
    cost = float(engine.these.price[found.chosen].sum())
    lines, binding = lines_of(metric, engine), binding_rules(engine.program, engine.root, found.chosen)
    used, reaching = set(lines["influencer_id"]), [rule for rule in engine.rules if isinstance(rule, Reach)]
    for rule in reaching:
        binding = rule.binding(binding, used)
    return Selection(
        metric, float(budget), lines, cost, found.value, found.bound, found.gap, binding, left_out(engine, budget),
        tuple(rule.told(used) if isinstance(rule, Reach) else readings.told(rule) for rule in engine.rules), warning,
        " ".join(rule.sentence(used) for rule in reaching if rule.at_least > 0), engine,
    )  # fmt: skip


def _next_money(plan: Selection, more: float) -> pd.DataFrame:
    """Lines that the linear program takes with (1 + more) of the budget and this plan does not have; `gain` is what all of it can bring at most."""
    engine = _engine(plan)
    richer = engine.within(plan.budget * (1 + more))
    moved = Moved.to(engine, richer.these, richer.program)
    root = sift(richer.program, 30.0, columns=moved(engine.root.columns))
    entering = root.columns[root.answer.y > 0.5]
    new = np.setdiff1d(entering, moved(engine.found.chosen))
    shown = replace(richer, root=root, found=Found(new, 0.0, 0.0))
    return lines_of(plan.metric, shown).assign(gain=root.bound - engine.root.bound)


def _again(plan: Selection, budget: float, seconds: float, gap: float) -> Selection:
    """The best plan with another budget, from the old one's candidates and lines."""
    if not 0 < budget < np.inf:
        raise InputError(f"a budget of {budget:g}", fix="give a positive amount")
    engine, until = _engine(plan), time.monotonic() + seconds
    if asks_for_reach(engine.rules):
        again = plan_that_reaches(engine.everyone, budget, engine.rules, gap=gap, until=until, before=engine)
        return described(plan.metric, budget, again, plan.warning)
    again = engine.within(budget)
    moved = Moved.to(engine, again.these, again.program)
    root = sift(again.program, 0.5 * seconds, columns=moved(engine.root.columns), basis=moved.basis())
    refuse_impossible(again.program, root)
    start = repaired(again.program, moved(engine.found.chosen), budget, again.these.price)
    found = search(again.program, root, gap=gap, seconds=until - time.monotonic(), start=start)
    return described(plan.metric, budget, replace(again, root=root, found=found), plan.warning)


def _engine(plan: Selection) -> Engine:
    if plan.engine is None:
        raise InputError("this plan was read from the record", fix="make it again with select")
    return plan.engine
