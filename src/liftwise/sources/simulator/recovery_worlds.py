"""Worlds of the public benchmark of parameter recovery, for any seed, and the same worlds with another law of the effect.

The presets, their numbers and the laws of spend are those that PyMC Labs published (mmm-param-recovery, Apache-2.0): spend in bursts, in
seasons, from a late start or as a persistent walk; carry-over by geometric weights over eight weeks that do not sum to one; Hill
saturation of spend over its maximum in the region. Unlike there, every series has its own stream of randomness, so a control is never
the twin of a channel. What no one published: saturation and carry-over of other forms, through the same half-saturation and length.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd

from liftwise.core.errors import InputError
from liftwise.core.uncertainty import Floats, spawn

LENGTH = 8  # weeks of carry-over
NOISE = 0.1  # sd of weekly sales without media, share of their base
REGIONAL = 0.1  # a region's numbers lie within ± this share of the preset's
PEAKS = (1, 2)  # weeks until a delayed effect is greatest, channel by channel


class Process(NamedTuple):
    """A law of spend (or of a control). kind : walk, late (start, ramp in weeks), season (amplitude, phase) or burst (odds, least and most
    weeks). swing : sd of the noise, in levels. drift : growth a week.
    """

    kind: str
    level: float
    swing: float
    drift: float = 0.0
    odds: float = 0.0
    least: int = 0
    most: int = 0
    start: int = 0
    ramp: int = 4
    amplitude: float = 0.0
    phase: float = 0.0


class Channel(NamedTuple):
    """How a channel is paid for and works: top in base sales a week, kappa in the region's greatest weekly spend."""

    spend: Process
    top: float
    retention: float
    slope: float
    kappa: float


class Control(NamedTuple):
    """effect : sales a unit."""

    level: Process
    effect: float


class Preset(NamedTuple):
    """A business. season : amplitude of yearly sales, share of base."""

    weeks: int
    regions: int
    base: float
    season: float
    channels: dict[str, Channel]
    controls: dict[str, Control]


PRESETS = {
    "small": Preset(
        104, 1, 5_000.0, 0.2,
        {
            "search": Channel(Process("walk", 100, 0.8, drift=0.004), 1.5, 0.0, 1.0, 1.0),
            "social": Channel(Process("season", 500, 0.3, amplitude=0.4, phase=0.5), 1.2, 0.2, 1.5, 0.8),
            "local": Channel(Process("burst", 500, 0.6, odds=0.3, least=2, most=4), 0.9, 0.4, 1.0, 1.5),
            "email": Channel(Process("burst", 100, 0.5, odds=0.2, least=1, most=1), 1.2, 0.3, 2.0, 0.5),
        },
        {
            "event": Control(Process("burst", 100, 0.5, odds=0.04, least=3, most=5), 0.5),
            "sale": Control(Process("burst", 50, 0.5, odds=0.1, least=1, most=4), 0.5),
        },
    ),
    "growing": Preset(
        131, 2, 5_000.0, 0.2,
        {
            "search": Channel(Process("walk", 300, 0.7, drift=0.002), 0.3, 0.0, 1.0, 0.3),
            "brand_search": Channel(Process("walk", 100, 0.8, drift=0.002), 1.1, 0.2, 1.5, 1.5),
            "video": Channel(Process("late", 500, 0.5, start=25, ramp=10), 1.4, 0.4, 0.8, 0.4),
            "social": Channel(Process("season", 500, 0.6, amplitude=0.4, phase=0.5), 0.7, 0.3, 2.0, 0.5),
            "display": Channel(Process("burst", 500, 0.5, odds=0.3, least=2, most=4), 0.3, 0.0, 0.4, 2.0),
            "email": Channel(Process("burst", 100, 0.4, odds=0.2, least=1, most=1), 0.4, 0.2, 1.5, 1.25),
        },
        {
            "event": Control(Process("burst", 500, 0.5, odds=0.04, least=3, most=5), 0.5),
            "sale": Control(Process("burst", 25, 0.5, odds=0.1, least=1, most=4), 1.5),
        },
    ),
    "medium": Preset(
        156, 8, 100_000.0, 0.6,
        {
            "search": Channel(Process("walk", 300, 0.8, drift=0.002), 1.1, 0.0, 1.0, 1.0),
            "brand_search": Channel(Process("walk", 100, 1.1, drift=0.002), 1.2, 0.2, 1.5, 0.4),
            "video": Channel(Process("late", 500, 0.9, start=25, ramp=10), 1.1, 0.4, 0.8, 0.55),
            "video_2": Channel(Process("late", 1000, 1.2, start=75), 0.9, 0.3, 2.0, 0.7),
            "social": Channel(Process("season", 1000, 1.2, amplitude=0.4, phase=0.5), 0.5, 0.2, 1.0, 0.4),
            "social_2": Channel(Process("season", 1000, 0.9, amplitude=0.2, phase=np.pi / 4), 1.1, 0.1, 0.8, 1.2),
            "display": Channel(Process("burst", 500, 0.7, odds=0.3, least=2, most=4), 0.8, 0.05, 0.5, 0.5),
            "influencers": Channel(Process("burst", 500, 1.1, odds=0.1, least=2, most=6), 1.3, 0.1, 1.2, 0.9),
        },
        {
            "event_a": Control(Process("burst", 500, 0.5, odds=0.04, least=3, most=5), 0.5),
            "event_b": Control(Process("burst", 1000, 0.5, odds=0.2, least=1, most=8), 0.2),
            "linear": Control(Process("walk", 1000, 1.0, drift=0.005), 0.8),
            "sale": Control(Process("burst", 25, 0.5, odds=0.1, least=1, most=4), 100.0),
        },
    ),
}  # fmt: skip

