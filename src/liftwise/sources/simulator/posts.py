"""Posts: who published what, when and for which event; what is in it; and what it may be expected to reach and sell."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from liftwise.core.uncertainty import Floats, spawn
from liftwise.sources.simulator.creators import CONTENTS, GENRES, TYPES, Creators
from liftwise.sources.simulator.market import BASKET, HOURS, INFLUENCER, Market, wobble

REACH = 0.30  # of real followers, for a reel at its best
BUILDS = 0.02  # brand stock for one exposure of every person to content that builds 1
ELEMENTS = {"call_to_action": 0.25, "placement_8s": 0.35, "pack_early": 0.20, "colourful": 0.15}
OPENS, CLOSES = -4, 0  # feasible days around an event
EVENTS_PER_WEEK, POSTS_PER_EVENT, UPCOMING = 0.8, 12, 25


@dataclass(frozen=True)
class Events:
    """Past and coming events as arrays."""

    frame: pd.DataFrame
    genre: np.ndarray
    region: np.ndarray
    day: Floats  # days since the market's first
    scale: Floats


@dataclass(frozen=True)
class Posts:
    """Posts as arrays of equal length. `where` is a region or -1 (everywhere); `event` -1 when none."""

    creator: np.ndarray
    content: np.ndarray
    hour: Floats
    event: np.ndarray
    days: np.ndarray
    campaign: np.ndarray
    only: np.ndarray  # index into `Campaigns`' region sets; -1 = everywhere
    reach: Floats  # chance that a follower sees it
    sells: Floats  # orders per exposure, before who sees it
    elements: Floats  # (posts, elements)

    def order(self) -> Posts:
        """By time."""
        at = np.argsort(self.hour, kind="stable")
        return replace(self, **{name: getattr(self, name)[at] for name in self.__dataclass_fields__})


def events(seed: int, market: Market) -> Events:
    """Events through the past and in the twelve weeks to come."""
    rng = spawn(seed, "events")
    past = int(EVENTS_PER_WEEK * market.shape[1])
    last = market.shape[1] * 7
    day = np.concatenate([np.sort(rng.integers(14, last - 2, past)), last + np.sort(rng.integers(7, 84, UPCOMING))]).astype(float)
    n = len(day)
    genre, region, scale = rng.integers(0, len(GENRES), n), rng.choice(market.shape[0], n), rng.lognormal(0, 0.3, n)
    frame = pd.DataFrame({
        "event_id": [f"ev-{k:03d}" for k in range(1, n + 1)], "name": [f"{GENRES[g].title()} day {k}" for k, g in enumerate(genre, 1)],
        "date": market.start + pd.to_timedelta(day, unit="D"), "location": market.regions["region"].to_numpy()[region],
        "genre": np.array(GENRES)[genre], "scale": np.round(scale, 3), "kind": rng.choice(["festival", "launch", "holiday", "sport"], n),
        "opens_days": OPENS, "closes_days": CLOSES,
    })  # fmt: skip
    return Events(frame, genre, region, day, scale)


def trends(seed: int, market: Market) -> Floats:
    """Popularity of each genre, (genres, weeks + 13); about 1."""
    return np.exp(wobble(spawn(seed, "trends"), (len(GENRES), market.shape[1] + 13), 0.95, 0.25))


def expected(
    creators: Creators,
    happening: Events,
    popular: Floats,
    market: Market,
    i: np.ndarray,
    c: np.ndarray,
    e: np.ndarray,
    t: np.ndarray,
) -> dict[str, Floats]:
    """True f of tuples (i, c, e, t): impressions, engagements, conversions, revenue and brand_equity in the market, and `reach`."""
    week = np.minimum(((happening.day[e] + t) // 7).astype(int), popular.shape[1] - 1)
    of = {
        name: np.array([getattr(content, name) for content in CONTENTS])[c] for name in ("reach", "engagement", "sells", "builds")
    }
    same = np.where(creators.genre[i] == happening.genre[e], 1.3, 0.8)
    near = np.where(creators.region[i] == happening.region[e], 1.15, 1.0)
    timing = 0.55 + 0.45 * np.exp(-(((t + 1) / 2.0) ** 2))
    trend = popular[happening.genre[e], week] ** 0.5
    reach = np.clip(REACH * of["reach"] * same * near * timing * trend * happening.scale[e] ** 0.3, 0.005, 0.9)
    season = market.season[week % 52 + (market.shape[1] - 52) // 52 * 52 if market.shape[1] >= 52 else week % market.shape[1]]
    impressions = creators.real[i] * reach
    sells = INFLUENCER.strength * creators.quality[i] * of["sells"] * np.where(creators.genre[i] == happening.genre[e], 1.1, 1.0)
    conversions = impressions * sells * season
    return {
        "impressions": impressions, "engagements": impressions * creators.rate[i] * of["engagement"] * same, "conversions": conversions,
        "revenue": conversions * BASKET, "brand_equity": impressions * of["builds"] / 1000, "reach": reach, "sells": sells,
    }  # fmt: skip


def past(seed: int, creators: Creators, happening: Events, popular: Floats, market: Market, first_campaign: int) -> Posts:
    """Posts around past events: creators that fitted were likelier to be asked."""
    rng = spawn(seed, "posts")
    n_past = int((happening.day < market.shape[1] * 7).sum())
    e = np.repeat(np.arange(n_past), POSTS_PER_EVENT)
    i = np.empty(len(e), int)
    for k in range(n_past):
        fit = np.where(creators.genre == happening.genre[k], 4.0, 1.0) * creators.quality**0.5 * creators.real**0.2
        i[e == k] = rng.choice(len(creators.ids), POSTS_PER_EVENT, replace=len(creators.ids) < POSTS_PER_EVENT, p=fit / fit.sum())
    c = rng.choice(len(TYPES), len(e), p=[0.18, 0.24, 0.16, 0.14, 0.12, 0.08, 0.08])
    t = rng.integers(OPENS, CLOSES + 1, len(e))
    follow_up = np.flatnonzero(c == TYPES.index("tutorial"))
    follow_up = follow_up[rng.random(len(follow_up)) < 0.6]
    i, c, e = (
        np.concatenate([i, i[follow_up]]),
        np.concatenate([c, np.full(len(follow_up), TYPES.index("demo"))]),
        np.concatenate([e, e[follow_up]]),
    )
    later = np.where(rng.random(len(follow_up)) < 0.5, 1, 7)
    t = np.concatenate([t, np.minimum(t[follow_up] + later, 6)])
    hour = (happening.day[e] + t) * 24 + np.concatenate(
        [rng.uniform(8, 14, len(e) - len(follow_up)), rng.uniform(8, 14, len(follow_up))]
    )
    truth = expected(creators, happening, popular, market, i, c, e, t)
    elements = _elements(rng, len(e))
    return Posts(
        i,
        c,
        hour,
        e,
        t,
        np.full(len(e), first_campaign),
        np.full(len(e), -1),
        truth["reach"],
        truth["sells"] * creative(elements),
        elements,
    ).order()


def burst(
    seed: int,
    name: str,
    creators: Creators,
    market: Market,
    first: int,
    weeks: int,
    count: int,
    campaign: int,
    only: int,
    boost: float,
) -> Posts:
    """Posts of a campaign without an event, spread over its weeks; `boost` multiplies reach."""
    rng = spawn(seed, f"posts.{name}")
    i = rng.integers(0, len(creators.ids), count)
    c = rng.choice([0, 1, 2, 4], count)
    hour = first * HOURS + rng.uniform(0, weeks * HOURS - 1, count)
    elements = _elements(rng, count)
    of = {name: np.array([getattr(content, name) for content in CONTENTS])[c] for name in ("reach", "sells")}
    nothing = np.full(count, -1)
    return Posts(
        i, c, hour, nothing, nothing * 0, np.full(count, campaign), np.full(count, only),
        np.clip(REACH * of["reach"] * boost, 0, 0.95), INFLUENCER.strength * creators.quality[i] * of["sells"] * creative(elements), elements,
    )  # fmt: skip


def join(parts: list[Posts]) -> Posts:
    """All posts by time."""
    return Posts(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in Posts.__dataclass_fields__}).order()


def _elements(rng: np.random.Generator, count: int) -> Floats:
    """call to action (0/1), placement in seconds, pack visible early (0/1), colourfulness (0–1)."""
    return np.column_stack(
        [rng.random(count) < 0.5, rng.gamma(3, 3.2, count), rng.random(count) < 0.6, rng.random(count)]
    ).astype(float)


def creative(elements: Floats) -> Floats:
    """What the elements multiply selling by; 1 on average, roughly."""
    size = list(ELEMENTS.values())
    near = np.exp(-(((elements[:, 1] - 8) / 5) ** 2))
    score = size[0] * elements[:, 0] + size[1] * near + size[2] * elements[:, 2] + size[3] * elements[:, 3]
    return np.exp(score - 0.52)


def captions(elements: Floats, content: np.ndarray, seed: int) -> list[str]:
    """Text that shows what is in the post."""
    rng = spawn(seed, "captions")
    openers = ("Loving this one", "My honest take", "Trying something new", "You asked, here it is", "Weekend find")
    calls = ("Grab yours today, link in bio!", "Use my code and order now!", "Tap the link and try it!")
    lines = []
    for row, kind in zip(elements, content, strict=True):
        words = [openers[rng.integers(len(openers))] + ".", f"A {TYPES[kind].replace('_', ' ')} with {row[1]:.0f} seconds of it."]
        words += [calls[rng.integers(len(calls))]] if row[0] else ["What do you think?"]
        lines.append(" ".join([*words, "#ad" if rng.random() < 0.9 else "", "✨" if row[3] > 0.5 else ""]).strip())
    return lines
