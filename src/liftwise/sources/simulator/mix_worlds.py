"""Worlds of weekly spend and revenue whose mix is known: what each channel added, and what any other plan would have brought.

Six channels act by geometric carry-over and Hill saturation; search and social help one another; promotion, price, a yearly season and
a random walk move the baseline. The dials are those on which "how much can a mix gain" depends: the share of revenue that media bring, the noise,
how badly the budget is spread, the synergy, and whether money for search follows demand (confounding).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from liftwise.core.uncertainty import Floats, spawn

CHANNELS = ("tv", "radio", "display", "search", "social", "influencers")
RETENTION = (0.7, 0.5, 0.3, 0.1, 0.3, 0.45)
UNIT = 10_000.0  # mean money a channel and week
SPREAD = {"low": 0.2, "mid": 0.6, "high": 1.1}  # sd of log spend between channels of equal worth
BASE = 1_000_000.0


@dataclass(frozen=True, eq=False)
class MixWorld:
    """A market of one region.

    spend : (channels, weeks) money. revenue : (weeks,). baseline, outside : (weeks,) its parts without media, before noise.
    retention, half (money), shape, top (money a week) : (channels,). bond : money a week that search and social add together at full
    saturation of both. controls : name → (weeks,).
    """

    weeks: pd.DatetimeIndex
    spend: Floats = field(repr=False)
    revenue: Floats = field(repr=False)
    baseline: Floats = field(repr=False)
    outside: Floats = field(repr=False)
    controls: dict[str, Floats] = field(repr=False)
    retention: Floats
    half: Floats
    shape: Floats
    top: Floats
    bond: float

    def weekly(self) -> pd.DataFrame:
        """Table `weekly`."""
        rows = [("target", "revenue", self.revenue), *(("control", name, x) for name, x in self.controls.items()),
                *(("channel", name, x) for name, x in zip(CHANNELS, self.spend, strict=True))]  # fmt: skip
        return pd.concat(
            [
                pd.DataFrame({"week": self.weeks, "region": "all", "role": role, "name": name, "value": x})
                for role, name, x in rows
            ],
            ignore_index=True,
        )

    def saturated(self, spend: Floats) -> Floats:
        """(channels, weeks), between 0 and 1: the true shape of every channel's effect; starts from no spend."""
        carried, level = np.empty_like(spend), np.zeros(len(spend))
        for week in range(spend.shape[1]):
            level = self.retention * level + (1 - self.retention) * spend[:, week]
            carried[:, week] = level
        return self.bent(carried)

    def bent(self, carried: Floats) -> Floats:
        """Saturation of spend carried over, (channels, …)."""
        ratio = (carried / self.half[:, None]) ** self.shape[:, None]
        return ratio / (1 + ratio)

    def contributions(self, spend: Floats | None = None) -> pd.DataFrame:
        """Money a week by channel, and `synergy`."""
        full = self.saturated(self.spend if spend is None else spend)
        out = pd.DataFrame((full * self.top[:, None]).T, index=self.weeks[: full.shape[1]], columns=list(CHANNELS))
        return out.assign(synergy=self.bond * full[CHANNELS.index("search")] * full[CHANNELS.index("social")])

    def expected(self, spend: Floats) -> Floats:
        """(weeks,) revenue without noise had `spend` been spent."""
        return self.baseline + self.outside + self.contributions(spend).sum(axis=1).to_numpy()

    def steady(self, money: Floats) -> float:
        """Revenue a week that media bring when `money` (channels,) is spent in every week, carry-over run in."""
        full = self.bent(money[:, None])[:, 0]
        return float(full @ self.top + self.bond * full[CHANNELS.index("search")] * full[CHANNELS.index("social")])

    def response(self, channel: str, money: Floats) -> Floats:
        """Revenue a week at steady spends of one channel, the others as in the last year."""
        usual, k = self.spend[:, -52:].mean(axis=1), CHANNELS.index(channel)
        plans = np.repeat(usual[None, :], len(money) + 1, axis=0)
        plans[:, k] = np.append(money, 0.0)
        values = np.array([self.steady(plan) for plan in plans])
        return values[:-1] - values[-1]


def mix_world(
    seed: int,
    *,
    media_share: float = 0.2,
    noise: float = 0.04,
    misallocation: str = "mid",
    synergy: float = 0.25,
    confounded: bool = False,
    weeks: int = 156,
) -> MixWorld:
    """Draw a world.

    Parameters
    ----------
    media_share : of revenue. noise : sd, share of mean revenue. misallocation : low, mid or high.
    synergy : what search and social add together, as a share of what they add apart.
    confounded : search money follows last week's and this week's demand.
    """
    rng = spawn(seed, "mix-world")
    clock, n = np.arange(weeks), len(CHANNELS)
    phase = rng.uniform(0, 2 * np.pi, 2)
    season = 0.08 * np.sin(2 * np.pi * clock / 52.18 + phase[0]) + 0.03 * np.sin(4 * np.pi * clock / 52.18 + phase[1])
    walk = np.cumsum(rng.normal(0, 0.006, weeks))
    promo = (rng.random(weeks) < 0.15).astype(float)
    price = 10 * np.exp(np.cumsum(rng.normal(0, 0.01, weeks)) * 0.7)
    baseline = BASE * (1 + season + walk - walk.mean())
    outside = BASE * (0.06 * promo - 0.6 * (price / price.mean() - 1))
    spend = _plans(rng, weeks, misallocation)
    if confounded:
        demand = (season + walk - walk.mean()) + 0.06 * promo
        spend[3] *= np.exp(4 * (demand + np.roll(demand, 1)) / 2)
    retention = np.clip(np.array(RETENTION) + rng.uniform(-0.1, 0.1, n), 0.0, 0.85)
    half, shape = UNIT * rng.uniform(0.5, 2.0, n), rng.uniform(0.9, 1.8, n)
    world = MixWorld(pd.date_range("2022-01-03", periods=weeks, freq="W-MON"), spend, baseline * 0, baseline, outside,
                     {"promotion": promo, "price": price}, retention, half, shape, rng.uniform(0.6, 1.4, n), 0.0)  # fmt: skip
    full = world.saturated(spend)
    own = (full * world.top[:, None]).sum(axis=0)
    pair = full[3] * full[4]
    bond = synergy * (full[3] * world.top[3] + full[4] * world.top[4]).mean() / pair.mean()
    scale = media_share / (1 - media_share) * (baseline + outside).mean() / (own + bond * pair).mean()
    media = scale * (own + bond * pair)
    revenue = baseline + outside + media
    revenue = revenue + rng.normal(0, noise * revenue.mean(), weeks)
    return MixWorld(world.weeks, spend, revenue, baseline, outside, world.controls, retention, half, shape, world.top * scale,
                    bond * scale)  # fmt: skip


def _plans(rng: np.random.Generator, weeks: int, misallocation: str) -> Floats:
    """Spend plans as agencies write them: flights for television and radio, always-on elsewhere, weekly variation everywhere."""
    level = UNIT * np.exp(rng.normal(0, SPREAD[misallocation], len(CHANNELS)))
    spend = level[:, None] * rng.lognormal(0, 0.35, (len(CHANNELS), weeks))
    for k in (0, 1, 5):
        on = np.repeat(rng.random(-(-weeks // 4)) < 0.6, 4)[:weeks]
        spend[k] *= np.where(on, 1.6, 0.05)
    return spend
