"""Screening and scoring of tuples: sums of small arrays against the network asked row by row, and trees; memory and seconds of processor."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
from side_by_side import Row, Timed, compare
from stopwatch import Spent, measure

from liftwise.models.effectiveness import BoostedEffectiveness, FactoredNet
from liftwise.models.effectiveness.design import Design
from liftwise.models.effectiveness.grid import Arrays, additive, arrays, best, blocks, score_grid, tuples
from liftwise.sources.simulator.creator_worlds import START, TEST, CreatorWorld

AFTER = (START + pd.Timedelta(weeks=TEST)).date()
MANY, SHARE = 10_000_000, 0.01
ROWS = 20_000  # that are asked one by one


def run() -> Iterator[Row]:
    """Fit, screen ten million tuples, score the best hundredth, and what it takes in memory."""
    world = CreatorWorld(seed=1)
    tables = world.tables()
    past = tables.pop("assignments")[world.week < TEST]
    model = FactoredNet(metric="engagements", networks=3, size=(4, 64, 0.01))
    spent, _ = measure(lambda: model.fit(past, **tables))
    yield Row(
        "fit, factored net", f"{len(past):,} assignments", "–", ours=spent, pairs=1, note="3 networks, and 3 more to calibrate σ"
    )
    trees = BoostedEffectiveness(metric="engagements")
    spent, _ = measure(lambda: trees.fit(past, **tables))
    yield Row("fit, boosted trees", f"{len(past):,} assignments", "–", ours=spent, pairs=1)
    coming = _coming(tables["events"], len(tables["rates"]))
    grid = arrays(additive(model), model.facts_, rates=tables["rates"], after=AFTER, events=coming)
    yield _dense(model, grid)
    yield _screen(model, tables, coming, grid.size)
    kept, _ = best(grid, int(SHARE * grid.size), per_price=False)
    yield _rescore(model, trees, tuples(grid, kept, model.facts_, AFTER))
    yield _memory(model, tables, coming, grid.size)


def _coming(events: pd.DataFrame, offers: int) -> pd.DataFrame:
    """So many events that there are about ten million tuples."""
    ahead = events[events["date"] >= pd.Timestamp(AFTER)].sort_values("date", kind="stable")
    days = (ahead["closes_days"] - np.maximum(ahead["opens_days"], (pd.Timestamp(AFTER) - ahead["date"]).dt.days) + 1).clip(
        lower=0
    )
    return ahead[(days.cumsum() <= MANY / offers + days.max()).to_numpy()]


def _dense(model: FactoredNet, grid: Arrays) -> Row:
    """The same tuples scored by sums of arrays and by the network row by row."""
    rows = tuples(grid, np.linspace(0, grid.A.size * grid.G.size - 1, ROWS).astype(np.int64), model.facts_, AFTER)
    rows = rows[rows["days_from_event"].notna()].reset_index(drop=True)

    def dense() -> Timed:
        spent, found = measure(lambda: sum(block.size for _, block in blocks(grid, grid.A)))
        return Spent(spent.cpu * len(rows) / found, spent.wall * len(rows) / found), None

    def plain() -> Timed:
        return measure(lambda: model.learned_.terms(model.facts_, Design.of(rows, model.facts_)).total)

    row = compare(
        Row("score tuples", f"{len(rows):,} of {grid.size:,}", "the network row by row", pairs=5),
        dense,
        plain,
        lambda *_: "equal to 1e-4 (tests)",
    )
    rates = [len(rows) / spent.cpu / 1e6 for spent in (row.ours, row.theirs) if spent]
    return replace(
        row, note="time of all, by tuple; " + " against ".join(f"{rate:.2g}" for rate in rates) + " million tuples a second"
    )


def _screen(model: FactoredNet, tables: dict[str, pd.DataFrame], coming: pd.DataFrame, size: int) -> Row:
    def screened() -> np.ndarray:
        grid = arrays(additive(model), model.facts_, rates=tables["rates"], after=AFTER, events=coming)
        return best(grid, int(SHARE * grid.size), per_price=False)[0]

    spent, _ = measure(screened)
    return Row("screen, arrays included", f"{size:,} tuples", "–", ours=spent, pairs=1, note=f"the best {SHARE:.0%} exactly")


def _rescore(model: FactoredNet, trees: BoostedEffectiveness, rows: pd.DataFrame) -> Row:
    row = Row("score the best in full, with σ", f"{len(rows):,} tuples", "boosted trees alone", pairs=3)
    return compare(
        row, lambda: measure(lambda: model.predict(rows)), lambda: measure(lambda: trees.predict(rows)), lambda *_: "other model"
    )


def _memory(model: FactoredNet, tables: dict[str, pd.DataFrame], coming: pd.DataFrame, size: int) -> Row:
    tracemalloc.start()
    spent, _ = measure(lambda: score_grid(model, rates=tables["rates"], after=AFTER, events=coming, top=SHARE))
    most = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return Row(
        "screen and score, floors included",
        f"{size:,} tuples",
        "–",
        ours=spent,
        pairs=1,
        note=f"{most:.0f} MB at most (time with the tracer on)",
    )


if __name__ == "__main__":
    for told in run():
        print(told, flush=True)
