"""Influencers: communities with shared audiences, genres, prices that do not follow effect, and bought followers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from liftwise.core.uncertainty import Floats, spawn
from liftwise.sources.simulator.market import GROSS_UP, Market

GENRES = ("food", "fitness", "beauty", "travel", "gaming", "family", "home", "music")
PLATFORMS = ("instagram", "tiktok", "youtube")
FOLLOWS = 15.0  # influencers that a person follows, on average, in a market of 300
CLOSENESS = 6.0  # how much likelier one follows inside one's own community


@dataclass(frozen=True)
class Content:
    """What a type of post does, relative to a reel."""

    name: str
    reach: float
    engagement: float
    sells: float
    builds: float  # brand stock per person reached
    price: float


CONTENTS = (
    Content("story", 0.75, 0.6, 0.8, 0.1, 0.5),
    Content("reel", 1.0, 1.0, 1.0, 0.3, 1.0),
    Content("tutorial", 0.8, 1.1, 1.1, 0.4, 1.3),
    Content("demo", 0.85, 0.9, 1.2, 0.3, 1.2),
    Content("review", 0.7, 0.8, 1.4, 0.2, 1.1),
    Content("carousel", 0.6, 0.7, 0.7, 0.3, 0.6),
    Content("awareness_film", 1.2, 1.3, 0.25, 2.5, 1.8),
)
TYPES = tuple(content.name for content in CONTENTS)
TUTORIAL, DEMO = TYPES.index("tutorial"), TYPES.index("demo")


@dataclass(frozen=True)
class Creators:
    """Influencers as arrays of length n; `follow` is (communities, n): chance that one follow goes to that influencer."""

    ids: np.ndarray
    community: np.ndarray
    genre: np.ndarray
    platform: np.ndarray
    region: np.ndarray
    quality: Floats
    fake: Floats
    rate: Floats  # engagements per real impression
    real: Floats  # followers in the market
    reported: np.ndarray
    follow: Floats
    follows: float
    price: Floats  # (n, contents)
    noise: Floats  # sd of the log of an outcome


def build(seed: int, count: int, people: int, market: Market) -> Creators:
    """That many influencers for a market of that many tracked people."""
    rng = spawn(seed, "creators")
    communities = len(GENRES)
    community = rng.integers(0, communities, count)
    genre = np.where(rng.random(count) < 0.8, community, rng.integers(0, communities, count))
    popular = rng.lognormal(0, 0.9, count)
    weights = popular * np.where(np.arange(communities)[:, None] == community, CLOSENESS, 1.0)
    follow = weights / weights.sum(axis=1, keepdims=True)
    follows = FOLLOWS * count / 300
    real = GROSS_UP * people / communities * (1 - np.exp(-follows * follow)).sum(axis=0)
    fake = np.clip(rng.beta(1.2, 6, count), 0, 0.7)
    reported = np.round(real / (1 - fake)).astype(int)
    base = 0.35 * reported**0.8 * rng.lognormal(0, 0.35, count)
    price = np.round(base[:, None] * np.array([c.price for c in CONTENTS]) * rng.lognormal(0, 0.1, (count, len(CONTENTS))), 2)
    return Creators(
        ids=np.array([f"inf-{k:04d}" for k in range(1, count + 1)], dtype=object), community=community, genre=genre,
        platform=rng.integers(0, len(PLATFORMS), count), region=rng.choice(market.shape[0], count, p=market.regions["share"]),
        quality=rng.lognormal(-0.125, 0.5, count), fake=fake, rate=np.clip(rng.lognormal(-3.2, 0.4, count), 0.005, 0.3),
        real=real, reported=reported, follow=follow, follows=follows, price=np.maximum(price, 20.0),
        noise=np.clip(0.45 - 0.04 * np.log(real / real.mean()), 0.2, 0.6),
    )  # fmt: skip


def tables(seed: int, creators: Creators, market: Market) -> dict[str, pd.DataFrame]:
    """influencers, audiences, affinities, rates, links."""
    rng = spawn(seed, "creators.tables")
    n = len(creators.ids)
    seen = market.weeks[-1] - pd.Timedelta(days=7)
    influencers = pd.DataFrame({
        "influencer_id": creators.ids, "platform": np.array(PLATFORMS)[creators.platform], "handle": [f"@creator{k:04d}" for k in range(1, n + 1)],
        "genre": np.array(GENRES)[creators.genre], "location": market.regions["region"].to_numpy()[creators.region], "language": "en",
        "followers": creators.reported, "engagement_rate": np.round(creators.rate * (1 - creators.fake) * rng.lognormal(0, 0.1, n), 4),
        "posts_per_week": np.round(rng.gamma(3, 1.2, n), 1), "best_hour": rng.integers(8, 23, n),
        "brand_alignment": np.round(rng.beta(4, 2, n), 3), "risk_score": np.round(rng.beta(1.5, 8, n), 3),
        "joined_on": market.weeks[0] - pd.to_timedelta(rng.integers(30, 1500, n), unit="D"),
        "declared_group": rng.choice(["a", "b", None], n, p=[0.5, 0.2, 0.3]),
    })  # fmt: skip
    rates = pd.DataFrame({
        "influencer_id": np.repeat(creators.ids, len(TYPES)), "content_type": np.tile(TYPES, n), "price": creators.price.ravel(),
        "minimum_fee": np.round(creators.price.ravel() * 0.6, 2), "currency": "EUR",
    })  # fmt: skip
    return {"influencers": influencers, "rates": rates, "audiences": _audiences(rng, creators, seen),
            "affinities": _affinities(rng, creators, market), "links": _links(rng, creators)}  # fmt: skip


def _audiences(rng: np.random.Generator, creators: Creators, seen: pd.Timestamp) -> pd.DataFrame:
    """What a platform shows of an audience: interests follow the community, with noise."""
    rows = []
    for k, name in enumerate(creators.ids):
        weight = np.where(np.arange(len(GENRES)) == creators.community[k], CLOSENESS, 1.0) * rng.lognormal(0, 0.2, len(GENRES))
        share = np.round(weight / weight.sum(), 4)
        women = round(float(rng.beta(5, 5)), 3)
        young = round(float(rng.beta(3, 4)), 3)
        rows += [(name, seen, "interest", genre, s) for genre, s in zip(GENRES, share, strict=True)]
        rows += [(name, seen, "gender", "female", women), (name, seen, "gender", "male", round(1 - women, 3))]
        rows += [(name, seen, "age", "18-34", young), (name, seen, "age", "35+", round(1 - young, 3))]
    return pd.DataFrame(rows, columns=["influencer_id", "observed_on", "dimension", "value", "share"])


def _affinities(rng: np.random.Generator, creators: Creators, market: Market) -> pd.DataFrame:
    rows = []
    for k, name in enumerate(creators.ids):
        for g, genre in enumerate(GENRES):
            score = (0.8 if g == creators.genre[k] else 0.25) + rng.normal(0, 0.08)
            rows.append((name, "genre", genre, round(float(np.clip(score, 0, 1)), 3)))
        home = market.regions["region"].iloc[creators.region[k]]
        rows.append((name, "location", home, round(float(np.clip(0.8 + rng.normal(0, 0.1), 0, 1)), 3)))
    return pd.DataFrame(rows, columns=["influencer_id", "dimension", "value", "score"])


def _links(rng: np.random.Generator, creators: Creators) -> pd.DataFrame:
    """Ties, mostly inside communities."""
    n = len(creators.ids)
    one, other = rng.integers(0, n, 12 * n), rng.integers(0, n, 12 * n)
    same = creators.community[one] == creators.community[other]
    keep = (one < other) & (same | (rng.random(len(one)) < 0.15))
    kinds = rng.choice(["collaboration", "cross_promotion", "audience_overlap", "content_similarity", "competition"], keep.sum())
    frame = pd.DataFrame({"influencer_id": creators.ids[one[keep]], "other_id": creators.ids[other[keep]], "relation": kinds,
                          "weight": np.round(rng.gamma(2, 0.3, keep.sum()), 3)})  # fmt: skip
    return frame.drop_duplicates(["influencer_id", "other_id", "relation"])
