"""Campaigns with their posts and fees, and the stock of brand that awareness content builds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from liftwise.core.uncertainty import Floats, spawn
from liftwise.sources.simulator import creators as cr
from liftwise.sources.simulator import posts as po
from liftwise.sources.simulator.market import BASE_RATE, BRAND_EFFECT, BRAND_MEMORY, GROSS_UP, HOURS, Market


@dataclass(frozen=True)
class Campaigns:
    """Campaigns with their posts. `regions[k]` are the regions of those posts whose `only` is k."""

    frame: pd.DataFrame
    posts: po.Posts
    ids: np.ndarray  # of posts
    regions: list[np.ndarray]
    fees: Floats  # (regions, weeks)


def campaigns(seed: int, made: cr.Creators, happening: po.Events, popular: Floats, world: Market) -> Campaigns:
    """The always-on programme around events, four bursts, a push together with TV, and a launch in four regions only."""
    rng = spawn(seed, "campaigns")
    weeks, size = world.shape[1], len(made.ids) / 300
    always = po.past(seed, made, happening, popular, world, 0)
    launch = rng.choice(world.shape[0], max(2, world.shape[0] // 6), replace=False)
    rows = [("always-on", "Always on", 0, weeks, "", "conversion")]
    rows += [
        (f"burst-{k}", f"Burst {k}", int(weeks * share), 4, "", "awareness") for k, share in enumerate((0.2, 0.35, 0.5, 0.65), 1)
    ]
    on_air = int(np.argmax(np.convolve(world.tv.mean(axis=0)[weeks // 2 : -10], np.ones(4), "valid"))) + weeks // 2
    rows.append(("national-push", "National push with TV", on_air, 4, "", "conversion"))
    rows.append(
        ("geo-launch", "Launch in four regions", weeks - 20, 8, ";".join(world.regions["region"].iloc[launch]), "conversion")
    )
    parts = [always]
    for k, (name, _, first, long, where, _) in enumerate(rows[1:], 1):
        count, boost = (round(90 * size), 3.0) if where else (round(30 * size), 1.0)
        parts.append(po.burst(seed, name, made, world, first, long, count, k, 0 if where else -1, boost))
    posts = po.join(parts)
    price = made.price[posts.creator, posts.content]
    frame = pd.DataFrame([{
        "campaign_id": name, "name": title, "brand": "ours", "starts_on": world.weeks[first], "ends_on": world.weeks[first] + pd.Timedelta(weeks=long, days=-1),
        "budget": round(float(price[posts.campaign == k].sum()), 2), "objective": goal, "regions": where, "channel": "influencer",
    } for k, (name, title, first, long, where, goal) in enumerate(rows)])  # fmt: skip
    fees, week = np.zeros(world.shape), np.clip((posts.hour // HOURS).astype(int), 0, weeks - 1)
    everywhere = world.regions["share"].to_numpy()
    only = np.zeros(world.shape[0])
    only[launch] = everywhere[launch] / everywhere[launch].sum()
    for where, share in ((-1, everywhere), (0, only)):
        fees += share[:, None] * np.bincount(week, price * (posts.only == where), minlength=weeks)
    ids = np.array([f"post-{k:05d}" for k in range(1, len(price) + 1)], dtype=object)
    return Campaigns(frame, posts, ids, [launch], fees)


def brand(made: cr.Creators, plan: Campaigns, world: Market, people: int) -> tuple[Floats, Floats]:
    """The brand's stock (regions, weeks), from what people may be expected to see; and what it is worth by influencer.

    Stock is linear in exposures, so an influencer's part of the extra revenue is known exactly (but for tv's uplift of it).
    """
    posts, weeks = plan.posts, world.shape[1]
    builds = (
        np.array([content.builds for content in cr.CONTENTS])[posts.content]
        * posts.reach
        * made.real[posts.creator]
        / (people * GROSS_UP)
    )
    week = np.clip((posts.hour // HOURS).astype(int), 0, weeks - 1)
    added = np.zeros(world.shape)
    inside = np.isin(np.arange(world.shape[0]), plan.regions[0])
    amount = po.BUILDS * np.bincount(week, builds * (posts.only == -1), minlength=weeks)
    local = po.BUILDS * np.bincount(week, builds * (posts.only == 0), minlength=weeks)
    stock = np.zeros(world.shape)
    added = amount[None, :] + inside[:, None] * local[None, :]
    for w in range(1, weeks):
        stock[:, w] = BRAND_MEMORY * stock[:, w - 1] + added[:, w - 1]
    market = (
        people * GROSS_UP * world.regions["share"].to_numpy()[:, None] * BASE_RATE * world.demand * world.value * (1 + world.tv)
    )
    unit = np.zeros(world.shape)
    for w in range(weeks - 2, -1, -1):
        unit[:, w] = BRAND_MEMORY * unit[:, w + 1] + BRAND_EFFECT * market[:, w + 1]
    where = np.where(posts.only == 0, unit[inside].sum(axis=0)[week], unit.sum(axis=0)[week])
    worth = np.bincount(posts.creator, po.BUILDS * builds * where, minlength=len(made.ids))
    return stock, worth
