"""Scoring everything: all (influencer, content, event, day) by sums of small arrays, the promising few by the whole model.

score[i, c, e, t] = A[i, c] + B[i, e] + D[c, e] + G[e, t], from the factored net and the mixed effects, as much of each as the model takes
of them for creators with posts. No tuple's features are ever held: creators are taken in blocks, and of each block
only what lies above a threshold is kept. The threshold comes from a sample and is lowered until enough is found, so the kept are the exact
best. What floors may ask for is kept as well: the best of each creator and of each event. The kept are scored again by the model, with σ.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.uncertainty import Floats, spawn
from liftwise.models.effectiveness.blend import Blended
from liftwise.models.effectiveness.design import Design
from liftwise.models.effectiveness.factored import Ensemble, Trained, single
from liftwise.models.effectiveness.facts import Facts
from liftwise.models.effectiveness.mixed import Mixed

if TYPE_CHECKING:
    import plotly.graph_objects as go

BLOCK = 2_000_000  # scores held at a time
SAMPLE = 200_000  # scores that the threshold comes from
SLACK = 1.3  # times the wanted share that the first threshold lets through
FEW = 200_000  # tuples that are all scored by the whole model


@dataclass(frozen=True)
class Arrays:
    """A (creators, contents), B (creators, events), D (contents, events), G (events, days): log of the outcome; −inf is not feasible.

    i, c, e : codes of creators, contents, events; days : (events, days) and price : (creators, contents), NaN where there is none.
    """

    A: Floats
    B: Floats
    D: Floats
    G: Floats
    i: np.ndarray
    c: np.ndarray
    e: np.ndarray
    days: Floats
    price: Floats

    @property
    def size(self) -> int:
        """Feasible tuples."""
        return int(np.isfinite(self.A).sum()) * int(np.isfinite(self.G).sum())


@dataclass(frozen=True)
class Scored:
    """table : `effectiveness` of the tuples kept. screened : how many there were. cut : screening score (log, per `by`) of the last one kept
    by rank; everything left out lies below it. by_rank, by_floor : kept for their score, and for floors alone.
    """

    table: pd.DataFrame
    screened: int
    by_rank: int
    by_floor: int
    cut: dict[str, float]

    def to_frame(self) -> pd.DataFrame:
        """Table `effectiveness`."""
        return self.table

    def summary(self) -> str:
        """For a manager."""
        return (
            f"{self.screened:,} ways to post were looked at; the {self.by_rank:,} most promising and {self.by_floor:,} that are the best of their "
            f"influencer or event were scored in full."
        )

    def plot(self) -> go.Figure:
        """Predicted against σ of what was kept."""
        import plotly.graph_objects as go

        few = self.table.nlargest(2_000, "predicted")
        return go.Figure(
            go.Scattergl(x=few["predicted"], y=few["uncertainty"], mode="markers", text=few["influencer_id"])
        ).update_layout(template="plotly_white", xaxis_title="predicted", yaxis_title="σ")


def score_grid(
    model: Any, *, rates: pd.DataFrame, after: date, events: pd.DataFrame | None = None, influencers: pd.DataFrame | None = None,
    top: float = 0.01, per_influencer: int = 3, per_event: int = 50, by: tuple[str, ...] = ("value", "value per price"), keep_all: int = FEW,
) -> Scored:  # fmt: skip
    """Screen all feasible tuples and score the promising ones.

    Parameters
    ----------
    model : a fitted `Effectiveness`, `FactoredNet` or `MixedEffects`.
    rates : table of that name: which contents each influencer offers, and the price.
    after : the day of decision; earlier days are not feasible.
    events, influencers : rows of the tables the model was fitted with that take part; None: all.
    top : share of all tuples that is scored in full, shared evenly between the rankings `by`.
    per_influencer, per_event : how many (content, event), (influencer, content) at their best day are kept for each, whatever their rank.
    keep_all : grids up to this size are scored in full.

    Raises
    ------
    InputError
        When no part of the model is a sum of such arrays.
    CannotTell
        When nothing is feasible.
    """
    grid = arrays(additive(model), model.facts_, rates=rates, after=after, events=events, influencers=influencers)
    if not grid.size:
        raise CannotTell("no influencer offers anything", fix="add rates")
    wanted = grid.size if grid.size <= keep_all else int(np.ceil(top * grid.size / len(by)))
    ranked, cut = [], {}
    for name in by if wanted < grid.size else by[:1]:
        found, cut[name] = best(grid, wanted, per_price=name == "value per price", seed=model.seed)
        ranked.append(found)
    by_rank = np.unique(np.concatenate(ranked))
    both = np.unique(np.concatenate([by_rank, floors(grid, per_influencer, per_event)]))
    table = model.predict(tuples(grid, both, model.facts_, after))
    return Scored(table, grid.size, len(by_rank), len(both) - len(by_rank), cut)


def additive(model: Any) -> list[tuple[float, Trained | Mixed]]:
    """Parts of a model that are sums of arrays, with their weights, which sum to 1."""
    learned = model.learned_
    parts = zip(learned.weight(warm=True), learned.learned, strict=True) if isinstance(learned, Blended) else [(1.0, learned)]
    found: list[tuple[float, Trained | Mixed]] = []
    for weight, one in parts:
        if isinstance(one, Ensemble):
            found += [(weight / len(one.members), member) for member in one.members]
        elif isinstance(one, Mixed):
            found.append((weight, one))
    if not found:
        raise InputError("this model has no part to screen with", fix="fit Effectiveness, FactoredNet or MixedEffects")
    total = sum(weight for weight, _ in found)
    return [(weight / total if total > 0 else 1 / len(found), one) for weight, one in found if weight > 0 or total == 0]


def arrays(
    members: Sequence[tuple[float, Trained | Mixed]], facts: Facts, *, rates: pd.DataFrame, after: date, events: pd.DataFrame | None = None, influencers: pd.DataFrame | None = None
) -> Arrays:  # fmt: skip
    """The four arrays of all that is feasible after a day."""
    i, c, e = (np.arange(len(ids)) for ids in (facts.influencer_ids, facts.contents, facts.event_ids))
    if influencers is not None:
        i = np.sort(facts.influencer_ids.get_indexer(influencers["influencer_id"].unique()))
    if events is not None:
        e = np.sort(facts.event_ids.get_indexer(events["event_id"].unique()))
    if (i < 0).any() or (e < 0).any():
        raise InputError(
            "an influencer or event that the model was not fitted with", fix="fit with the tables that describe them"
        )
    days = _days(facts, e, after)
    open_to = np.isfinite(days).any(axis=1)
    e, days = e[open_to], days[open_to]
    if not len(e):
        raise CannotTell(f"no event to post for after {after}", fix="add events, or an earlier day")
    price = np.full((len(facts.influencer_ids) + 1, len(facts.contents) + 1), np.nan)
    price[facts.influencer_ids.get_indexer(rates["influencer_id"]), facts.contents.get_indexer(rates["content_type"])] = rates[
        "price"
    ]
    price = price[np.ix_(i, c)]
    asked = (facts, i, c, e, days, price, after)
    parts = [(_mixed if isinstance(one, Mixed) else _factored)(one, *asked) for _, one in members]
    shares = np.array([weight for weight, _ in members])
    a, b, d, g = (np.tensordot(shares, np.stack([part[k] for part in parts]), 1).astype(np.float32) for k in range(4))
    a = np.where(np.isfinite(price), a + facts.followers[i, None], -np.inf).astype(np.float32)
    return Arrays(a, b, d, np.where(np.isfinite(days), g, -np.inf).astype(np.float32), i, c, e, days, price)


def _days(facts: Facts, e: np.ndarray, after: date) -> Floats:
    """(events, days): feasible days of each event, NaN behind the last."""
    first, last = facts.opens[e], facts.closes[e]
    ahead = (np.datetime64(after, "D") - facts.dates[e]).astype(float)
    width = int(max(0, (last - first).max(initial=-1) + 1))
    days = first[:, None] + np.arange(width)[None, :]
    return np.where((days <= last[:, None]) & (days >= ahead[:, None]), days, np.nan)


def _factored(
    trained: Trained, facts: Facts, i: np.ndarray, c: np.ndarray, e: np.ndarray, days: Floats, price: Floats, after: date
) -> tuple[Floats, Floats, Floats, Floats]:  # fmt: skip
    """Arrays of one network."""
    net, scales, unit = trained.net, trained.scales, trained.unit
    with torch.no_grad():
        entities = scales.entities(facts)
        side = net.of_creators(entities["creator"][i]).numpy() * unit + trained.own.mean[i]
        content = net.of_contents(torch.as_tensor(c), entities["content"][c]).numpy()
        series = torch.as_tensor(facts.series_of[e] % (len(facts.series) + 1))
        event = net.of_events(series, entities["event"][e]).numpy()
        k = net.rank
        premium = facts.premium(np.repeat(i, len(c)), np.tile(c, len(i)), price.ravel())
        asked = net.price(single(premium[:, None])).numpy().reshape(len(i), len(c))
        a = trained.base + side[:, [0]] + unit * (content[:, 0] + asked) + side[:, 1 : 1 + k] @ content[:, 1 : 1 + k].T
        fit = [net.fit(single(scales.pair(facts.pair(i, np.full(len(i), one))))).numpy()[:, 0] for one in e]
        b = side[:, 1 + k :] @ event[:, 1 : 1 + k].T + unit * np.column_stack(fit)
        d = unit * content[:, 1 + k :] @ event[:, 1 + k :].T
        flat = np.repeat(e, days.shape[1])
        clock = torch.cat([single(scales.clock(facts.clock(flat, np.nan_to_num(days.ravel())))), entities["event"][flat]], 1)
        market = scales.market(facts.market(e, np.full(len(e), np.datetime64(after, "us"))))
        g = event[:, [0]] + net.clock(clock).numpy().reshape(days.shape) + net.market(single(market)).numpy()
    return a, b, d, unit * g


def _mixed(
    mixed: Mixed, facts: Facts, i: np.ndarray, c: np.ndarray, e: np.ndarray, days: Floats, price: Floats, after: date
) -> tuple[Floats, Floats, Floats, Floats]:  # fmt: skip
    """Arrays of a line and creators' own levels: each group of its terms is looked at over what it differs by alone."""
    anyone, anything, some_event = (np.array([codes[0]]) for codes in (i, c, e))

    def along(axes: str, i: np.ndarray, c: np.ndarray, e: np.ndarray, days: Floats, price: Floats) -> Floats:
        count = max(len(i), len(c), len(e))
        i, c, e, days, price = (np.broadcast_to(part, count) for part in (i, c, e, days, price))
        return mixed.along(facts, Design.coded(facts, i, c, e, days, price, np.full(count, np.datetime64(after, "us"))), axes)

    none = np.zeros(1)
    pairs = np.repeat(i, len(c)), np.tile(c, len(i))
    a = mixed.line.base + (along("i", i, anything, some_event, none, none) + mixed.own[i])[:, None]
    a = (
        a
        + along("c", anyone, c, some_event, none, none)
        + along("ic", *pairs, some_event, none, np.nan_to_num(price.ravel())).reshape(len(i), len(c))
    )
    b = along("ie", np.repeat(i, len(e)), anything, np.tile(e, len(i)), none, none).reshape(len(i), len(e))
    g = along("et", anyone, anything, np.repeat(e, days.shape[1]), np.nan_to_num(days.ravel()), none).reshape(days.shape)
    return a, b, np.zeros((len(c), len(e))), g


