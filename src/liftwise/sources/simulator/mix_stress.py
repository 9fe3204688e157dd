"""Worlds with known truth that each break one assumption of a marketing mix, and a clean one that breaks none.

A clean world has geometric carry-over and Hill saturation, effects that add up and stay the same, budgets that know nothing of demand beyond
the calendar, a straight trend, a yearly season, two controls and independent normal noise. Every other world changes one of these and keeps the
rest; `kinds` are the checks of `liftwise.models.mix.examine` that name what is wrong in it.

The verdict on a fit of such a world was fixed before any was measured:

good
    Of each large channel (at least `LARGE` of what media add) the 90 % interval of its total contribution holds the truth, or the estimate is
    within `NEAR` of it; and all media together are within `NEAR`.
wide
    Not good, but the 90 % intervals of all media together and of each large channel hold the truth or are within `NEAR`.
flagged
    Neither, but a warning names the right kind of problem, or the model refuses.
silent
    None of these: wrong, sure of itself, and quiet.

A warning counts only when clean worlds raise one in at most one of ten. The verdict on a world is that of most of its seeds; where there is
no such verdict, the worst of the commonest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from liftwise.core.uncertainty import Floats, spawn

CHANNELS = ("tv", "display", "search", "social", "influencers")
TV, DISPLAY, SEARCH, SOCIAL, INFLUENCERS = range(5)
RETENTION = np.array([0.6, 0.3, 0.1, 0.3, 0.45])
UNIT, BASE, LAGS = 10_000.0, 1_000_000.0, 120
YEAR = 52.18
LARGE, NEAR = 0.10, 0.20
VERDICTS = ("good", "wide", "flagged", "silent")


@dataclass(frozen=True, eq=False)
class StressWorld:
    """breaks : the assumption, in words. kinds : checks that name it. truth : weeks × channels, money that each channel added, its share of
    synergy in it. spend : as reported, (channels, weeks).
    """

    name: str
    breaks: str
    kinds: frozenset[str]
    weeks: pd.DatetimeIndex = field(repr=False)
    spend: Floats = field(repr=False)
    revenue: Floats = field(repr=False)
    controls: dict[str, Floats] = field(repr=False)
    truth: pd.DataFrame = field(repr=False)

    def weekly(self) -> pd.DataFrame:
        """Table `weekly`."""
        rows = [("target", "revenue", self.revenue), *(("control", name, x) for name, x in self.controls.items()),
                *(("channel", name, x) for name, x in zip(CHANNELS, self.spend, strict=True))]  # fmt: skip
        parts = [
            pd.DataFrame({"week": self.weeks, "region": "all", "role": role, "name": name, "value": x}) for role, name, x in rows
        ]
        return pd.concat(parts, ignore_index=True)

    def verdict(self, told: pd.DataFrame, total: tuple[float, float, float], warnings: Collection[str] = ()) -> str:
        """By the rule above.

        told : a row a channel (channel, estimate, low, high), money over all weeks. total : the same of all media. warnings : kinds raised.
        """
        true = self.truth.sum()
        large = true[true >= LARGE * true.sum()]
        rows = told.set_index("channel").reindex(large.index).fillna(0.0)
        sound = [_holds(row.low, row.high, real) or _near(row.estimate, real)
                 for row, real in zip(rows.itertuples(), large, strict=True)]  # fmt: skip
        estimate, low, high = total
        if all(sound) and _near(estimate, true.sum()):
            return "good"
        if all(sound) and _holds(low, high, true.sum()):
            return "wide"
        return "flagged" if self.kinds & set(warnings) else "silent"


def _near(estimate: float, real: float) -> bool:
    return abs(estimate - real) <= NEAR * abs(real)


def _holds(low: float, high: float, real: float) -> bool:
    return low <= real <= high


def overall(verdicts: Sequence[str]) -> str:
    """The verdict on a world from those on its seeds."""
    counts = Counter(verdicts)
    return max(counts, key=lambda name: (counts[name], VERDICTS.index(name)))


class Draft:
    """A market on its way to be a world: what a broken assumption may change. All effects are relative to `BASE`."""

    def __init__(self, rng: np.random.Generator, weeks: int) -> None:
        self.rng, self.clock = rng, np.arange(weeks)
        phase = rng.uniform(0, 2 * np.pi, 2)
        angle = 2 * np.pi * self.clock / YEAR
        self.season = 0.08 * np.sin(angle + phase[0]) + 0.03 * np.sin(2 * angle + phase[1])
        self.trend = rng.uniform(-0.1, 0.2) * (self.clock / weeks - 0.5)
        self.hidden = np.zeros(weeks)  # moves revenue, and nobody delivers it
        promotion = (rng.random(weeks) < 0.15).astype(float)
        price = 10 * np.exp(0.06 * lasting(rng, weeks, 0.9))
        self.controls = {"promotion": promotion, "price": price}
        self.outside = 0.06 * promotion - 0.6 * (price / price.mean() - 1)
        self.noise = rng.normal(0, 0.03, weeks)
        self.share = 0.3
        self.retention = np.clip(RETENTION + rng.uniform(-0.1, 0.1, 5), 0, 0.75)
        self.kernel = (1 - self.retention[:, None]) * self.retention[:, None] ** np.arange(LAGS)
        self.half, self.shape, self.worth = rng.uniform(0.7, 1.5, 5), rng.uniform(0.9, 1.6, 5), rng.uniform(0.7, 1.3, 5)
        self.spend = plans(rng, weeks) * np.exp(2 * self.season)  # agencies know the calendar
        self.reported: Floats | None = None
        self.bend: Callable[[Floats], Floats] = self.hill
        self.strength = np.ones((5, weeks))  # of an effect, over time
        self.pairs: dict[tuple[int, int], float] = {}  # what two channels add together, in units of one usual channel
        self.times: Floats | None = None  # media multiply this instead of adding to the baseline
        self.kept = np.ones(weeks, bool)

    def hill(self, carried: Floats) -> Floats:
        """Saturation of spend carried over, (channels, weeks) in usual spend."""
        power = (carried / self.half[:, None]) ** self.shape[:, None]
        return power / (1 + power)

    def carried(self, spend: Floats) -> Floats:
        """(channels, weeks)."""
        return np.array([np.convolve(x, kernel)[: len(x)] for x, kernel in zip(spend, self.kernel, strict=True)])

    def media(self) -> Floats:
        """What each channel adds, its share of synergy in it, (channels, weeks), before it is scaled to `share`."""
        full = self.bend(self.carried(self.spend / UNIT))
        out = full * self.worth[:, None] * self.strength
        for (i, j), size in self.pairs.items():  # a product is shared in halves (Shapley)
            out[[i, j]] += size * full[i] * full[j] / 2
        return out

    def demand(self) -> Floats:
        """Relative revenue without media, before noise."""
        return 1 + self.season + self.trend + self.hidden + self.outside

    def world(self, name: str, breaks: str, kinds: Collection[str]) -> StressWorld:
        """Scaled, summed, with noise."""
        demand, media = self.demand(), self.media()
        media = media * self.share / (1 - self.share) * demand.mean() / media.sum(axis=0).mean()
        if self.times is not None:
            media = media * self.times / self.times.mean()
        revenue = BASE * np.maximum(demand + media.sum(axis=0) + self.noise * (demand.mean() + media.sum(axis=0).mean()), 0.01)
        weeks = pd.date_range("2022-01-03", periods=len(self.clock), freq="W-MON")[self.kept]
        truth = pd.DataFrame(BASE * media.T[self.kept], index=weeks, columns=list(CHANNELS))
        spend = self.spend if self.reported is None else self.reported
        controls = {key: values[self.kept] for key, values in self.controls.items()}
        return StressWorld(name, breaks, frozenset(kinds), weeks, spend[:, self.kept], revenue[self.kept], controls, truth)


def lasting(rng: np.random.Generator, weeks: int, keep: float) -> Floats:
    """An autoregression of standard deviation 1, `keep` its lag-one correlation."""
    out, steps = np.empty(weeks), rng.normal(0, np.sqrt(1 - keep**2), weeks)
    level = rng.normal()
    for week in range(weeks):
        level = keep * level + steps[week]
        out[week] = level
    return out


def plans(rng: np.random.Generator, weeks: int) -> Floats:
    """Spend (channels, weeks): flights for television and influencers, always-on elsewhere, weekly variation everywhere."""
    spend = UNIT * rng.lognormal(0, 0.35, (5, weeks)) * np.exp(rng.normal(0, 0.3, 5))[:, None]
    for k in (TV, INFLUENCERS):
        on = np.repeat(rng.random(-(-weeks // 4)) < 0.6, 4)[:weeks]
        spend[k] *= np.where(on, 1.6, 0.05)
    return spend


WORLDS: dict[str, tuple[str, frozenset[str], Callable[[Draft], None]]] = {}


def stress_world(name: str, seed: int, *, weeks: int = 156) -> StressWorld:
    """Draw one of `WORLDS`; the same name and seed give the same world.

    >>> stress_world("clean", 1).truth.shape
    (156, 5)
    """
    breaks, kinds, change = WORLDS[name]
    draft = Draft(spawn(seed, "mix-stress"), weeks)
    change(draft)
    return draft.world(name, breaks, kinds)


def _world(name: str, breaks: str, *kinds: str) -> Callable[[Callable[[Draft], None]], Callable[[Draft], None]]:
    def add(change: Callable[[Draft], None]) -> Callable[[Draft], None]:
        WORLDS[name] = (breaks, frozenset(kinds), change)
        return change

    return add


@_world("clean", "nothing")
def _clean(draft: Draft) -> None: ...


@_world("outliers", "no week is unlike the others: six are, by stock-outs and bulk orders", "outliers")
def _outliers(draft: Draft) -> None:
    weeks = draft.rng.choice(len(draft.clock), 6, replace=False)
    draft.noise[weeks] += draft.rng.choice([-0.35, 0.35], 6)


@_world("trend break", "one trend: growth turns into decline, and spend grows with it", "break", "slow")
def _trend_break(draft: Draft) -> None:
    past = draft.clock / len(draft.clock)
    draft.hidden += np.where(past < 0.6, 0.6 * past, 0.36 - 0.9 * (past - 0.6))
    draft.spend *= np.exp(1.5 * (draft.hidden - draft.hidden.mean()))


@_world(
    "season", "a season of two sine waves: three weeks before Christmas and a summer plateau, with budgets to match", "season"
)
def _season(draft: Draft) -> None:
    week = draft.clock % YEAR
    peak = 0.35 * ((week >= 47) & (week < 51)) + 0.12 * ((week >= 26) & (week < 33))
    draft.hidden += peak
    draft.spend[[TV, SOCIAL]] *= 1 + 3 * peak


@_world("collinear", "channels that move apart: one plan drives all five", "collinear")
def _collinear(draft: Draft) -> None:
    common = (
        draft.rng.lognormal(0, 0.45, len(draft.clock)) * np.repeat(draft.rng.choice([0.3, 1.0, 1.8], 40), 4)[: len(draft.clock)]
    )
    draft.spend = UNIT * common * draft.rng.lognormal(0, 0.08, draft.spend.shape)


@_world("saturation", "Hill saturation: effects start at a threshold and stop at a ceiling", "saturation")
def _saturation(draft: Draft) -> None:
    draft.bend = lambda carried: np.clip((carried - 0.6) / 0.8, 0.0, 1.0)


@_world(
    "carry-over", "effects that fade from the first week: television and influencers work three to five weeks later", "carry-over"
)
def _delay(draft: Draft) -> None:
    lags = np.arange(LAGS)
    for k, late in ((TV, 4), (INFLUENCERS, 3)):
        weight = np.exp(-0.5 * ((lags - late) / 1.2) ** 2)
        draft.kernel[k] = weight / weight.sum()


@_world(
    "hidden demand",
    "budgets that know nothing of demand: search and social follow a demand nobody delivers",
    "confounded",
    "slow",
)
def _hidden(draft: Draft) -> None:
    wave = lasting(draft.rng, len(draft.clock), 0.8)
    draft.hidden += 0.08 * wave
    draft.spend[[SEARCH, SOCIAL]] *= np.exp(0.5 * wave)


@_world("seen demand", "the same, but demand is delivered as a control", "confounded", "collinear")
def _seen(draft: Draft) -> None:
    _hidden(draft)
    draft.controls["demand"] = 100 + 10 * draft.hidden / 0.08


@_world(
    "dense controls",
    "few controls, known to matter: thirty, most without effect, some moving with spend",
    "controls",
    "collinear",
)
def _dense(draft: Draft) -> None:
    for k in range(30):
        own = draft.rng.normal(size=len(draft.clock))
        like = draft.spend[k % 5] / UNIT if k < 10 else 0.0
        draft.controls[f"index {k}"] = 100 + 5 * own + 5 * like
        draft.outside = draft.outside + (0.01 * own if k % 6 == 0 else 0.0)


@_world("changing effect", "effects that stay: television fades to a third, influencers triple", "changing effect")
def _changing(draft: Draft) -> None:
    past = draft.clock / len(draft.clock)
    draft.strength[TV], draft.strength[INFLUENCERS] = 1.6 - 1.2 * past, 0.5 + 1.2 * past


@_world("synergy", "effects that add up: channels work only half without one another", "synergy")
def _synergy(draft: Draft) -> None:
    draft.pairs = {(SEARCH, SOCIAL): 2.5, (TV, SEARCH): 2.5}


@_world("heavy tails", "normal noise of one size: rare large shocks, larger in good years", "outliers", "variance")
def _tails(draft: Draft) -> None:
    size = np.exp(np.linspace(-0.9, 0.6, len(draft.clock)))
    draft.noise = 0.03 * size * draft.rng.standard_t(2.5, len(draft.clock))


@_world("noisy spend", "spend as it was: bookings are off by 40 % from week to week", "noisy spend")
def _noisy(draft: Draft) -> None:
    draft.reported = draft.spend * draft.rng.lognormal(-0.08, 0.4, draft.spend.shape)


@_world("monthly spend", "spend by week: invoices are booked by month and spread evenly", "coarse spend")
def _monthly(draft: Draft) -> None:
    month = draft.clock // 4
    draft.reported = np.array([np.bincount(month, x)[month] / np.bincount(month)[month] for x in draft.spend])


@_world(
    "level shift",
    "whole weeks at one level: a retailer delists as television pauses, and eight weeks are lost",
    "break",
    "slow",
    "gaps",
)
def _level(draft: Draft) -> None:
    late = draft.clock >= 90
    draft.hidden -= 0.18 * late
    draft.spend[TV] *= np.where(late, 0.5, 1.0)
    draft.kept[40:44] = draft.kept[110:114] = False


@_world("tiny signal", "media that show: they bring 2 % of revenue, noise is 6 %", "weak")
def _tiny(draft: Draft) -> None:
    draft.share, draft.noise = 0.02, 2 * draft.noise


@_world("feedback", "budgets fixed before sales: next month's follow last month's revenue", "confounded", "slow")
def _feedback(draft: Draft) -> None:
    draft.hidden += 0.08 * lasting(draft.rng, len(draft.clock), 0.85)
    usual, scale = draft.spend.copy(), None
    for _ in range(8):  # each pass settles the weeks that the pass before has reached
        demand, media = draft.demand(), draft.media().sum(axis=0)
        scale = scale or draft.share / (1 - draft.share) * demand.mean() / media.mean()
        sales = demand + scale * media
        past = np.convolve(sales, np.ones(4) / 4)[: len(sales)]
        past = np.concatenate([np.full(4, sales.mean()), past[3:-1]])
        draft.spend = usual * (past / past.mean()) ** 4


@_world("multiplicative", "effects that add up: media multiply what demand there is", "multiplicative", "changing effect")
def _multiplicative(draft: Draft) -> None:
    draft.season, draft.trend = 2.5 * draft.season, draft.trend + 0.6 * (draft.clock / len(draft.clock) - 0.5)
    draft.times = draft.demand()


@_world(
    "long-term brand",
    "effects over within weeks: half of television's and influencers' comes over a year",
    "carry-over",
    "lasting",
    "slow",
)
def _brand(draft: Draft) -> None:
    slow = 0.97 ** np.arange(LAGS)
    for k in (TV, INFLUENCERS):
        draft.kernel[k] = 0.5 * draft.kernel[k] + 0.5 * slow / slow.sum()


@_world("pulled forward", "sales that are new: half of what social and display bring is missing three weeks later", "carry-over")
def _forward(draft: Draft) -> None:
    for k in (SOCIAL, DISPLAY):
        draft.kernel[k] -= 0.5 * np.pad(draft.kernel[k], (3, 0))[:LAGS]
    draft.shape[[SOCIAL, DISPLAY]], draft.half[[SOCIAL, DISPLAY]] = 1.0, 6.0  # a stock can be below its usual size, so no bend
    draft.bend = lambda carried: np.where(carried > 0, draft.hill(np.maximum(carried, 0.0)), carried / 6.0)


@_world("competitor", "rivals who mind their own business: theirs advertise when television pauses", "confounded")
def _competitor(draft: Draft) -> None:
    off = draft.spend[TV] < 0.5 * draft.spend[TV].mean()
    draft.hidden -= 0.07 * np.convolve(off * draft.rng.uniform(0.5, 1.5, len(off)), [0.6, 0.3, 0.1])[: len(off)]
