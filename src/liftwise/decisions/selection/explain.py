"""Why a plan is what it is: the reason of each line, what binds, and the best line left out."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (pandas loses types over object arrays)
from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from liftwise.decisions.selection.engine import Engine
from liftwise.decisions.selection.program import Program
from liftwise.decisions.selection.rules import SPENT
from liftwise.decisions.selection.sifting import Relaxed
from liftwise.decisions.selection.solver import model_of, solve

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
OWN = ("total, ", "money per ", "CVaR scenario", "whole posts", "one fee a post")  # rows that serve a rule and are not one


def lines_of(metric: str, engine: Engine) -> pd.DataFrame:
    """Table `plans` but plan_id."""
    these, program, chosen = engine.these, engine.program, engine.found.chosen
    rows = these.frame.iloc[these.position[chosen]]
    cut = _cut(program, engine.root)
    floors = np.flatnonzero((program.low > 0) & (engine.root.answer.duals < -1e-9))
    row, at, _ = program.entries(chosen)
    needed = np.isin(row, floors)
    held = {a: program.name(r) for r, a in zip(row[needed].tolist(), at[needed].tolist(), strict=True)}
    shown = metric.replace("_", " ")
    frame = pd.DataFrame({
        "influencer_id": rows["influencer_id"].astype("str").to_numpy(), "content_type": rows["content_type"].astype("str").to_numpy(),
        "event_id": rows["event_id"].astype("str").to_numpy(), "days_from_event": rows["days_from_event"].to_numpy(),
        "week": these.week.labels[these.week.codes[chosen]], "budget": these.price[chosen],
        "predicted": rows["predicted"].to_numpy(), "uncertainty": rows["uncertainty"].to_numpy(),
        "why": [_reason(float(these.worth[j]), float(these.price[j]), cut, held.get(k), shown) for k, j in enumerate(chosen)],
    })  # fmt: skip
    return frame.sort_values(["week", "event_id", "influencer_id"], kind="stable").reset_index(drop=True)


def _cut(program: Program, root: Relaxed) -> float:
    """What a unit of money must bring."""
    duals = root.answer.duals
    spent = [program.first[k] for k, block in enumerate(program.blocks) if block.rule in ("budget", "total, spent")]
    return float(sum(duals[row] for row in spent))


def _reason(worth: float, price: float, cut: float, floor: tuple[str, str] | None, shown: str) -> str:
    """Why a line is in: for coverage, or by what it brings for its price."""
    if price <= 0:
        words = f"{worth:,.3g} {shown} after risk, for nothing"
    else:
        words = f"{worth / price:,.3g} {shown} per euro after risk"
        if cut > 1e-9:
            words += f", {worth / price / cut:.2g}× the plan's cut-off"
    return words + (f"; keeps {floor[0]} of {floor[1]}" if floor else "")


def binding_rules(program: Program, root: Relaxed, chosen: Ints) -> pd.DataFrame:
    """Rules at their limit in the linear program: rule, label, limit, used (shares as shares), price of one more unit of the row."""
    duals = root.answer.duals
    names = {r: program.name(r) for r in np.flatnonzero(np.abs(duals) > 1e-9).tolist()}
    rows = [r for r, (rule, _) in names.items() if not rule.startswith(OWN)]
    limit, used = _kept(program, chosen)
    return pd.DataFrame(
        [(*names[r], float(limit[0][r] if duals[r] < 0 else limit[1][r]), float(used[r]), float(abs(duals[r]))) for r in rows],
        columns=["rule", "label", "limit", "used", "price"],
    )  # fmt: skip


def _kept(program: Program, chosen: Ints) -> tuple[tuple[Floats, Floats], Floats]:
    """(lower, upper) limit of each row and what the plan makes of it; rows of shares are told as shares of their total."""
    helpers, used = program.helpers, program.used(chosen)
    fixed = solve(program, model_of(program, chosen, forced=chosen), integer=False, seconds=5.0)
    low, high = program.low.copy(), program.high.copy()
    if not len(helpers.names) or not fixed.feasible:
        return (low, high), used
    held = fixed.helpers
    total = np.array([name == SPENT or name.startswith("all ") for name in helpers.names])
    shares = total[helpers.column] & (helpers.factor < 0) & (helpers.factor > -1)
    used = used + np.bincount(helpers.row[~shares], helpers.factor[~shares] * held[helpers.column[~shares]], minlength=len(used))
    row, of, share = helpers.row[shares], held[helpers.column[shares]], -helpers.factor[shares]
    used[row] = np.divide(used[row], of, out=np.zeros(len(row)), where=of > 0)
    low[row], high[row] = np.where(np.isfinite(low[row]), share, -np.inf), np.where(np.isfinite(high[row]), share, np.inf)
    return (low, high), used


def left_out(engine: Engine, budget: float) -> str:
    """The best line that is not in the plan, and what held it back."""
    everyone, these, program, found = engine.everyone, engine.these, engine.program, engine.found
    if len(found.chosen) == len(these):
        dear = everyone.price[everyone.price > budget]
        return (
            f"The cheapest line left out costs {dear.min():,.2f}: the budget is smaller."
            if len(dear)
            else "Nothing was left out."
        )
    loss, inside = engine.root.flips(program)
    loss = np.where(inside, 0.0, loss)  # the linear program has it, the plan of whole posts does not
    loss[found.chosen] = np.inf
    best = int(np.argmin(loss))
    held = _against(program, found.chosen, best)
    reason = f"held back by {held}" if held else "other lines bring more for what they use of the limits"
    return f"The best line left out is {these.told(best)}: {reason}."


def _against(program: Program, chosen: Ints, best: int) -> str:
    """The rule that one more line would break."""
    inner = program.inner
    who = inner.influencer(np.append(chosen, best))
    mine = chosen[who[:-1] == who[-1]]
    if len(mine) >= inner.cap:
        return "a limit on its influencer"
    if (inner.week[mine] == inner.week[best]).sum() >= inner.week_cap:
        return "a limit on its influencer's week"
    used = program.used(np.append(chosen, best))
    alone = np.ones(len(used), dtype=bool)
    alone[program.helpers.row] = False  # rows with helpers are shares: more money elsewhere would move them
    over = np.flatnonzero(alone & (used > program.high * (1 + 1e-12) + 1e-9))
    return f"the {program.name(int(over[0]))[0]}" if len(over) else ""
