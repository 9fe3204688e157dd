"""The tables that tell of outcomes: sales, spend, surveys, assignments, experiments."""

from __future__ import annotations

import numpy as np
import pandas as pd

from liftwise.core.uncertainty import Floats, spawn
from liftwise.sources.simulator import creators as cr
from liftwise.sources.simulator import posts as po
from liftwise.sources.simulator.accounts import Totals, by_order_week, revenue
from liftwise.sources.simulator.campaigns import Campaigns
from liftwise.sources.simulator.market import GROSS_UP, NAMES, Market, wobble

TESTED = ("influencer", "paid_social", "search", "display", "retargeting", "tv")


def tables(
    seed: int,
    world: Market,
    made: cr.Creators,
    happening: po.Events,
    popular: Floats,
    plan: Campaigns,
    totals: Totals,
    stock: Floats,
) -> dict[str, pd.DataFrame]:
    """Every table that is not written while people are drawn."""
    rng = spawn(seed, "outcomes")
    names = world.regions["region"].to_numpy()
    cells = {"week": np.tile(world.weeks, world.shape[0]), "region": np.repeat(names, world.shape[1])}
    mean = GROSS_UP * by_order_week(totals, world, stock)
    sold = mean * np.exp(wobble(rng, world.shape, 0.4, 0.02)) + rng.normal(0, np.sqrt(12 * mean))
    sales = pd.DataFrame({**cells, "revenue": np.round(sold.ravel(), 2), "units": np.round((sold / (4 * world.price)).ravel()),
                          "price": np.round(4 * world.price.ravel(), 3), "promotion": world.promotion.ravel()})  # fmt: skip
    people = np.round(GROSS_UP * totals.overlap.shape[0] * world.regions["share"]).astype(int)
    rival = pd.DataFrame({**cells, "competitor": "rival", "metric": "share_of_voice", "value": np.round(world.rival.ravel(), 4)})
    own = {
        "regions": world.regions.drop(columns="share").assign(population=people, currency="EUR"), "campaigns": plan.frame,
        "events": happening.frame, "sales": sales, "spend": _spend(rng, world, plan), "factors": world.factors, "competitors": rival,
        "trends": _trends(world, popular), "surveys": _surveys(rng, world, stock), "products": _products(rng),
        "assignments": _assignments(rng, world, made, happening, popular, plan), **_posts(seed, rng, world, made, plan),
    }  # fmt: skip
    return {**own, **cr.tables(seed, made, world), **_experiments(rng, world, plan, totals, stock)}


def _spend(rng: np.random.Generator, world: Market, plan: Campaigns) -> pd.DataFrame:
    """Money, impressions, and what the platforms claim for themselves."""
    claims = {"influencer": 0.0, "paid_social": 4.5, "search": 9.0, "display": 2.5, "email": 12.0, "retargeting": 11.0, "tv": 0.0}
    frames = []
    for name in NAMES:
        money = plan.fees if name == "influencer" else world.spend[name]
        claimed = np.round(money * claims[name] * rng.lognormal(0, 0.1, money.shape), 2)
        frames.append(pd.DataFrame({
            "week": np.tile(world.weeks, world.shape[0]), "region": np.repeat(world.regions["region"].to_numpy(), world.shape[1]),
            "channel": name, "spend": np.round(money, 2).ravel(),
            "impressions": np.round(120 * world.delivery.get(name, money / money.mean()) * rng.lognormal(0, 0.05, money.shape)).ravel(),
            "platform_revenue": claimed.ravel() if claims[name] else None,
        }))  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def _trends(world: Market, popular: Floats) -> pd.DataFrame:
    weeks = pd.date_range(world.weeks[0], periods=popular.shape[1], freq="W-MON")
    return pd.DataFrame(
        {
            "week": np.tile(weeks, len(cr.GENRES)),
            "genre": np.repeat(cr.GENRES, len(weeks)),
            "popularity": np.round(popular.ravel(), 4),
        }
    )


def _surveys(rng: np.random.Generator, world: Market, stock: Floats) -> pd.DataFrame:
    """Monthly waves by region: the brand's stock, seen through few answers."""
    rows = []
    for w in range(0, world.shape[1], 4):
        for r, region in enumerate(world.regions["region"]):
            for metric, level in (("awareness", 45.0), ("consideration", 28.0), ("purchase_intent", 15.0)):
                answers = int(rng.integers(80, 200))
                share = np.clip((level + 12 * np.log1p(stock[r, w])) / 100, 0.01, 0.99)
                rows.append(
                    (world.weeks[w], region, metric, round(100 * rng.binomial(answers, share) / answers, 1), "ours", answers)
                )
    return pd.DataFrame(rows, columns=["wave_on", "region", "metric", "score", "brand", "respondents"])


def _products(rng: np.random.Generator) -> pd.DataFrame:
    return pd.DataFrame({"product_id": [f"product-{k}" for k in range(1, 9)], "brand": "ours", "category": "snacks",
                         "margin": np.round(rng.uniform(0.25, 0.45, 8), 3), "repurchase_days": rng.integers(14, 45, 8)})  # fmt: skip


