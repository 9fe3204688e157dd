"""What a content type, an influencer, a platform does to awareness, consideration and conversion: readings of a hidden state.

A sequence model keeps a state of each journey and renews it at each touch. Three things are done with the states, and the model
itself is not looked at:

1. A *reading* of each stage: a logistic model with a ridge that foretells from the state after a touch whether the person reaches
   the stage later. It is fitted in folds by person, so a person's states are always read by people other than them.
2. How well it reads: AUC within the folds, with an interval clustered by person (the structural components of DeLong, DeLong and
   Clarke-Pearson 1988, summed by cluster after Obuchowski 1997). Where it could be a coin, the stage *cannot tell*.
3. The *change* at a touch: the probability read after it less that read before it, averaged over the touches of a label value.
   Its standard error is clustered by person and knows that the reading itself was estimated (influence functions); values with few
   touches are drawn towards the mean of all touches by empirical Bayes, averaged over what is not known of the spread.

A change says how the model's expectation moves at such a touch. It is no effect: a search moves it because those who search want
something already. What a touch caused is the business of calibrated credits. And states must not have seen the outcomes they are
asked to foretell: take them from a model that was trained on other people, or the AUC flatters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.sparse import csr_array
from scipy.special import expit, logit
from scipy.stats import rankdata

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.uncertainty import normal_quantile, spawn
from liftwise.models.attribution.journeys import Floats, Ints

if TYPE_CHECKING:
    import plotly.graph_objects as go

STAGES: dict[str, tuple[str, ...]] = {
    "awareness": ("visit",), "consideration": ("search", "click"), "basket": ("add_to_cart",), "conversion": (),
}  # fmt: skip
"""Kinds of touch that show that a stage was reached, from the top of the funnel down; conversion is the purchase.

