"""Which member of the family foretells best what it has not seen, and by how much."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from liftwise.core.errors import InputError
from liftwise.core.uncertainty import spawn
from liftwise.models.effectiveness.blend import Effectiveness, MixedEffects
from liftwise.models.effectiveness.boosted import BoostedEffectiveness
from liftwise.models.effectiveness.factored import FactoredNet
from liftwise.models.effectiveness.family import EffectivenessModel
from liftwise.models.effectiveness.mlp import HybridEffectiveness, MLPNet

if TYPE_CHECKING:
    import plotly.graph_objects as go

MEMBERS: dict[str, tuple[type[EffectivenessModel], dict[str, Any]]] = {
    "blend": (Effectiveness, {}), "mixed effects": (MixedEffects, {}), "factored net": (FactoredNet, {}), "MLP": (MLPNet, {}), "hybrid": (HybridEffectiveness, {}),
    "boosted, history": (BoostedEffectiveness, {}), "boosted, native ids": (BoostedEffectiveness, {"ids": "native"}),
    "boosted, no ids": (BoostedEffectiveness, {"ids": "none"}), "xgboost": (BoostedEffectiveness, {"library": "xgboost"}),
    "catboost": (BoostedEffectiveness, {"library": "catboost"}),
}  # fmt: skip
DRAWS = 400


@dataclass(frozen=True)
class Choice:
    """model : the winner, fitted. scores : member, r2 (log, per follower, out of time), r2_cold, coverage_90, `behind` the winner with its
    standard error over creators, chosen. left_out : why others did not take part.
    """

    model: EffectivenessModel
    winner: str
    scores: pd.DataFrame
    left_out: dict[str, str]

    def to_frame(self) -> pd.DataFrame:
        """One row a member."""
        return self.scores

    def summary(self) -> str:
        """For a manager."""
        others = self.scores[self.scores["member"] != self.winner]
        if others.empty:
            return f"Only {self.winner} could be fitted."
        second = others.iloc[0]
        return (
            f"Of {len(self.scores)} models {self.winner} foretold unseen outcomes best (R² {self.scores['r2'].iloc[0]:.3f}); {second['member']} comes next, "
            f"{second['behind']:.3f} ± {second['behind_se']:.3f} behind."
        )

    def plot(self) -> go.Figure:
        """R² of each."""
        import plotly.graph_objects as go

        shown = self.scores.iloc[::-1]
        return go.Figure(go.Bar(x=shown["r2"], y=shown["member"], orientation="h")).update_layout(
            template="plotly_white", xaxis_title="R² of unseen outcomes"
        )


def choose_effectiveness(
    assignments: pd.DataFrame, *, metric: str = "revenue", seed: int = 7, members: tuple[str, ...] = tuple(MEMBERS)[:6],
    options: Mapping[str, Any] | None = None, **tables: pd.DataFrame | None,
) -> Choice:  # fmt: skip
    """Fit members on the same outcomes and keep the one that foretells unseen ones best.

    All are judged on the same later weeks and the same creators left out. Members whose library is missing are named in `left_out`.

    Raises
    ------
    InputError
        On an unknown member, or when none could be fitted.
    """
    strange = sorted(set(members) - set(MEMBERS))
    if strange:
        raise InputError(f"unknown members {', '.join(strange)}", fix=f"choose from {', '.join(MEMBERS)}")
    fitted, left_out = dict[str, EffectivenessModel](), dict[str, str]()
    for name in members:
        kind, told = MEMBERS[name]
        try:
            fitted[name] = kind(metric=metric, seed=seed, **{**told, **(options or {})}).fit(assignments, **tables)
        except InputError as why:
            if "not installed" not in str(why):
                raise
            left_out[name] = str(why)
    if not fitted:
        raise InputError("no member could be fitted", fix="; ".join(left_out.values()))
    return _judged(fitted, left_out, seed)


def _judged(fitted: dict[str, EffectivenessModel], left_out: dict[str, str], seed: int) -> Choice:
    errors = {name: model.unseen_ for name, model in fitted.items()}
    r2 = {name: model.scores_["r2_per_follower"] for name, model in fitted.items()}
    winner = max(r2, key=lambda name: r2[name])
    rows = []
    for name, model in fitted.items():
        behind, se = _behind(errors[winner], errors[name], seed)
        rows.append({"member": name, "r2": r2[name], "r2_cold": model.scores_.get("r2_cold", np.nan), "coverage_90": model.scores_.get("coverage_90", np.nan),
                     "behind": behind, "behind_se": se, "chosen": name == winner})  # fmt: skip
    scores = pd.DataFrame(rows).sort_values("r2", ascending=False, ignore_index=True)
    return Choice(fitted[winner], winner, scores, left_out)


def _behind(best: pd.DataFrame, other: pd.DataFrame, seed: int) -> tuple[float, float]:
    """How much less of the variance `other` explains, with a standard error by bootstrap over creators."""
    scale = float(np.var(best["target"]))
    gap = (other["residual"] ** 2 - best["residual"] ** 2).to_numpy() / max(scale, 1e-12)
    codes = pd.factorize(best["creator"])[0]
    total, count = np.bincount(codes, gap), np.bincount(codes).astype(float)
    rng, draws = spawn(seed, "effectiveness.choice"), np.empty(DRAWS)
    for k in range(DRAWS):
        pick = rng.integers(0, len(total), len(total))
        draws[k] = total[pick].sum() / count[pick].sum()
    return float(gap.mean()), float(draws.std(ddof=1))
