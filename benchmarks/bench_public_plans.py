"""Public problems through the same `select`: OR-Library's multidimensional knapsacks and generalised assignment, against the best known."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
from public_knapsacks import assignment, knapsacks
from side_by_side import REFERENCE, Row

from liftwise.decisions.selection.choose import select

SECONDS = 60
EACH = range(0, 30, 6)  # of the problems in a file of knapsacks


def run() -> Iterator[Row]:
    """A row for each file."""
    if not REFERENCE.is_dir():
        return
    known = pd.read_csv(REFERENCE / "or_library_mknap" / "best_known.csv")
    known.columns = ["file", "index", *known.columns[2:]]
    for file, mine in known.groupby("file"):
        stem = str(file).removesuffix(".txt").removesuffix(".gz").removesuffix(".txt")
        problems = knapsacks(REFERENCE / "or_library_mknap" / f"{stem}.txt.gz")
        rows = [
            (
                select(**problems[k], risk_aversion=0, gap=1e-9, seconds=SECONDS),
                mine.loc[mine["index"] == k, "best_known_1998"].item(),
            )
            for k in EACH
        ]
        yield _shares(f"knapsacks of OR-Library, {stem}", [(plan.value / best, plan.gap) for plan, best in rows])
    known = pd.read_csv(REFERENCE / "gap_orlib" / "best_known.csv")
    for group, mine in known.groupby("Dataset"):
        found = []
        for row in mine.itertuples():
            file = REFERENCE / "gap_orlib" / "instances" / (row.Path.replace("/", "_") + ".txt")
            plan = select(**assignment(file), risk_aversion=0, gap=1e-9, seconds=SECONDS)
            found.append((row[-1] / -plan.value, plan.gap))
        yield _shares(f"assignment (GAP), {group}", found)


def _shares(what: str, found: list[tuple[float, float]]) -> Row:
    worst, proven = min(share for share, _ in found), sum(gap < 1e-6 for _, gap in found)
    return Row(
        what,
        f"{len(found)} problems, {SECONDS} s each",
        "best known",
        note=f"worst {worst:.5f} of the best known, {proven} proven",
    )
