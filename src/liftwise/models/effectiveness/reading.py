"""Reading a predictor: what matters, how f moves with one feature, and why one score is what it is."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from liftwise.core.errors import InputError
from liftwise.core.uncertainty import Floats, spawn
from liftwise.models.effectiveness.design import Design
from liftwise.models.effectiveness.facts import CLOCK, MARKET, PAIR, Facts
from liftwise.models.effectiveness.folds import Fold
from liftwise.models.effectiveness.member import Task, Terms, r_squared
from liftwise.models.effectiveness.tuples import KEYS

ROWS = 2_000  # recent rows that a reading looks at
TURNS = 3  # permutations of each group
KINDS = ("contribution", "permutation", "gain")
GROUPS = {"creator": ("influencer", ("i",)), "content": ("influencer", ("c",)), "event": ("influencer", ("e", "s")), "price": ("influencer", ("premium",)),
          "fit of creator and event": ("influencer", ("pair",)), "timing": ("influencer", ("clock",)), "market": ("market", ("market",))}  # fmt: skip


def importance(kind: str, task: Task, fold: Fold, held: Any, learned: Any) -> pd.DataFrame:
    """Columns database, feature, value; the largest first. `held` has not seen the later rows of `fold`."""
    if kind not in KINDS:
        raise InputError(f"unknown kind of importance {kind!r}", fix=f"choose {', '.join(KINDS)}")
    recent = task.design.take(np.arange(max(0, len(task.design) - ROWS), len(task.design)))
    if kind == "permutation":
        found = _permuted(task, fold, held)
    elif kind == "gain":
        trees = [one for some in (learned, held) for one in getattr(some, "learned", (some,)) if hasattr(one, "gain")]
        found = trees[0].gain(task.facts, recent) if trees else []  # trees without weight have learned in the trial alone
        if not found:
            raise InputError("this member has no trees and so no gain", fix="ask for contribution or permutation")
    else:
        terms: Terms = getattr(learned, "detail", learned.terms)(task.facts, recent)
        size = np.abs(terms.amounts - terms.amounts.mean(axis=0)).mean(axis=0)
        found = list(zip(terms.databases, terms.names, size.tolist(), strict=True))
    frame = pd.DataFrame(found, columns=["database", "feature", "value"])
    return frame.sort_values("value", ascending=False, ignore_index=True, kind="stable")


def _permuted(task: Task, fold: Fold, held: Any) -> list[tuple[str, str, float]]:
    """Loss of R² on outcomes that `held` has not seen when a group of inputs is dealt anew."""
    rng = spawn(task.seed, "effectiveness.permutation")
    later = np.sort(rng.permutation(fold.later)[:ROWS])
    d, y = task.design.take(later), task.target[later]
    whole, found = r_squared(y, held.terms(task.facts, d).total), []
    for name, (database, fields) in GROUPS.items():
        losses = []
        for _ in range(TURNS):
            deal = rng.permutation(len(d))
            changed = replace(d, **{field: getattr(d, field)[deal] for field in fields})
            losses.append(whole - r_squared(y, held.terms(task.facts, changed).total))
        found.append((database, name, float(np.mean(losses))))
    return found


def dependence(feature: str, points: int, task: Task, learned: Any) -> pd.DataFrame:
    """Columns feature, value, log_f (mean), relative (to the mean over recent rows)."""
    d = task.design.take(np.arange(max(0, len(task.design) - ROWS), len(task.design)))
    now = float(learned.terms(task.facts, d).total.mean())
    rows = []
    for value, facts, changed in _settings(feature, points, task.facts, d):
        mean = float(learned.terms(facts, changed).total.mean())
        rows.append({"feature": feature, "value": value, "log_f": mean, "relative": float(np.exp(mean - now))})
    return pd.DataFrame(rows)


def _settings(feature: str, points: int, facts: Facts, d: Design) -> list[tuple[Any, Facts, Design]]:
    """(value, tables, rows) for each value that the feature is set to."""
    if feature == "content_type":
        return [(name, facts, replace(d, c=np.full_like(d.c, k))) for k, name in enumerate(facts.contents)]
    if feature == "price_premium":
        return [(v, facts, replace(d, premium=np.full(len(d), v))) for v in _values(d.premium, points)]
    for field, names in (("pair", PAIR), ("clock", CLOCK), ("market", MARKET)):
        if feature in names:
            column = names.index(feature)
            return [
                (v, facts, replace(d, **{field: _set(getattr(d, field), column, v)}))
                for v in _values(getattr(d, field)[:, column], points)
            ]
    for block in ("creator", "content", "event"):
        held = getattr(facts, block)
        if feature in held.names:
            column, out = held.names.index(feature), []
            for v in _values(held.numbers[:-1, column], points):
                other = copy.copy(facts)
                setattr(other, block, replace(held, numbers=_set(held.numbers, column, v)))
                out.append((v, other, d))
            return out
    known = [
        "content_type",
        "price_premium",
        *PAIR,
        *CLOCK,
        *MARKET,
        *facts.creator.names,
        *facts.content.names,
        *facts.event.names,
    ]
    raise InputError(f"there is no feature {feature!r}", fix=f"choose one of {', '.join(known)}")


def _values(x: Floats, points: int) -> list[float]:
    known = x[np.isfinite(x)]
    return [float(v) for v in np.unique(np.quantile(known, np.linspace(0.02, 0.98, points)))] if len(known) else []


def _set(x: Floats, column: int, value: float) -> Floats:
    out = x.copy()
    out[:, column] = value
    return out


def explain(rows: pd.DataFrame, terms: Terms, more: dict[tuple[str, str], Floats]) -> pd.DataFrame:
    """The keys, then database, term, contribution (log scale), factor (what f is multiplied by); the largest of each tuple first."""
    names, of = [*terms.names, *(name for _, name in more)], [*terms.databases, *(name for name, _ in more)]
    amounts = np.column_stack([terms.amounts, *more.values()])
    n, k = amounts.shape
    frame = rows[KEYS].loc[np.repeat(np.arange(n), k)].reset_index(drop=True)
    frame["database"], frame["term"], frame["contribution"] = of * n, names * n, amounts.ravel()
    frame["factor"] = np.exp(frame["contribution"])
    order = np.lexsort((-np.abs(amounts).ravel(), np.repeat(np.arange(n), k)))
    return frame.iloc[order].reset_index(drop=True)