Only what people do by themselves counts. A `view` is done to them, and an `engage` is an answer to what they were shown: both say
more about the media plan than about the person.
"""
FOLDS = 3
RIDGE = 1.0  # prior of one standard normal a standardised state
COIN = 0.52  # an AUC that may be this low tells nothing
LEAST = 15  # people needed on either side of an outcome
STEADY = 8.0  # people that the common scatter of a touch counts as, beside a group's own
SPREADS = 80  # points over which the spread of a label's values is averaged


@dataclass(frozen=True)
class Influence:
    """What the readings say.

    Attributes
    ----------
    frame : a row for each stage and value of a label: stage, by (the label), name, change (of probability, at a touch), low, high,
        touches, people, auc, auc_low, tells. Where `tells` is false the numbers are there to be checked, not to be used.
    level : of the intervals.
    aucs : stage → (AUC, low, high).
    spared : stage → why it could not be read at all.
    """

    frame: pd.DataFrame
    level: float
    aucs: dict[str, tuple[float, float, float]]
    spared: dict[str, str] = field(default_factory=dict)

    def summary(self) -> str:
        """A line for each stage: how well it is read, and for each label what moves it most and least.

        Named are only values whose interval lies off the mean of all.
        """
        lines = []
        for stage in [*self.aucs, *self.spared]:
            if stage in self.spared:
                lines.append(f"{stage}: cannot tell: {self.spared[stage]}.")
                continue
            auc, low, high = self.aucs[stage]
            said = f"AUC {auc:.2f}, {low:.2f} to {high:.2f}"
            if low <= COIN:
                lines.append(f"{stage}: cannot tell: the states foretell it no better than a coin ({said}).")
                continue
            mine = self.frame[self.frame["stage"] == stage]
            told = [_said(str(by), rows) for by, rows in mine.groupby("by", sort=False)]
            lines.append(f"{stage} ({said}): {'; '.join(told)}.")
        return "\n".join(lines)

    def plot(self) -> go.Figure:
        """A panel for each label and stage: change of probability with its interval, the values with most touches."""
        from liftwise.models.attribution.plots import influence

        return influence(self.frame)


def joined(parts: Sequence[Influence], order: Sequence[str]) -> Influence:
    """Readings of several samples as one, of one level, stages in this order (others come last).

    Raises
    ------
    CannotTell
        When none of them could read a stage.
    """
    place = {stage: k for k, stage in enumerate(order)}
    aucs = {stage: auc for part in parts for stage, auc in part.aucs.items()}
    spared = {stage: why for part in parts for stage, why in part.spared.items()}
    if not aucs:
        raise _unread(spared)
    frame = pd.concat([part.frame for part in parts if part.aucs], ignore_index=True)
    frame = frame.sort_values("stage", key=lambda stages: stages.map(place).fillna(len(place)), kind="stable", ignore_index=True)
    sort = sorted([*aucs, *spared], key=lambda stage: place.get(stage, len(place)))
    read, not_read = ({stage: given[stage] for stage in sort if stage in given} for given in (aucs, spared))
    return Influence(frame, parts[0].level, read, not_read)


def _unread(spared: Mapping[str, str]) -> CannotTell:
    why = next(iter(spared.values()), "no stage and no label was given")
    return CannotTell(f"no stage can be read from the states: {why}", fix="give journeys of more people, or other stages")


def _said(by: str, rows: pd.DataFrame) -> str:
    mean = float(np.average(rows["change"], weights=rows["touches"]))
    clear = rows[(rows["low"] > mean) | (rows["high"] < mean)].sort_values("change")
    if clear.empty:
        return f"no {by} moves it more than others ({100 * mean:+.1f} points a touch)"

    def one(row: pd.Series) -> str:
        return f"{row['name']} {100 * row['change']:+.1f} points ({100 * row['low']:.1f} to {100 * row['high']:.1f})"

    last, first = clear.iloc[-1], clear.iloc[0]
    parts = [f"most {one(last)}"] if last["change"] > mean else []
    parts += [f"least {one(first)}"] if first["change"] < mean else []
    return f"by {by} {', '.join(parts)}"


def outcomes_of(
    kinds: ArrayLike,
    journey: Ints,
    hours_before_end: Floats,
    bought: Floats,
    *,
    stages: Mapping[str, Sequence[str]] = STAGES,
    further: bool = True,
    within: float = np.inf,
) -> dict[str, Floats]:
    """Whether each stage was reached after each touch, (touches,) 0, 1 or nan, from later touches of the same journey.

    Parameters
    ----------
    kinds : (touches,) what happened; None where nobody knows.
    journey : (touches,) index into `bought`.
    hours_before_end : (touches,); later is fewer. Touches at the same moment are not later than each other.
    bought : (journeys,) 1, 0, or nan where it is not known yet.
    stages : kinds that show a stage, from the top of the funnel down; the one without kinds is the purchase.
    further : whether a stage also counts as reached where one further down is. Without it a journey that a purchase ended early
        would look as if it had come less far.
    within : hours in which a stage has to show. Then a touch counts for a stage only where that long is seen after it, and for the
        purchase only where the journey ended by then; without it late touches have less time to show anything. It takes the place
        of `further`.

    Notes
    -----
    Unknown (nan) is: a stage of whose kinds these data have no touch at all (it would only repeat the one below); what came after
    a touch without time; a stage not seen later while a later touch has no kind, or while nobody knows whether the person bought.

    >>> after = outcomes_of(["view", "click", "visit"], np.zeros(3, int), np.array([9.0, 5.0, 1.0]), np.array([0.0]))
    >>> after["awareness"].tolist(), after["consideration"].tolist()
    ([1.0, 1.0, 0.0], [1.0, 0.0, 0.0])
    """
    kind, hours, end = np.asarray(kinds, dtype=object), np.asarray(hours_before_end, dtype=float), np.asarray(bought, dtype=float)
    owner = np.asarray(journey, dtype=np.int64)
    if not kind.shape == hours.shape == owner.shape or kind.ndim != 1:
        raise InputError("kinds, journeys and hours of different number", fix="give one of each for every touch")
    if len(owner) and not 0 <= owner.min() <= owner.max() < len(end):
        raise InputError("a touch of a journey that is not there", fix="number journeys as in `bought`")
    unknown = pd.isna(kind)
    veiled = _later(unknown, owner, hours, within)
    result: dict[str, Floats] = {}
    below: Floats | None = None
    for stage in reversed(list(stages)):
        if not stages[stage]:
            now = np.where(hours <= within, end[owner], np.nan)
        elif (shows := np.isin(kind.astype(str), list(stages[stage])) & ~unknown).any():
            now = np.where(_later(shows, owner, hours, within), 1.0, np.where(veiled, np.nan, 0.0))
            now = np.where(np.isinf(within) | (hours >= within), now, np.nan)
        else:  # it says nothing, and nothing of the stages above it
            result[stage] = np.full(len(kind), np.nan)
            continue
        if further and np.isinf(within) and below is not None:
            # shown by either; not reached only where both say so
            now = np.where((now == 1) | (below == 1), 1.0, now + 0.0 * below)
        result[stage] = below = np.where(np.isfinite(hours), now, np.nan)
    return {stage: result[stage] for stage in stages}


def _later(shows: np.ndarray, owner: Ints, hours: Floats, within: float) -> np.ndarray:
    """Whether a touch that `shows` comes later in the same journey, by at most `within` hours."""
    at = shows & np.isfinite(hours)
    order = np.lexsort((-hours[at], owner[at]))
    whose, when = owner[at][order], -hours[at][order]
    last = max(float(np.abs(hours[np.isfinite(hours)]).max(initial=0.0)), 1.0) * 4.0
    place = np.searchsorted(whose * last + when, owner * last - hours, side="right")  # the first one that is strictly later
    there = np.minimum(place, max(len(whose) - 1, 0))
    if not len(whose):
        return np.zeros(len(owner), np.bool_)
    return (place < len(whose)) & (whose[there] == owner) & (when[there] + hours <= within)


def read_states(
    states: Floats,
    labels: Mapping[str, tuple[Ints, tuple[str, ...]]],
    person: Ints,
    outcomes: Mapping[str, Floats],
    *,
    journey: Ints | None = None,
    start: Floats | None = None,
    begun: tuple[Ints, Mapping[str, Floats]] | None = None,
    ridge: float = RIDGE,
    level: float = 0.90,
    seed: int = 7,
) -> Influence:
    """Read stages from hidden states, and what each label value does to them.

    Parameters
    ----------
    states : (touches, H) after each touch; the touches of a journey in the order of time.
    labels : what touches are told apart by: name → (code of each touch, names of the codes); a negative code belongs to none.
    person : (touches,)
    outcomes : stage → (touches,) 1 where the stage was reached after the touch, 0 where not, nan where nobody knows.
    journey : (touches,); default: a person's touches are one journey.
    start : (H,) state before the first touch; default zeros.
    begun : (person, stage → outcome) of every journey seen from its start, those without a touch too. They teach the reading what
        the start is worth. Without them the start is read by a line through states that all come after a touch: changes at first
        touches then lean on that line.
    ridge : penalty of squared coefficients of standardised states.

    Raises
    ------
    CannotTell
        When no stage has enough people on both sides.
    InputError
        When arrays do not fit each other.
    """
    X, who, before, begin, groups = _arranged(states, labels, person, journey, start)
    quantile, people = normal_quantile(level), int(who.max(initial=-1)) + 1
    firsts, first_outcomes = (np.zeros(0, np.int64), {}) if begun is None else begun
    codes = pd.Index(np.unique(person)).get_indexer(pd.Index(firsts))
    # people who only began come after those with touches
    extra, strangers = np.unique(np.asarray(firsts)[codes < 0], return_inverse=True)
    codes[codes < 0] = people + strangers
    everybody = people + len(extra)
    fold = np.argsort(np.argsort(spawn(seed, "attribution.influence.folds").random(everybody))) % FOLDS
    frames: list[pd.DataFrame] = []
    aucs: dict[str, tuple[float, float, float]] = {}
    spared: dict[str, str] = {}
    for stage, outcome in outcomes.items():
        y = _outcome(outcome, len(X), stage)
        y0 = _outcome(first_outcomes.get(stage, np.full(len(codes), np.nan)), len(codes), f"{stage} at the start")
        if why := too_few(y, who):
            spared[stage] = why
            continue
        read = _read(X, before, begin, y, who, codes, y0, fold, everybody, ridge)
        aucs[stage] = _auc(read.after, y, who, fold[who], quantile)
        auc, low, _ = aucs[stage]
        for by, (code, names) in groups.items():
            frame = _changes(read, code, len(names), who, quantile)
            frame.insert(0, "name", names)
            frame.insert(0, "by", by)
            frame.insert(0, "stage", stage)
            frames.append(frame[frame["touches"] > 0].assign(auc=auc, auc_low=low, tells=low > COIN))
    if not frames:
        raise _unread(spared)
    return Influence(pd.concat(frames, ignore_index=True), level, aucs, spared)


@dataclass(frozen=True)
class _Reading:
    """One stage, read out of fold.

    after, before : (touches,) probabilities.
    slope : (touches, FOLDS · (H + 1)) how each touch's change depends on the coefficients that read it.
    pull : (people, FOLDS · (H + 1)) what each person does to those coefficients.
    """

    after: Floats
    before: Floats
    slope: csr_array
    pull: Floats


def _arranged(
    states: Floats, labels: Mapping[str, tuple[Ints, tuple[str, ...]]], person: Ints, journey: Ints | None, start: Floats | None
) -> tuple[Floats, Ints, Floats, Floats, dict[str, tuple[Ints, tuple[str, ...]]]]:
    """Standardised states with a constant, people as 0, 1, …, states before, the start, labels."""
    states = np.asarray(states, dtype=float)
    if states.ndim != 2 or not states.size:
        raise InputError(f"states of shape {states.shape}", fix="give an array of touches by hidden units")
    n, units = states.shape
    start = np.zeros(units) if start is None else np.asarray(start, dtype=float)
    path = np.asarray(person if journey is None else journey)
    if start.shape != (units,) or len(np.asarray(person)) != n or len(path) != n:
        raise InputError(
            "states, people, journeys or the start do not fit each other", fix=f"there are {n} touches of {units} units"
        )
    if not (np.isfinite(states).all() and np.isfinite(start).all()):
        raise InputError("states that are not finite", fix="leave out the journeys on which the model broke down")
    for by, (code, names) in labels.items():
        if len(code) != n or np.max(code, initial=-1) >= len(names):
            raise InputError(
                f"label {by!r} does not fit its {n} touches and {len(names)} names", fix="give one code for each touch"
            )
    who = np.unique(np.asarray(person), return_inverse=True)[1].astype(np.int64)
    order = np.argsort(path, kind="stable")
    follows = np.concatenate([[False], path[order][1:] == path[order][:-1]])
    before = np.tile(start, (n, 1))
    before[order[follows]] = states[order[np.flatnonzero(follows) - 1]]
    centre, scale = states.mean(axis=0), states.std(axis=0)
    scale[scale < 1e-12 * np.maximum(np.abs(centre), 1.0)] = np.inf  # a unit that never moves reads nothing
    ones = np.ones((n, 1))
    return (
        np.hstack([ones, (states - centre) / scale]), who, np.hstack([ones, (before - centre) / scale]),
        np.append(1.0, (start - centre) / scale),
        {by: (np.asarray(code, dtype=np.int64), tuple(names)) for by, (code, names) in labels.items()},
    )  # fmt: skip


def _outcome(outcome: Floats, n: int, stage: str) -> Floats:
    y = np.asarray(outcome, dtype=float)
    if y.shape != (n,) or not np.isin(y[np.isfinite(y)], (0.0, 1.0)).all():
        raise InputError(f"outcomes of {stage} are not one of 0, 1 and nan for each of {n}", fix="see outcomes_of")
    return y


def too_few(y: Floats, who: Ints) -> str:
    """Why a stage of which these people have these outcomes (1, 0, nan) is not read; empty when it is."""
    for value, what in ((1.0, "reached it"), (0.0, "did not reach it")):
        people = len(np.unique(who[y == value]))
        if people < LEAST:
            return f"{people} people {what}, {LEAST} are needed" if np.isfinite(y).any() else "these data do not show it"
    return ""


def _read(
    X: Floats, before: Floats, start: Floats, y: Floats, who: Ints, codes: Ints, y0: Floats, fold: Ints, people: int, ridge: float
) -> _Reading:
    """Fit each fold's reading on the other folds' people, and read the fold's touches by it."""
    n, width = X.shape
    firsts = np.flatnonzero(np.isfinite(y0))
    pulls = np.zeros((people, FOLDS * width))
    after, was = np.empty(n), np.empty(n)
    gradient = np.empty((n, width))
    for k in range(FOLDS):
        rows = np.flatnonzero(np.isfinite(y) & (fold[who] != k))
        begins = firsts[fold[codes[firsts]] != k]
        design = np.vstack([X[rows], np.tile(start, (len(begins), 1))])
        hit, owner = np.append(y[rows], y0[begins]), np.append(who[rows], codes[begins])
        beta, inverse = _logistic(design, hit, ridge)
        scores = design * (hit - expit(design @ beta))[:, None]
        owners = csr_array((np.ones(len(owner)), (owner, np.arange(len(owner)))), shape=(people, len(owner)))
        pulls[:, k * width : (k + 1) * width] = (owners @ scores) @ inverse
        held = fold[who] == k
        after[held], was[held] = expit(X[held] @ beta), expit(before[held] @ beta)
        weight = after[held] * (1 - after[held]), was[held] * (1 - was[held])
        gradient[held] = weight[0][:, None] * X[held] - weight[1][:, None] * before[held]
    columns = (fold[who][:, None] * width + np.arange(width)).ravel()
    slope = csr_array((gradient.ravel(), columns, np.arange(n + 1) * width), shape=(n, FOLDS * width))
    return _Reading(after, was, slope, pulls)


