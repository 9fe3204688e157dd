"""Market selection: which markets to test in, for how long, and what effect that could show.

Candidate sets: each market with those that move most like it (correlation of the outcome), as GeoLift proposes them; with
`include`, only sets that hold all of those, and the markets that move most like them together. Each set is rehearsed on the
history (`liftwise.models.causal.power`) and ranked by three ranks together: its smallest detectable effect, its power there, and
how far the lift found was from the lift added.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.uncertainty import Floats
from liftwise.models.causal.panel import Panel
from liftwise.models.causal.power import PowerCurve, Rehearsal, power_figure, without
from liftwise.models.causal.words import amount

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True, eq=False)
class Designs:
    """Designs that could work, best first.

    Parameters
    ----------
    curves, ranks : one each; designs as good as each other share a rank.
    tried : sets of markets × durations that were rehearsed.
    reasons : how many were left out, by reason.
    """

    curves: tuple[PowerCurve, ...] = field(repr=False)
    ranks: tuple[int, ...]
    tried: int
    reasons: dict[str, int]

    @property
    def best(self) -> PowerCurve:
        """The first."""
        return self.curves[0]

    def to_frame(self) -> pd.DataFrame:
        """One row per design; `markets` joined by ';', `cost` and `power` are those at the smallest detectable effect."""
        rows = [
            {
                "rank": rank, "markets": ";".join(of.markets), "duration": of.duration, "mde": of.mde, "power": of.at(of.mde),
                "cost": of.cost(of.mde), "bias": of.bias, "width": of.width, "imbalance": of.imbalance, "holdout": of.holdout,
                "false_alarms": float(of.power[0]) if of.effects[0] == 0 else np.nan, "windows": of.windows,
            }
            for rank, of in zip(self.ranks, self.curves, strict=True)
        ]  # fmt: skip
        return pd.DataFrame(rows)

    def summary(self) -> str:
        """A sentence for a manager."""
        left = ", ".join(f"{count} {reason}" for reason, count in self.reasons.items() if count)
        cost = self.best.cost(self.best.mde)
        costs = "" if np.isnan(cost) else f" at a cost of {amount(cost)}"
        return (
            f"Best of {self.tried} designs: {' + '.join(self.best.markets)} for {self.best.duration} periods, "
            f"which would show a lift of {self.best.mde:.1%}{costs}." + (f" Left out: {left}." if left else "")
        )

    def plot(self, most: int = 5) -> go.Figure:
        """Power curves of the best."""
        return power_figure(self.curves[:most])


def select_markets(
    panel: Panel, sizes: Sequence[int], durations: Sequence[int], effects: Sequence[float], *, include: Sequence[str] = (),
    exclude: Sequence[str] = (), forced_control: Sequence[str] = (), budget: float | None = None, cost_per_unit: float | None = None,
    holdout: tuple[float, float] = (0.0, 1.0), lookback: int = 10, alpha: float = 0.10, inference: str = "placebo", seed: int = 7,
    **how: Any,
) -> Designs:  # fmt: skip
    """Rank sets of markets by the effect that a test in them could show.

    Parameters
    ----------
    panel : history without a campaign.
    sizes : numbers of markets to treat.
    durations : in periods.
    effects : relative lifts to rehearse.
    include : markets every set must hold.
    exclude : markets that take no part, not even as comparison (they had a campaign of their own, say).
    forced_control : markets never treated that stay for comparison (GeoLift calls these `exclude_markets`).
    budget : most that causing the smallest detectable effect may cost; takes `cost_per_unit`.
    holdout : least and largest share of the outcome in markets without a campaign.
    lookback, alpha, inference, seed, how : see `Rehearsal`. The read-out should use the same test.

    Raises
    ------
    CannotTell
        When no set shows any of the effects within budget and holdout.
    InputError
        For unknown markets or contradictions between the lists.
    """
    if budget is not None and cost_per_unit is None:
        raise InputError("a budget cannot be held without a cost", fix="give cost_per_unit, the cost of one more unit")
    if len(sizes) == 0 or len(durations) == 0:
        raise InputError("sizes and durations must name at least one", fix="try sizes=[2, 3], durations=[10, 15]")
    _no_contradiction(include, exclude, forced_control)
    small = without(panel, exclude)
    fixed, barred = small.rows(list(include)), set(small.rows(list(forced_control)))
    run = Rehearsal(effects=effects, lookback=lookback, alpha=alpha, inference=inference, seed=seed, **how)
    curves = [
        curve
        for size in sorted(set(sizes)) if (sets := candidate_sets(small.matrix, size, fixed, barred))
        for duration in sorted(set(durations))
        for curve in run.curves(small, sets, duration, cost_per_unit)
    ]  # fmt: skip
    return _ranked(curves, budget, holdout)


def candidate_sets(
    values: Floats, size: int, include: Sequence[int] = (), barred: set[int] | None = None
) -> list[tuple[int, ...]]:
    """Each market with the `size` − 1 that correlate most with it, as sorted row numbers.

    >>> wave = np.sin(np.arange(12.0))
    >>> values = np.array([wave, wave + 0.1 * np.arange(12) % 2, -wave, -wave + 0.01 * np.arange(12)])
    >>> candidate_sets(values, 2)
    [(0, 1), (2, 3)]
    """
    free = [row for row in range(len(values)) if row not in (barred or set())]
    if not max(1, len(include)) <= size <= len(free):
        raise InputError(
            f"sets of {size} markets cannot be made",
            fix=f"ask for {max(1, len(include))} to {len(free)}, the markets that are free",
        )
    alike = np.corrcoef(values)
    sets = {_nearest(alike[row], [row], free, size) for row in free}
    if include:
        together = np.corrcoef(values[list(include)].sum(axis=0), values)[0, 1:]
        sets = {group for group in sets if set(include) <= set(group)} | {_nearest(together, include, free, size)}
    return sorted(sets)


def _nearest(alike: Floats, core: Sequence[int], free: list[int], size: int) -> tuple[int, ...]:
    others = [row for row in free if row not in core]
    order = sorted(others, key=lambda row: (-alike[row], row))
    return tuple(sorted([*core, *order[: size - len(core)]]))


def _no_contradiction(include: Sequence[str], exclude: Sequence[str], forced_control: Sequence[str]) -> None:
    for first, second, names in (
        ("include", "exclude", (include, exclude)), ("include", "forced_control", (include, forced_control)),
        ("exclude", "forced_control", (exclude, forced_control)),
    ):  # fmt: skip
        both = sorted(set(names[0]) & set(names[1]))
        if both:
            raise InputError(f"{', '.join(both)} is in {first} and in {second}", fix="keep it in one of them")


def _ranked(curves: list[PowerCurve], budget: float | None, holdout: tuple[float, float]) -> Designs:
    """Rank all that show something by mde, power and bias together; then leave out what cannot be had."""
    seen = [of for of in curves if np.isfinite(of.mde)]
    affordable = [budget is None or of.cost(of.mde) <= budget for of in seen]
    held = [holdout[0] <= of.holdout <= holdout[1] for of in seen]
    reasons = {
        "show none of the effects": len(curves) - len(seen), "cost more than the budget": affordable.count(False),
        "hold out too little or too much": sum(a and not h for a, h in zip(affordable, held, strict=True)),
    }  # fmt: skip
    kept = [k for k in range(len(seen)) if affordable[k] and held[k]]
    if not kept:
        worst = ", ".join(f"{count} {reason}" for reason, count in reasons.items() if count)
        raise CannotTell(f"no design will do: {worst}", fix="allow larger effects, longer tests, more markets or a larger budget")
    rank = _together(seen)[kept].rank(method="min").astype(int)
    order = sorted(kept, key=lambda k: (rank[k], seen[k].markets, seen[k].duration))
    return Designs(tuple(seen[k] for k in order), tuple(int(rank[k]) for k in order), len(curves), reasons)


def _together(curves: list[PowerCurve]) -> pd.Series:
    """Mean of three ranks, in which equals share a rank: small mde, high power there, small bias (to a tenth of a point)."""
    parts = [(of.mde, -of.at(of.mde), round(abs(of.bias), 3)) for of in curves]
    return pd.DataFrame(parts).rank(method="dense").mean(axis=1).round(9)
