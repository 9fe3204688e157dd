"""Lift evidence: what all tests of a channel, an influencer or a campaign say together, with honest doubt.

Tests of one subject are pooled by a Bayesian random-effects model (`liftwise.models.causal.drift`): effects may differ from test
to test, may drift, and old tests may count less. `current` is right where the effect may drift: its interval covers about as often
as it says, and more often where tests do not differ at all. `typical` is right where the effect is stable: it is far narrower there,
and too narrow where a drift goes unseen. Unless told otherwise the answer is `typical` from the fifth test on, while no drift has
been found; before and else it is `current`.

Two scales: total per test, and per unit of spend where spend is known (incremental revenue per euro), which is what tests of
different sizes share. Evidence is kept as the tests themselves, so tests that come one by one give the same answer as all of them
at once, to the last digit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from liftwise.core.errors import CannotTell, InputError, TableError
from liftwise.models.causal.drift import Mixture, Pooled, pool
from liftwise.models.causal.words import amount

if TYPE_CHECKING:
    import plotly.graph_objects as go

KEY = ["subject_kind", "subject", "region", "metric"]
COLUMNS = [*KEY, "test_id", "starts_on", "ends_on", "effect", "standard_error", "spend"]
TARGETS = ("current", "typical", "next")
ENOUGH = 5  # tests from which their spread can be told, so that what they have in common is known better than any one of them
PER_SPEND = "_per_spend"  # ends the metric's name where effects are per unit of spend


@dataclass(frozen=True)
class Pooling:
    """How tests are pooled; see `LiftEvidence`."""

    half_life_days: float | str | None = None
    drift: bool = True
    spread: float = 2.0

    def of(self, tests: pd.DataFrame) -> Pooled:
        """Pool tests of one subject, sorted by time."""
        days = tests["ends_on"].to_numpy().astype("datetime64[D]").astype(float)
        effects, errors = tests["effect"].to_numpy(float), tests["standard_error"].to_numpy(float)
        return pool(effects, errors, days, half_life=self.half_life_days, drift=self.drift, spread=self.spread)


@dataclass(frozen=True, eq=False)
class Posterior:
    """What the tests of one subject say of its effect, in the metric's unit.

    Parameters
    ----------
    tests : one row per test, by time, on the scale of `metric`.
    pooled : three targets: the effect in the latest test (`current`), what tests have on average by now if the effect seldom
        drifts (`typical`), and the effect in the next (`next`).
    """

    subject_kind: str
    subject: str
    region: str
    metric: str
    tests: pd.DataFrame = field(repr=False)
    pooled: Pooled = field(repr=False)
    pooling: Pooling = field(repr=False)

    @property
    def as_of(self) -> pd.Timestamp:
        """End of the latest test."""
        return self.tests["ends_on"].iloc[-1]

    def target(self, of: str | None = None) -> Mixture:
        """The distribution of that target."""
        return _target(self.pooled, len(self.tests), of)

    def interval(self, level: float = 0.90, of: str | None = None) -> tuple[float, float]:
        """Central credible interval."""
        return self.target(of).interval(level)

    def row(self, level: float = 0.90, of: str | None = None) -> dict[str, Any]:
        """One row of table `evidence`."""
        found, (low, high) = self.target(of), self.interval(level, of)
        return {
            "subject_kind": self.subject_kind, "subject": self.subject, "region": self.region, "metric": self.metric, "as_of": self.as_of,
            "mean": found.mean, "sd": found.sd, "low": low, "high": high, "sources": ";".join(self.tests["test_id"]),
        }  # fmt: skip

    def path(self, level: float = 0.90, of: str | None = None) -> pd.DataFrame:
        """The answer as it stood after each test: ends_on, test_id, mean, low, high."""
        rows = []
        for k in range(1, len(self.tests) + 1):
            found, last = _target(self.pooling.of(self.tests.iloc[:k]), k, of), self.tests.iloc[k - 1]
            rows.append((last["ends_on"], last["test_id"], found.mean, *found.interval(level)))
        return pd.DataFrame(rows, columns=["ends_on", "test_id", "mean", "low", "high"])

    def summary(self, level: float = 0.90) -> str:
        """A sentence or two for a manager."""
        (low, high), many = self.interval(level), len(self.tests)
        unit = self.metric.removesuffix(PER_SPEND) + (" per unit of spend" if self.metric.endswith(PER_SPEND) else " in a test")
        said = (
            f"{self.subject}: {amount(self.target().mean)} {unit} as of {self.as_of:%Y-%m-%d}, {level:.0%} interval {amount(low)} to "
            f"{amount(high)}, from {many} test{'s' if many > 1 else ''}."
        )
        if self.pooled.drifting:
            way = "fallen" if self.pooled.change < 0 else "risen"
            said += (
                f" The effect has {way} by about {amount(abs(self.pooled.change))} since the first test, so old tests mislead."
            )
        return said

    def plot(self, level: float = 0.90) -> go.Figure:
        """Forest plot: each test by itself, and what was known after it."""
        import plotly.graph_objects as go

        from liftwise.core.uncertainty import normal_quantile

        names, path = self.tests["test_id"] + ", " + self.tests["ends_on"].dt.strftime("%Y-%m-%d"), self.path(level)
        figure = go.Figure()
        figure.add_scatter(
            x=self.tests["effect"], y=names, mode="markers", name="test by itself",
            error_x={"type": "data", "array": normal_quantile(level) * self.tests["standard_error"]},
        )  # fmt: skip
        figure.add_scatter(
            x=path["mean"], y=names, mode="markers", name="known after it", marker={"symbol": "diamond"},
            error_x={"type": "data", "array": path["high"] - path["mean"], "arrayminus": path["mean"] - path["low"]},
        )  # fmt: skip
        figure.add_vline(x=0, line={"width": 1})  # pyright: ignore[reportArgumentType]
        figure.update_yaxes(autorange="reversed")
        figure.update_xaxes(title_text=self.metric.replace("_", " "))
        return figure.update_layout(template="plotly_white", title=self.subject)


@dataclass(frozen=True, eq=False)
class Evidence:
    """One posterior per subject, region and metric.

    Parameters
    ----------
    left_out : tests that could not be used: test_id, reason.
    """

    posteriors: tuple[Posterior, ...]
    left_out: pd.DataFrame = field(repr=False)

    def of(self, subject: str, metric: str | None = None, region: str = "all") -> Posterior:
        """The posterior of one subject; per unit of spend where that is known and no metric is named.

        Raises
        ------
        CannotTell
            If there is no test of it.
        """
        found = [p for p in self.posteriors if p.subject == subject and p.region == region and metric in (None, p.metric)]
        if not found:
            known = ", ".join(sorted({p.subject for p in self.posteriors}))
            raise CannotTell(f"there is no test of {subject} for {metric or 'any metric'} in {region}", fix=f"there are {known}")
        return max(found, key=lambda p: (p.metric.endswith(PER_SPEND), p.metric == "revenue" + PER_SPEND, p.metric == "revenue"))

    def to_frame(self, level: float = 0.90, of: str | None = None) -> pd.DataFrame:
        """Table `evidence`."""
        return pd.DataFrame([posterior.row(level, of) for posterior in self.posteriors])

    def details(self) -> pd.DataFrame:
        """Beside the table: tests, spread between them, drift (Bayes factor, found or not, change), half-life."""
        return pd.DataFrame([
            {"subject_kind": p.subject_kind, "subject": p.subject, "region": p.region, "metric": p.metric, "tests": len(p.tests),
             "typical": p.pooled.typical.mean, "spread": p.pooled.spread, "bayes_factor": p.pooled.bayes_factor,
             "drifting": p.pooled.drifting, "change": p.pooled.change, "half_life_days": p.pooled.half_life}
            for p in self.posteriors
        ])  # fmt: skip

    def summary(self, level: float = 0.90) -> str:
        """A line per subject, on its best scale."""
        subjects = sorted({(p.subject, p.region) for p in self.posteriors})
        return "\n".join(self.of(subject, region=region).summary(level) for subject, region in subjects)

    def plot(self, subject: str | None = None, level: float = 0.90) -> go.Figure:
        """Forest plot of one subject; by default the one with the most tests."""
        most = max(self.posteriors, key=lambda p: len(p.tests)).subject
        return self.of(subject or most).plot(level)


class LiftEvidence:
    """Pools tests of the same subject, as they come.

    Parameters
    ----------
    half_life_days : days after which a test counts half; None: all tests count alike; ``"learned"``: weighed by foresight.
    drift : whether the effect may drift, and whether to look for it.
    spread : prior median of the spread between tests where they differ, and of a drift where there is one, in typical standard
        errors.
    by_region : whether tests in a single region also get a posterior of that region.

    Examples
    --------
    >>> tests = pd.DataFrame({
    ...     "test_id": ["t1", "t2"], "channel": "influencer", "starts_on": ["2025-01-06", "2025-04-07"],
    ...     "ends_on": ["2025-02-16", "2025-05-18"], "effect": [30_000.0, 22_000.0], "standard_error": [8_000.0, 7_000.0],
    ...     "spend": [20_000.0, 20_000.0]})
    >>> found = LiftEvidence().update(tests).of("influencer")
    >>> found.metric, round(found.target().mean, 2), tuple(round(end, 2) for end in found.interval(0.90))
    ('revenue_per_spend', 1.18, (0.64, 1.69))
    """

    def __init__(
        self, *, half_life_days: float | str | None = None, drift: bool = True, spread: float = 2.0, by_region: bool = False
    ) -> None:
        known = (
            half_life_days is None or half_life_days == "learned" or (not isinstance(half_life_days, str) and half_life_days > 0)
        )
        if not known:
            raise InputError(f"half_life_days {half_life_days!r} is no half-life", fix='give days above 0, None or "learned"')
        if not spread > 0:
            raise InputError(f"spread {spread!r} must be above 0", fix="2 is usual")
        self.pooling, self.by_region = Pooling(half_life_days, drift, spread), by_region
        self.tests_ = pd.DataFrame(columns=COLUMNS)
        self.left_out_ = pd.DataFrame({"test_id": [], "reason": []}, dtype="str")

    def update(self, tests: pd.DataFrame) -> Evidence:
        """Add tests and pool all so far; a test that is known already is replaced.

        Parameters
        ----------
        tests : table `lift_tests`, or what `results_as_tests` gives.

        Raises
        ------
        TableError
            If a column is missing.
        CannotTell
            If no test can be used.
        """
        new = tests[COLUMNS] if "subject_kind" in tests.columns else as_tests(tests)
        usable, left_out = _usable(new)
        both = pd.concat([self.tests_, usable]) if len(self.tests_) else usable
        both = both.drop_duplicates([*KEY, "test_id"], keep="last")
        if both.empty:
            raise CannotTell("there is no test to learn from", fix="deliver lift_tests with effects and standard errors above 0")
        self.tests_ = both.sort_values([*KEY, "ends_on", "starts_on", "test_id"], ignore_index=True)
        self.left_out_ = pd.concat([self.left_out_, left_out], ignore_index=True).drop_duplicates(ignore_index=True)
        posteriors = [
            Posterior(*map(str, key), group, self.pooling.of(group), self.pooling)  # pyright: ignore[reportCallIssue, reportArgumentType]
            for key, group in self._groups()
        ]
        return Evidence(tuple(posteriors), self.left_out_)

    def _groups(self) -> Iterator[tuple[tuple[str, str, str, str], pd.DataFrame]]:
        """Tests of each subject on each scale; all regions together, and each on its own where asked."""
        everywhere = self.tests_.assign(region="all").sort_values([*KEY, "ends_on", "starts_on", "test_id"])
        alone = self.tests_[self.tests_["region"] != "all"] if self.by_region else self.tests_.iloc[:0]
        for frame in (everywhere, alone):
            for key, group in frame.groupby(KEY, sort=True):
                kind, subject, region, metric = map(str, key)  # pyright: ignore[reportArgumentType, reportGeneralTypeIssues]
                yield (kind, subject, region, metric), group.reset_index(drop=True)
                paid = group[group["spend"] > 0]
                if len(paid) and metric not in ("conversion_rate", "buyers"):
                    scaled = paid.assign(
                        effect=paid["effect"] / paid["spend"], standard_error=paid["standard_error"] / paid["spend"]
                    )
                    yield (kind, subject, region, metric + PER_SPEND), scaled.reset_index(drop=True)


def as_tests(lift_tests: pd.DataFrame) -> pd.DataFrame:
    """Table `lift_tests` by subject: the influencer where one is named, else the channel."""
    absent = [
        c for c in ("test_id", "channel", "starts_on", "ends_on", "effect", "standard_error") if c not in lift_tests.columns
    ]
    if absent:
        raise TableError(f"missing column {', '.join(absent)}", where="lift_tests", fix="see table lift_tests")
    who, where = _text(lift_tests, "influencer_id"), _text(lift_tests, "regions")
    metric = _text(lift_tests, "metric")
    frame = pd.DataFrame({
        "subject_kind": np.where(who != "", "influencer", "channel"), "subject": who.where(who != "", _text(lift_tests, "channel")),
        "region": where.where((where != "") & ~where.str.contains(";"), "all"), "metric": metric.where(metric != "", "revenue"),
    })  # fmt: skip
    return _with_numbers(frame, lift_tests)


def results_as_tests(results: pd.DataFrame, campaigns: pd.DataFrame, method: str | None = None) -> pd.DataFrame:
    """Tables `lift_results` and `campaigns` as tests: of the campaign, and of its channel where one is named; spend is the budget.

    Parameters
    ----------
    method : which to take where campaigns were judged by several.

    Raises
    ------
    InputError
        If a campaign was judged by several methods and none is chosen: one test would count twice.
    """
    chosen = results if method is None else results[results["method"] == method]
    if chosen["test_id"].duplicated().any():
        raise InputError(
            "campaigns were judged by several methods", fix=f"choose one of {', '.join(sorted(set(chosen['method'])))}"
        )
    joined = chosen.merge(campaigns, left_on="test_id", right_on="campaign_id").assign(metric="revenue")
    joined["spend"] = joined["budget"] if "budget" in joined.columns else np.nan
    channel, where = _text(joined, "channel"), _text(joined, "regions")
    region = where.where((where != "") & ~where.str.contains(";"), "all")
    own = pd.DataFrame({"subject_kind": "campaign", "subject": joined["test_id"], "region": region, "metric": "revenue"})
    of_channel = pd.DataFrame({"subject_kind": "channel", "subject": channel, "region": region, "metric": "revenue"})
    both = pd.concat([_with_numbers(own, joined), _with_numbers(of_channel, joined)], ignore_index=True)
    return both[both["subject"] != ""].reset_index(drop=True)


def _target(pooled: Pooled, tests: int, of: str | None) -> Mixture:
    """The target asked for, or the one that suits so many tests."""
    if of is None:
        return pooled.typical if tests >= ENOUGH and not pooled.drifting else pooled.current
    if of not in TARGETS:
        raise InputError(f"target {of!r} is unknown", fix=f"choose {', '.join(TARGETS)}")
    return getattr(pooled, of)


def _text(frame: pd.DataFrame, name: str) -> pd.Series:
    """A column as text, empty where there is none."""
    column = frame[name] if name in frame.columns else pd.Series("", index=frame.index)
    return column.astype("object").where(column.notna(), "").astype("str").str.strip()


def _with_numbers(frame: pd.DataFrame, source: pd.DataFrame) -> pd.DataFrame:
    numbers = {
        c: pd.to_numeric(source[c], errors="coerce") if c in source.columns else np.nan
        for c in ("effect", "standard_error", "spend")
    }
    dates = {c: pd.to_datetime(source[c], errors="coerce").astype("datetime64[us]") for c in ("starts_on", "ends_on")}
    return frame.assign(test_id=_text(source, "test_id"), **dates, **numbers)[COLUMNS].astype({"spend": "float64"})


def _usable(tests: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tests that can be pooled, and why the others cannot."""
    reason = pd.Series("", index=tests.index)
    for fault, bad in (
        ("has no end date", tests["ends_on"].isna()), ("has no effect", ~np.isfinite(tests["effect"])),
        ("has no standard error above 0", ~(np.isfinite(tests["standard_error"]) & (tests["standard_error"] > 0))),
    ):  # fmt: skip
        reason = reason.where(~bad | (reason != ""), fault)
    left = pd.DataFrame({"test_id": tests["test_id"], "reason": reason})[reason != ""]
    return tests[reason == ""], left.drop_duplicates().astype("str").reset_index(drop=True)
