"""Incremental units: what lift tests say of the level of what platforms and orders report.

A test of a campaign says how much it really brought; the outcomes of its assignments say how much was counted. Their ratio, pooled over
subjects by random effects (DerSimonian and Laird 1986) and drawn to 1 by its standard error, turns f into what is incremental. Subjects with
tests of their own keep their own ratio as far as it is known. One campaign is not the next: how much ratios differ between subjects is drawn to
`APART`, so that a single test, however exact, does not fix the level of all posts to come.

Both sides of a ratio must be of the same posts. Where tests are known one by one (`lift_tests`) each is compared with the assignments of its own
weeks: on four simulated markets the true ratio of a test of six weeks varied with sd 0.14 (log) against what was counted in those weeks, 0.21
against what was counted over three years. A campaign of which nothing was counted says nothing of the ratio, nor does evidence of a channel
that pools it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from liftwise.core.uncertainty import Floats

DOUBT = 0.5  # sd of the ratio before any test
APART, COUNTS = 0.4, 2.0  # sd of ratios between subjects before any test, and the degrees of freedom that this is worth
PER_SPEND = "_per_spend"
LEAST = 0.0
CHANNEL = "influencer"  # begins the names of channels that assignments are of
NAMED = {
    "campaign": "campaign_id",
    "influencer": "influencer_id",
    "content": "content_type",
}  # where subjects stand in assignments
Found = tuple[tuple[str, str], float, float]  # (kind, subject), ratio, its sd


@dataclass(frozen=True)
class Level:
    """ratio : incremental per counted outcome, with its sd; `own` : (ratio, sd) by (kind, subject); tests : how many were used."""

    ratio: float = 1.0
    sd: float = 0.0
    own: dict[tuple[str, str], tuple[float, float]] = field(default_factory=dict)
    tests: int = 0
    ignored: int = 0

    def of(self, rows: pd.DataFrame) -> tuple[Floats, Floats]:
        """Ratio and sd of each tuple; a creator's own comes before a content's."""
        ratio, sd = np.full(len(rows), self.ratio), np.full(len(rows), self.sd)
        for kind, column in (("content", "content_type"), ("influencer", "influencer_id")):
            for (which, subject), (value, error) in self.own.items():
                if which == kind:
                    mine = (rows[column] == subject).to_numpy()
                    ratio[mine], sd[mine] = value, error
        return ratio, sd

    def summary(self) -> str:
        """For a manager."""
        if not self.tests:
            return "What is predicted is as counted by links, codes and platforms; no lift test says how much of it posts cause."
        say = "one lift test says" if self.tests == 1 else f"{self.tests} lift tests say"
        return f"What is predicted is what posts cause: {say} {self.ratio:.2f} ± {self.sd:.2f} of what is counted."


def level(evidence: pd.DataFrame | None, past: pd.DataFrame, metric: str, lift_tests: pd.DataFrame | None = None) -> Level:
    """Compare tests with what was counted.

    Totals are comparable for campaigns (their assignments are known); per unit of spend, tests of influencers, contents and
    channels whose name begins with "influencer". Others are ignored, and counted as such.

    Parameters
    ----------
    evidence : table `evidence`. A row whose `sources` are all known one by one is not used again.
    past : assignments with `price`, the metric and what tests may name; with `posted_at` where `lift_tests` are given.
    lift_tests : table `lift_tests`: each is compared with assignments posted in its own weeks.
    """
    alone, ignored = _single(lift_tests, past, metric)
    pooled, more = _pooled(evidence, past, metric, set() if lift_tests is None else set(lift_tests["test_id"]))
    tests = alone + pooled
    if not tests:
        return Level(ignored=ignored + more)
    found = _by_subject(tests)
    between, typical, typical_sd = _pool(*(np.array([item[k] for item in found.values()]) for k in (0, 1)))
    own, prior = {}, 1 / (between + typical_sd**2)
    for key, (value, sd) in found.items():
        precision = 1 / sd**2
        own[key] = (max(LEAST, (value * precision + typical * prior) / (precision + prior)), float((precision + prior) ** -0.5))
    return Level(max(LEAST, typical), float(np.sqrt(typical_sd**2 + between)), own, len(tests), ignored + more)


def _by_subject(tests: list[Found]) -> dict[tuple[str, str], tuple[float, float]]:
    """Ratio and sd of each subject from all its tests."""
    found = {}
    for key in dict.fromkeys(key for key, _, _ in tests):
        value, sd = (np.array([test[k] for test in tests if test[0] == key], dtype=float) for k in (1, 2))
        found[key] = float((value / sd**2).sum() / (1 / sd**2).sum()), float((1 / sd**2).sum() ** -0.5)
    return found


def _single(lift_tests: pd.DataFrame | None, past: pd.DataFrame, metric: str) -> tuple[list[Found], int]:
    """Tests one by one against the posts of their weeks, and how many cannot be compared: without money, without posts in their weeks, of
    another metric or channel.

    Per unit of spend, since a test in some regions has a part of the money and of the effect alike. Another channel's test that names an influencer
    (posts pushed by ads) measures money that assignments do not hold. What was counted is uncertain too: its error is that of a ratio of sums
    (Cochran 1977, 6.4), which takes true differences between posts for noise as well.
    """
    if lift_tests is None or lift_tests.empty:
        return [], 0
    known, found = past[past[metric].notna()], list[Found]()
    for row in lift_tests.to_dict("records"):
        named = {column: row[column] for column in NAMED.values() if isinstance(row.get(column), str) and row[column]}
        spend, effect, error = (float(row.get(name, np.nan)) for name in ("spend", "effect", "standard_error"))
        of = row["metric"] if isinstance(row.get("metric"), str) else "revenue"
        if (
            of != metric
            or not str(row["channel"]).startswith(CHANNEL)
            or not (spend > 0 and np.isfinite(effect) and 0 < error < np.inf)
        ):
            continue
        mine = (known["posted_at"] >= row["starts_on"]) & (known["posted_at"] < row["ends_on"] + pd.Timedelta(days=1))
        for column, name in named.items():
            mine &= (known[column] == name) if column in known else False
        counted, price = known.loc[mine, metric].to_numpy(dtype=float), known.loc[mine, "price"].to_numpy(dtype=float)
        if len(counted) > 1 and counted.sum() > 0 and price.sum() > 0:
            rate = counted.sum() / price.sum()
            noise = np.sqrt(len(counted) / (len(counted) - 1) * ((counted - rate * price) ** 2).sum()) / counted.sum()
            ratio = effect / spend / rate
            found.append((_subject(row, named), float(ratio), float(np.hypot(error / spend / rate, ratio * noise))))
    return found, len(lift_tests) - len(found)


def _subject(row: dict[Any, Any], named: dict[str, str]) -> tuple[str, str]:
    """Whom a test speaks of: a campaign it names, else an influencer, else a content; else of whoever posted in its weeks."""
    return next(((kind, named[column]) for kind, column in NAMED.items() if column in named), ("test", str(row["test_id"])))


def _pooled(evidence: pd.DataFrame | None, past: pd.DataFrame, metric: str, single: set[str]) -> tuple[list[Found], int]:
    """Rows of table `evidence` against everything that was counted of their subject, and how many cannot be compared."""
    if evidence is None or evidence.empty:
        return [], 0
    mine, found, again = evidence[evidence["metric"].isin([metric, metric + PER_SPEND])], list[Found](), 0
    campaigns = set(evidence.loc[evidence["subject_kind"] == "campaign", "subject"].astype("str"))
    totals = set(mine.loc[(mine["subject_kind"] == "campaign") & (mine["metric"] == metric), "subject"].astype("str"))
    for row in mine.itertuples():
        kind, subject = str(row.subject_kind), str(row.subject)
        sources = set(str(getattr(row, "sources", "")).split(";")) - {""}
        others = campaigns - {subject}
        twice = kind == "campaign" and subject in totals and row.metric != metric  # its total and its effect per unit of spend
        if twice or (sources and sources <= single | others):
            again += 1
        elif not sources & others and (counted := _counted(row, past, metric)) and 0 < row.sd < np.inf:
            found.append(((kind, subject), row.mean / counted, row.sd / counted))
    return found, len(evidence) - len(found) - again


def _counted(row: Any, past: pd.DataFrame, metric: str) -> float | None:
    """What was counted of the subject of a row of evidence: in all, or per unit of spend."""
    per_spend, known = str(row.metric).endswith(PER_SPEND), past[past[metric].notna()]
    if row.subject_kind in NAMED and NAMED[row.subject_kind] in known:
        known = known[known[NAMED[row.subject_kind]] == row.subject]
    elif not (row.subject_kind == "channel" and str(row.subject).startswith(CHANNEL)):
        return None
    if not per_spend and row.subject_kind != "campaign":
        return None
    total = float(known[metric].sum())
    base = float(known["price"].sum()) if per_spend else 1.0
    return total / base if total > 0 and base > 0 else None


def _pool(ratio: Floats, error: Floats) -> tuple[float, float, float]:
    """Variance between subjects, mean drawn to 1, its sd."""
    w = 1 / error**2
    mean = float((w * ratio).sum() / w.sum())
    excess = float((w * (ratio - mean) ** 2).sum()) - (len(ratio) - 1)
    scale = float(w.sum() - (w**2).sum() / w.sum())
    seen, more = max(0.0, excess / scale) if scale > 0 else 0.0, len(ratio) - 1
    between = (COUNTS * APART**2 + more * seen) / (COUNTS + more)
    w = 1 / (error**2 + between)
    mean, precision = float((w * ratio).sum() / w.sum()), float(w.sum())
    return between, (mean * precision + 1 / DOUBT**2) / (precision + 1 / DOUBT**2), float((precision + 1 / DOUBT**2) ** -0.5)
