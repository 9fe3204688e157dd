"""Journeys whose every touch has a known effect: who is shown what, why, and what it does to buying.

Ten channels, thirty days. A person's log-odds of buying are those of the person (a propensity, and an intent that may start
within the window) plus what the touches before that moment add: each channel saturates, each touch fades by its law,
and influencers lend something to what comes lower in the funnel. Exposure may depend on propensity and on intent, so that
brand search and retargeting look far better than they are. Two clocks:

- ``watched``: everybody is watched for thirty days and buys, or does not, at the end;
- ``truncated``: every day is a chance to buy and a purchase ends the journey. What a model may look at are the purchases and
  moments drawn from the days at risk (case and base; `kept` is the share of those days that is kept).

Truth is computed from the equation that generates: the probability with and without a touch, a channel, everything.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from liftwise.core.uncertainty import Floats, spawn
from liftwise.sources.simulator.journey_effects import Equation, by_the_end, first_purchase, truths

CHANNELS = (
    "influencer_mega", "influencer_macro", "influencer_micro", "influencer_nano", "display", "paid_social", "email",
    "generic_search", "brand_search", "retargeting",
)  # fmt: skip
RATE = np.array([0.80, 0.70, 0.60, 0.50, 1.10, 0.90, 0.55, 0.45, 0.60, 1.00])  # touches a person
STRENGTH = np.array([0.40, 0.75, 0.85, 1.20, 0.16, 0.33, 0.62, 1.15, 0.13, 0.06])  # log-odds of a fresh touch
FADES = np.array([5.0, 6.0, 8.0, 9.0, 3.0, 4.0, 3.0, 2.5, 1.5, 1.5])  # days
LATE = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.5, 2.5, 2.5])  # Beta(late, 1) of the window: above 1, towards its end
TARGETS = np.array([0.15, 0.15, 0.10, 0.10, 0.35, 0.30, 0.40, 0.45, 0.80, 0.80])  # log rate by propensity
INTENT = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.5, 6.0, 5.0])  # times the rate once intent is there
LENDS = np.array([(2, 7), (3, 7), (0, 8), (1, 5)])  # influencer → lower funnel
ORDERS = np.array([(2, 5), (3, 7), (0, 6)])  # the second does more within two days of the first
INFLUENCER = np.arange(len(CHANNELS)) < 4
SPOILS = np.array([(ad, influencer) for ad in (4, 5, 8, 9) for influencer in range(4)])  # where people are wary
INDUCES = {0: 8, 1: 8, 2: 7, 3: 7}  # a touch of the first brings about one of the second
LAWS = ("exponential", "hyperbolic", "delayed")
WINDOW, MOST = 30.0, 24  # days watched; touches kept, the newest
PROPENSITY, WANTS, INTENDING = 0.65, 1.3, 0.30  # log-odds by propensity, by intent; share of people in whom intent starts
ACTIVE = 0.85  # spread of how much people are shown at all, in logs
TEST_ERROR = 0.001  # standard error of a lift test, in buying probability: 200,000 people an arm
BASE, BASE_DAILY = -2.95, -5.8  # log-odds of a person who was shown nothing
WARY = 2.5  # log-odds less of a wary person who was shown nothing
BASES = 4  # moments of not buying for each purchase


@dataclass(frozen=True)
class JourneyWorld:
    """A market of journeys.

    Attributes
    ----------
    targeting : ``random``, ``observed`` (on what is known of a person), ``half`` (half of it is known), ``hidden`` (half is
        known, and an intent that nobody sees).
    law : of fading: exponential, hyperbolic, delayed, or ``mixed`` (channels take turns).
    clock : ``watched`` or ``truncated``.
    strength : times every effect; 0 is a market in which marketing does nothing.
    induced : chance that an influencer's touch brings about a search.
    ordered : what `ORDERS` add within two days, as a share of the second touch; the other way round adds nothing.
    wary : an influencer's touch within two days after an ad (`SPOILS`) is taken for one more ad and does nothing (who has just been
        sold to sees through the next: Friestad and Wright 1994, Journal of Consumer Research 21:1); before the ad it does all it
        can. People meet more of everything, and influencers convince strongly and for long where they do: old touches count, so
        counts and freshness say little of which of them were spoiled, and most of what is left to know is order. Without an ad
        more would be sold, so ads have a share below 0.
    lends : log-odds lent by pairs of channels.
    jitter : spread of this market's rates, strengths and fading around the tables above, in logs.
    """

    targeting: str = "hidden"
    law: str = "exponential"
    clock: str = "watched"
    strength: float = 1.0
    induced: float = 0.0
    ordered: float = 0.0
    wary: bool = False
    lends: float = 0.6
    people: int = 80_000
    jitter: float = 0.15
    seed: int = 0

    def draw(self, people: str = "people") -> JourneySample:
        """People, what they were shown, what they did, and the truth; another name of `people` draws others of the same market."""
        return _draw(self, spawn(self.seed, f"journey.{people}"))

    def equation(self) -> tuple[Floats, Equation]:
        """Touches a person by channel, and the numbers of what they do."""
        wobble = spawn(self.seed, "journey.market").normal(0.0, self.jitter, (3, len(CHANNELS)))
        law = np.arange(len(CHANNELS)) % len(LAWS) if self.law == "mixed" else np.full(len(CHANNELS), LAWS.index(self.law))
        lends = np.full(len(LENDS), self.lends * self.strength)
        rate, fades = RATE * np.exp(wobble[0]), FADES * np.exp(wobble[2] / 2)
        strength = self.strength * STRENGTH * np.exp(wobble[1])
        if not self.wary:
            return rate, Equation(strength, fades, law, LENDS, lends, ORDERS, self.ordered)
        rate, strength = rate * np.where(INFLUENCER, 1.5, 3.0), strength * np.where(INFLUENCER, 4.0, 0.5)
        return rate, Equation(strength, 2.0 * fades, law, LENDS, lends, SPOILS, -1.0)


@dataclass(frozen=True)
class JourneySample:
    """Journeys as arrays, with their truth.

    Attributes
    ----------
    offsets : (n + 1,), codes : (touches,), hours : (touches,) before the end of the journey, oldest first.
    covariates : (n, k) what is known of the person; the last column is noise.
    bought : (n,) 0 or 1.
    kept : share of not buying that is kept (1 when everybody is watched to the end).
    probability, organic : (n,) of buying at the journey's end, with its touches and without.
    effect : (touches,) probability less that without the touch.
    without : (n, channels) probability without the channel's touches.
    removal : (channels,) what a test without error would measure: buying probability a person, with the channel less without it
        and without what it induced.
    lift : channel, effect, standard_error of a test of each channel; divided by `rate` a share of all purchases, or by
        the clock ``truncated`` of the people who buy within the month.
    rate : purchases a person.
    """

    offsets: np.ndarray
    codes: np.ndarray
    hours: Floats
    covariates: Floats
    bought: Floats
    kept: float
    probability: Floats
    organic: Floats
    effect: Floats
    without: Floats
    removal: Floats
    lift: pd.DataFrame
    rate: float

    def frame(self) -> pd.DataFrame:
        """Table `moments`."""
        lengths = np.diff(self.offsets)
        rows = np.maximum(lengths, 1)
        owner = np.repeat(np.arange(len(lengths)), rows)
        touched = lengths[owner] > 0
        position = np.where(touched, np.arange(len(owner)) - (np.cumsum(rows) - rows)[owner] + 1, 0)
        ids = np.array([f"j{k:07d}" for k in range(len(lengths))], dtype=object)
        hours, names, touch = np.full(len(owner), np.nan), *np.full((2, len(owner)), None, dtype=object)
        hours[touched], names[touched] = self.hours, np.array(CHANNELS, dtype=object)[self.codes]
        touch[touched] = [f"t{k:08d}" for k in range(len(self.codes))]
        bought = self.bought[owner] > 0
        return pd.DataFrame({
            "journey_id": ids[owner], "person_id": ids[owner], "position": position, "touch_id": touch, "hours_before_end": hours,
            "channel": names, "converted": bought, "revenue": 10.0 * bought, "ended_at": pd.Timestamp("2025-06-30"), "kept": self.kept,
        })  # fmt: skip

    def facts(self) -> pd.DataFrame:
        """Table `journey_facts`."""
        n, k = self.covariates.shape
        ids = np.array([f"j{j:07d}" for j in range(n)], dtype=object)
        names = np.array([f"known_{column}" for column in range(k)], dtype=object)
        return pd.DataFrame({"journey_id": np.repeat(ids, k), "name": np.tile(names, n), "value": self.covariates.ravel()})


def _draw(world: JourneyWorld, rng: np.random.Generator) -> JourneySample:
    n, (rate, does), daily = world.people, world.equation(), world.clock == "truncated"
    known, unknown = rng.normal(size=(2, n))
    propensity = (known + unknown) / np.sqrt(2) if world.targeting in ("half", "hidden") else known
    starts = np.full(n, np.inf)  # day on which intent starts
    if world.targeting == "hidden":
        starts[rng.random(n) < INTENDING] = 0.0
        starts += rng.uniform(0.0 if daily else WINDOW - 10, WINDOW, n)
    person, codes, born, day = _exposures(world, rng, rate, propensity, starts)
    offsets = np.searchsorted(person, np.arange(n + 1))
    eta = (BASE_DAILY if daily else BASE) - 0.5 * (world.targeting == "hidden") - WARY * world.wary + PROPENSITY * propensity
    touches = (offsets, codes, born, day)
    ends = by_the_end(does, *touches, WINDOW, eta, WANTS, starts, daily)
    removal = (ends[:, :1] - ends[:, 1:]).mean(axis=0)
    if daily:
        on = first_purchase(does, *touches, WINDOW, eta, WANTS, starts, rng.random((n, int(WINDOW))))
        who, at, bought, kept = _case_and_base(rng, on)
        touches = _before(touches, who, at)
    else:
        who, at, kept = np.arange(n), np.full(n, WINDOW), 1.0
        bought = (rng.random(n) < ends[:, 0]).astype(float)
    now = eta[who] + WANTS * (starts[who] <= at)
    probability, organic, without, effect = truths(does, *touches, at, now)
    noise = spawn(world.seed, "journey.tests").normal(size=len(CHANNELS))
    lift = pd.DataFrame({"channel": CHANNELS, "effect": removal + TEST_ERROR * noise, "standard_error": TEST_ERROR})
    covariates = np.column_stack([known, rng.normal(size=n)])[who]
    hours = 24.0 * (np.repeat(at, np.diff(touches[0])) - touches[3])
    return JourneySample(
        touches[0], touches[1], hours, covariates, bought, kept, probability, organic, effect, without, removal, lift,
        float(ends[:, 0].mean()),
    )  # fmt: skip


def _exposures(
    world: JourneyWorld, rng: np.random.Generator, rate: Floats, propensity: Floats, starts: Floats
) -> tuple[np.ndarray, np.ndarray, np.ndarray, Floats]:
    """(person, channel, channel that induced it or −1, day) of touches, by person and day; the newest `MOST` of each person."""
    n, k = len(propensity), len(rate)
    targets = TARGETS if world.targeting != "random" else np.zeros(k)
    mean = rate * np.exp(targets * propensity[:, None] - targets**2 / 2 + ACTIVE * rng.normal(size=(n, 1)) - ACTIVE**2 / 2)
    cells = np.repeat(np.arange(n * k), rng.poisson(mean).ravel())
    person, codes = cells // k, cells % k
    day = WINDOW * rng.random(len(cells)) ** (1 / LATE[codes])
    # more of the same once intent is there: a second stream in the days after it started
    left = np.maximum(WINDOW - starts, 0.0)[:, None] / WINDOW
    more = np.repeat(np.arange(n * k), rng.poisson(mean * (INTENT - 1) * left).ravel())
    late = starts[more // k] + rng.random(len(more)) * (WINDOW - starts[more // k])
    person, codes, day = np.append(person, more // k), np.append(codes, more % k), np.append(day, late)
    born = np.full(len(codes), -1)
    for parent, child in INDUCES.items():
        mothers = np.flatnonzero((codes == parent) & (born < 0) & (rng.random(len(codes)) < world.induced))
        when = day[mothers] + rng.exponential(0.5, len(mothers))
        mothers, when = mothers[when < WINDOW], when[when < WINDOW]
        person, day = np.append(person, person[mothers]), np.append(day, when)
        codes, born = np.append(codes, np.full(len(when), child)), np.append(born, np.full(len(when), parent))
    order = np.lexsort((day, person))
    person, codes, born, day = person[order], codes[order], born[order], day[order]
    newest = np.searchsorted(person, person, side="right") - np.arange(len(person)) <= MOST
    return person[newest], codes[newest], born[newest], day[newest]


def _case_and_base(rng: np.random.Generator, on: Floats) -> tuple[np.ndarray, Floats, Floats, float]:
    """Who, when, bought, and the share of days at risk that is kept: every purchase, and days drawn from those without one."""
    cases = np.flatnonzero(np.isfinite(on))
    risk = np.where(np.isfinite(on), on, WINDOW).astype(int)  # days without a purchase
    until = np.cumsum(risk)
    drawn = np.sort(rng.choice(until[-1], min(BASES * len(cases), until[-1]), replace=False))
    who = np.searchsorted(until, drawn, side="right")
    at = (drawn - (until - risk)[who]).astype(float)
    bought = np.append(np.ones(len(cases)), np.zeros(len(who)))
    return np.append(cases, who), np.append(on[cases], at), bought, len(drawn) / float(until[-1])


def _before(
    touches: tuple[np.ndarray, np.ndarray, np.ndarray, Floats], who: np.ndarray, at: Floats
) -> tuple[np.ndarray, np.ndarray, np.ndarray, Floats]:
    """The touches of each moment: those of its person until then."""
    offsets, codes, born, day = touches
    lengths = np.diff(offsets)[who]
    row = np.repeat(np.arange(len(who)), lengths)
    take = offsets[:-1][who][row] + np.arange(len(row)) - (np.cumsum(lengths) - lengths)[row]
    seen = day[take] <= at[row]
    take, row = take[seen], row[seen]
    return np.searchsorted(row, np.arange(len(who) + 1)), codes[take], born[take], day[take]
