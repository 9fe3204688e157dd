"""Structural mix with boosting on what it leaves: trees may mend the forecast, media effects stay those of the structure.

The trees see controls, season and the calendar, never spend, so they cannot take an effect from media or give it one.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from liftwise.models.mix.family import Curves, Data, Learned, Member
from liftwise.models.mix.structural import StructuralMix

TREES = 40


class ResidualMix(Member):
    """See `Member`; `structure` is any member (default: `StructuralMix`)."""

    name = "residual"

    def __init__(
        self, *, structure: Member | None = None, seed: int = 7, holdout: int = 26, folds: int = 4, draws: int = 200, per_year: float = 52.18
    ) -> None:  # fmt: skip
        super().__init__(seed=seed, holdout=holdout, folds=folds, draws=draws, per_year=per_year)
        self.structure = structure or StructuralMix(seed=seed, folds=folds, draws=draws)

    @property
    def hears(self) -> bool:  # type: ignore[override]
        """Learns from lift tests where its structure does."""
        return self.structure.hears

    def told(self, data: Data, lift: pd.DataFrame | None, lift_weeks: pd.DataFrame | None) -> tuple[Data, list[str]]:
        """See `Member`."""
        return self.structure.told(data, lift, lift_weeks)

    def _learn(self, data: Data, train: np.ndarray) -> Learned:
        return self._mended(data, train, self.structure.learn(data, train))

    def _refit(self, data: Data, train: np.ndarray, learned: Learned) -> Learned:
        return self._mended(data, train, self.structure._refit(data, train, learned.tuning))

    def _draw(self, data: Data, train: np.ndarray, learned: Learned, rng: np.random.Generator) -> list[Curves]:
        return self.structure._draw(data, train, learned.tuning, rng)

    def _mended(self, data: Data, train: np.ndarray, learned: Learned) -> Learned:
        import lightgbm

        x = np.column_stack([data.base[:, data.shape[0] :], data.period % self.per_year])
        left = data.y - learned.predict(data)
        told = {"objective": "l2", "learning_rate": 0.05, "num_leaves": 4, "min_data_in_leaf": 15, "lambda_l2": 10.0, "verbosity": -1,
                "num_threads": 1, "seed": self.seed, "deterministic": True}  # fmt: skip
        trees = lightgbm.train(told, lightgbm.Dataset(x[train], left[train]), num_boost_round=TREES)
        rest = np.asarray(trees.predict(x)) + (0.0 if learned.rest is None else learned.rest)
        return replace(learned, rest=rest, tuning=learned)
