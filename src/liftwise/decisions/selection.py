"""Who posts what for which event and when: seed B's problem, solved with a proven bound.

max Σ (f − ρσ) y over tuples (i, c, e, t), y ∈ {0, 1}, with Σ b ≤ B and b = p·y. As written (b ≤ p·y alone) the best plan would
pay nobody, so b is read as *paid in full*. Engine: of tuples that differ in the day alone only the best in a week can matter
(exact); the LP is solved by sifting, which also gives an upper bound of any plan; the columns that could still be in a best plan,
best first, go into an integer program until the plan is within `gap` of the bound.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (plotly has no types, and numpy loses them over object arrays)
from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from liftwise.core.errors import CannotTell, Infeasible, InputError
from liftwise.core.timegrid import TimeGrid
from liftwise.decisions.program import Program, Solved, sift, solve
from liftwise.decisions.rules import Budget, Frequency, Rule

if TYPE_CHECKING:
    import plotly.graph_objects as go

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
CORES = (1_500, 4_000, 10_000, 30_000)  # columns of the integer program, smallest first


@dataclass(frozen=True)
class Selection:
    """A plan and its proof.

    assignments : the lines (columns of table `plans` but plan_id), with the reason of each.
    cost, value : of the plan, Σ b and Σ (f − ρσ).  bound : no plan under the rules is worth more.  gap : (bound − value) / |bound|.
    binding : rules at their limit, with what one more unit would be worth.  next_best : the best line left out, and why.
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

    def to_frame(self) -> pd.DataFrame:
        """The lines."""
        return self.assignments

    def plan_row(self) -> dict[str, Any]:
        """A row of table `plan_runs`, but for plan_id, made_at and state."""
        facts = {name: getattr(self, name) for name in ("metric", "budget", "cost", "value", "bound", "gap")}
        return {**facts, "rules": json.dumps(list(self.rules))}

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
            f"Proven to be within {self.gap:.2%} of the best possible plan.{next_euro}"
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
    metric: str,
    budget: float,
    influencers: pd.DataFrame | None = None,
    events: pd.DataFrame | None = None,
    audiences: pd.DataFrame | None = None,
    rules: Sequence[Rule] | None = None,
    risk_aversion: float = 0.5,
    gap: float = 0.005,
    seconds: float = 60.0,
    seed: int = 7,
    grid: TimeGrid | None = None,
) -> Selection:
    """The best plan within `budget` under `rules` (default: three posts an influencer, one a week).

    Parameters
    ----------
    effectiveness : table of that name; rows of `metric` are used.
    events : gives dates (for weeks), genre and location (for coverage).
    risk_aversion : ρ ≥ 0.
    gap : stop when the plan is proven to be this close to the best.

    Raises
    ------
    CannotTell
        No prediction of that metric.
    Infeasible
        No plan can keep the rules; named in the error.
    """
    until = time.monotonic() + seconds
    given = [Frequency(), Frequency(1, "influencer-week")] if rules is None else list(rules)
    if risk_aversion < 0 or not budget > 0:
        raise InputError("a budget must be positive and risk aversion not negative")
    candidates = _candidates(effectiveness, metric, risk_aversion, events, grid or TimeGrid())
    reachable = candidates[candidates["price"] <= budget].reset_index(drop=True)
    everything = None if events is None else events[events["event_id"].isin(candidates["event_id"])]
    blocks = [Budget(budget).block(reachable, everything), *(rule.block(reachable, everything) for rule in given)]
    program = Program.of(reachable["worth"].to_numpy(dtype=np.float64), blocks)
    relaxed, columns, reduced, bound = sift(program, 0.5 * seconds)
    _refuse_impossible(program, relaxed)
    chosen, bound = _integer(program, columns, relaxed, reduced, bound, gap, until)
    left_out = _left_out(candidates, reachable, chosen, reduced, budget)
    return _explained(
        metric, budget, reachable, program, chosen, relaxed.duals, reduced, bound, left_out, tuple(map(repr, given))
    )


def _candidates(
    effectiveness: pd.DataFrame, metric: str, rho: float, events: pd.DataFrame | None, grid: TimeGrid
) -> pd.DataFrame:
    """Tuples with their worth and week; of those that differ in the day alone, the best in each week."""
    frame = effectiveness[effectiveness["metric"] == metric]
    if frame.empty:
        raise CannotTell(f"there is no prediction of {metric}", fix="predict it first")
    frame = frame.assign(worth=frame["predicted"] - rho * frame["uncertainty"], week="all")
    if events is not None:
        known = events.drop_duplicates("event_id").set_index("event_id")
        day = pd.to_datetime(frame["event_id"].map(known["date"])) + pd.to_timedelta(frame["days_from_event"], unit="D")
        frame = frame.assign(
            week=grid.floor(day), genre=frame["event_id"].map(known["genre"]), location=frame["event_id"].map(known["location"])
        )
    keys = ["influencer_id", "content_type", "event_id", "week"]
    ordered = frame.sort_values([*keys, "worth", "days_from_event"], ascending=[True] * 4 + [False, True], kind="stable")
    return ordered.drop_duplicates(keys).reset_index(drop=True)