def _logistic(X: Floats, y: Floats, ridge: float) -> tuple[Floats, Floats]:
    """Coefficients of the penalised likelihood's top by Newton's steps, and the inverse of its curvature there."""
    penalty = np.append(0.0, np.full(X.shape[1] - 1, ridge))
    beta = np.append(logit(np.clip(y.mean(), 1e-6, 1 - 1e-6)), np.zeros(X.shape[1] - 1))

    def loss(at: Floats) -> float:
        eta = X @ at
        return float(np.logaddexp(0.0, eta).sum() - y @ eta + 0.5 * penalty @ at**2)

    now, inverse = loss(beta), np.empty((0, 0))
    for _ in range(50):
        p = expit(X @ beta)
        curvature = (X * (p * (1 - p))[:, None]).T @ X + np.diag(penalty + 1e-9)
        inverse = np.linalg.inv(curvature)
        step = inverse @ (X.T @ (y - p) - penalty * beta)
        while (then := loss(beta + step)) > now + 1e-9 * abs(now) and np.abs(step).max() > 1e-9:
            step = step / 2
        beta, now = beta + step, then
        if np.abs(step).max() < 1e-8:
            break
    return beta, inverse


def _auc(after: Floats, y: Floats, who: Ints, fold: Ints, quantile: float) -> tuple[float, float, float]:
    """AUC within folds, weighted by pairs, with its interval on the logit scale; clustered by person."""
    influence, auc, pairs = np.zeros(len(y)), 0.0, 0.0
    for k in np.unique(fold):
        rows = np.flatnonzero((fold == k) & np.isfinite(y))
        hit = y[rows] == 1
        ones, zeros = int(hit.sum()), int((~hit).sum())
        if not ones or not zeros:
            continue
        rank, beats = rankdata(after[rows]), np.empty(len(rows))
        beats[hit] = (rank[hit] - rankdata(after[rows][hit])) / zeros
        beats[~hit] = 1 - (rank[~hit] - rankdata(after[rows][~hit])) / ones
        mine, weight = float(beats[hit].mean()), float(ones) * zeros
        influence[rows] = weight * (beats - mine) / np.where(hit, ones, zeros)
        auc, pairs = auc + weight * mine, pairs + weight
    auc /= pairs
    error = float(np.sqrt((np.bincount(who, influence / pairs) ** 2).sum()))
    inside = min(max(auc, 1e-6), 1 - 1e-6)
    half = quantile * error / (inside * (1 - inside))
    return auc, float(expit(logit(inside) - half)), float(expit(logit(inside) + half))


