"""Boosted trees of three libraries behind one face: LightGBM (always there), XGBoost and CatBoost (extra `boosters`)."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from liftwise.core.errors import InputError
from liftwise.core.uncertainty import Floats

LIBRARIES = ("lightgbm", "xgboost", "catboost")
STOP = 30  # rounds without gain after which learning ends


@dataclass(frozen=True)
class Table:
    """Columns that trees see: numbers (NaN is missing) and codes of words (−1 is missing)."""

    names: tuple[str, ...]
    numbers: Floats
    words: tuple[bool, ...]

    @classmethod
    def of(cls, numbers: list[tuple[tuple[str, ...], Floats]], words: dict[str, np.ndarray]) -> Table:
        """Side by side; words come last."""
        names = [name for part, _ in numbers for name in part]
        codes = [np.where(values < 0, np.nan, values.astype(float)) for values in words.values()]
        return cls(
            (*names, *words), np.column_stack([*(x for _, x in numbers), *codes]), (False,) * len(names) + (True,) * len(words)
        )

    @property
    def word_columns(self) -> list[int]:
        """Where codes stand."""
        return [k for k, word in enumerate(self.words) if word]

    def take(self, rows: np.ndarray) -> Table:
        """Those rows."""
        return Table(self.names, self.numbers[rows], self.words)


@dataclass(frozen=True)
class Trees:
    """Boosted models of one library, averaged."""

    library: str
    models: tuple[Any, ...]

    def predict(self, table: Table) -> Floats:
        """(n,)."""
        asked = self._read(table)
        more = {"num_threads": 1} if self.library == "lightgbm" else {}
        return np.mean([np.asarray(model.predict(asked, **more), dtype=float) for model in self.models], axis=0)

    def contributions(self, table: Table) -> Floats:
        """(n, columns + 1): what each column adds (Lundberg and Lee 2017), exact; the last is the level. They sum to `predict`."""
        asked = self._read(table)
        if self.library == "xgboost":
            each = [model.predict(asked, pred_contribs=True) for model in self.models]
        elif self.library == "catboost":
            each = [model.get_feature_importance(asked, type="ShapValues") for model in self.models]
        else:
            each = [model.predict(asked, pred_contrib=True, num_threads=1) for model in self.models]
        return np.mean([np.asarray(one, dtype=float) for one in each], axis=0)

    def gain(self, table: Table) -> Floats:
        """(columns,) what splits on each column gained."""
        if self.library == "xgboost":
            found = [model.get_score(importance_type="total_gain") for model in self.models]
            return np.mean([[one.get(f"f{k}", 0.0) for k in range(len(table.names))] for one in found], axis=0)
        if self.library == "catboost":
            return np.mean([np.asarray(model.get_feature_importance(), dtype=float) for model in self.models], axis=0)
        return np.mean([np.asarray(model.feature_importance("gain"), dtype=float) for model in self.models], axis=0)

    def _read(self, table: Table) -> Any:
        """As the library reads it."""
        return {"xgboost": _matrix, "catboost": _pool}[self.library](table) if self.library != "lightgbm" else table.numbers


def library(name: str) -> Any:
    """The module of that library.

    Raises
    ------
    InputError
        When it is not one of `LIBRARIES` or is not installed.
    """
    if name not in LIBRARIES:
        raise InputError(f"there are no trees of {name!r}", fix=f"choose {', '.join(LIBRARIES)}")
    try:
        return import_module(name)
    except ImportError:
        raise InputError(f"{name} is not installed", fix="pip install 'liftwise[boosters]', or leave it at lightgbm") from None


def grow(
    name: str, table: Table, target: Floats, weight: Floats, *, rounds: int, leaves: int, rate: float = 0.06, seed: int = 7,
    threads: int = 1, later: tuple[Table, Floats] | None = None, objective: str = "huber", times: int = 1,
) -> tuple[Trees, int]:  # fmt: skip
    """Boost `times` times with draws of their own; with `later` rows, stop when they gain no more. Returns the trees and their number of
    rounds."""
    grown = [
        _grown(name, table, target, weight, rounds, leaves, rate, seed + 1_000 * k, threads, later, objective)
        for k in range(times)
    ]
    return Trees(name, tuple(model for model, _ in grown)), round(float(np.mean([used for _, used in grown])))


def _grown(
    name: str, table: Table, target: Floats, weight: Floats, rounds: int, leaves: int, rate: float, seed: int, threads: int,
    later: tuple[Table, Floats] | None, objective: str,
) -> tuple[Any, int]:  # fmt: skip
    module = library(name)
    if name == "xgboost":
        told = {"max_leaves": leaves, "max_depth": 0, "grow_policy": "lossguide", "eta": rate, "subsample": 0.8, "colsample_bytree": 0.7, "lambda": 5.0,
                "min_child_weight": _least(len(target)), "objective": "reg:pseudohubererror", "huber_slope": 1.5, "base_score": 0.0, "seed": seed,
                "nthread": threads, "tree_method": "hist", "verbosity": 0}  # fmt: skip
        return module.train(told, _matrix(table, target, weight), num_boost_round=rounds), rounds
    if name == "catboost":
        model = module.CatBoostRegressor(
            iterations=rounds, learning_rate=rate, depth=6, l2_leaf_reg=5.0, loss_function="RMSE", has_time=True, random_seed=seed,
            thread_count=threads, verbose=False, allow_writing_files=False,
        )  # fmt: skip
        return model.fit(_pool(table, target, weight)), rounds
    told = {"objective": objective, "alpha": 1.5, "num_leaves": leaves, "learning_rate": rate, "min_data_in_leaf": _least(len(target)), "feature_fraction": 0.7,
            "bagging_fraction": 0.8, "bagging_freq": 1, "lambda_l2": 5.0, "cat_smooth": 20.0, "cat_l2": 20.0, "seed": seed, "num_threads": threads,
            "deterministic": True, "force_row_wise": True, "verbosity": -1}  # fmt: skip
    data = module.Dataset(table.numbers, target, weight=weight, categorical_feature=table.word_columns, free_raw_data=True)
    checks: dict[str, Any] = {}
    if later is not None:
        held = module.Dataset(later[0].numbers, later[1], reference=data, categorical_feature=table.word_columns)
        checks = {"valid_sets": [held], "callbacks": [module.early_stopping(STOP, verbose=False)]}
    model = module.train(told, data, num_boost_round=rounds, **checks)
    return model, model.best_iteration if later is not None else rounds


def _least(n: int) -> int:
    """Rows a leaf needs."""
    return int(np.clip(n // 60, 5, 40))


def _matrix(table: Table, target: Floats | None = None, weight: Floats | None = None) -> Any:
    kinds = ["c" if word else "q" for word in table.words]
    return library("xgboost").DMatrix(table.numbers, label=target, weight=weight, feature_types=kinds, enable_categorical=True)


def _pool(table: Table, target: Floats | None = None, weight: Floats | None = None) -> Any:
    import pandas as pd

    frame = pd.DataFrame(table.numbers, columns=list(table.names))
    for k in table.word_columns:
        frame[table.names[k]] = frame[table.names[k]].fillna(-1).astype(int).astype(str)
    return library("catboost").Pool(frame, target, cat_features=[table.names[k] for k in table.word_columns], weight=weight)
