"""The market: regions, calendar, demand, and the media plan that follows demand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from liftwise.core.uncertainty import Floats, spawn

LAST_WEEK = pd.Timestamp("2025-12-22")
HOURS = 168.0
BASKET = 12.0  # mean revenue of an order at price 1
BASE_RATE = 0.055  # orders per person and week, before everything else
GROSS_UP = 50  # people in the market for each one that is tracked
BRAND_MEMORY = 0.97  # share of the brand's stock that is left after a week
BRAND_EFFECT = 0.10  # relative demand per unit of stock


@dataclass(frozen=True)
class Channel:
    """How a channel works. `rate`: exposures per person-week at its mean spend; `strength`: orders per exposure."""

    name: str
    money: float  # mean weekly spend of the market
    rate: float
    strength: float
    shape: float  # of delivery by spend: 1 concave, more is S-shaped
    knee: float  # spend (in means) at half of full delivery
    follows: float  # how closely spend follows demand
    selects: float  # how much more likely buyers see it
    intent: float  # how much more often it is seen by those who are about to buy
    delay: float  # mean hours from exposure to its orders
    delayed: bool = False  # gamma(2) instead of exponential delay


CHANNELS = (
    Channel("paid_social", 25_000, 0.075, 0.030, 1.0, 1.2, 0.6, 0.3, 1.0, 240),
    Channel("search", 20_000, 0.045, 0.030, 1.0, 0.8, 2.2, 0.9, 6.0, 60),
    Channel("display", 12_000, 0.060, 0.012, 1.6, 1.0, 0.4, 0.2, 1.0, 300, delayed=True),
    Channel("email", 3_000, 0.040, 0.020, 1.0, 2.0, 0.3, 0.7, 1.5, 96),
    Channel("retargeting", 8_000, 0.030, 0.008, 1.0, 0.7, 1.0, 1.1, 5.0, 72),
)
INFLUENCER = Channel("influencer", 0, 0, 0.026, 1.0, 1.0, 0.2, 0.0, 1.0, 200)
TV_MONEY, TV_UPLIFT, TV_SHAPE, TV_KNEE = 45_000.0, 0.11, 2.0, 1.2
TV_LAGS = np.array([0.30, 0.35, 0.20, 0.10, 0.05])  # delayed carry-over
NAMES = ("influencer", *(channel.name for channel in CHANNELS), "tv")


@dataclass(frozen=True)
class Market:
    """Everything that is the same for all people. Arrays are (regions, weeks) unless said otherwise."""

    regions: pd.DataFrame
    weeks: pd.DatetimeIndex
    season: Floats  # (weeks,)
    price: Floats
    promotion: Floats
    rival: Floats
    demand: Floats  # all that moves organic demand but brand and tv
    spend: dict[str, Floats]
    delivery: dict[str, Floats]  # relative to delivery at mean spend
    tv: Floats  # relative uplift of organic demand
    factors: pd.DataFrame

    @property
    def shape(self) -> tuple[int, int]:
        """Regions and weeks."""
        return self.demand.shape[0], self.demand.shape[1]

    @property
    def value(self) -> Floats:
        """Mean revenue of an order."""
        return BASKET * self.price

    @property
    def start(self) -> pd.Timestamp:
        """The first hour."""
        return self.weeks[0]


def kernel(channel: Channel, lags: int = 12) -> Floats:
    """Share of a channel's orders that fall 0, 1, 2 … weeks after the exposure's week, shape (lags,)."""
    at = (np.arange(64) + 0.5) / 64 * HOURS
    edges = np.arange(lags + 1)[:, None] * HOURS - at
    x = np.clip(edges, 0, None) / (channel.delay / (2 if channel.delayed else 1))
    share = 1 - np.exp(-x) * ((1 + x) if channel.delayed else 1)
    return np.diff(share.mean(axis=1), axis=0)


def delivered(channel_shape: float, knee: float, relative: Floats) -> Floats:
    """Delivery by spend, both relative to their means: 1 at 1; Hill with `channel_shape` and half-way point `knee`."""
    powered = relative**channel_shape
    return (1 + knee**channel_shape) * powered / (powered + knee**channel_shape)


def wobble(rng: np.random.Generator, shape: tuple[int, ...], memory: float, scale: float) -> Floats:
    """AR(1) along the last axis with stationary standard deviation `scale`."""
    noise = rng.normal(0, scale * np.sqrt(1 - memory**2), shape)
    noise[..., 0] = rng.normal(0, scale, shape[:-1])
    for t in range(1, shape[-1]):
        noise[..., t] += memory * noise[..., t - 1]
    return noise


def build(seed: int, regions: int, weeks: int) -> Market:
    """A market of that size."""
    rng = spawn(seed, "market")
    calendar = pd.date_range(end=LAST_WEEK, periods=weeks, freq="W-MON")
    map_ = _regions(rng, regions)
    turn = 2 * np.pi * np.asarray(calendar.day_of_year) / 365.25
    season = 1 + 0.10 * np.sin(turn - 0.6) + 0.05 * np.cos(2 * turn)
    season *= (
        1 + 0.20 * np.asarray(calendar.isocalendar().week.isin([50, 51])) + 0.10 * np.asarray(calendar.isocalendar().week == 47)
    )
    shape = (regions, weeks)
    promotion = (rng.random(shape) < 0.12).astype(float)
    price = np.clip(1 + np.linspace(0, 0.08, weeks) + wobble(rng, shape, 0.95, 0.03) - 0.12 * promotion, 0.6, 1.5)
    rival = np.clip(0.3 + wobble(rng, (weeks,), 0.9, 0.08) + wobble(rng, shape, 0.8, 0.06), 0.02, 0.95)
    heat = 14 - 9 * np.cos(turn) + rng.normal(0, 2, weeks)
    shelf = np.clip(np.linspace(0.78, 0.92, weeks) + wobble(rng, (weeks,), 0.9, 0.01), 0, 1)
    demand = season * np.exp(-1.5 * (price - 1) + 0.12 * promotion - 0.35 * (rival - 0.3) + 0.006 * (heat - 14)) * (shelf / 0.85)
    demand *= np.exp(wobble(rng, (weeks,), 0.8, 0.02) + wobble(rng, shape, 0.7, 0.015))
    hit, when = rng.permutation(regions)[: regions // 3], int(weeks * 0.6)
    demand[hit, when:] *= 1 - 0.15 * 0.5 ** (np.arange(weeks - when) / 6)
    spend, delivery = _media(rng, demand, map_["share"].to_numpy())
    tv_spend, tv = _tv(rng, season, map_["share"].to_numpy(), shape)
    factors = _factors(calendar, heat, shelf, wobble(rng, (weeks,), 0.97, 4.0) + 100)
    return Market(map_, calendar, season, price, promotion, rival, demand, {**spend, "tv": tv_spend}, delivery, tv, factors)


def _regions(rng: np.random.Generator, count: int) -> pd.DataFrame:
    names = [f"region-{k:02d}" for k in range(1, count + 1)]
    share = rng.lognormal(0, 0.35, count)
    across = int(np.ceil(np.sqrt(count)))
    near = [
        ";".join(
            names[j]
            for j in (k - 1, k + 1, k - across, k + across)
            if 0 <= j < count and (abs(j - k) != 1 or j // across == k // across)
        )
        for k in range(count)
    ]
    return pd.DataFrame({"region": names, "share": share / share.sum(), "neighbours": near})


def _media(rng: np.random.Generator, demand: Floats, share: Floats) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Spend follows demand, with campaigns on and off; delivery saturates."""
    spend, delivery = {}, {}
    relative_demand = demand / demand.mean()
    for channel in CHANNELS:
        flights = 0.55 + 0.9 * (np.convolve(rng.random(demand.shape[1]) < 0.35, np.ones(4) / 2, "same").clip(0, 1))
        plan = relative_demand**channel.follows * flights * np.exp(wobble(rng, demand.shape, 0.7, 0.25))
        relative = plan / plan.mean()
        spend[channel.name] = channel.money * share[:, None] * relative
        delivery[channel.name] = delivered(channel.shape, channel.knee, relative)
    return spend, delivery