def _changes(read: _Reading, code: Ints, groups: int, who: Ints, quantile: float) -> pd.DataFrame:
    """change, low, high, touches, people of each value of a label."""
    rows = np.flatnonzero(code >= 0)
    code, owner, change = code[rows], who[rows], (read.after - read.before)[rows]
    touches, total = np.bincount(code, minlength=groups), len(rows)
    people = np.bincount(np.unique(np.column_stack([code, owner]), axis=0)[:, 0], minlength=groups)
    if not total:
        return pd.DataFrame({"change": np.nan, "low": np.nan, "high": np.nan, "touches": touches, "people": people})
    some = np.maximum(touches, 1)
    mean, overall = np.bincount(code, change, minlength=groups) / some, float(change.mean())
    # what each touch does to each mean, and to that of all (the last row): directly …
    at = np.append(code, np.full(total, groups)), np.tile(np.arange(total), 2)
    weight = np.append(1 / some[code], np.full(total, 1 / total))
    means = csr_array((weight, at), shape=(groups + 1, total))
    off = np.append(change - mean[code], change - overall)
    direct = csr_array((weight * off, (at[0], np.tile(owner, 2))), shape=(groups + 1, len(read.pull)))
    direct.sum_duplicates()
    # … and through the coefficients of the reading
    slope = (means @ read.slope[rows]).toarray()
    crossed, common = direct @ read.pull, read.pull.T @ read.pull
    raw = direct.power(2).sum(axis=1)
    ripple = (2 * crossed * slope + (slope @ common) * slope).sum(axis=1)
    with_all = (direct @ direct[[groups]].T).toarray().ravel() + crossed @ slope[-1] + slope @ (crossed[-1] + common @ slope[-1])
    everyone = len(np.unique(owner))
    error = raw[-1] * everyone / max(everyone - 1, 1) + ripple[-1]
    # few people scatter by chance too little or too much: their scatter is mixed with that of a common touch
    several = people > 1
    scale = several * people / np.maximum(people - 1, 1)
    scatter = float((touches**2 * raw[:-1] * scale).sum() / touches[several].sum()) if several.any() else float(change.var())
    steadied = (people * raw[:-1] + STEADY * scatter / some) / np.maximum(people - 1 + STEADY, 1)
    share = touches / total
    extra = steadied - raw[:-1]
    away = mean - overall
    variance = raw[:-1] + ripple[:-1] + error - 2 * with_all[:-1] + extra * (1 - share) ** 2
    leans = with_all[:-1] - error + extra * share * (1 - share)
    there = touches > 0
    kept, pulled, spread = _drawn_in(away[there], np.maximum(variance[there], 1e-18))
    told, sd = np.full(groups, np.nan), np.full(groups, np.nan)
    told[there] = overall + pulled
    sd[there] = np.sqrt(np.maximum(error + spread + 2 * kept * leans[there], 0.0))
    return pd.DataFrame({
        "change": told, "low": told - quantile * sd, "high": told + quantile * sd, "touches": touches, "people": people,
    })  # fmt: skip


def _drawn_in(away: Floats, variance: Floats) -> tuple[Floats, Floats, Floats]:
    """Deviations drawn towards zero: share kept, posterior mean and variance, averaged over the spread of the true ones.

    The spread has a flat prior, so that a few values that happen to lie close are not taken for equal. Fewer than three values
    say nothing of a spread and stay as they are.
    """
    if len(away) < 3:
        return np.ones(len(away)), away, variance
    top = 4 * np.sqrt((away**2).mean()) + 1e-12
    spread = np.linspace(0.0, top, SPREADS)[:, None] ** 2
    likely = -0.5 * (np.log(variance + spread) + away**2 / (variance + spread)).sum(axis=1)
    weight = np.exp(likely - likely.max())
    weight /= weight.sum()
    keeps = spread / (spread + variance)
    mean = weight @ (keeps * away)
    return weight @ keeps, mean, weight @ (keeps * variance + (keeps * away) ** 2) - mean**2