# effect of spend r (in greatest weekly spend) with half-saturation k and Hill slope s; every form is one half at k
FORMS: dict[str, Callable[[Floats, Floats, Floats], Floats]] = {
    "hill": lambda r, k, s: r**s / (k**s + r**s),
    "logistic": lambda r, k, s: np.tanh(np.arctanh(0.5) * r / k),
    "michaelis_menten": lambda r, k, s: r / (k + r),
    "log": lambda r, k, s: np.log1p(r / k) / (2 * np.log(2)),
    "power": lambda r, k, s: 0.5 * (r / k) ** (s / 2),  # at k as elastic as Hill
}


@dataclass(frozen=True, eq=False)
class RecoveryWorld:
    """A market of one or more regions with known effects.

    spend, media : (channels, regions, weeks) money, and the sales it caused. controls, outside : (controls, regions, weeks) level, and the
    sales it caused. baseline, revenue : (regions, weeks), noise within the baseline.
    """

    weeks: pd.DatetimeIndex
    regions: tuple[str, ...]
    preset: Preset = field(repr=False)
    saturation: str
    adstock: str
    spend: Floats = field(repr=False)
    controls: Floats = field(repr=False)
    outside: Floats = field(repr=False)
    baseline: Floats = field(repr=False)
    media: Floats = field(repr=False)

    @property
    def revenue(self) -> Floats:
        """(regions, weeks)."""
        return self.baseline + self.outside.sum(axis=0) + self.media.sum(axis=0)

    @property
    def channels(self) -> tuple[str, ...]:
        """In the order of `spend`."""
        return tuple(self.preset.channels)

    def weekly(self) -> pd.DataFrame:
        """Table `weekly`."""
        named = [("target", "revenue", self.revenue), *(("control", name, x) for name, x in zip(self.preset.controls, self.controls, strict=True)),
                 *(("channel", name, x) for name, x in zip(self.channels, self.spend, strict=True))]  # fmt: skip
        rows = [pd.DataFrame({"week": self.weeks, "region": region, "role": role, "name": name, "value": x[r]})
                for role, name, x in named for r, region in enumerate(self.regions)]  # fmt: skip
        return pd.concat(rows, ignore_index=True)

    def contributions(self, spend: Floats | None = None) -> pd.DataFrame:
        """week × channel: sales caused, over all regions; with `spend` (channels, regions, weeks), what that plan would have caused."""
        caused = self.media if spend is None else self._caused(spend)
        return pd.DataFrame(caused.sum(axis=1).T, index=self.weeks, columns=list(self.channels))

    def _caused(self, spend: Floats) -> Floats:
        return caused(self.preset, spend, self.spend.max(axis=2), self.saturation, self.adstock)


