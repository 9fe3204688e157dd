"""Exposures of people to marketing, and what each is worth: a cluster process with three interactions.

Touch j adds Poisson(m_j) orders after it. m_j is its channel's strength, times who sees it and when, times what happened
before: a demo within 48 hours of a tutorial by the same influencer sells more, a search within a week of a social touch
sells more, an influencer's touch sells more while TV is on. So the effect of removing one touch or a group of touches is
known exactly: its own m_j plus the extra it lent to others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from liftwise.core.uncertainty import Floats
from liftwise.sources.simulator.creators import DEMO, TUTORIAL
from liftwise.sources.simulator.market import CHANNELS, HOURS, NAMES, TV_UPLIFT, Market
from liftwise.sources.simulator.people import People
from liftwise.sources.simulator.posts import Posts

SUSCEPTIBLE = 0.6  # how much propensity carries over to being moved
TOGETHER = {"tutorial_demo": 1.5, "social_search": 0.6, "influencer_tv": 0.35}
DEMO_WITHIN, SEARCH_WITHIN = 48.0, 168.0  # hours
INFLUENCER, SOCIAL, SEARCH = NAMES.index("influencer"), NAMES.index("paid_social"), NAMES.index("search")


@dataclass(frozen=True)
class Touches:
    """Touches as arrays, sorted by person and time. `own` is m_j without interactions with other channels."""

    person: np.ndarray
    hour: Floats
    channel: np.ndarray  # into NAMES
    post: np.ndarray  # -1 when none
    own: Floats  # orders, demo boost included
    tv: Floats  # extra orders lent by tv
    boost: Floats  # extra orders lent to a search by social touches
    by_influencer: np.ndarray  # touches of that kind that lend the boost
    by_social: np.ndarray
    lends: Floats  # extra orders of others that would go with this touch alone

    @property
    def orders(self) -> Floats:
        """m_j."""
        return self.own + self.tv + self.boost


def draw(rng: np.random.Generator, people: People, posts: Posts, campaigns: list[np.ndarray], market: Market) -> Touches:
    """All touches of a chunk of people. `campaigns` are the region sets that `posts.only` points to."""
    seen = _of_posts(rng, people, posts, campaigns)
    paid = [_of_channel(rng, people, market, k) for k in range(len(CHANNELS))]
    person = np.concatenate([seen[0], *(part[0] for part in paid)])
    hour = np.concatenate([seen[1], *(part[1] for part in paid)])
    channel = np.concatenate([np.full(len(seen[0]), INFLUENCER), *(np.full(len(part[0]), k + 1) for k, part in enumerate(paid))])
    post = np.concatenate([seen[2], *(np.full(len(part[0]), -1) for part in paid)])
    order = np.lexsort((hour, person))
    return _valued(people, posts, market, person[order], hour[order], channel[order], post[order])


def _of_posts(
    rng: np.random.Generator, people: People, posts: Posts, campaigns: list[np.ndarray]
) -> tuple[np.ndarray, Floats, np.ndarray]:
    """(person, hour, post) of followers who saw a post, within two days of it."""
    start = np.searchsorted(people.followed, np.arange(posts.creator.max() + 2))
    first, count = start[posts.creator], start[posts.creator + 1] - start[posts.creator]
    post = np.repeat(np.arange(len(posts.creator)), count)
    at = np.repeat(first - np.concatenate([[0], np.cumsum(count)[:-1]]), count) + np.arange(len(post))
    person = people.follower[at]
    saw = rng.random(len(post)) < posts.reach[post]
    for k, regions in enumerate(campaigns):
        saw &= (posts.only[post] != k) | np.isin(people.region[person], regions)
    post, person = post[saw], person[saw]
    return person, posts.hour[post] + rng.exponential(9.0, len(post)).clip(0, 47), post


def _of_channel(rng: np.random.Generator, people: People, market: Market, k: int) -> tuple[np.ndarray, Floats]:
    """(person, hour) of exposures to a paid channel: likelier for buyers and for those about to buy."""
    channel = CHANNELS[k]
    rate = channel.rate * market.delivery[channel.name][people.region]
    rate = rate * np.exp(channel.selects * people.z - (channel.selects * 0.6) ** 2 / 2)[:, None]
    rate = rate * np.where(people.intent, channel.intent, 1.0)
    cells = np.repeat(np.arange(rate.size), rng.poisson(rate).ravel())
    return cells // rate.shape[1], (cells % rate.shape[1] + rng.random(len(cells))) * HOURS


def _valued(
    people: People, posts: Posts, market: Market, person: np.ndarray, hour: Floats, channel: np.ndarray, post: np.ndarray
) -> Touches:
    inside = hour < market.shape[1] * HOURS
    person, hour, channel, post = person[inside], hour[inside], channel[inside], post[inside]
    week = (hour // HOURS).astype(int)
    strength = np.array([0.0, *(c.strength for c in CHANNELS)])[channel]
    made = channel == INFLUENCER
    strength[made] = posts.sells[post[made]]
    who = np.exp(SUSCEPTIBLE * people.z[person] - (SUSCEPTIBLE * 0.6) ** 2 / 2) * market.season[week]
    own = strength * who
    after, demo_lends = _demos(person, hour, made, post, posts, own)
    own = own * after
    tv = np.where(made, own * TOGETHER["influencer_tv"] * market.tv[people.region[person], week] / TV_UPLIFT, 0.0)
    key = person * 1e6 + hour
    social_i, social_p = key[made], key[channel == SOCIAL]
    search = channel == SEARCH
    by_i, by_p = np.zeros(len(key), int), np.zeros(len(key), int)
    for counts, keys in ((by_i, social_i), (by_p, social_p)):
        counts[search] = np.searchsorted(keys, key[search]) - np.searchsorted(keys, key[search] - SEARCH_WITHIN)
    boost = np.where(by_i + by_p > 0, own * TOGETHER["social_search"], 0.0)
    lends = demo_lends + _lent(key, made | (channel == SOCIAL), boost, by_i + by_p)
    return Touches(person, hour, channel, post, own, tv, boost, by_i, by_p, lends)


def _demos(
    person: np.ndarray, hour: Floats, made: np.ndarray, post: np.ndarray, posts: Posts, own: Floats
) -> tuple[Floats, Floats]:
    """What demos are multiplied by, and what each tutorial lends: nothing after 48 hours."""
    factor, lends = np.ones(len(person)), np.zeros(len(person))
    content = np.where(made, posts.content[post], -1)
    creator = np.where(made, posts.creator[post], -1)
    key = (person * 10_000.0 + creator) * 1e6 + hour
    tutorials, demos = np.flatnonzero(content == TUTORIAL), np.flatnonzero(content == DEMO)
    tutorials = tutorials[np.argsort(key[tutorials], kind="stable")]
    last = np.searchsorted(key[tutorials], key[demos])
    count = last - np.searchsorted(key[tutorials], key[demos] - DEMO_WITHIN)
    factor[demos[count > 0]] += TOGETHER["tutorial_demo"]
    alone = count == 1
    np.add.at(lends, tutorials[last[alone] - 1], own[demos[alone]] * TOGETHER["tutorial_demo"])
    return factor, lends


def _lent(key: Floats, social: np.ndarray, boost: Floats, count: np.ndarray) -> Floats:
    """A search's boost goes with its social touch when there is only one."""
    lends, givers = np.zeros(len(key)), np.flatnonzero(social)
    alone = np.flatnonzero((count == 1) & (boost > 0))
    np.add.at(lends, givers[np.searchsorted(key[givers], key[alone]) - 1], boost[alone])
    return lends
