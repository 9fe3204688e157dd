"""Files as a brand would export them: Parquet, some CSV with a few broken rows, and small images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from liftwise.core.uncertainty import spawn
from liftwise.sources.simulator.campaigns import Campaigns

AS_CSV = ("surveys", "competitors", "campaigns", "regions")


def tables(folder: Path, frames: dict[str, pd.DataFrame], plan: Campaigns, seed: int) -> pd.DataFrame:
    """Write all tables and images; returns what was broken on purpose (table, line, kind)."""
    broken: list[tuple[str, int, str]] = []
    for name, frame in frames.items():
        if name in AS_CSV:
            broken += _csv(folder / f"{name}.csv", name, frame, seed)
        else:
            frame.to_parquet(folder / f"{name}.parquet", index=False, compression="zstd")
    _images(folder / "media", plan, seed)
    return pd.DataFrame(broken, columns=["table", "line", "kind"])


def _csv(path: Path, name: str, frame: pd.DataFrame, seed: int) -> list[tuple[str, int, str]]:
    """A CSV in which about one row in a thousand of the large tables is broken."""
    rng = spawn(seed, f"dirt.{name}")
    text = frame.copy()
    for column in text.columns[text.dtypes.map(lambda kind: kind.kind == "M")]:
        text[column] = text[column].dt.strftime("%Y-%m-%d")
    text = text.astype(object).where(text.notna(), "")
    broken: list[tuple[str, int, str]] = []
    if name in ("surveys", "competitors"):
        rows = rng.choice(len(text), max(3, len(text) // 1000), replace=False)
        date, number = ("wave_on", "score") if name == "surveys" else ("week", "value")
        for k, row in enumerate(rows):
            column, value, kind = [(number, "n/a", "not a number"), (date, "2024-02-31", "not a date"), (number, "", "missing")][
                k % 3
            ]
            text.loc[row, column] = value
            broken.append((name, int(row) + 2, kind))
        text = pd.concat([text, text.iloc[[i for i in range(len(text)) if i not in set(rows)][:1]]])
        broken.append((name, len(text) + 1, "repeated key"))
    text.to_csv(path, index=False)
    return broken


def _images(folder: Path, plan: Campaigns, seed: int) -> None:
    """A small picture a post: how colourful it is, and whether the pack is seen, are really in it."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    rng = spawn(seed, "images")
    for name, (_, _, pack, colour) in zip(plan.ids, plan.posts.elements, strict=True):
        grey = rng.integers(80, 200, (8, 8, 1))
        tint = rng.normal(0, 90 * colour, (8, 8, 3))
        picture = np.clip(grey + tint, 0, 255).astype(np.uint8).repeat(8, axis=0).repeat(8, axis=1)
        if pack:
            x, y = rng.integers(4, 40, 2)
            picture[y : y + 20, x : x + 14] = (200, 30, 40)
        Image.fromarray(picture).save(folder / f"{name}.png", compress_level=1)