def recovery_world(
    seed: int,
    preset: str = "medium",
    *,
    regions: int = 1,
    weeks: int | None = None,
    saturation: str = "hill",
    adstock: str = "geometric",
) -> RecoveryWorld:
    """Draw a world.

    Parameters
    ----------
    preset : small, growing or medium (published with 1, 2 and 8 regions). weeks : the preset's when None.
    saturation : hill (as published), logistic, michaelis_menten, log or power.
    adstock : geometric (as published), or delayed: weight retention^((lag − peak)²), greatest after one or two weeks, nothing for a
        channel without carry-over.
    """
    for value, known, where in (
        (preset, PRESETS, "preset"),
        (saturation, FORMS, "saturation"),
        (adstock, ("geometric", "delayed"), "adstock"),
    ):
        if value not in known:
            raise InputError(f"no {value!r}", where=where, fix=f"use {', '.join(known)}")
    if regions < 1 or (weeks is not None and weeks < LENGTH):
        raise InputError(f"{regions} regions, {weeks} weeks", where="recovery_world", fix=f"at least 1 region and {LENGTH} weeks")
    kind = PRESETS[preset]
    clock = pd.date_range("2020-01-05", periods=weeks or kind.weeks, freq="W")

    def series(name: str, process: Process) -> Floats:
        """(regions, weeks)."""
        return np.array([_run(process, clock, spawn(seed, f"recovery.{name}.{r}")) for r in range(regions)])

    spend = np.array([series(name, channel.spend) for name, channel in kind.channels.items()])
    controls = np.array([series(name, control.level) for name, control in kind.controls.items()])
    effect = np.array([[control.effect * _near(spawn(seed, f"recovery.{name}.effect.{r}")) for r in range(regions)]
                       for name, control in kind.controls.items()])  # fmt: skip
    baseline = np.array([_sales(kind, len(clock), spawn(seed, f"recovery.baseline.{r}")) for r in range(regions)])
    media = caused(kind, spend, spend.max(axis=2), saturation, adstock)
    names = tuple(f"geo_{r:02d}" for r in range(1, regions + 1))
    return RecoveryWorld(clock, names, kind, saturation, adstock, spend, controls, controls * effect[:, :, None], baseline, media)


def caused(preset: Preset, spend: Floats, most: Floats, saturation: str, adstock: str) -> Floats:
    """Sales caused, (channels, regions, weeks), by `spend` of that shape that saturates against `most` (channels, regions)."""
    told = list(preset.channels.values())
    retention, slope, kappa, top = (np.array([getattr(c, part) for c in told]) for part in ("retention", "slope", "kappa", "top"))
    weights = lag_weights(retention, adstock)
    carried = np.zeros_like(spend)
    for lag in range(min(LENGTH, spend.shape[2])):
        carried[:, :, lag:] += weights[:, lag, None, None] * spend[:, :, : spend.shape[2] - lag]
    bent = FORMS[saturation](carried / most[:, :, None], kappa[:, None, None], slope[:, None, None])
    return preset.base * top[:, None, None] * bent


def lag_weights(retention: Floats, adstock: str) -> Floats:
    """(channels, lags) of carry-over; the greatest is 1."""
    lags = np.arange(LENGTH)
    if adstock == "geometric":
        return retention[:, None] ** lags
    peak = np.where(retention > 0, np.resize(PEAKS, len(retention)), 0)
    return retention[:, None] ** ((lags - peak[:, None]) ** 2)


def _near(rng: np.random.Generator) -> float:
    return 1 + rng.uniform(-REGIONAL, REGIONAL)


def _sales(preset: Preset, weeks: int, rng: np.random.Generator) -> Floats:
    """Sales without media and outside effects."""
    season = preset.season * np.sin(2 * np.pi * np.arange(weeks) / 52)
    return np.maximum(preset.base * _near(rng) * (1 + season + rng.normal(0, NOISE, weeks)), 0.0)


def _run(process: Process, clock: pd.DatetimeIndex, rng: np.random.Generator) -> Floats:
    """A region's series; drawn anew while all of it is nothing, which has no maximum to be measured against."""
    near = process._replace(
        **{part: getattr(process, part) * _near(rng) for part in ("level", "swing", "drift", "odds", "amplitude", "phase")}
    )
    while True:
        out = _bursts(near, len(clock), rng) if near.kind == "burst" else _walk(near, len(clock), rng)
        if near.kind == "season":  # two waves a year
            out = out * near.amplitude * np.cos(near.phase + 4 * np.pi * clock.day_of_year.to_numpy() / 365.25)
        if near.kind == "late":
            rise = min(near.ramp, max(len(clock) - near.start, 0))
            out[: near.start] = 0.0
            out[near.start : near.start + rise] *= np.linspace(0, 1, rise)
        out = np.maximum(out, 0.0)
        if out.max() > 0:
            return out


def _walk(process: Process, weeks: int, rng: np.random.Generator) -> Floats:
    """A persistent series (autoregression .6, .3) that is held above zero, and grows."""
    out = rng.normal(0, process.level * process.swing, weeks)
    for t in range(2, weeks):
        out[t] = max(0.0, 0.6 * out[t - 1] + 0.3 * out[t - 2] + out[t])
    return out * (1 + np.linspace(0, process.drift * weeks, weeks))


def _bursts(process: Process, weeks: int, rng: np.random.Generator) -> Floats:
    """On for some weeks, then off for at least one."""
    on, week = np.zeros(weeks), 0
    while week < weeks:
        if rng.random() < process.odds:
            stop = week + int(rng.integers(process.least, process.most + 1))
            on[week:stop] = 1.0
            week = stop
        week += 1
    return on * process.level * (1 + rng.normal(0, process.swing, weeks))