def _posts(seed: int, rng: np.random.Generator, world: Market, made: cr.Creators, plan: Campaigns) -> dict[str, pd.DataFrame]:
    posts = plan.posts
    reached = made.real[posts.creator] * posts.reach
    frame = pd.DataFrame({
        "post_id": plan.ids, "influencer_id": made.ids[posts.creator], "platform": np.array(cr.PLATFORMS, dtype=object)[made.platform[posts.creator]],
        "content_type": np.array(cr.TYPES, dtype=object)[posts.content],
        "posted_at": (world.start + pd.to_timedelta(posts.hour, unit="h")).as_unit("us").floor("s"),
        "campaign_id": plan.frame["campaign_id"].to_numpy()[posts.campaign],
        "event_id": np.where(posts.event >= 0, [f"ev-{k + 1:03d}" for k in posts.event], None),
        "caption": po.captions(posts.elements, posts.content, seed), "media_path": [f"media/{name}.png" for name in plan.ids], "is_paid": True,
        "cost": made.price[posts.creator, posts.content], "duration_s": np.round(posts.elements[:, 1] + 12, 1),
    })  # fmt: skip
    noise = rng.lognormal(0, 0.15, len(reached))
    liked = np.round(reached * noise * made.rate[posts.creator] * 0.8).astype(int)
    metrics = pd.DataFrame({
        "post_id": plan.ids, "observed_at": frame["posted_at"] + pd.Timedelta(days=7), "impressions": np.round(reached * noise * 1.1).astype(int),
        "reach": np.round(reached * noise).astype(int), "likes": liked, "comments": np.round(liked * 0.08).astype(int),
        "shares": np.round(liked * 0.05).astype(int), "clicks": np.round(reached * noise * 0.01).astype(int),
    })  # fmt: skip
    return {"posts": frame, "post_metrics": metrics}


def _assignments(
    rng: np.random.Generator, world: Market, made: cr.Creators, happening: po.Events, popular: Floats, plan: Campaigns
) -> pd.DataFrame:
    """Past tuples with what came of them: true f times noise that is larger for smaller creators."""
    posts = plan.posts
    k = np.flatnonzero(posts.event >= 0)
    i, c, e, t = posts.creator[k], posts.content[k], posts.event[k], posts.days[k]
    mean = po.expected(made, happening, popular, world, i, c, e, t)
    when = world.start + pd.to_timedelta(posts.hour[k], unit="h")
    frame = pd.DataFrame({
        "assignment_id": [f"as-{j:05d}" for j in range(1, len(k) + 1)], "influencer_id": made.ids[i], "content_type": np.array(cr.TYPES, dtype=object)[c],
        "event_id": happening.frame["event_id"].to_numpy(dtype=object)[e], "days_from_event": t, "price": made.price[i, c],
        "campaign_id": "always-on", "posted_at": when.as_unit("us").floor("s"), "observed_at": (when + pd.Timedelta(days=14)).as_unit("us").floor("s"),
    })  # fmt: skip
    for name in ("impressions", "engagements", "conversions", "revenue", "brand_equity"):
        noise = np.exp(rng.normal(0, made.noise[i]) - made.noise[i] ** 2 / 2)
        frame[name] = np.round(mean[name] * noise, 2)
    return frame


def _experiments(
    rng: np.random.Generator, world: Market, plan: Campaigns, totals: Totals, stock: Floats
) -> dict[str, pd.DataFrame]:
    """Past geo tests of channels: six weeks in half of the regions, the true effect seen with error."""
    everything = frozenset(NAMES)
    full = revenue(totals, world, stock, everything)
    tests, by_week = [], []
    for k, name in enumerate(TESTED):
        effect = GROSS_UP * (full - revenue(totals, world, stock, everything - {name}))
        first = int(world.shape[1] * (0.25 + 0.08 * k))
        chosen = np.sort(rng.permutation(world.shape[0])[: world.shape[0] // 2])
        weekly = effect[chosen, first : first + 6].sum(axis=0)
        error = 0.15 * weekly.sum() + 2_000
        seen = weekly + rng.normal(0, error / np.sqrt(6), 6)
        money = (plan.fees if name == "influencer" else world.spend[name])[chosen, first : first + 6].sum()
        tests.append((f"test-{name}", name, world.weeks[first], world.weeks[first + 5] + pd.Timedelta(days=6), round(seen.sum(), 2),
                      round(error, 2), "revenue", ";".join(world.regions["region"].iloc[chosen]), round(money, 2)))  # fmt: skip
        by_week += [
            (f"test-{name}", world.weeks[first + w], round(value, 2), round(error / np.sqrt(6), 2))
            for w, value in enumerate(seen)
        ]
    columns = ["test_id", "channel", "starts_on", "ends_on", "effect", "standard_error", "metric", "regions", "spend"]
    return {"lift_tests": pd.DataFrame(tests, columns=columns),
            "lift_test_weeks": pd.DataFrame(by_week, columns=["test_id", "week", "effect", "standard_error"])}  # fmt: skip
