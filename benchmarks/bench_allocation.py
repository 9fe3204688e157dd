"""Budgets over channels against general optimisers and the rules of Robyn, Meridian and PyMC-Marketing, all on the same Hill curves.

Ours is the whole public call on a table of responses (401 points a curve, four draws alike); the others optimise the curves themselves.
Every split is judged on the curves themselves, against a bound on 4,001 points a curve plus all that a curve can rise above straight
lines between them. What a peer spends beyond the budget is taken off in proportion; what it leaves unspent stays so.

A last row holds schedules to the truth: in worlds whose curves are known a fit misses them by as much as it says, and draws scatter around
the fit by as much again. What is promised is set beside what would come, both as shares of what media bring.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from side_by_side import Peer, Row, Timed, compare
from stopwatch import measure

from liftwise.core.transforms import hill, lag_weights
from liftwise.core.uncertainty import spawn
from liftwise.decisions.allocation.allocate import allocate
from liftwise.decisions.allocation.carried_media import Media
from liftwise.decisions.allocation.envelopes import best_split
from liftwise.decisions.allocation.flighting import flight

PEER = Peer("nlopt", ("nlopt==2.11.0", "numpy==2.4.6", "scipy==1.17.1"))
SCHEMES = ("SLSQP raw", "SLSQP scaled", "trust-constr", "Robyn's scheme", "Meridian's rule", "PyMC-Marketing's rule")
SLOW = {"SLSQP raw": 5, "trust-constr": 3, "PyMC-Marketing's rule": 5}  # instances of 50 channels
INSTANCES, POINTS, FINE = 20, 401, 4_001
WORLDS, WEEKS, LAGS = 120, 6, 6  # of the schedules
MISSES, MISSPENT = (0.1, 0.3, 0.6), (0.1, 0.4)  # log-sd of what a fit misses curves by; of how far today lies from the best mix


@dataclass(frozen=True)
class Question:
    """Hill curves and limits; the table for ours and the bound are made once, outside what is timed."""

    top: np.ndarray
    half: np.ndarray
    slope: np.ndarray
    low: np.ndarray
    high: np.ndarray
    today: np.ndarray
    total: float

    @classmethod
    def of(cls, seed: int, channels: int, s_shaped: bool) -> Question:
        """Spends spread over two orders of magnitude; a third of the channels with a floor, a third with a ceiling."""
        random = spawn(seed, f"bench-allocation.{channels}.{s_shaped}")
        usual = np.exp(random.normal(11, 1, channels))
        top, half = usual * np.exp(random.normal(0.7, 0.5, channels)), usual * np.exp(random.normal(0.3, 0.5, channels))
        slope = random.uniform(1.5, 3.5, channels) if s_shaped else random.uniform(0.5, 1.0, channels)
        low = np.where(random.random(channels) < 1 / 3, usual * random.uniform(0, 0.3, channels), 0.0)
        high = np.where(random.random(channels) < 1 / 3, usual * random.uniform(1, 2, channels), 4 * usual)
        total = round(float(usual.sum() * random.uniform(0.5, 1.2)), 2)
        today = np.clip(usual * total / usual.sum(), low, high)
        for _ in range(100):
            today = np.clip(today * total / today.sum(), low, high)
        return cls(top, half, slope, low, high, today, total)

    def revenue(self, split: np.ndarray) -> float:
        """On the curves themselves."""
        up = np.maximum(split, 0.0) ** self.slope
        return float((self.top * up / (up + self.half**self.slope)).sum())

    def on(self, points: int) -> tuple[np.ndarray, np.ndarray]:
        """Spend and revenue (channels, points), closer together where curves of low slope bend."""
        reach = np.maximum(self.high, 1.0)[:, None]
        grid = reach * np.linspace(0, 1, points)[None] ** 2
        up = grid ** self.slope[:, None]
        return grid, self.top[:, None] * up / (up + self.half[:, None] ** self.slope[:, None])

    def bound(self) -> float:
        """No split is worth more: on fine straight lines, plus what the curves rise above them."""
        grid, curve = self.on(FINE)
        middle = (grid[:, 1:] + grid[:, :-1]) / 2
        up = middle ** self.slope[:, None]
        over = self.top[:, None] * up / (up + self.half[:, None] ** self.slope[:, None]) - (curve[:, 1:] + curve[:, :-1]) / 2
        inside = middle > self.low[:, None]  # the first piece of a root curve rises most; where floors lie above it never counts
        return best_split(grid, curve, self.low, self.high, self.total)[2] + 1.2 * float(
            np.where(inside, over, 0).max(axis=1).clip(0).sum()
        )

    def table(self) -> pd.DataFrame:
        """What a mix would deliver."""
        grid, curve = self.on(POINTS)
        names = np.repeat([f"c{k:03d}" for k in range(len(grid))], POINTS)
        one = pd.DataFrame({"channel": names, "spend": grid.ravel(), "revenue": curve.ravel()})
        return pd.concat([one.assign(draw=draw) for draw in range(4)], ignore_index=True)

    def within(self, split: np.ndarray) -> np.ndarray:
        """What is spent beyond the budget taken off above the floors, and limits enforced."""
        split = np.clip(split, self.low, self.high)
        over, room = max(float(split.sum()) - self.total, 0.0), split - self.low
        return split - over * room / max(float(room.sum()), 1e-9)


def run() -> Iterator[Row]:
    """Rows of value over bound and of time, for each shape and number of channels."""
    _ours([Question.of(99, 8, s_shaped) for s_shaped in (True, False)])  # compiles
    with tempfile.TemporaryDirectory() as folder:
        for s_shaped in (True, False):
            for channels in (8, 20, 50):
                questions = [Question.of(seed, channels, s_shaped) for seed in range(INSTANCES)]
                bounds = [question.bound() for question in questions]
                file = Path(folder) / f"{channels}-{s_shaped}.npz"
                np.savez(
                    file,
                    **{name: np.array([getattr(each, name) for each in questions]) for name in Question.__dataclass_fields__},
                )
                for scheme in SCHEMES:
                    many = SLOW.get(scheme, INSTANCES) if channels == 50 else INSTANCES
                    yield _row(scheme, s_shaped, channels, questions[:many], bounds[:many], file)
    questions = [Question.of(seed, 500, True) for seed in range(3)]
    spent, splits = _ours(questions)
    yield Row("budget split, S-shaped, 500 channels", "3 instances", "", ours=spent,
              agreement=_told(questions, [question.bound() for question in questions], splits))  # fmt: skip
    yield _careful()
    yield _promises()


def _row(scheme: str, s_shaped: bool, channels: int, questions: list[Question], bounds: list[float], file: Path) -> Row:
    def agree(ours: list[np.ndarray], theirs: dict) -> str:
        splits = [question.within(np.array(split)) for question, split in zip(questions, theirs["splits"], strict=True)]
        return f"ours {_told(questions, bounds, ours)}; theirs {_told(questions, bounds, splits)}"

    row = Row(f"budget split, {'S-shaped' if s_shaped else 'concave'}, {channels} channels", f"{len(questions)} instances", scheme, pairs=1,
              note=f"value / bound: least, mean; of ours {_search(questions):.2g} s is the search, the rest reads tables")  # fmt: skip
    return compare(
        row, lambda: _ours(questions), lambda: PEER.run("allocate_schemes", file, scheme, str(len(questions)), limit=900), agree
    )


def _search(questions: list[Question]) -> float:
    """Seconds of processor of the search alone, on arrays as the peers have their curves."""
    ready = [(*question.on(POINTS), question.low, question.high, question.total) for question in questions]
    return measure(lambda: [best_split(*each) for each in ready])[0].cpu


def _ours(questions: list[Question]) -> Timed:
    tables = [question.table() for question in questions]
    currents = [pd.Series(question.today, [f"c{k:03d}" for k in range(len(question.today))]) for question in questions]

    def all_of_them() -> list[np.ndarray]:
        return [
            allocate(
                table, current=current, total=question.total, floors=dict(zip(current.index, question.low, strict=True)),
                ceilings=dict(zip(current.index, question.high, strict=True)), limits_in="money",
            ).recommended.to_numpy()
            for table, current, question in zip(tables, currents, questions, strict=True)
        ]  # fmt: skip

    return measure(all_of_them)


def _told(questions: list[Question], bounds: list[float], splits: list[np.ndarray]) -> str:
    shares = [question.revenue(split) / bound for question, bound, split in zip(questions, bounds, splits, strict=True)]
    return f"{min(shares):.5f}, {np.mean(shares):.5f}"


@dataclass(frozen=True)
class World:
    """Four channels whose Hill curves are known, and what a fit of them says: 60 draws."""

    history: pd.DataFrame
    truth: Media
    responses: pd.DataFrame
    carryover: pd.DataFrame

    @classmethod
    def of(cls, seed: int) -> World:
        """Marginal returns at today's spend are alike but for `MISSPENT`."""
        random, miss, misspent = spawn(seed, "bench-schedules"), MISSES[seed % 3], MISSPENT[seed // 3 % 2]
        usual, half, stays = np.exp(random.normal(7, 0.7, 4)), np.exp(random.normal(0, 0.3, 4)), random.uniform(0.1, 0.6, 4)
        top = usual * np.exp(random.normal(0.7, misspent, 4)) * (half + 1) ** 2 / half / 2
        spent = usual * np.exp(0.2 * random.normal(size=(60, 4)))
        history = pd.DataFrame(spent, pd.date_range("2024-01-01", periods=60, freq="W-MON"), [f"c{k}" for k in range(4)])
        told = np.log([top, half]) + miss * random.normal(size=(2, 4))
        drawn = np.exp(told[:, None] + miss * random.normal(size=(2, 60, 4)))
        true = np.repeat([top, half], 8, axis=0).reshape(2, 8, 4)
        curves, lags = (cls.curves(*each, usual, history) for each in (drawn, true)), [cls.lags(stays, many) for many in (60, 8)]
        responses, known = curves
        return cls(history, Media.of(known, lags[1], list(history.columns), spent), responses, lags[0])

    @staticmethod
    def curves(top: np.ndarray, half: np.ndarray, usual: np.ndarray, history: pd.DataFrame) -> pd.DataFrame:
        """Table `responses` of draws (draws, channels)."""
        grids = [np.linspace(0, 2.5, 26) * history[name][-52:].mean() for name in history.columns]
        return pd.concat([
            pd.DataFrame({"channel": f"c{k}", "draw": draw, "spend": grid, "revenue": top[draw, k] * hill(grid / usual[k], half[draw, k], 1.0)})
            for k, grid in enumerate(grids) for draw in range(len(top))
        ])  # fmt: skip

    @staticmethod
    def lags(stays: np.ndarray, draws: int) -> pd.DataFrame:
        """Table `carryover`, the same in each draw."""
        return pd.concat([
            pd.DataFrame({"channel": f"c{k}", "draw": draw, "lag": range(LAGS), "weight": lag_weights(keep, LAGS)})
            for k, keep in enumerate(stays) for draw in range(draws)
        ])  # fmt: skip

    def outcome(self, more: float) -> tuple[float, float, float, bool]:
        """Promised gain on today's plan, true gain, true gain on today's mix at this total (shares of revenue), and whether money moves."""
        total = round(float(self.history[-52:].mean().sum()) * WEEKS * more, 2)
        found = flight(self.responses, self.carryover, self.history, weeks=WEEKS, total=total)
        plan, today = found.recommended.to_numpy(), found.current.to_numpy()
        gain, kept = (float(self.truth.gains(each, today)[0]) for each in (plan, more * today))
        moves = np.abs(plan - more * today).max() > 0.02
        return *(np.array([found.gain.mean, gain, gain - kept]) / self.truth.revenue(today)[0]), moves


def _careful() -> Row:
    """A schedule that minds its worst tenth, with floors and ceilings."""
    random, channels, draws, weeks = spawn(1, "bench-allocation.careful"), [f"c{k}" for k in range(8)], 1000, 13
    grid, lags = np.linspace(0, 250, 26), np.arange(8)
    keys = pd.MultiIndex.from_product([channels, range(draws)], names=["channel", "draw"]).to_frame(index=False)
    top = np.repeat(100.0 * np.arange(1, 9), draws) * np.exp(0.2 * random.normal(size=len(keys)))
    half, keep = 80 * np.exp(0.2 * random.normal(size=len(keys))), random.uniform(0.3, 0.6, len(keys))
    up = grid**1.4
    revenue, weight = top[:, None] * up / (up + half[:, None] ** 1.4), keep[:, None] ** lags
    curves = keys.loc[keys.index.repeat(len(grid))].assign(
        model="m", region="all", spend=np.tile(grid, len(keys)), revenue=revenue.ravel()
    )
    fading = keys.loc[keys.index.repeat(len(lags))].assign(
        model="m", lag=np.tile(lags, len(keys)), weight=(weight / weight.sum(axis=1, keepdims=True)).ravel()
    )
    spent = pd.DataFrame(100.0, pd.date_range("2024-01-01", periods=60, freq="W-MON"), channels)
    limits = {"floors": dict.fromkeys(channels, 0.05), "ceilings": dict.fromkeys(channels, 0.3)}
    flight(curves, fading, spent, weeks=weeks, tail_aversion=0.5, **limits)  # compiles
    spent_on, found = measure(lambda: flight(curves, fading, spent, weeks=weeks, tail_aversion=0.5, **limits))
    size = f"{len(channels)} channels × {weeks} weeks × {draws} draws"
    return Row("schedule that minds its worst tenth, floors and ceilings", size, "", ours=spent_on, note=f"gap {found.gap:.2%}")


def _promises() -> Row:
    worlds = [World.of(seed) for seed in range(WORLDS)]
    spent, outcomes = measure(lambda: [[world.outcome(more) for world in worlds] for more in (1.0, 1.1)])
    told = "; ".join(
        f"{name}: {_kept_promises(np.array(each, dtype=float))}"
        for name, each in zip(("same money", "a tenth more"), outcomes, strict=True)
    )
    return Row(f"schedules of {WEEKS} weeks, true curves known", f"{WORLDS} worlds, twice", "", ours=spent, agreement=told)


def _kept_promises(outcomes: np.ndarray) -> str:
    promised, true, beyond, moves = outcomes.T
    lost = (beyond < -1e-6).astype(float)
    shown = (f"{what} {each.mean():.2%} ± {each.std(ddof=1) / len(each) ** 0.5:.2%}" for what, each in (
        ("promised", promised), ("true", true), ("beyond today's mix", beyond), ("worse than today's mix", lost), ("moved", moves)))  # fmt: skip
    return ", ".join(shown)
