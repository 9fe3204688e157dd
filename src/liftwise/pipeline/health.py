"""Data health: what is missing, late or odd, and what it would spoil downstream. Table `health`."""

from __future__ import annotations

import numpy as np
import pandas as pd

from liftwise.core.timegrid import TimeGrid
from liftwise.pipeline import identity
from liftwise.store.warehouse import Warehouse

OUTLIER = 6.0  # robust standard deviations from the median
ALIKE = 0.95  # correlation above which two channels cannot be told apart
INFLATED = 10.0  # variance inflation above which a channel is mostly a mixture of the others
Finding = tuple[str, str, str, str, int, str, str]  # table, check, subject, severity, rows, detail, spoils


def build(warehouse: Warehouse, grid: TimeGrid) -> dict[str, float]:
    """Look at everything that was loaded and write table `health`."""
    found: list[Finding] = [*_refused(warehouse), *_quarantined(warehouse)]
    for name in ("sales", "spend"):
        if warehouse.has(name):
            found += [*_gaps(warehouse, name, grid), *_late(warehouse, name)]
    if warehouse.has("sales"):
        found += _outliers(warehouse)
    if warehouse.has("spend"):
        found += _channels(warehouse)
    if warehouse.has("panel_answers"):
        found += _answers(warehouse)
    frame = pd.DataFrame(found, columns=["table", "check", "subject", "severity", "rows", "detail", "spoils"])
    order = {"error": 0, "warning": 1, "info": 2}
    warehouse.write("health", frame.sort_values("severity", key=lambda s: s.map(order), kind="stable"))
    return {"findings": len(frame), "errors": int((frame["severity"] == "error").sum())}


def _refused(warehouse: Warehouse) -> list[Finding]:
    """Files that gave nothing at all."""
    whole = warehouse.sql("SELECT source, coalesce(\"table\", '') AS name, reason FROM quarantine WHERE line IS NULL ORDER BY 1")
    return [
        (row.name or "(none)", "file", row.source, "error" if row.name else "warning", 0, row.reason, "everything that needs this table"
         if row.name else "nothing, if it is not meant to be read")
        for row in whole.itertuples(index=False)
    ]  # fmt: skip


def _quarantined(warehouse: Warehouse) -> list[Finding]:
    counted = warehouse.sql("""
        SELECT q."table" AS name, coalesce(q."column", 'row') AS col, q.reason, count(*) AS rows, l.rows_in
        FROM quarantine q JOIN (SELECT "table", sum(rows_in) AS rows_in FROM loads GROUP BY 1) l ON l."table" = q."table"
        WHERE q.line IS NOT NULL GROUP BY ALL ORDER BY rows DESC
    """)
    found: list[Finding] = []
    for row in counted.itertuples(index=False):
        share = row.rows / row.rows_in
        severity = "error" if share > 0.05 else "warning" if share > 0.005 else "info"
        spoils = (
            "totals of this table are too low by these rows"
            if "repeats" not in row.reason
            else "nothing: the first of each key is kept"
        )
        found.append(
            (
                row.name,
                "quarantine",
                row.col,
                severity,
                int(row.rows),
                f"{row.rows} of {row.rows_in:.0f} rows: {row.col} {row.reason}",
                spoils,
            )
        )
    return found


def _answers(warehouse: Warehouse) -> list[Finding]:
    """Answers that no touch can be held against."""
    identity.accounts(warehouse)
    counts = warehouse.sql("""
        SELECT count(*) AS total, count(*) FILTER (p.account IS NULL) AS unknown
        FROM panel_answers a LEFT JOIN person_of p ON a.person_id = p.account
    """).iloc[0]
    total, unknown = int(counts["total"]), int(counts["unknown"])
    spoils = "what touches do to awareness and consideration, as panels tell it"
    found: list[Finding] = []
    if unknown:
        detail = f"{unknown} of {total} answers are of people whom no other table knows"
        found.append(("panel_answers", "link", "person_id", "warning", unknown, detail, spoils))
    if "answer_moments" in warehouse.names() and not warehouse.has("answer_moments"):
        detail = "no answer is about our brand and has a whole look-back of touches before it"
        found.append(("panel_answers", "window", "answered_at", "warning", total, detail, spoils))
    return found