def carried(relative: Floats) -> Floats:
    """TV spend after its carry-over, along the last axis."""
    padded = np.pad(relative, ((0, 0), (len(TV_LAGS) - 1, 0)))
    return sum(TV_LAGS[lag] * padded[:, len(TV_LAGS) - 1 - lag : padded.shape[1] - lag] for lag in range(len(TV_LAGS)))


def tv_uplift(relative: Floats) -> Floats:
    """Relative uplift of organic demand by TV spend (in means)."""
    x = carried(relative) ** TV_SHAPE
    return TV_UPLIFT * x / (x + TV_KNEE**TV_SHAPE)


def _tv(rng: np.random.Generator, season: Floats, share: Floats, shape: tuple[int, int]) -> tuple[Floats, Floats]:
    """Flights of four to six weeks before high season and at other times; regions differ in weight."""
    on = np.zeros(shape[1])
    at = 3
    while at < shape[1]:
        length = int(rng.integers(4, 7))
        on[at : at + length] = rng.uniform(0.7, 1.3)
        at += length + int(rng.integers(4, 9))
    ahead = np.concatenate([season[2:], season[-2:]])
    plan = on * ahead * np.exp(wobble(rng, shape, 0.9, 0.35))
    relative = plan / plan.mean()
    return TV_MONEY * share[:, None] * relative, tv_uplift(relative)


def _factors(weeks: pd.DatetimeIndex, heat: Floats, shelf: Floats, mood: Floats) -> pd.DataFrame:
    """Temperature, distribution, and a confidence index that is published six weeks late."""
    rows = [
        pd.DataFrame({"week": weeks, "name": name, "value": values})
        for name, values in (("temperature", heat), ("distribution", shelf))
    ]
    late = pd.DataFrame(
        {"week": weeks, "name": "consumer_confidence", "value": mood, "published_on": weeks + pd.Timedelta(weeks=6)}
    )
    holiday = pd.DataFrame(
        {"week": weeks, "name": "holiday", "value": np.asarray(weeks.isocalendar().week.isin([47, 50, 51])).astype(float)}
    )
    return pd.concat([*rows, holiday, late[late["published_on"] <= weeks[-1]]], ignore_index=True)
