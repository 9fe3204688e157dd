"""Mixes whose media curves are trees: a forest that knows interactions, and boosting that adds channel by channel.

The baseline stays linear (trees cannot follow a trend); media are learned on what it leaves, and the baseline on what media leave, in
turns (backfitting; Buja, Hastie & Tibshirani 1989). Trees see each channel's spend at four carry-overs and may only rise with it.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from liftwise.core.uncertainty import Floats
from liftwise.models.mix.family import Curves, Data, Learned, Member
from liftwise.models.mix.hill_curves import carry

CARRIED = (0.0, 0.3, 0.6, 0.85)
TURNS = 2


@dataclass(frozen=True, eq=False)
class TreeCurves(Curves):
    """A fitted regressor on (rows, channels · carry-overs), counted from what it says without any spend.

    additive : channels do not interact in it.
    """

    regressor: Any
    additive: bool
    step = 0.2  # trees are stairs: a slope is read over several steps

    def carried(self, spend: Floats) -> Floats:
        """See `Curves`."""
        return np.stack([carry(spend, a) for a in CARRIED], axis=1)

    def _together(self, carried: Floats) -> Floats:
        rows = carried.reshape(carried.shape[0] * carried.shape[1], -1).T
        both = self.regressor.predict(np.vstack([np.zeros(rows.shape[1]), rows]))
        return (both[1:] - both[0]).reshape(carried.shape[2:])

    def own(self, carried: Floats) -> Floats:
        """See `Curves`; with interactions, the mean of coming first and coming last."""
        out = np.empty((len(carried), *carried.shape[2:]))
        whole = None if self.additive else self._together(carried)
        for k in range(len(carried)):
            only, without = np.zeros_like(carried), carried.copy()
            only[k], without[k] = carried[k], 0.0
            out[k] = self._together(only) if whole is None else (self._together(only) + whole - self._together(without)) / 2
        return out

    def synergy(self, carried: Floats) -> Floats:
        """See `Curves`."""
        if self.additive:
            return np.zeros(carried.shape[2:])
        return self._together(carried) - self.own(carried).sum(axis=0)


class TreeMix(Member):
    """What forest and boosting share; see `Member`."""

    additive: ClassVar[bool]

    def __init__(self, *, seed: int = 7, holdout: int = 26, folds: int = 4, draws: int = 8, per_year: float = 52.18) -> None:
        super().__init__(seed=seed, holdout=holdout, folds=folds, draws=draws, per_year=per_year)

    @abstractmethod
    def _grown(self, x: Floats, y: Floats, channels: int) -> Any:
        """A regressor that only rises, fitted to (rows, channels · carry-overs)."""

    def _learn(self, data: Data, train: np.ndarray) -> Learned:
        x = np.stack([carry(data.spend, a) for a in CARRIED], axis=1).reshape(len(data.spend) * len(CARRIED), -1).T
        solve = np.linalg.pinv(data.base[train], rcond=1e-8)
        gamma = solve @ data.y[train]
        grown = self._grown(x[train], data.y[train] - data.base[train] @ gamma, len(data.spend))
        for _ in range(TURNS - 1):
            gamma = solve @ (data.y[train] - grown.predict(x[train]))
            grown = self._grown(x[train], data.y[train] - data.base[train] @ gamma, len(data.spend))
        gamma = solve @ (data.y[train] - grown.predict(x[train]))
        nothing = float(grown.predict(np.zeros((1, x.shape[1])))[0])  # what it says without spend belongs to the level
        level = np.zeros(data.base.shape[1])
        level[: data.shape[0]] = nothing
        return Learned(gamma + level, TreeCurves(grown, self.additive))


class ForestMix(TreeMix):
    """Monotone random forest (Breiman 2001), interactions included; see `Member`."""

    name = "forest"
    additive = False

    def _grown(self, x: Floats, y: Floats, channels: int) -> Any:
        from sklearn.ensemble import RandomForestRegressor

        forest = RandomForestRegressor(
            40, min_samples_leaf=5, max_features=0.5, monotonic_cst=[1] * x.shape[1], random_state=self.seed
        )
        return forest.fit(x, y)


class BoostedMix(TreeMix):
    """LightGBM with monotone constraints, every tree about one channel, so that effects add up; see `Member`."""

    name = "boosted"
    additive = True

    def _grown(self, x: Floats, y: Floats, channels: int) -> Any:
        import lightgbm

        forms = len(CARRIED)
        told = {"objective": "l2", "learning_rate": 0.08, "num_leaves": 6, "min_data_in_leaf": 10, "lambda_l2": 5.0, "verbosity": -1,
                "num_threads": 1, "seed": self.seed, "deterministic": True, "monotone_constraints": [1] * x.shape[1],
                "interaction_constraints": [list(range(k * forms, (k + 1) * forms)) for k in range(channels)]}  # fmt: skip
        return lightgbm.train(told, lightgbm.Dataset(x, y), num_boost_round=60)
