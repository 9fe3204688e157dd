"""Panels of regions with a known effect, on which causal designs are judged: a published process, and hard ones.

`recast` is the process of a public study of geo-test tools (Recast, 2026): a textbook market (A1), a treated region five times as
large as the others (A2), ten regions only (A3), a third of the history (A4). Regions share a trend and a weekly season and
nothing else, so how much can be known there is known too: `Made.oracle` is the error of somebody who knows trend, season and noise.

`hard` panels have what real ones have: several common factors, a walk among them, an annual and a weekly season, noise that lasts
and has heavy tails, and layers of shocks. The cells are fixed: half of a space-filling draw, the other half is not in here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from liftwise.core.uncertainty import Floats, spawn

RECAST = ("A1", "A2", "A3", "A4")
_CELLS_SEED, _CELLS = 20_260, 48


@dataclass(frozen=True, eq=False)
class Made:
    """sales (units, periods), of which the first `treated` rows had a campaign from period `pre` on.

    effect : what it added in all, over treated units and periods. oracle : error of the log lift for one who knows all but the noise.
    exposure : name → (units, periods) what else ran, as far as it is observed. touched : units that the campaign spilled over to.
    """

    sales: Floats = field(repr=False)
    treated: int
    pre: int
    effect: float
    oracle: float
    exposure: dict[str, Floats] = field(default_factory=dict, repr=False)
    touched: tuple[int, ...] = ()


@dataclass(frozen=True)
class Cell:
    """A hard market. Shares are of units; `competitor` and `tv` are correlations of their intensity with being treated."""

    units: int
    pre: int
    post: int
    weekly: bool
    rho: float
    heavy: bool
    treated: int
    effect: float
    shape: str
    national: bool
    regional: bool
    break_in_donor: bool
    competitor: float | None
    tv: float | None
    spill: float

    @property
    def name(self) -> str:
        """Short, for tables."""
        marks = [
            word for word, on in (("national", self.national), ("regional", self.regional), ("break", self.break_in_donor)) if on
        ]
        marks += [f"competitor {self.competitor:g}"] if self.competitor is not None else []
        marks += [f"tv {self.tv:g}"] if self.tv is not None else []
        marks += [f"spill {self.spill:g}"] if self.spill else []
        return f"{self.treated}/{self.units} units, {self.pre}+{self.post}, ρ {self.rho:g}, {self.effect:.1%} {self.shape}" + (
            f"; {', '.join(marks)}" if marks else "")  # fmt: skip


def recast(cell: str, seed: int, effect: float) -> Made:
    """One panel of the published process; the treated region is the one nearest the median."""
    rng = spawn(seed, f"recast.{cell}")
    units, pre, post = 10 if cell == "A3" else 21, 30 if cell == "A4" else 90, 15
    size = np.exp(np.log(4000) + 0.6 * rng.normal(size=units))
    middle = int(np.argmin(np.abs(size - np.median(size))))
    size[[0, middle]] = size[[middle, 0]]
    spread, day = 0.20 * np.sqrt(size / size.mean()), np.arange(pre + post)
    season = 1 + 0.10 * np.array([-1, -0.5, 0, 0.2, 0.8, 1, 0.5])[day % 7]
    values = size[:, None] * (1 + 0.001 * day) * season * np.exp(spread[:, None] * lasting(rng, (units, pre + post), 0.30))
    if cell == "A2":
        values[0] *= 5
    added = np.zeros_like(values)
    added[0, pre:] = effect * values[0, pre:]
    return Made(values + added, 1, pre, float(added.sum()), float(spread[0]) * known_error(pre, post, 0.30))


def cells(seed: int = _CELLS_SEED) -> list[Cell]:
    """The public half of the hard cells."""
    rng = spawn(seed, "hard.cells")
    # each trait runs through its values evenly over the 48 cells, in an order of its own: a Latin hypercube
    draw = {k: rng.permutation(_CELLS) / _CELLS for k in range(14)}

    def pick(trait: int, cell: int, options: tuple):
        return options[int(draw[trait][cell] * len(options))]

    return [
        Cell(
            units=pick(0, k, (20, 30, 50, 100)), pre=pick(1, k, (52, 80, 104, 130)), post=pick(2, k, (6, 8, 12, 15)),
            weekly=pick(3, k, (True, False)), rho=pick(4, k, (0.0, 0.3, 0.6, 0.8)), heavy=pick(5, k, (False, True)),
            treated=pick(6, k, (1, 1, 2, 5)), effect=pick(7, k, (0.0, 0.02, 0.05, 0.075, 0.10, 0.20)),
            shape=pick(8, k, ("constant", "ramp", "decay")), national=pick(9, k, (True, False)), regional=pick(10, k, (True, False, False)),
            break_in_donor=pick(11, k, (True, False, False)), competitor=pick(12, k, (None, None, 0.0, 0.5)),
            tv=pick(13, k, (None, None, 0.0, 0.5)), spill=0.0,
        )
        for k in range(0, _CELLS, 2)
    ]  # fmt: skip


def hard(cell: Cell, seed: int) -> Made:
    """One panel of a cell."""
    rng = spawn(seed, f"hard.{cell}")
    units, periods, pre = cell.units, cell.pre + cell.post, cell.pre
    when = np.arange(periods)
    size = np.exp(0.7 * rng.normal(size=units))
    level = np.log(1000 * size)[:, None] + _common(rng, cell, units, when)
    spread = 0.06 * size**-0.25 * np.exp(0.25 * rng.normal(size=units))
    level = level + spread[:, None] * np.sqrt(1 - cell.rho**2) * lasting(rng, (units, periods), cell.rho, heavy=cell.heavy)
    if cell.national:
        for first in rng.integers(0, periods - 4, 3):
            level[:, first : first + 4] += rng.normal(0, 0.08) * (1 + 0.2 * rng.normal(size=units))[:, None]
    if cell.regional:  # somebody else's event, anywhere and at any time
        for first in rng.integers(0, periods - 8, 3):
            level[rng.random(units) < 0.2, first : first + 8] += rng.normal(0, 0.06)
    if cell.break_in_donor:
        level[-1, pre + cell.post // 2 :] += 0.25
    exposure: dict[str, Floats] = {}
    for name, near, strength, carry in (
        ("competitor", cell.competitor, -0.06, 0.0),
        ("tv", cell.tv, 0.06, rng.uniform(0.5, 0.8)),
    ):
        if near is not None:
            exposure[name] = _flights(rng, cell, near)
            level = level + strength * _carried(exposure[name], carry)
            exposure[name] = _carried(exposure[name], carry)
    without = np.exp(level)
    profile = {
        "constant": np.ones(cell.post),
        "ramp": np.linspace(0.3, 1.7, cell.post),
        "decay": 2 * 0.5 ** (np.arange(cell.post) / 4),
    }
    curve = cell.effect * profile[cell.shape] / profile[cell.shape].mean()
    added = np.zeros_like(without)
    added[: cell.treated, pre:] = without[: cell.treated, pre:] * curve
    oracle = (
        float(np.sqrt(np.mean(spread[: cell.treated] ** 2) / cell.treated))
        * known_error(pre, cell.post, cell.rho)
        * np.sqrt(1 - cell.rho**2)
    )
    return Made(without + added, cell.treated, pre, float(added.sum()), float(oracle), exposure)


def _common(rng: np.random.Generator, cell: Cell, units: int, when: np.ndarray) -> Floats:
    """What moves all regions, each by its own measure: two seasons, a walk, a slow wave."""
    year, week = (52.18, 4.345) if cell.weekly else (365.25, 7.0)
    turn = rng.uniform(0, 2 * np.pi, 2)
    factors = np.array([
        0.10 * np.sin(2 * np.pi * when / year + turn[0]), 0.05 * np.sin(2 * np.pi * when / week + turn[1]),
        np.cumsum(0.008 * rng.normal(size=len(when))), 0.04 * np.sin(2 * np.pi * when / (1.7 * year)),
    ])  # fmt: skip
    return (1 + 0.3 * rng.normal(size=(units, len(factors)))) @ factors


def _flights(rng: np.random.Generator, cell: Cell, near: float) -> Floats:
    """Intensity (units, periods) of something that ran twice before, and once within a week of the campaign."""
    periods = cell.pre + cell.post
    treated = np.arange(cell.units) < cell.treated
    where = np.clip(near * treated + (1 - near) * rng.random(cell.units), 0, 1)
    on = np.zeros((cell.units, periods))
    for first in rng.integers(5, cell.pre - 12, 2):
        on[:, first : first + 6] += rng.random(cell.units)[:, None]
    begin = cell.pre + int(rng.integers(-1, 2) if cell.weekly else rng.integers(-7, 8))
    on[:, begin : begin + 6] += where[:, None]
    return on


def _carried(intensity: Floats, keep: float) -> Floats:
    out, now = np.empty_like(intensity), np.zeros(len(intensity))
    for t in range(intensity.shape[1]):
        now = keep * now + (1 - keep) * intensity[:, t]
        out[:, t] = now
    return out


def lasting(rng: np.random.Generator, shape: tuple[int, int], rho: float, *, heavy: bool = False) -> Floats:
    """Noise (units, periods) that lasts: AR(1) with unit innovations, of Student's t with 4 degrees of freedom when heavy."""
    fresh = rng.standard_t(4, size=shape) / np.sqrt(2) if heavy else rng.normal(size=shape)
    noise = np.empty(shape)
    noise[:, 0] = fresh[:, 0] / np.sqrt(1 - rho**2)
    for t in range(1, shape[1]):
        noise[:, t] = rho * noise[:, t - 1] + fresh[:, t]
    return noise


def known_error(pre: int, post: int, rho: float) -> float:
    """Error of a step after `pre` of pre + post periods of unit-innovation AR(1) noise about an unknown level, by least squares."""
    lag = np.abs(np.subtract.outer(np.arange(pre + post), np.arange(pre + post)))
    inverse = np.linalg.inv(rho**lag / (1 - rho**2)) if rho else np.eye(pre + post)
    design = np.column_stack([np.ones(pre + post), np.arange(pre + post) >= pre]).astype(float)
    return float(np.sqrt(np.linalg.inv(design.T @ inverse @ design)[1, 1]))