def _gaps(warehouse: Warehouse, name: str, grid: TimeGrid) -> list[Finding]:
    weeks = warehouse.sql(f"SELECT DISTINCT week FROM {name} ORDER BY week")["week"]
    missing = grid.between(weeks.iloc[0].date(), weeks.iloc[-1].date()).difference(pd.DatetimeIndex(weeks))
    if missing.empty:
        return []
    detail = f"{len(missing)} periods without a row, the first {missing[0].date()}"
    return [
        (
            name,
            "gap",
            "week",
            "warning",
            len(missing),
            detail,
            "carry-over and season around them; gaps over one period are left out",
        )
    ]


def _late(warehouse: Warehouse, name: str) -> list[Finding]:
    """The last period has clearly fewer rows than the ones before: it is not complete yet."""
    counts = warehouse.sql(f"SELECT week, count(*) AS rows FROM {name} GROUP BY week ORDER BY week")
    if len(counts) < 5:
        return []
    usual, last = counts["rows"].iloc[-5:-1].median(), counts["rows"].iloc[-1]
    if last >= 0.8 * usual:
        return []
    detail = f"{counts['week'].iloc[-1].date()} has {last} rows where {usual:.0f} are usual"
    return [(name, "late", "week", "warning", int(last), detail, "the newest period looks too small: hold-out error and pacing")]


def _outliers(warehouse: Warehouse) -> list[Finding]:
    sales = warehouse.sql("SELECT week, region, sum(revenue) AS revenue FROM sales GROUP BY ALL")
    wide = sales.pivot_table(index="week", columns="region", values="revenue")
    usual = wide.rolling(13, center=True, min_periods=5).median()
    away = wide - usual
    scale = 1.4826 * away.abs().median().replace(0, np.nan)
    odd = (away / scale).abs() > OUTLIER
    found: list[Finding] = []
    for region in odd.columns[odd.any()]:
        weeks = odd.index[odd[region]]
        detail = f"revenue of {region} is far from its neighbours in {len(weeks)} periods, first {weeks[0].date()}"
        found.append(
            (
                "sales",
                "outlier",
                str(region),
                "info",
                len(weeks),
                detail,
                "season and counterfactuals, if it is an error and not an event",
            )
        )
    return found


def _channels(warehouse: Warehouse) -> list[Finding]:
    spend = warehouse.sql("SELECT week, channel, sum(spend) AS spend FROM spend GROUP BY ALL")
    wide = spend.pivot_table(index="week", columns="channel", values="spend", fill_value=0.0)
    found: list[Finding] = []
    moves = wide.std() > 1e-9 * wide.abs().mean().clip(lower=1e-9)
    for channel in wide.columns[~moves]:
        found.append(
            (
                "spend",
                "constant",
                str(channel),
                "warning",
                len(wide),
                f"{channel} never changes",
                "the mix cannot tell its effect from the baseline",
            )
        )
    rest = wide.loc[:, moves]
    if rest.shape[1] < 2 or len(rest) < 8:
        return found
    correlation = rest.corr()
    names = list(rest.columns)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            if abs(correlation.loc[one, other]) > ALIKE:
                detail = f"{one} and {other} move together (correlation {correlation.loc[one, other]:.2f})"
                found.append(
                    ("spend", "collinear", f"{one}, {other}", "warning", len(rest), detail, "the mix cannot tell the two apart")
                )
    inflation = np.diag(np.linalg.pinv(correlation.to_numpy()))
    for name, factor in zip(names, inflation, strict=True):
        if factor > INFLATED:
            detail = f"{name} is mostly a mixture of other channels (variance inflation {factor:.0f})"
            found.append(
                ("spend", "collinear", str(name), "info", len(rest), detail, "its contribution in the mix has wide intervals")
            )
    return found
