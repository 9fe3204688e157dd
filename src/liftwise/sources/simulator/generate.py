"""The order of things in the simulated market."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from liftwise.core.uncertainty import Floats, spawn
from liftwise.sources.simulator import accounts, answers, campaigns, creators, market, outcomes, people, posts, touches, write
from liftwise.sources.simulator.accounts import Totals

CHUNK = 20_000  # people drawn at a time
Progress = Callable[[str, float], None]


@dataclass
class Files:
    """Parquet files that grow chunk by chunk."""

    folder: Path
    open: dict[str, pq.ParquetWriter] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, frame: pd.DataFrame) -> None:
        """Append rows to a table's file."""
        batch = pa.Table.from_pandas(frame, preserve_index=False)
        if name not in self.open:
            self.open[name] = pq.ParquetWriter(self.folder / f"{name}.parquet", batch.schema, compression="zstd")
        self.open[name].write_table(batch.cast(self.open[name].schema))
        self.rows[name] = self.rows.get(name, 0) + len(frame)

    def close(self) -> None:
        """Finish all files."""
        for writer in self.open.values():
            writer.close()


def generate(
    folder: Path, truth: Path, *, seed: int = 7, influencers: int = 300, people: int = 20_000, regions: int = 24, weeks: int = 156,
    scale: float = 1.0, progress: Progress | None = None,
) -> dict[str, int]:  # fmt: skip
    """Write a market's files into `folder` and its truth into `truth`; returns rows by table. Same seed, same bytes."""
    heard = progress or (lambda note, done: None)
    for place in (folder, truth):
        place.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder / "media", ignore_errors=True)
    count = round(people * scale)
    world = market.build(seed, regions, weeks)
    made = creators.build(seed, influencers, count, world)
    happening, popular = posts.events(seed, world), posts.trends(seed, world)
    plan = campaigns.campaigns(seed, made, happening, popular, world)
    stock, brand = campaigns.brand(made, plan, world, count)
    data, known = Files(folder), Files(truth)
    totals = Totals.empty(world, len(made.ids), len(plan.frame))
    for chunk, first in enumerate(range(0, count, CHUNK)):
        heard("people", 0.05 + 0.75 * first / count)
        _chunk(seed, chunk, first, min(CHUNK, count - first), world, made, plan, stock, data, known, totals, count)
    data.close()
    heard("outcomes", 0.82)
    tables = outcomes.tables(seed, world, made, happening, popular, plan, totals, stock)
    facts = accounts.truth(world, made, happening, popular, plan, totals, stock, brand)
    heard("writing", 0.92)
    dirt = write.tables(folder, tables, plan, seed)
    for name, frame in {**facts, "answers": answers.truth(), "dirt": dirt}.items():
        known.add(name, frame)
    known.close()
    heard("done", 1.0)
    return {**data.rows, **{name: len(frame) for name, frame in tables.items()}}


def _chunk(
    seed: int, chunk: int, first: int, count: int, world: market.Market, made: creators.Creators, plan: campaigns.Campaigns,
    stock: Floats, data: Files, known: Files, totals: Totals, everybody: int,
) -> None:  # fmt: skip
    """Draw some people, what they saw and what they bought; write it and add up its truth."""
    rng = spawn(seed, f"people.{chunk}")
    some = people.draw(rng, first, count, made, world)
    seen = touches.draw(rng, some, plan.posts, plan.regions, world)
    names = np.array([f"t{chunk}-{k}" for k in range(len(seen.hour))], dtype=object)
    bought, cause = accounts.purchases(rng, some, seen, names, world, stock, first)
    records, clusters = people.identifiers(rng, some)
    data.add("touchpoints", accounts.touchpoints(rng, some, seen, names, made, plan, world))
    data.add("orders", bought)
    data.add("covariates", people.covariates(rng, some, world))
    data.add("identifiers", records)
    data.add("panel_answers", answers.answers(spawn(seed, f"answers.{chunk}"), some, seen, plan, world, everybody))
    known.add("orders", cause)
    known.add("identity", clusters)
    known.add("touches", totals.add(some, seen, names, made, plan, world, stock))