def blocks(grid: Arrays, a: Floats) -> Iterator[tuple[int, Floats]]:
    """(first creator, scores of a block of creators (creators, contents, events, days))."""
    rest = (grid.D[:, :, None] + grid.G[None, :, :])[None]
    step = max(1, BLOCK // max(1, rest.size))
    for first in range(0, len(a), step):
        pair = a[first : first + step, :, None] + grid.B[first : first + step, None, :]
        yield first, pair[..., None] + rest


def best(grid: Arrays, wanted: int, *, per_price: bool, seed: int = 7) -> tuple[np.ndarray, float]:
    """Flat positions of exactly the `wanted` tuples with the highest score, and the score of the last."""
    with np.errstate(divide="ignore"):
        a = grid.A - np.log(np.maximum(grid.price, 1e-9)).astype(np.float32) if per_price else grid.A
    a = np.where(np.isfinite(grid.A), a, -np.inf).astype(np.float32)
    if wanted >= grid.size:
        found = [first * _per(grid) + np.flatnonzero(np.isfinite(block)) for first, block in blocks(grid, a)]
        return np.concatenate(found), -np.inf
    share = wanted / grid.size
    limit = float(np.quantile(_sample(grid, a, seed), max(0.0, 1 - SLACK * share)))
    while True:
        places, scores = [], []
        for first, block in blocks(grid, a):
            flat = block.ravel()
            above = np.flatnonzero(flat >= limit)
            places.append(first * _per(grid) + above)
            scores.append(flat[above])
        score = np.concatenate(scores)
        if len(score) >= wanted:
            break
        limit -= 0.2 + 0.1 * abs(limit) * share
    order = np.argsort(-score, kind="stable")[:wanted]
    return np.concatenate(places)[order], float(score[order[-1]])


def _per(grid: Arrays) -> int:
    """Tuples of one creator."""
    return len(grid.c) * grid.G.size


def _sample(grid: Arrays, a: Floats, seed: int) -> Floats:
    """Scores of feasible tuples drawn at random."""
    rng = spawn(seed, "effectiveness.grid")
    offers, slots = np.argwhere(np.isfinite(a)), np.argwhere(np.isfinite(grid.G))
    one, other = offers[rng.integers(0, len(offers), SAMPLE)], slots[rng.integers(0, len(slots), SAMPLE)]
    (i, c), (e, t) = one.T, other.T
    return a[i, c] + grid.B[i, e] + grid.D[c, e] + grid.G[e, t]


def floors(grid: Arrays, per_influencer: int, per_event: int) -> np.ndarray:
    """Flat positions of the best (content, event) of each creator and the best (creator, content) of each event, at the event's best day.

    The day enters through the event alone, so the best day of an event is the same for everybody.
    """
    days = grid.G.shape[1]
    day, at_best = grid.G.argmax(axis=1), grid.D + grid.G.max(axis=1)
    found = []
    step = max(1, BLOCK // max(1, at_best.size))
    best_of_event: list[tuple[Floats, np.ndarray]] = []
    for first in range(0, len(grid.A), step):
        block = grid.A[first : first + step, :, None] + grid.B[first : first + step, None, :] + at_best[None]
        rows = block.reshape(len(block), -1)
        take = min(per_influencer, rows.shape[1])
        if take:
            pick = np.argpartition(-rows, take - 1, axis=1)[:, :take]
            who, pick = np.repeat(np.arange(len(rows)), take), pick.ravel()
            good = np.isfinite(rows[who, pick])
            c, e = np.divmod(pick[good], len(grid.e))
            found.append((((first + who[good]) * len(grid.c) + c) * len(grid.e) + e) * days + day[e])
        take = min(per_event, len(block) * len(grid.c))
        if take:
            columns = block.reshape(-1, len(grid.e))
            pick = np.argpartition(-columns, take - 1, axis=0)[:take]
            best_of_event.append((np.take_along_axis(columns, pick, 0), first * len(grid.c) + pick))
    if best_of_event:
        score, place = (np.concatenate(part) for part in zip(*best_of_event, strict=True))
        order = np.argsort(-score, axis=0, kind="stable")[:per_event]
        kept, score = np.take_along_axis(place, order, 0), np.take_along_axis(score, order, 0)
        e = np.broadcast_to(np.arange(len(grid.e)), kept.shape)
        found.append(((kept * len(grid.e) + e) * days + day[e])[np.isfinite(score)])
    return np.concatenate(found) if found else np.empty(0, np.int64)


def tuples(grid: Arrays, flat: np.ndarray, facts: Facts, after: date) -> pd.DataFrame:
    """The tuples at flat positions, as `predict` takes them."""
    rest, t = np.divmod(flat, grid.G.shape[1])
    rest, e = np.divmod(rest, len(grid.e))
    i, c = np.divmod(rest, len(grid.c))
    return pd.DataFrame({
        "influencer_id": facts.influencer_ids[grid.i[i]], "content_type": facts.contents[grid.c[c]], "event_id": facts.event_ids[grid.e[e]],
        "days_from_event": grid.days[e, t], "price": grid.price[i, c], "decided_on": pd.Timestamp(after),
    })  # fmt: skip
