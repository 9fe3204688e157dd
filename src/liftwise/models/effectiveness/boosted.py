"""Boosted effectiveness: f = g_influencer + g_history + g_market, each from its own database, and a σ that keeps its word.

Three LightGBM stages fit the log of the outcome per follower: the first sees only 𝒟_I, the second explains what is left from
𝒟_H, the third from 𝒟_M. On the log scale they add; their parts of f itself come from the logarithmic-mean rule (Ang 2005,
LMDI-I), which is exact: the three sum to f. The base level belongs to g_history.

σ: the size of out-of-time residuals is predicted by quantile boosting and scaled by split conformal prediction (Lei et al.
2018), apart for influencers with and without history, so that f's 90 % interval holds 90 % of outcomes.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.uncertainty import Floats, normal_quantile
from liftwise.models.effectiveness.tuples import KEYS, Databases, history_features, influencer_features, market_features

if TYPE_CHECKING:
    import plotly.graph_objects as go

FEWEST = 60  # assignments below which nothing can be said
FOLDS = 6
LEVEL = 0.90
STAGES = ("influencer", "history", "market")
SIZES = {"influencer": (250, 15), "history": (80, 6), "market": (60, 4)}  # rounds and leaves of each stage


class BoostedEffectiveness:
    """Predicts one metric of every tuple.

    Parameters
    ----------
    metric : a numeric column of table `assignments`: impressions, engagements, conversions, revenue or brand_equity.

    Attributes
    ----------
    scores_ : out-of-time r2 (log), rank correlation, rmse (log), coverage at 90 %, rows.
    """

    def __init__(self, *, metric: str = "revenue", seed: int = 7, threads: int = 1) -> None:
        self.metric, self.seed, self.threads = metric, seed, threads

    def fit(
        self, assignments: pd.DataFrame, *, influencers: pd.DataFrame, rates: pd.DataFrame, events: pd.DataFrame,
        affinities: pd.DataFrame | None = None, audiences: pd.DataFrame | None = None, trends: pd.DataFrame | None = None,
    ) -> Self:  # fmt: skip
        """Learn from past assignments.

        Raises
        ------
        CannotTell
            With fewer than 60 outcomes of the metric.
        """
        if self.metric not in assignments:
            raise InputError(f"assignments have no column {self.metric!r}")
        past = assignments[assignments[self.metric].notna() & assignments["posted_at"].notna()].sort_values(
            ["posted_at", "assignment_id"]
        )
        if len(past) < FEWEST:
            raise CannotTell(
                f"{len(past)} past assignments tell of {self.metric}; {FEWEST} are needed", fix="deliver more history"
            )
        past = past.assign(decided_on=past["posted_at"]).reset_index(drop=True)
        self.known_ = Databases(influencers, events, past, affinities, trends)
        target = self._target(past)
        features = self._features(past, target)
        self._calibrate(past, features, target)
        self.stages_, _fitted = self._boost(features, target)
        self.smear_ = float(np.clip(np.exp(self.residuals_).mean(), 0.5, 2.0))  # Duan's smearing, on out-of-time residuals
        self.base_ = self.stages_["base"]
        return self

    # -- learning ------------------------------------------------------------------------------------------------

    def _target(self, rows: pd.DataFrame) -> Floats:
        """Log of the outcome per follower: what is left for quality, fit and timing to explain."""
        return np.log1p(rows[self.metric].clip(lower=0).to_numpy(dtype=float)) - self._size(rows)

    def _size(self, rows: pd.DataFrame) -> Floats:
        followers = self.known_.influencers.drop_duplicates("influencer_id").set_index("influencer_id")["followers"]
        return np.log1p(rows["influencer_id"].map(followers).fillna(followers.median()).to_numpy(dtype=float))

    def _features(self, rows: pd.DataFrame, target: Floats | None = None) -> dict[str, pd.DataFrame]:
        outcome = pd.Series(self._target(self.known_.assignments) if target is None else target)
        return {"influencer": influencer_features(rows, self.known_), "history": history_features(rows, self.known_, outcome),
                "market": market_features(rows, self.known_)}  # fmt: skip

    def _boost(
        self, features: dict[str, pd.DataFrame], target: Floats, rows: slice | np.ndarray = slice(None)
    ) -> tuple[dict[str, Any], Floats]:
        """Stage after stage, each on what the ones before leave."""
        left = target[rows] - target[rows].mean()
        stages: dict[str, Any] = {"base": float(target[rows].mean())}
        for name in STAGES:
            stages[name] = self._trees(features[name].iloc[rows], left, *SIZES[name], objective="huber", alpha=1.5)
            left = left - stages[name].predict(features[name].iloc[rows])
        return stages, left

    def _trees(self, x: pd.DataFrame, y: Floats, rounds: int, leaves: int, **objective: Any) -> Any:
        import lightgbm as lgb

        told = {"num_leaves": leaves, "learning_rate": 0.05, "min_data_in_leaf": max(8, min(30, len(y) // 20)), "feature_fraction": 0.8,
                "bagging_fraction": 0.8, "bagging_freq": 1, "lambda_l2": 5.0, "seed": self.seed, "num_threads": self.threads,
                "deterministic": True, "force_row_wise": True, "verbosity": -1, **objective}  # fmt: skip
        return lgb.train(told, lgb.Dataset(x, y), num_boost_round=rounds)

    def _logs(self, stages: dict[str, Any], features: dict[str, pd.DataFrame]) -> dict[str, Floats]:
        return {name: np.asarray(stages[name].predict(features[name])) for name in STAGES}

    def _calibrate(self, past: pd.DataFrame, features: dict[str, pd.DataFrame], target: Floats) -> None:
        """Residuals of the later half of the past, each predicted from what came before it; then their size."""
        edges = np.linspace(len(past) // 2, len(past), FOLDS + 1).astype(int)
        predicted = np.full(len(past), np.nan)
        for first, last in itertools.pairwise(edges):
            stages, _ = self._boost(features, target, np.arange(first))
            block = {name: frame.iloc[first:last] for name, frame in features.items()}
            predicted[first:last] = stages["base"] + sum(self._logs(stages, block).values())
        later = np.arange(edges[0], len(past))
        residual = target[later] - predicted[later]
        residual = residual - np.median(residual)
        self.residuals_ = residual
        x = self._scale_features({name: frame.iloc[later] for name, frame in features.items()})
        split = int(len(later) * 0.7)
        trial = self._scale(x.iloc[:split], residual[:split])
        inside = np.abs(residual[split:]) <= self._half(trial, x.iloc[split:])
        self.scale_ = self._scale(x, residual)
        size = self._size(past.iloc[later])
        self.scores_ = {
            "r2": float(1 - np.var(residual) / np.var(target[later] + size)), "rank": _rank_correlation(predicted[later] + size, target[later] + size),
            "rmse_log": float(np.sqrt(np.mean(residual**2))), "coverage_90": float(inside.mean()), "rows": float(len(past)),
        }  # fmt: skip

    @staticmethod
    def _scale_features(features: dict[str, pd.DataFrame]) -> pd.DataFrame:
        one, other = features["influencer"], features["history"]
        return pd.concat([one[["log_followers", "engagement_rate", "same_genre", "log_price"]], other], axis=1)

    def _scale(self, x: pd.DataFrame, residual: Floats) -> dict[str, Any]:
        """The size of residuals (their 68 % quantile), and the conformal factor of warm and of cold influencers."""
        half = np.arange(len(x)) % 2 == 0  # the size is learned on one half and calibrated on the other
        model = self._trees(x[half], np.abs(residual[half]), 60, 5, objective="quantile", alpha=0.68)
        size = np.maximum(np.asarray(model.predict(x[~half])), 0.05)
        score = np.abs(residual[~half]) / size
        warm = x.loc[~half, "influencer_count"].to_numpy() > 0
        factors = {True: _conformal(score), False: _conformal(score)}
        for kind in (True, False):
            if (warm == kind).sum() >= 40:
                factors[kind] = _conformal(score[warm == kind])
        return {"model": model, "factors": factors}

    @staticmethod
    def _half(scale: dict[str, Any], x: pd.DataFrame) -> Floats:
        """Half-width of the 90 % interval on the log scale."""
        warm = x["influencer_count"].to_numpy() > 0
        factor = np.where(warm, scale["factors"][True], scale["factors"][False])
        return np.maximum(np.asarray(scale["model"].predict(x)), 0.05) * factor

    # -- predicting ----------------------------------------------------------------------------------------------

    def predict(self, tuples: pd.DataFrame) -> pd.DataFrame:
        """Table `effectiveness` of `tuples` (see `feasible_tuples`)."""
        rows = tuples.reset_index(drop=True)
        features = self._features(rows)
        logs = self._logs(self.stages_, features)
        logs["influencer"] = logs["influencer"] + self._size(rows)
        base = self.base_ + np.log(self.smear_)
        f = np.exp(base + sum(logs.values()))
        parts = _additive(f, np.exp(base), logs)
        spread = self._half(self.scale_, self._scale_features(features)) / normal_quantile(LEVEL)
        return rows[KEYS].assign(
            metric=self.metric, predicted=f, g_influencer=parts["influencer"], g_history=parts["history"] + np.exp(base),
            g_market=parts["market"], uncertainty=f * np.sqrt(np.expm1(spread**2)), price=rows["price"],
        )  # fmt: skip

    def importance(self) -> pd.DataFrame:
        """Gain of each feature, by database."""
        frames = [
            pd.DataFrame(
                {
                    "database": name,
                    "feature": self.stages_[name].feature_name(),
                    "gain": self.stages_[name].feature_importance("gain"),
                }
            )
            for name in STAGES
        ]
        return pd.concat(frames, ignore_index=True).sort_values("gain", ascending=False, ignore_index=True)

    def summary(self) -> str:
        """For a manager."""
        top = ", ".join(self.importance()["feature"].head(3).str.replace("_", " "))
        return (
            f"On assignments it had not seen, predictions of {self.metric} ranked outcomes with {self.scores_['rank']:.2f} correlation; "
            f"{self.scores_['coverage_90']:.0%} of outcomes fell into the 90 % interval. What matters most: {top}."
        )

    def plot(self) -> go.Figure:
        """Importance of features."""
        import plotly.graph_objects as go

        top = self.importance().head(15).iloc[::-1]
        return go.Figure(go.Bar(x=top["gain"], y=top["feature"], orientation="h")).update_layout(template="plotly_white")


def _additive(f: Floats, base: float, logs: dict[str, Floats]) -> dict[str, Floats]:
    """Parts of f − base in proportion to their logs: L(f, base)·log part, L the logarithmic mean; they sum exactly."""
    total = sum(logs.values())
    mean = np.where(np.abs(total) > 1e-9, (f - base) / np.where(np.abs(total) > 1e-9, total, 1.0), f)
    return {name: mean * part for name, part in logs.items()}


def _conformal(score: Floats) -> float:
    """The ⌈(n + 1)·level⌉-th smallest score."""
    at = min(int(np.ceil((len(score) + 1) * LEVEL)), len(score)) - 1
    return float(np.sort(score)[at])


def _rank_correlation(one: Floats, other: Floats) -> float:
    return float(np.corrcoef(pd.Series(one).rank(), pd.Series(other).rank())[0, 1])
