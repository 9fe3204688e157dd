"""A panel of creators with known effectiveness: who posted what for which event on which day, and what it brought per follower.

On the log scale f = creator + content + event + creator × content + creator × event + content × event + season + popularity + timing +
price. The products have a part that side features tell (audience, affinities, habits) and a part of the creator's own that only past
posts show. 25 events come back every four weeks, 104 weeks; noise is Student t with 6 degrees of freedom whose size differs from row
to row. Creators of the last 16 weeks' fresh tenth were never seen before. All parameters were set before any model was fitted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from liftwise.core.uncertainty import Floats, spawn

START = pd.Timestamp("2023-01-02")  # a Monday
WEEKS, TEST = 104, 88  # weeks of the panel; the first that a model may not see
PERIOD, CLOSES = 28, 3  # days between editions of an event; last day to post
RANK = 3  # of either product
COLD = 0.10  # share of rows since `TEST` by creators never seen before
ACTIVITY = 1.25  # sd of the log of how often a creator is hired: a median of 8 posts before week 80
ORACLE = 0.778  # share of the outcome's variance that f explains
GENRES = ("food", "fitness", "beauty", "travel", "gaming", "family", "home", "music")
PLACES = ("north", "south", "east", "west", "centre", "coast")
PLATFORMS = ("instagram", "tiktok", "youtube")
KINDS = ("festival", "launch", "match", "holiday")
# share of the outcome's variance by part; `own` parts can be learned from a creator's posts only; they sum to ORACLE
SHARES = {
    "creator": 0.118, "creator_own": 0.12, "content": 0.05, "event": 0.04, "creator_content": 0.09, "creator_content_own": 0.09,
    "creator_event": 0.06, "creator_event_own": 0.07, "affinity": 0.03, "content_event": 0.02, "season": 0.02, "popularity": 0.03,
    "timing": 0.02, "price": 0.02,
}  # fmt: skip


@dataclass(frozen=True)
class CreatorWorld:
    """One panel.

    Parameters
    ----------
    targeting : how strongly good matches were preferred: how often a (content, event) was tried with a creator goes with
        exp(targeting × its products' standardised worth). 0: matches were tried at random.
    """

    seed: int = 0
    rows: int = 90_000
    creators: int = 4_584
    contents: int = 40
    events: int = 25
    targeting: float = 0.0
    sizes: dict[str, float] = field(default_factory=lambda: dict(SHARES))

    # -- what exists ---------------------------------------------------------------------------------------------------------

    @cached_property
    def _facts(self) -> dict[str, np.ndarray]:
        """Latent habits z (n, 6) that side features show, places, genres, and what each creator alone is."""
        rng, n = spawn(self.seed, "creator_world.facts"), self.creators
        genre = rng.integers(0, len(GENRES), n)
        return {
            "z": rng.normal(size=(n, 6)), "genre": genre, "place": rng.integers(0, len(PLACES), n), "platform": rng.integers(0, 3, n),
            "own": rng.normal(size=n), "own_content": rng.normal(size=(n, RANK)), "own_event": rng.normal(size=(n, RANK)),
            "premium": rng.normal(size=(n, self.contents)), "activity": rng.lognormal(0, ACTIVITY, n), "hidden_noise": rng.normal(size=n),
            "affinity": np.clip(0.35 + 0.35 * (genre[:, None] == np.arange(len(GENRES))) + 0.18 * rng.normal(size=(n, len(GENRES))), 0, 1),
            "content": rng.normal(size=self.contents), "content_v": rng.normal(size=(self.contents, RANK)),
            "content_price": rng.lognormal(0, 0.4, self.contents), "content_noise": rng.normal(size=self.contents),
            "popular": rng.dirichlet(np.full(self.contents, 4.0)), "e_genre": rng.integers(0, len(GENRES), self.events),
            "e_place": rng.integers(0, len(PLACES), self.events), "e_kind": rng.integers(0, len(KINDS), self.events),
            "scale": rng.lognormal(0, 0.6, self.events), "event": rng.normal(size=self.events), "event_q": rng.normal(size=(self.events, RANK)),
            "pair": rng.normal(size=(self.contents, self.events)), "side_content": rng.normal(size=(6, RANK)) / np.sqrt(6),
            "side_event": rng.normal(size=(6, RANK)) / np.sqrt(6), "by_genre": rng.normal(size=len(GENRES)), "by_platform": rng.normal(size=3),
            "kind_worth": rng.normal(size=len(KINDS)), "place_worth": rng.normal(size=len(PLACES)),
        }  # fmt: skip

    @cached_property
    def popularity(self) -> Floats:
        """Of genres by week, (weeks, genres): a slow walk that comes back to 0."""
        rng = spawn(self.seed, "creator_world.popularity")
        level, rows = rng.normal(size=len(GENRES)), []
        for _ in range(WEEKS):
            rows.append(level)
            level = 0.92 * level + np.sqrt(1 - 0.92**2) * rng.normal(size=len(GENRES))
        return np.array(rows)

    @cached_property
    def _matrices(self) -> dict[str, Floats]:
        """Parts as standardised arrays: over creators, creators × contents, creators × events."""
        k = self._facts
        z = k["z"]
        side = (
            0.7 * z[:, 0]
            - 0.5 * z[:, 4]
            + 0.4 * np.abs(z[:, 1])
            + 0.4 * z[:, 2] * (z[:, 3] > 0)
            + 0.5 * k["by_genre"][k["genre"]]
        )
        side = side + 0.4 * k["by_platform"][k["platform"]] + 0.3 * z[:, 5]
        event = k["event"] + 0.7 * k["kind_worth"][k["e_kind"]] + 0.5 * np.log(k["scale"])
        same = 0.6 * (k["place"][:, None] == k["e_place"])
        return {
            "creator": _unit(side), "creator_own": _unit(k["own"]), "content": _unit(k["content"]), "event": _unit(event),
            "creator_content": _unit(z @ k["side_content"] @ k["content_v"].T), "creator_content_own": _unit(k["own_content"] @ k["content_v"].T),
            "creator_event": _unit(z @ k["side_event"] @ k["event_q"].T), "creator_event_own": _unit(k["own_event"] @ k["event_q"].T),
            "affinity": _unit(2 * k["affinity"][:, k["e_genre"]] + same), "content_event": _unit(k["pair"]), "price": _unit(k["premium"]),
        }  # fmt: skip

    def truth(self, i: np.ndarray, c: np.ndarray, e: np.ndarray, day: np.ndarray, days_from_event: np.ndarray) -> Floats:
        """f on the log scale, per follower, for arrays of codes; `day` counts from the start."""
        m, size = self._matrices, {name: np.sqrt(share) for name, share in self.sizes.items()}
        week = np.clip(day // 7 - 1, 0, WEEKS - 1)
        season = np.sqrt(2) * np.sin(2 * np.pi * day / 364 + np.pi * self._facts["e_kind"][e] / 2)
        timing = (np.exp(-(((days_from_event + 2.0) / 4.0) ** 2)) - 0.25) / 0.34
        f = (
            size["season"] * season
            + size["popularity"] * self.popularity[week, self._facts["e_genre"][e]]
            + size["timing"] * timing
        )
        for name in ("creator", "creator_own"):
            f = f + size[name] * m[name][i]
        for name in ("creator_content", "creator_content_own", "price"):
            f = f + size[name] * m[name][i, c]
        for name in ("creator_event", "creator_event_own", "affinity"):
            f = f + size[name] * m[name][i, e]
        return (
            f
            + size["content"] * m["content"][c]
            + size["event"] * m["event"][e]
            + size["content_event"] * m["content_event"][c, e]
        )

    def noise(self, i: np.ndarray, c: np.ndarray) -> Floats:
        """Size of the noise up to a common factor; larger for small creators, some platforms and contents."""
        k = self._facts
        log = -0.3 * k["z"][i, 4] + 0.25 * np.array([-1.0, 0.2, 0.9])[k["platform"][i]]
        return np.exp(log + 0.15 * k["content_noise"][c] + 0.1 * k["hidden_noise"][i])

    # -- what happened -------------------------------------------------------------------------------------------------------

    @cached_property
    def _rows(self) -> dict[str, np.ndarray]:
        rng, n = spawn(self.seed, "creator_world.rows"), self.rows
        week = np.sort(rng.integers(0, WEEKS, n))
        fresh = max(1, round(0.088 * self.creators))  # the last of them come only since TEST
        weight = self._facts["activity"].copy()
        known = self.creators - fresh
        i = rng.choice(known, n, p=weight[:known] / weight[:known].sum())
        before = np.flatnonzero(week < TEST)
        i[rng.permutation(before)[:known]] = np.arange(known)  # everybody once at least
        seen = np.unique(i[week < TEST])
        late = np.flatnonzero(week >= TEST)
        i[late] = rng.choice(seen, len(late), p=weight[seen] / weight[seen].sum())
        cold = rng.permutation(late)[: round(COLD * len(late))]
        i[cold] = known + np.arange(len(cold)) % fresh
        c, e, propensity = self._matches(rng, i)
        day = week * 7 + rng.integers(0, 7, n)
        edition = (day - CLOSES - 7 * (e % 4) + PERIOD - 1) // PERIOD
        t = day - (edition * PERIOD + 7 * (e % 4))
        return {"week": week, "i": i, "c": c, "e": e, "day": day, "t": t, "edition": edition, "propensity": propensity}

    def _matches(self, rng: np.random.Generator, i: np.ndarray) -> tuple[np.ndarray, np.ndarray, Floats]:
        """Content and event of each post of creators `i`, with the chance that this pair was the one chosen."""
        base = np.repeat(self._facts["popular"], self.events) / self.events
        if self.targeting == 0:
            pick = rng.choice(len(base), len(i), p=base)
            return pick // self.events, pick % self.events, base[pick]
        m, s = self._matrices, {name: np.sqrt(share) for name, share in self.sizes.items()}
        names = ("creator_content", "creator_content_own"), ("creator_event", "creator_event_own")
        by_content, by_event = (sum(s[name] * m[name] for name in group) for group in names)
        pick, propensity = np.empty(len(i), int), np.empty(len(i))
        for rows in np.array_split(np.arange(len(i)), max(1, len(i) // 4000)):
            worth = (by_content[i[rows], :, None] + by_event[i[rows], None, :]).reshape(len(rows), -1)
            chance = base * np.exp(self.targeting * worth / worth.std())
            chance /= chance.sum(axis=1, keepdims=True)
            pick[rows] = (chance.cumsum(axis=1) < rng.random((len(rows), 1))).sum(axis=1).clip(max=len(base) - 1)
            propensity[rows] = chance[np.arange(len(rows)), pick[rows]]
        return pick // self.events, pick % self.events, propensity

    @cached_property
    def f(self) -> Floats:
        """True f of each row of `assignments`."""
        r = self._rows
        return self.truth(r["i"], r["c"], r["e"], r["day"], r["t"])

    @cached_property
    def sd(self) -> Floats:
        """True sd of the noise of each row of `assignments`; f explains ORACLE of the outcome's variance."""
        raw = self.noise(self._rows["i"], self._rows["c"])
        return raw * np.sqrt((1 - ORACLE) / ORACLE * self.f.var() / np.mean(raw**2))

    @cached_property
    def y(self) -> Floats:
        """Log of the outcome per follower, by row."""
        rng = spawn(self.seed, "creator_world.noise")
        return self.f + self.sd * rng.standard_t(6, self.rows) * np.sqrt(4 / 6)

    @property
    def week(self) -> np.ndarray:
        """Of each row."""
        return self._rows["week"]

    @cached_property
    def cold(self) -> np.ndarray:
        """Rows since week 88 of creators that no earlier row shows."""
        r = self._rows
        return (r["week"] >= TEST) & ~np.isin(r["i"], np.unique(r["i"][r["week"] < TEST]))

    def oracle(self, rows: np.ndarray) -> float:
        """R² of the true f on `rows`."""
        y = self.y[rows]
        return float(1 - np.mean((y - self.f[rows]) ** 2) / np.var(y))

    # -- tables --------------------------------------------------------------------------------------------------------------

    def tables(self) -> dict[str, pd.DataFrame]:
        """influencers, rates, affinities, audiences, events, trends, assignments: the contracts of `core.catalogue`."""
        return {"influencers": self._influencers(), "rates": self._rates(), "affinities": self._affinities(), "audiences": self._audiences(),
                "events": self._events(), "trends": self._trends(), "assignments": self._assignments()}  # fmt: skip

    @cached_property
    def ids(self) -> np.ndarray:
        """Of creators."""
        return np.array([f"creator-{k:05d}" for k in range(self.creators)], dtype=object)

    @cached_property
    def types(self) -> np.ndarray:
        """Of contents."""
        return np.array([f"content-{k:02d}" for k in range(self.contents)], dtype=object)

    @cached_property
    def followers(self) -> np.ndarray:
        """Of creators."""
        return np.round(np.exp(10.0 + 1.1 * self._facts["z"][:, 4])).astype(int) + 500

    @cached_property
    def prices(self) -> Floats:
        """(creators, contents)."""
        k = self._facts
        return np.round(2.0 * self.followers[:, None] ** 0.6 * k["content_price"] * np.exp(0.25 * k["premium"]), 2)

    def _influencers(self) -> pd.DataFrame:
        k, z, rng = self._facts, self._facts["z"], spawn(self.seed, "creator_world.influencers")
        return pd.DataFrame({
            "influencer_id": self.ids, "platform": np.array(PLATFORMS)[k["platform"]], "handle": [f"@{name}" for name in self.ids],
            "genre": np.array(GENRES)[k["genre"]], "location": np.array(PLACES)[k["place"]], "language": "en", "followers": self.followers,
            "engagement_rate": _squash(-3 + 0.5 * z[:, 0]), "posts_per_week": np.exp(0.8 + 0.5 * z[:, 1]), "best_hour": rng.integers(8, 23, self.creators),
            "brand_alignment": _squash(z[:, 2]), "risk_score": _squash(-1.5 + 0.7 * z[:, 3]), "joined_on": START - pd.Timedelta(days=100),
        })  # fmt: skip

    def _rates(self) -> pd.DataFrame:
        price = self.prices.ravel()
        return pd.DataFrame({"influencer_id": np.repeat(self.ids, self.contents), "content_type": np.tile(self.types, self.creators),
                             "price": price, "minimum_fee": np.round(0.6 * price, 2), "currency": "EUR"})  # fmt: skip

    def _affinities(self) -> pd.DataFrame:
        return pd.DataFrame({"influencer_id": np.repeat(self.ids, len(GENRES)), "dimension": "genre", "value": np.tile(GENRES, self.creators),
                             "score": self._facts["affinity"].ravel()})  # fmt: skip

    def _audiences(self) -> pd.DataFrame:
        """Shares that show the habits, with noise: the young, women, and three interests."""
        z, rng = self._facts["z"], spawn(self.seed, "creator_world.audiences")
        mixed = np.column_stack([z[:, 5], z[:, 1] - z[:, 5], z[:, 0] + z[:, 3], z[:, 2] + z[:, 5], z[:, 3] - z[:, 1]])
        share = _squash(0.7 * mixed + 0.3 * rng.normal(size=mixed.shape))
        names = [("age", "18-34"), ("gender", "female"), ("interest", "style"), ("interest", "sport"), ("interest", "play")]
        parts = [pd.DataFrame({"influencer_id": self.ids, "observed_on": START, "dimension": d, "value": v, "share": share[:, j]})
                 for j, (d, v) in enumerate(names)]  # fmt: skip
        return pd.concat(parts, ignore_index=True)

    def _events(self) -> pd.DataFrame:
        k = self._facts
        editions = np.arange(0, WEEKS * 7 // PERIOD + 2)
        e, n = (axis.ravel() for axis in np.meshgrid(np.arange(self.events), editions, indexing="ij"))
        return pd.DataFrame({
            "event_id": [f"event-{a:02d}-{b:02d}" for a, b in zip(e, n, strict=True)], "name": [f"event {a:02d}" for a in e],
            "date": START + pd.to_timedelta(n * PERIOD + 7 * (e % 4), unit="D"), "location": np.array(PLACES)[k["e_place"][e]],
            "genre": np.array(GENRES)[k["e_genre"][e]], "scale": k["scale"][e], "kind": np.array(KINDS)[k["e_kind"][e]],
            "opens_days": CLOSES + 1 - PERIOD, "closes_days": CLOSES,
        })  # fmt: skip

    def _trends(self) -> pd.DataFrame:
        weeks = START + pd.to_timedelta(7 * np.arange(WEEKS), unit="D")
        return pd.DataFrame(
            {"week": np.repeat(weeks, len(GENRES)), "genre": np.tile(GENRES, WEEKS), "popularity": self.popularity.ravel()}
        )

    def _assignments(self) -> pd.DataFrame:
        r = self._rows
        posted = START + pd.to_timedelta(r["day"], unit="D")
        frame = pd.DataFrame({
            "assignment_id": [f"a-{k:06d}" for k in range(self.rows)], "influencer_id": self.ids[r["i"]], "content_type": self.types[r["c"]],
            "event_id": [f"event-{a:02d}-{b:02d}" for a, b in zip(r["e"], r["edition"], strict=True)], "days_from_event": r["t"].astype(float),
            "price": self.prices[r["i"], r["c"]], "posted_at": posted, "observed_at": posted + pd.Timedelta(days=7),
            "engagements": self.followers[r["i"]] * np.exp(self.y),
        })  # fmt: skip
        return frame.assign(propensity=r["propensity"]) if self.targeting else frame


def _unit(part: Floats) -> Floats:
    """Mean 0, variance 1."""
    return (part - part.mean()) / part.std()


def _squash(x: Floats) -> Floats:
    return 1 / (1 + np.exp(-x))
