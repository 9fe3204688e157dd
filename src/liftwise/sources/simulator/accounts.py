"""What people bought, what that adds up to, and which part of it each touch, channel, influencer and campaign caused."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from math import factorial

import numpy as np
import pandas as pd

from liftwise.core.uncertainty import Floats
from liftwise.sources.simulator import market as at
from liftwise.sources.simulator.campaigns import Campaigns
from liftwise.sources.simulator.creators import CONTENTS, PLATFORMS, TYPES, Creators
from liftwise.sources.simulator.market import (
    BASE_RATE,
    BRAND_EFFECT,
    CHANNELS,
    GROSS_UP,
    HOURS,
    INFLUENCER,
    NAMES,
    Market,
    kernel,
)
from liftwise.sources.simulator.people import INTENT_BUYS, SPREAD, People
from liftwise.sources.simulator.posts import BASKET, CLOSES, ELEMENTS, OPENS, Events, expected
from liftwise.sources.simulator.touches import TOGETHER, Touches

PRODUCTS = 8
KERNELS = np.array([kernel(INFLUENCER), *(kernel(channel) for channel in CHANNELS)])
MULTIPLIERS = np.round(np.arange(0, 2.01, 0.25), 2)


def worth(world: Market) -> Floats:
    """Revenue that one order, set off by a touch in that week, brings by the end of the data, (touch channels, regions, weeks)."""
    value = np.pad(world.value, ((0, 0), (0, KERNELS.shape[1])))
    return np.stack([
        sum(weight * value[:, lag : lag + world.shape[1]] for lag, weight in enumerate(weights)) for weights in KERNELS
    ])  # fmt: skip


def organic(some: People, world: Market) -> Floats:
    """Expected orders of each person and week on their own, before brand and tv, (people, weeks)."""
    who = BASE_RATE * np.exp(some.z - SPREAD**2 / 2) / (1 + 0.06 * (INTENT_BUYS - 1))
    return who[:, None] * world.demand[some.region] * np.where(some.intent, INTENT_BUYS, 1.0)


def purchases(
    rng: np.random.Generator, some: People, seen: Touches, names: np.ndarray, world: Market, stock: Floats, first: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Table `orders`, and what set each off."""
    weeks = world.shape[1]
    brand, tv = BRAND_EFFECT * stock[some.region], world.tv[some.region]
    base = organic(some, world)
    cells = np.repeat(np.arange(base.size), rng.poisson(base * (1 + brand) * (1 + tv)).ravel())
    share = rng.random(len(cells)) * ((1 + brand) * (1 + tv)).ravel()[cells]
    why = np.where(share < 1, "organic", np.where(share < 1 + brand.ravel()[cells], "brand", "tv")).astype(object)
    person, hour = cells // weeks, (cells % weeks + rng.random(len(cells))) * HOURS
    child = np.repeat(np.arange(len(seen.hour)), rng.poisson(seen.orders))
    delay = np.array([INFLUENCER.delay, *(c.delay for c in CHANNELS)])[seen.channel[child]]
    late = np.isin(seen.channel[child], [k + 1 for k, c in enumerate(CHANNELS) if c.delayed])
    wait = np.where(late, rng.gamma(2, np.where(late, delay / 2, 1)), rng.exponential(delay))
    person, hour = np.concatenate([person, seen.person[child]]), np.concatenate([hour, seen.hour[child] + wait])
    why = np.concatenate([why, names[child]])
    inside = hour < weeks * HOURS
    person, hour, why = person[inside], hour[inside], why[inside]
    order = np.lexsort((person, hour))
    person, hour, why = person[order], hour[order], why[order]
    week, region = (hour // HOURS).astype(int), some.region[person]
    paid = rng.gamma(8, BASKET / 8, len(hour)) * world.price[region, week]
    ids = np.array([f"o{first}-{k}" for k in range(len(hour))], dtype=object)
    frame = pd.DataFrame({
        "order_id": ids, "person_id": np.array([f"shop-{k}" for k in some.numbers], dtype=object)[person],
        "ordered_at": (world.start + pd.to_timedelta(hour, unit="h")).as_unit("us").floor("s"), "revenue": np.round(paid, 2),
        "product_id": np.array([f"product-{k}" for k in range(1, PRODUCTS + 1)], dtype=object)[rng.integers(0, PRODUCTS, len(hour))],
        "units": np.maximum(1, np.round(paid / 4)), "region": world.regions["region"].to_numpy()[region],
        "coupon": np.where(world.promotion[region, week] > 0, "promo", None),
    })  # fmt: skip
    return frame, pd.DataFrame({"order_id": ids, "cause": why})


def touchpoints(
    rng: np.random.Generator, some: People, seen: Touches, names: np.ndarray, made: Creators, plan: Campaigns, world: Market
) -> pd.DataFrame:
    """Table `touchpoints`: what an app would log."""
    post, has = seen.post, seen.post >= 0
    kinds = np.array(["view", "view", "search", "view", "click", "click"], dtype=object)[seen.channel]
    kinds = np.where(has & (rng.random(len(post)) < 0.12), "engage", kinds)
    own = {"influencer_id": made.ids[plan.posts.creator[post]], "content_type": np.array(TYPES, dtype=object)[plan.posts.content[post]],
           "platform": np.array(PLATFORMS, dtype=object)[made.platform[plan.posts.creator[post]]], "post_id": plan.ids[post],
           "campaign_id": plan.frame["campaign_id"].to_numpy(dtype=object)[plan.posts.campaign[post]]}  # fmt: skip
    return pd.DataFrame({
        "touch_id": names, "person_id": np.array([f"app-{k}" for k in some.numbers], dtype=object)[seen.person],
        "occurred_at": (world.start + pd.to_timedelta(seen.hour, unit="h")).as_unit("us").floor("s"),
        "channel": np.array(NAMES, dtype=object)[seen.channel], "region": world.regions["region"].to_numpy()[some.region[seen.person]],
        "kind": kinds, "dwell_s": np.round(rng.exponential(6.0, len(post)), 1), **{k: np.where(has, v, None) for k, v in own.items()},
    })  # fmt: skip


@dataclass
class Totals:
    """Sums over all chunks, of tracked people. Arrays over (…, regions, weeks) hold expected orders."""

    base: Floats  # organic, before brand and tv
    own: Floats  # (touch channels, regions, weeks)
    tv: Floats  # lent to influencers by tv
    boost_i: Floats  # searches' extra that only influencers lend
    boost_p: Floats  # … only paid social
    boost_b: Floats  # … both
    creator: Floats  # (influencers,) revenue that goes with all touches of one
    campaign: Floats  # (campaigns, regions, weeks) orders at the touch's week
    bought: Floats  # realised revenue (regions, weeks); filled from orders
    overlap: Floats  # followers shared (influencers, influencers)

    @classmethod
    def empty(cls, world: Market, creators: int, campaigns: int) -> Totals:
        """Nothing yet."""
        flat = world.shape
        return cls(np.zeros(flat), np.zeros((len(NAMES) - 1, *flat)), *(np.zeros(flat) for _ in range(4)), np.zeros(creators),
                   np.zeros((campaigns, *flat)), np.zeros(flat), np.zeros((creators, creators)))  # fmt: skip

    def add(
        self, some: People, seen: Touches, names: np.ndarray, made: Creators, plan: Campaigns, world: Market, stock: Floats
    ) -> pd.DataFrame:
        """Count a chunk in; returns the truth of its touches."""
        region, week = some.region[seen.person], (seen.hour // HOURS).astype(int)
        base = organic(some, world)
        np.add.at(self.base, some.region, base)
        np.add.at(self.own, (seen.channel, region, week), seen.own)
        np.add.at(self.tv, (region, week), seen.tv)
        only_i, only_p = (seen.by_influencer > 0) & (seen.by_social == 0), (seen.by_influencer == 0) & (seen.by_social > 0)
        for sums, which in (
            (self.boost_i, only_i),
            (self.boost_p, only_p),
            (self.boost_b, (seen.by_influencer > 0) & (seen.by_social > 0)),
        ):
            np.add.at(sums, (region[which], week[which]), seen.boost[which])
        values = worth(world)
        one = seen.orders * values[seen.channel, region, week] + seen.lends * values[2, region, week]
        has = seen.post >= 0
        post = plan.posts.creator[seen.post[has]]
        np.add.at(self.creator, post, (seen.own + seen.tv)[has] * values[0, region[has], week[has]])
        np.add.at(self.campaign, (plan.posts.campaign[seen.post[has]], region[has], week[has]), (seen.own + seen.tv)[has])
        from scipy.sparse import csr_array

        follows = csr_array((np.ones(len(some.follower)), (some.followed, some.follower)), shape=(len(made.ids), len(some.z)))
        self.overlap += (follows @ follows.T).toarray()
        return pd.DataFrame({
            "touch_id": names, "channel": np.array(NAMES, dtype=object)[seen.channel],
            "influencer_id": np.where(has, made.ids[plan.posts.creator[seen.post]], None),
            "incremental_orders": seen.orders + seen.lends, "incremental_revenue": one,
        })  # fmt: skip


def revenue(totals: Totals, world: Market, stock: Floats, active: frozenset[str]) -> Floats:
    """Expected revenue of tracked people with only those channels active, (regions, weeks of the touch); v(S) of the Shapley game."""
    value, values = world.value, worth(world)
    brand = BRAND_EFFECT * stock * ("influencer" in active)
    result = totals.base * (1 + brand) * (1 + world.tv * ("tv" in active)) * value
    for k, name in enumerate(NAMES[:-1]):
        result = result + totals.own[k] * values[k] * (name in active)
    if {"influencer", "tv"} <= active:
        result = result + totals.tv * values[0]
    if "search" in active:
        i, p = "influencer" in active, "paid_social" in active
        result = result + (totals.boost_i * i + totals.boost_p * p + totals.boost_b * (i or p)) * values[2]
    return result


def truth(
    world: Market,
    made: Creators,
    happening: Events,
    popular: Floats,
    plan: Campaigns,
    totals: Totals,
    stock: Floats,
    brand: Floats,
) -> dict[str, pd.DataFrame]:
    """Every true quantity, in market units unless it says tracked."""
    everything = frozenset(NAMES)
    full = revenue(totals, world, stock, everything)
    gone = {name: full - revenue(totals, world, stock, everything - {name}) for name in NAMES}
    games = {frozenset(s): revenue(totals, world, stock, frozenset(s)).sum() for r in range(len(NAMES) + 1)
             for s in itertools.combinations(NAMES, r)}  # fmt: skip
    spend = {**world.spend, "influencer": plan.fees}
    weeks, regions = np.tile(world.weeks, world.shape[0]), np.repeat(world.regions["region"].to_numpy(), world.shape[1])
    channels = pd.DataFrame([{
        "channel": name, "spend": spend[name].sum(), "incremental_revenue": GROSS_UP * gone[name].sum(),
        "shapley": GROSS_UP * _shapley(name, games), "tracked_revenue": gone[name].sum(),
    } for name in NAMES])  # fmt: skip
    by_week = pd.concat([
        pd.DataFrame({"week": weeks, "region": regions, "channel": name, "incremental_revenue": GROSS_UP * gone[name].ravel()}) for name in NAMES
    ])  # fmt: skip
    per_creator = GROSS_UP * totals.creator
    return {
        "channels": channels, "channel_weeks": by_week,
        "weeks": pd.DataFrame({"week": weeks, "region": regions, "expected_revenue": GROSS_UP * by_order_week(totals, world, stock).ravel(),
                               "organic_revenue": GROSS_UP * (totals.base * world.value).ravel()}),
        "influencers": pd.DataFrame({"influencer_id": made.ids, "incremental_revenue": per_creator + brand, "brand_effect": brand,
                                     "quality": made.quality, "real_followers": made.real, "community": made.community}),
        "campaigns": _campaigns(world, plan, totals), "responses": _responses(world, gone, spend), "carryover": _carryover(),
        "brand": pd.DataFrame({"week": weeks, "region": regions, "stock": stock.ravel()}), "overlap": _overlap(made, totals),
        "f": _effectiveness(made, happening, popular, world), "elements": pd.DataFrame({"element": list(ELEMENTS), "effect": list(ELEMENTS.values())}),
        "parameters": pd.DataFrame([("gross_up", GROSS_UP), ("basket", BASKET), *TOGETHER.items()], columns=["name", "value"]),
    }  # fmt: skip


def _shapley(name: str, games: dict[frozenset[str], float]) -> float:
    others, n = [other for other in NAMES if other != name], len(NAMES)
    return sum(
        factorial(r) * factorial(n - r - 1) / factorial(n) * (games[frozenset(s) | {name}] - games[frozenset(s)])
        for r in range(n) for s in itertools.combinations(others, r)
    )  # fmt: skip


def by_order_week(totals: Totals, world: Market, stock: Floats) -> Floats:
    """Expected revenue of tracked people by the week of the order."""
    orders = totals.base * (1 + BRAND_EFFECT * stock) * (1 + world.tv)
    extra = totals.own.copy()
    extra[0] += totals.tv
    extra[2] += totals.boost_i + totals.boost_p + totals.boost_b
    for k, weights in enumerate(KERNELS):
        for lag, weight in enumerate(weights):
            orders[:, lag:] += weight * extra[k][:, : world.shape[1] - lag]
    return orders * world.value


def _campaigns(world: Market, plan: Campaigns, totals: Totals) -> pd.DataFrame:
    """Expected revenue that a whole campaign added, by the week of the order."""
    frames = []
    for k, name in enumerate(plan.frame["campaign_id"]):
        added = np.zeros(world.shape)
        for lag, weight in enumerate(KERNELS[0]):
            added[:, lag:] += weight * totals.campaign[k][:, : world.shape[1] - lag]
        r, w = np.nonzero(added)
        frames.append(pd.DataFrame({"campaign_id": name, "week": world.weeks[w], "region": world.regions["region"].to_numpy()[r],
                                    "incremental_revenue": GROSS_UP * (added * world.value)[r, w]}))  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def _responses(world: Market, gone: dict[str, Floats], spend: dict[str, Floats]) -> pd.DataFrame:
    """Weekly incremental revenue if a channel's spend of the last 52 weeks had been multiplied, everything else the same."""
    recent = slice(max(0, world.shape[1] - 52), None)
    rows = []
    shapes = {channel.name: channel for channel in CHANNELS}
    for name in NAMES:
        money, effect = spend[name][:, recent], gone[name][:, recent]
        for times in MULTIPLIERS:
            if name in shapes:
                relative = money / spend[name].mean(axis=1, keepdims=True)
                now = at.delivered(shapes[name].shape, shapes[name].knee, relative)
                ratio = at.delivered(shapes[name].shape, shapes[name].knee, relative * times) / np.where(now > 0, now, 1)
            elif name == "tv":
                relative = spend[name] / (at.TV_MONEY * world.regions["share"].to_numpy()[:, None])
                now = at.tv_uplift(relative)[:, recent]
                ratio = at.tv_uplift(relative * times)[:, recent] / np.where(now > 0, now, 1)
            else:
                ratio = np.full(money.shape, times)  # more posts of the same kind
            rows.append((name, times, times * money.sum() / money.shape[1], GROSS_UP * (effect * ratio).sum() / money.shape[1]))
    return pd.DataFrame(rows, columns=["channel", "multiplier", "spend", "revenue"])


def _carryover() -> pd.DataFrame:
    lags = [
        (name, lag, weight)
        for name, weights in zip(NAMES, [*KERNELS, at.TV_LAGS], strict=True)
        for lag, weight in enumerate(weights)
    ]
    return pd.DataFrame(lags, columns=["channel", "lag", "weight"])


def _overlap(made: Creators, totals: Totals) -> pd.DataFrame:
    one, other = np.triu_indices(len(made.ids), 1)
    shared, size = totals.overlap[one, other], np.diag(totals.overlap)
    return pd.DataFrame({"influencer_id": made.ids[one], "other_id": made.ids[other], "shared": shared,
                         "followers_united": size[one] + size[other] - shared})  # fmt: skip


def _effectiveness(made: Creators, happening: Events, popular: Floats, world: Market) -> pd.DataFrame:
    """True f and its noise for every feasible tuple of the events to come."""
    coming = np.flatnonzero(happening.day >= world.shape[1] * 7)
    days = np.arange(OPENS, CLOSES + 1)
    grid = np.meshgrid(np.arange(len(made.ids)), np.arange(len(CONTENTS)), coming, days, indexing="ij")
    i, c, e, t = (axis.ravel() for axis in grid)
    mean = expected(made, happening, popular, world, i, c, e, t)
    frame = pd.DataFrame({"influencer_id": made.ids[i], "content_type": np.array(TYPES, dtype=object)[c],
                          "event_id": happening.frame["event_id"].to_numpy(dtype=object)[e], "days_from_event": t})  # fmt: skip
    spread = np.sqrt(np.expm1(made.noise[i] ** 2))
    for name in ("impressions", "engagements", "conversions", "revenue", "brand_equity"):
        frame[name], frame[f"{name}_sd"] = mean[name], mean[name] * spread
    return frame
