"""Incremental units: what lift tests say of the level of what platforms and orders report.

A test of a campaign says how much it really brought; the outcomes of its assignments say how much was counted. Their ratio, pooled over
subjects by random effects (DerSimonian and Laird 1986) and drawn to 1 by its standard error, turns f into what is incremental. Subjects with
tests of their own keep their own ratio as far as it is known. One campaign is not the next: how much ratios differ between subjects is drawn to
`APART`, so that a single test, however exact, does not fix the level of all posts to come.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from liftwise.core.uncertainty import Floats

DOUBT = 0.5  # sd of the ratio before any test
APART, COUNTS = 0.4, 2.0  # sd of ratios between subjects before any test, and the degrees of freedom that this is worth
PER_SPEND = "_per_spend"
LEAST = 0.0


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
            return "No lift test stands behind the level: effectiveness is in units as counted."
        return f"Effectiveness is in incremental units: {self.tests} lift tests say {self.ratio:.2f} ± {self.sd:.2f} of what is counted."


def level(evidence: pd.DataFrame | None, past: pd.DataFrame, metric: str) -> Level:
    """Compare tests with what was counted.

    Totals are comparable for campaigns (their assignments are known); tests per unit of spend for influencers, contents and channels whose
    name begins with "influencer". Others are ignored, and counted as such.
    """
    if evidence is None or evidence.empty:
        return Level()
    mine = evidence[evidence["metric"].isin([metric, metric + PER_SPEND])]
    found, ignored = [], len(evidence) - len(mine)
    for row in mine.itertuples():
        counted = _counted(row, past, metric)
        if counted is None or not np.isfinite(row.sd) or row.sd <= 0:
            ignored += 1
        else:
            found.append(((str(row.subject_kind), str(row.subject)), row.mean / counted, row.sd / counted))
    if not found:
        return Level(ignored=ignored)
    ratio, error = (np.array([item[k] for item in found], dtype=float) for k in (1, 2))
    between, typical, typical_sd = _pool(ratio, error)
    own = {}
    for key, value, sd in found:
        precision, prior = 1 / sd**2, 1 / (between + typical_sd**2)
        own[key] = (max(LEAST, (value * precision + typical * prior) / (precision + prior)), float((precision + prior) ** -0.5))
    spread = float(np.sqrt(typical_sd**2 + between))
    return Level(max(LEAST, typical), spread, own, len(found), ignored)


def _counted(row: object, past: pd.DataFrame, metric: str) -> float | None:
    """What was counted of the subject of a test: in all, or per unit of spend."""
    per_spend = str(row.metric).endswith(PER_SPEND)
    columns = {"campaign": "campaign_id", "influencer": "influencer_id", "content": "content_type"}
    known = past[past[metric].notna()]
    if row.subject_kind in columns and columns[row.subject_kind] in known:
        known = known[known[columns[row.subject_kind]] == row.subject]
    elif not (row.subject_kind == "channel" and str(row.subject).startswith("influencer")):
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
