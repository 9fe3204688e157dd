"""The interface of the family: fit on past assignments, predict f ± σ of every tuple, and say why.

On the log scale f = g_I + g_H + g_M, each from its own database; parts of f itself come from the logarithmic-mean rule (Ang 2005,
LMDI-I), which is exact: the three sum to f. The base level belongs to g_H. What a member is (nets, trees, both) is the business of
`member()`; selection, calibration, levels and reading are the same for all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.uncertainty import Floats, normal_quantile
from liftwise.models.effectiveness.calibrate import LEVEL, NAMES, Conformal, Unseen, conformal, interval, straight
from liftwise.models.effectiveness.design import Design
from liftwise.models.effectiveness.facts import Facts
from liftwise.models.effectiveness.folds import Fold, folds
from liftwise.models.effectiveness.level import level
from liftwise.models.effectiveness.member import DATABASES, Learned, Member, Task, Terms
from liftwise.models.effectiveness.mixed import MixedMember
from liftwise.models.effectiveness.propensity import selection
from liftwise.models.effectiveness.reading import dependence, explain, importance
from liftwise.models.effectiveness.trees import Table
from liftwise.models.effectiveness.tuples import KEYS

if TYPE_CHECKING:
    import plotly.graph_objects as go

OUTCOMES = ("impressions", "engagements", "conversions", "revenue", "brand_equity")
FEWEST = 60  # assignments below which nothing can be said
FEW = 0.05  # of outcomes above zero; below their quantile lies what a zero may have been
CHUNK = 200_000  # tuples whose features are held at a time
SMEAR = (0.0, 1.5)  # how far the mean may lie above the median, in units of s²/2


class EffectivenessModel(ABC):
    """Predicts one metric of every tuple; subclasses say what learns.

    Parameters
    ----------
    metric : a numeric column of table `assignments` (impressions, engagements, conversions, revenue, brand_equity), or roi: revenue per
        unit of price.
    selection : how past choices of matches are corrected: auto (logged propensities, else estimated ones), logged, estimated, none.

    Attributes
    ----------
    scores_ : on outcomes not seen: r2 and rank (log of the outcome), r2_per_follower, r2_cold, rmse_log, coverage_90; rows, effective_rows.
    tried_ : what was compared while sizes and weights were chosen.
    unseen_ : creator, target and residual of each outcome that was foretold without being seen.
    selection_, level_ : how choice of matches was corrected, and what lift tests say of the level.
    """

    def __init__(self, *, metric: str = "revenue", seed: int = 7, threads: int = 1, selection: str = "auto") -> None:
        self.metric, self.seed, self.threads, self.selection = metric, seed, threads, selection

    @abstractmethod
    def member(self) -> Member:
        """What learns."""

    @staticmethod
    def quick() -> Member:
        """What tells whether weights help."""
        return MixedMember(alone=True)

    # -- learning ------------------------------------------------------------------------------------------------------------

    def fit(
        self, assignments: pd.DataFrame, *, influencers: pd.DataFrame, rates: pd.DataFrame, events: pd.DataFrame,
        affinities: pd.DataFrame | None = None, audiences: pd.DataFrame | None = None, trends: pd.DataFrame | None = None,
        embeddings: pd.DataFrame | None = None, evidence: pd.DataFrame | None = None,
        lift_tests: pd.DataFrame | None = None,
    ) -> Self:  # fmt: skip
        """Learn from past assignments; tables as in `core.catalogue`.

        Raises
        ------
        InputError
            On an unknown metric.
        CannotTell
            With fewer than 60 outcomes of the metric.
        """
        past = self._past(assignments)
        as_of = max(past["posted_at"].max(), past["observed_at"].max())
        self.facts_ = Facts(
            influencers=influencers, rates=rates, events=events, affinities=affinities, audiences=audiences, trends=trends,
            embeddings=embeddings, contents=past["content_type"].unique().tolist(), as_of=as_of,
        )  # fmt: skip
        design = Design.of(past, self.facts_)
        propensity = past["propensity"].to_numpy(dtype=float) if "propensity" in past else None
        self.selection_ = selection(self.selection, self.facts_, design, propensity, self.seed, self.threads)
        others = [name for name in OUTCOMES if name != self._outcome and name in past]
        target, *beside = (_log(past[name].to_numpy(dtype=float)) - design.size for name in (self._outcome, *others))
        observed = past["observed_at"].to_numpy(dtype="datetime64[us]")
        known_beside = np.column_stack(beside) if beside else np.empty((len(past), 0))
        task = Task(self.facts_, design, target, self.selection_.weight, observed, known_beside, self.seed, self.threads)
        task = self._weighted(task)
        self.member_ = self.member()
        self._calibrate(task)
        self.learned_: Learned = self.member_.learn(task, np.arange(len(past)))
        self.known_ = self._known(task, np.arange(len(past)))
        self.level_ = level(evidence, past, self._outcome, lift_tests)
        return self

    @property
    def _outcome(self) -> str:
        return "revenue" if self.metric == "roi" else self.metric

    def _past(self, assignments: pd.DataFrame) -> pd.DataFrame:
        """Assignments with an outcome, by time; each was decided when it was posted."""
        if self._outcome not in assignments:
            raise InputError(f"assignments have no column {self._outcome!r}")
        told = assignments[assignments[self._outcome].notna() & assignments["posted_at"].notna()]
        if np.isinf(told[self._outcome].to_numpy(dtype=float)).any():
            raise InputError(f"an infinite {self._outcome}", where="assignments", fix="correct or leave out that row")
        if len(told) < FEWEST:
            raise CannotTell(
                f"{len(told)} past assignments tell of {self.metric}; {FEWEST} are needed", fix="deliver more history"
            )
        past = told.sort_values(["posted_at", "assignment_id"]).reset_index(drop=True)
        seen = past["observed_at"] if "observed_at" in past else past["posted_at"]
        return past.assign(decided_on=past["posted_at"], observed_at=seen.fillna(past["posted_at"]))

    def _weighted(self, task: Task) -> Task:
        """Weights stay in the fit where they foretell what is weighted against selection better by more than chance; else they only cost rows."""
        plain, apart = (
            replace(task, weight=np.ones(len(task.target))),
            folds(task.design.decided, task.observed, task.design.i, self.seed),
        )
        if self.selection_.how == "none" or not apart:
            return plain
        later = np.concatenate([fold.later for fold in apart])
        errors = []
        for one in (task, plain):
            learned = [(self.quick().learn(one, fold.rows), task.design.take(fold.later)) for fold in apart]
            found = np.concatenate([each.terms(task.facts, design).total for each, design in learned])
            errors.append(task.weight[later] * (task.target[later] - found) ** 2)
        saved = np.bincount(task.design.i[later] + 1, errors[1] - errors[0])  # by creator: their rows go together
        return task if saved.sum() > np.sqrt((saved**2).sum()) else plain

    def _known(self, task: Task, rows: np.ndarray) -> np.ndarray:
        """Posts of each creator among `rows`; the last counts those that are in no table."""
        size = len(task.facts.influencer_ids) + 1
        known = np.bincount(task.design.i[rows] % size, minlength=size)
        known[-1] = 0
        return known

    def _calibrate(self, task: Task) -> None:
        """Choose sizes and weights, and learn how far off forecasts of unseen outcomes are."""
        apart = folds(task.design.decided, task.observed, task.design.i, self.seed)
        if not apart:
            raise CannotTell(
                "the past assignments are too few or too close in time to be foretold from one another",
                fix="deliver more history",
            )
        self.tried_: dict[str, float] = dict(self.member_.choose(task, apart[-1].rows, apart[-1].later))
        learned = [self.member_.learn(task, fold.rows) for fold in apart]
        self._tune(task, apart, learned)
        terms = [one.terms(task.facts, task.design.take(fold.later)) for one, fold in zip(learned, apart, strict=True)]
        later = np.concatenate([fold.later for fold in apart])
        found = np.concatenate([one.total for one in terms])
        known = np.concatenate([self._known(task, fold.rows)[task.design.i[fold.later]] for fold in apart])
        x = [
            self._of_size(task.facts, task.design.take(fold.later), one, self._known(task, fold.rows))
            for one, fold in zip(terms, apart, strict=True)
        ]
        table = Table(x[0].names, np.vstack([part.numbers for part in x]), x[0].words)
        against = self.selection_.weight[later]
        self.straight_ = straight(found, task.target[later], against, known > 0)
        shift, slope = self._line(known > 0)
        found = shift + slope * found
        residual = task.target[later] - found
        unseen = Unseen(residual, task.design.i[later] % len(self._known(task, later)), known.astype(float), table, against)
        self.conformal_ = Conformal.of(unseen, self.seed, self.threads)
        self._held = (task, apart[-1], learned[-1])
        self.unseen_ = pd.DataFrame({"creator": unseen.creator, "target": task.target[later], "residual": residual})
        self._smear(residual, table, unseen)
        self._score(task, later, found, unseen.warm)

    def _tune(self, task: Task, apart: list[Fold], learned: list[Any]) -> None:
        if not hasattr(self.member_, "tune"):
            return
        found = [one.each(task.facts, task.design.take(fold.later)) for one, fold in zip(learned, apart, strict=True)]
        later = np.concatenate([fold.later for fold in apart])
        warm = np.concatenate([self._known(task, fold.rows)[task.design.i[fold.later]] > 0 for fold in apart])
        self.tried_ |= self.member_.tune(found, task.target[later], warm)

    @staticmethod
    def _of_size(facts: Facts, d: Design, terms: Terms, known: np.ndarray) -> Table:
        """What the size of a residual is told from: first what the member itself believes."""
        posts = known[d.i].astype(float)
        numbers = np.column_stack([terms.noise, terms.spread, posts / (posts + 5.0), d.size])
        words = {name: codes[d.i] for name, codes in facts.creator.words.items() if name in ("platform", "genre")}
        return Table.of(
            [(NAMES, numbers), (facts.creator.names[:12], facts.creator.numbers[d.i][:, :12])], {**words, "content_type": d.c}
        )

    def _smear(self, rest: Floats, table: Table, unseen: Unseen) -> None:
        """How far the mean of an outcome lies above its median, in units of s²/2 (1: log-normal)."""
        s = self.conformal_.half(table, unseen.warm) / normal_quantile(LEVEL)
        mean = float(np.log(np.mean(np.exp(np.clip(rest, *np.quantile(rest, [0.001, 0.999]))))))
        self.smear_ = float(np.clip(2 * mean / max(float(np.mean(s**2)), 1e-9), *SMEAR))
        scores = [np.concatenate(part) for part in zip(*self.conformal_.scores.values(), strict=True)]
        self._ratio = {q: conformal(*scores, q) / conformal(*scores) for q in (0.5, 0.68, 0.8, 0.9, 0.95, 0.99)}

    def _score(self, task: Task, later: np.ndarray, found: Floats, warm: np.ndarray) -> None:
        y, size = task.target[later], task.design.size[later]
        rest = y - found

        def told(mine: np.ndarray) -> float:
            return float(1 - np.mean(rest[mine] ** 2) / max(np.var(y[mine]), 1e-12)) if mine.sum() > 1 else float("nan")

        scores = {
            "r2": float(1 - np.mean(rest**2) / max(np.var(y + size), 1e-12)), "rank": _rank_correlation(found + size, y + size),
            "r2_per_follower": told(np.ones(len(y), bool)), "r2_cold": told(~warm), "rmse_log": float(np.sqrt(np.mean(rest**2))),
            "coverage_90": self.conformal_.coverage, "rows": float(len(task.target)), "effective_rows": self.selection_.effective,
        }  # fmt: skip
        self.scores_ = {
            name: value for name, value in scores.items() if np.isfinite(value)
        }  # without cold rows there is no r2_cold

    # -- predicting ----------------------------------------------------------------------------------------------------------

    def predict(self, tuples: pd.DataFrame) -> pd.DataFrame:
        """Table `effectiveness` of `tuples` (see `feasible_tuples`): f, its three parts and σ, in the metric's unit.

        Raises
        ------
        InputError
            When a creator or an event is in no table, or a price is negative or missing.
        """
        rows = tuples.reset_index(drop=True)
        _checked(rows, self.metric)
        parts = [self._predict(rows.iloc[first : first + CHUNK]) for first in range(0, len(rows), CHUNK)]
        return pd.concat(parts, ignore_index=True) if parts else self._predict(rows)

    def _predict(self, rows: pd.DataFrame) -> pd.DataFrame:
        design = Design.of(rows, self.facts_, strict=True)
        terms, s = self._read(design)
        logs = terms.by_database()
        ratio, ratio_sd = self.level_.of(rows)
        unit = 1 / rows["price"].to_numpy(dtype=float) if self.metric == "roi" else 1.0
        base = np.exp(terms.base + self.smear_ * s**2 / 2) * ratio * unit
        logs["influencer"] = logs["influencer"] + design.size
        f = base * np.exp(sum(logs.values()))
        parts = _additive(f, base, logs)
        doubt = np.sqrt(f**2 * np.expm1(s**2) + (f * ratio_sd / np.maximum(ratio, 1e-9)) ** 2)
        return rows[KEYS].assign(
            metric=self.metric, predicted=f, g_influencer=parts["influencer"], g_history=parts["history"] + base,
            g_market=parts["market"], uncertainty=doubt, price=rows["price"],
        )  # fmt: skip

    def _read(self, design: Design, how: str = "terms") -> tuple[Terms, Floats]:
        """Terms as straightened by unseen outcomes, and s."""
        terms = self.learned_.terms(self.facts_, design)
        s = self._log_sd(design, terms)
        if how == "detail":
            terms = getattr(self.learned_, "detail", self.learned_.terms)(self.facts_, design)
        return terms.straightened(*self._line(self.known_[design.i] > 0)), s

    def _line(self, warm: np.ndarray) -> tuple[Floats, Floats]:
        """Shift and slope of each row."""
        one, other = self.straight_[True], self.straight_[False]
        return np.where(warm, one.shift, other.shift), np.where(warm, one.slope, other.slope)

    def _log_sd(self, design: Design, terms: Terms) -> Floats:
        """s such that the 90 % interval is median·exp(±1.645 s); (n,)."""
        table = self._of_size(self.facts_, design, terms, self.known_)
        return self.conformal_.half(table, self.known_[design.i] > 0) / normal_quantile(LEVEL)

    def interval(self, table: pd.DataFrame, level: float = LEVEL) -> tuple[Floats, Floats]:
        """Low and high of the outcome of each row of a table that `predict` made; exact at 90 %, elsewhere by all scores together."""
        ratio = float(np.interp(level, list(self._ratio), list(self._ratio.values())))
        return interval(table, level, smear=self.smear_, ratio=ratio)

    def log_f(self, tuples: pd.DataFrame) -> pd.DataFrame:
        """Per tuple: `median` (log of the outcome per follower), `sd` (log scale), `known` (posts behind the creator)."""
        design = Design.of(tuples.reset_index(drop=True), self.facts_, strict=True)
        terms, s = self._read(design)
        return pd.DataFrame({"median": terms.total, "sd": s, "known": self.known_[design.i]})

    # -- reading -------------------------------------------------------------------------------------------------------------

    def importance(self, kind: str = "contribution") -> pd.DataFrame:
        """What matters, by database: contribution (mean |log term|), permutation (loss of R² on unseen outcomes), or gain (trees)."""
        task, fold, learned = self._held
        return importance(kind, task, fold, learned, self.learned_)

    def dependence(self, feature: str, points: int = 12) -> pd.DataFrame:
        """Mean of log f and f relative to its mean, had every recent assignment that value of `feature`."""
        task, _, _ = self._held
        return dependence(feature, points, task, self.learned_)

    def explain(self, tuples: pd.DataFrame) -> pd.DataFrame:
        """Why each score: one row a term, `contribution` on the log scale; they sum to log(predicted)."""
        rows = tuples.reset_index(drop=True)
        _checked(rows, self.metric)
        design = Design.of(rows, self.facts_, strict=True)
        terms, s = self._read(design, "detail")
        ratio, _ = self.level_.of(rows)
        unit = -np.log(rows["price"].to_numpy(dtype=float)) if self.metric == "roi" else np.zeros(len(rows))
        more = {
            ("influencer", "followers"): design.size, ("history", "base"): np.full(len(rows), terms.base),
            ("history", "mean above median"): self.smear_ * s**2 / 2, ("history", "lift tests"): np.log(np.maximum(ratio, 1e-12)),
            ("influencer", "per unit of price"): unit,
        }  # fmt: skip
        return explain(rows, terms, more)

    def summary(self) -> str:
        """For a manager."""
        top = ", ".join(self.importance()["feature"].head(3).str.replace("_", " "))
        return (
            f"On assignments it had not seen, predictions of {self.metric} ranked outcomes with {self.scores_['rank']:.2f} correlation; "
            f"{self.scores_.get('coverage_90', float('nan')):.0%} of outcomes fell into the 90 % interval. What matters most: {top}. "
            f"{self.selection_.summary()} {self.level_.summary()}"
        )

    def plot(self) -> go.Figure:
        """What matters."""
        import plotly.graph_objects as go

        top = self.importance().head(15).iloc[::-1]
        return go.Figure(go.Bar(x=top["value"], y=top["feature"], orientation="h")).update_layout(
            template="plotly_white", title=f"What moves {self.metric}: mean effect on its logarithm"
        )


def _log(outcome: Floats) -> Floats:
    """Log of outcomes in any unit; where some are zero, all are raised by half of what few of the others lie below."""
    some, known = outcome[outcome > 0], outcome[np.isfinite(outcome)]
    if len(some) == 0:
        return np.log1p(np.maximum(outcome, 0.0))
    return np.log(np.maximum(outcome, 0.0) + (0.5 * float(np.quantile(some, FEW)) if (known <= 0).any() else 0.0))


def _checked(rows: pd.DataFrame, metric: str) -> None:
    price = rows["price"].to_numpy(dtype=float)
    wrong = ~(np.isfinite(price) & (price > 0 if metric == "roi" else price >= 0))
    if wrong.any():
        raise InputError(
            f"the price {price[wrong][0]:g} in row {int(np.argmax(wrong))}",
            where="tuples",
            fix="give a price of 0 or more (roi: above 0)",
        )


def _additive(f: Floats, base: Floats, logs: dict[str, Floats]) -> dict[str, Floats]:
    """Parts of f − base in proportion to their logs: L(f, base)·log part, L the logarithmic mean; they sum exactly."""
    total = np.sum([logs[name] for name in DATABASES], axis=0)
    small = np.abs(total) <= 1e-9
    mean = np.where(small, f, (f - base) / np.where(small, 1.0, total))
    return {name: mean * part for name, part in logs.items()}


def _rank_correlation(one: Floats, other: Floats) -> float:
    return float(np.corrcoef(pd.Series(one).rank(), pd.Series(other).rank())[0, 1])
