"""Tracked people: who they are, which accounts they hold, and whom they follow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from liftwise.core.uncertainty import Floats
from liftwise.sources.simulator.creators import GENRES, Creators
from liftwise.sources.simulator.market import Market

SPREAD = 0.6  # sd of the log propensity to buy
INTENT, INTENT_BUYS = 0.06, 3.0  # share of weeks in which a person is about to buy, and how much likelier that makes it
FIRST = (
    "Anna",
    "Ben",
    "Clara",
    "David",
    "Emma",
    "Felix",
    "Greta",
    "Hugo",
    "Ida",
    "Jonas",
    "Karla",
    "Leon",
    "Mia",
    "Noah",
    "Olga",
    "Paul",
)
LAST = (
    "Adler",
    "Becker",
    "Conrad",
    "Dietz",
    "Engel",
    "Fischer",
    "Graf",
    "Huber",
    "Iselin",
    "Jansen",
    "Keller",
    "Lang",
    "Maier",
    "Novak",
)


@dataclass(frozen=True)
class People:
    """A chunk of people as arrays of length n; `follower`/`followed` are the pairs of the follow graph."""

    first: int  # number of the first person
    region: np.ndarray
    community: np.ndarray
    genre: np.ndarray
    seen: Floats  # the visible half of propensity
    z: Floats
    intent: np.ndarray  # (n, weeks)
    follower: np.ndarray
    followed: np.ndarray

    @property
    def numbers(self) -> np.ndarray:
        """Running numbers over all chunks."""
        return self.first + np.arange(len(self.z))


def draw(rng: np.random.Generator, first: int, count: int, creators: Creators, market: Market) -> People:
    """`count` people."""
    seen, hidden = rng.normal(0, SPREAD / np.sqrt(2), count), rng.normal(0, SPREAD / np.sqrt(2), count)
    community = rng.integers(0, len(GENRES), count)
    genre = np.where(rng.random(count) < 0.6, community, rng.integers(0, len(GENRES), count))
    wanted = rng.poisson(creators.follows, count)
    follower = np.repeat(np.arange(count), wanted)
    uniform, followed = rng.random(len(follower)), np.empty(len(follower), int)
    for k in range(len(GENRES)):
        mine = community[follower] == k
        followed[mine] = np.searchsorted(np.cumsum(creators.follow[k])[:-1], uniform[mine])
    pairs = np.unique(followed * count + follower)  # following twice is following
    return People(
        first, rng.choice(market.shape[0], count, p=market.regions["share"]), community, genre, seen, seen + hidden,
        rng.random((count, market.shape[1])) < INTENT, pairs % count, pairs // count,
    )  # fmt: skip


def covariates(rng: np.random.Generator, people: People, market: Market) -> pd.DataFrame:
    """What is known of the people before the first week: half of what makes them buy, noisily named."""
    account = [f"shop-{number}" for number in people.numbers]
    day = market.start - pd.Timedelta(days=1)
    known = pd.DataFrame({"person_id": account, "as_of": day, "name": "loyalty_score", "value": np.round(people.seen, 4)})
    age = np.round(40 + 12 * rng.standard_normal(len(account))).clip(18, 90)
    return pd.concat([known, pd.DataFrame({"person_id": account, "as_of": day, "name": "age", "value": age})], ignore_index=True)


def identifiers(rng: np.random.Generator, people: People) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Records of the same people in the shop, the app and the newsletter, with typos and holes; and the truth."""
    n, numbers = len(people.z), people.numbers
    first, last = rng.choice(FIRST, n), rng.choice(LAST, n)
    mail = [f"{a}.{b}{k}@example.org".lower() for a, b, k in zip(first, last, numbers, strict=True)]
    phone = [f"+49 151 {10_000_000 + 7 * k:08d}" for k in numbers]
    postcode = [f"{10_000 + 37 * r:05d}" for r in people.region]
    base = {"first_name": first, "last_name": last, "postcode": postcode, "gender": rng.choice(["f", "m"], n),
            "birth_year": rng.integers(1940, 2007, n).astype(float)}  # fmt: skip
    shop = pd.DataFrame({"record_id": [f"s{k}" for k in numbers], "source": "shop", "person_id": [f"shop-{k}" for k in numbers],
                         "email": mail, "phone": phone, **base})  # fmt: skip
    app_mail = np.where(rng.random(n) < 0.08, [_typo(m, u) for m, u in zip(mail, rng.random(n), strict=True)], mail)
    app = shop.assign(
        record_id=[f"a{k}" for k in numbers], source="app", person_id=[f"app-{k}" for k in numbers],
        email=np.where(rng.random(n) < 0.12, None, app_mail), phone=np.where(rng.random(n) < 0.5, None, phone),
        device_id=[f"device-{k}" for k in numbers],
    )  # fmt: skip
    letter = shop.assign(record_id=[f"n{k}" for k in numbers], source="newsletter", person_id=None, phone=None)[
        rng.random(n) < 0.4
    ]
    records = pd.concat([shop, app, letter], ignore_index=True)
    records["consent"], records["seen_at"] = True, pd.Timestamp("2023-01-01")
    cluster = records["record_id"].str[1:]
    return records, pd.DataFrame({"record_id": records["record_id"], "cluster": cluster})


def _typo(text: str, where: float) -> str:
    """Two neighbouring letters change places."""
    at = int(where * (text.index("@") - 1))
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