def _refuse_impossible(program: Program, relaxed: Solved) -> None:
    """The LP over all columns misses a floor: then no plan can keep it."""
    needy = np.flatnonzero(np.isfinite(program.low))
    missed = needy[relaxed.slack > 1e-6] if len(relaxed.slack) else needy[:0]
    if not relaxed.feasible or len(missed):
        names = [f"{program.names[row][0]} ({program.names[row][1]})" for row in missed]
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        raise Infeasible(
            f"no plan can keep {shown or 'these rules'} within the budget and the other rules", rules=tuple(sorted({program.names[r][0] for r in missed})),
            fix="raise the budget, allow more posts, or ask for less coverage",
        )  # fmt: skip


def _integer(
    program: Program, columns: Ints, relaxed: Solved, reduced: Floats, bound: float, gap: float, until: float
) -> tuple[Ints, float]:
    """The best integer plan over growing cores, and the tightest valid bound."""
    positive = columns[relaxed.y > 1e-9]
    order = np.argsort(-reduced, kind="stable")
    order = np.concatenate([positive, order[~np.isin(order, positive)]])
    best: Ints = np.empty(0, dtype=np.int64)
    value = 0.0 if not np.isfinite(program.low).any() else -np.inf
    for size in CORES:
        core = np.sort(order[:size])
        outside = order[size:]
        start = np.isin(core, best).astype(np.float64) if len(best) else None
        left = until - time.monotonic()
        if left <= 0.2 and np.isfinite(value):
            break
        answer = solve(program, core, integer=True, seconds=max(left / 2, 1.0), gap=gap / 4, start=start)
        if answer.feasible and answer.objective > value:
            best, value = core[answer.y > 0.5], answer.objective
        # a plan that uses a column outside the core loses at least that column's reduced value against the LP bound
        elsewhere = bound + min(0.0, float(reduced[outside].max())) if len(outside) else -np.inf
        if answer.feasible:
            bound = min(bound, max(answer.bound, elsewhere))
        if np.isfinite(value) and bound - value <= gap * max(abs(bound), 1e-9):
            break
        if not len(outside):
            break
    if not np.isfinite(value):
        raise Infeasible("no plan was found in the time given", fix="give more seconds or relax a rule")
    return best, max(bound, value)


def _explained(
    metric: str, budget: float, candidates: pd.DataFrame, program: Program, chosen: Ints, duals: Floats, reduced: Floats, bound: float,
    left_out: str, rules: tuple[str, ...],
) -> Selection:  # fmt: skip
    value = float(program.value[chosen].sum())
    lines = candidates.iloc[chosen]
    cut = float(duals[0])
    used = program.used(chosen)
    floors = np.isfinite(program.low) & (duals < -1e-9)
    binding = pd.DataFrame(
        [(*program.names[r], float(program.low[r] if floors[r] else program.high[r]), float(used[r]), float(abs(duals[r])))
         for r in np.flatnonzero(np.abs(duals) > 1e-9)],
        columns=["rule", "label", "limit", "used", "price"],
    )  # fmt: skip
    why = [_reason(lines.iloc[k], cut, program, int(column), floors, metric) for k, column in enumerate(chosen)]
    assignments = lines[["influencer_id", "content_type", "event_id", "days_from_event", "week"]].assign(
        budget=lines["price"], predicted=lines["predicted"], uncertainty=lines["uncertainty"], why=why
    )
    assignments = assignments.sort_values(["week", "event_id", "influencer_id"], kind="stable").reset_index(drop=True)
    gap = max(0.0, bound - value) / max(abs(bound), 1e-9)
    cost = float(lines["price"].sum())
    return Selection(
        metric,
        float(budget),
        assignments,
        cost,
        value,
        float(bound),
        gap,
        binding,
        left_out,
        rules,
    )


def _reason(line: pd.Series, cut: float, program: Program, column: int, floors: NDArray[np.bool_], metric: str) -> str:
    """Why a line is in: for coverage, or by what it brings for its price."""
    held = [program.names[row] for row in program.rows[column] if row >= 0 and floors[row]]
    per_euro = float(line["worth"]) / max(float(line["price"]), 1e-9)
    words = f"{per_euro:,.3g} {metric.replace('_', ' ')} per euro after risk"
    if cut > 1e-9:
        words += f", {per_euro / cut:.2g}× the plan's cut-off"
    return words + (f"; keeps {held[0][0]} of {held[0][1]}" if held else "")


def _left_out(candidates: pd.DataFrame, reachable: pd.DataFrame, chosen: Ints, reduced: Floats, budget: float) -> str:
    """The best line that is not in the plan, and what held it back."""
    rest = np.setdiff1d(np.arange(len(reachable)), chosen)
    if not len(rest):
        dear = candidates.loc[candidates["price"] > budget, "price"]
        return (
            f"The cheapest line left out costs {dear.min():,.2f}: the budget is smaller."
            if len(dear)
            else "Nothing was left out."
        )
    best = reachable.iloc[rest[int(np.argmax(reduced[rest]))]]
    cost = float(reachable["price"].iloc[chosen].sum())
    reason = "a limit on its influencer or week" if cost + best["price"] <= budget else "the budget"
    return (
        f"The best line left out is {best['influencer_id']} ({best['content_type']}, {best['event_id']}): held back by {reason}."
    )
