"""Panels of regions with a known effect, on which causal designs are judged: a published process, and hard ones.

`recast` is the process of a public study of geo-test tools (Recast, 2026): a textbook market (A1), a treated region five times as
large as the others (A2), ten regions only (A3), a third of the history (A4). Regions share a trend and a weekly season and
nothing else, so how much can be known there is known too: `Made.oracle` is the error of somebody who knows trend, season and noise.

`hard` panels have what real ones have: several common factors, a walk among them, an annual and a weekly season, noise that lasts
and has heavy tails, small regions that sell nothing on some days, holes and late data, and layers of shocks. The cells are fixed:
48 by a Latin hypercube in two halves, each of which fills the space alone; the second half is for judges, not for development.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np

from liftwise.core.uncertainty import Floats, spawn

RECAST = ("A1", "A2", "A3", "A4")
_CELLS_SEED, _CELLS, _DRAWS = 20_260, 48, 200
_TRAITS: dict[str, tuple[Any, ...]] = {
    "units": (20, 20, 30, 30, 30, 50, 50, 50, 100, 100, 200, 1000),
    "calendar": ((True, 52), (True, 80), (True, 104), (True, 130), (False, 60), (False, 104), (False, 180), (False, 688)),
    "post": ((6, 7), (8, 14), (12, 28), (15, 42)),  # weeks, days
    "rho": (0.0, 0.3, 0.6, 0.8),
    "heavy": (False, True),
    "zeros": (False, False, False, True),
    "holes": (0.0, 0.0, 0.0, 0.2),
    "treated": (1, 1, 1, 2, 2, 5, 5, 20),
    "effect": (0.0, 0.02, 0.05, 0.075, 0.10, 0.20),
    "shape": ("constant", "ramp", "decay"),
    "lead": (0, 0, 0, 1, 2, 3),
    "carry": (0.0, 0.0, 0.6),
    "spill": (0.0, 0.0, 0.15, 0.30),
    "national": (True, False),
    "regional": (True, False, False),
    "break_in_donor": (True, False, False),
    # hidden at 0.5 would show half of what hidden at 0.9 shows
    "competitor": ((None, False),) * 3 + ((0.0, False), (0.5, False), (0.9, False), (0.0, True), (0.9, True)),
    "tv": ((None, False, None),) * 5 + ((0.0, False, None),) * 2 + ((0.5, False, None), (0.0, True, None),
           (None, False, 0.0), (None, False, 0.5), (None, False, 1.0)),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Made:
    """sales (units, periods), of which the first `treated` rows had a campaign from period `pre` on; not a number where missing.

    effect : what it added in all, over treated units and periods. oracle : error of the log lift for one who knows all but the noise.
    exposure : name → (units, periods) what else ran, as far as it is observed. touched : units that the campaign spilled over to.
    Where a campaign is felt before it starts, `pre` is when it was announced, which its owner knows, and `effect` counts from there.
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
    """A hard market. Shares are of units.

    effect : mean lift over the `post` periods. lead : periods before the start in which some of it is felt already.
    carry : share of the effect that is left a period later once the campaign has ended (0: it runs to the end of the panel).
    spill : share of the effect felt by the two neighbours of each treated unit, on a ring of all units in some order.
    zeros : the smallest fifth of the comparison units sell nothing in some periods. holes : share of the
    comparison units with missing or late periods.
    competitor, tv : None, or how far their intensity goes with being treated (0: at random). hidden : nobody observes the competitor.
    flat : television is the same everywhere, and answered by each unit in its own measure. overlap : share of the treated units in
    which regional television runs, beside a third of the others.
    """

    units: int
    pre: int
    post: int
    weekly: bool
    rho: float
    heavy: bool
    zeros: bool
    holes: float
    treated: int
    effect: float
    shape: str
    lead: int
    carry: float
    spill: float
    national: bool
    regional: bool
    break_in_donor: bool
    competitor: float | None
    hidden: bool
    tv: float | None
    flat: bool
    overlap: float | None

    @property
    def knowable(self) -> bool:
        """Whether the effect can be told from the data at all; where it cannot, no interval is owed, only a doubt.

        A competitor who strikes where and when the campaign runs, and whose spend nobody sees, shifts the treated units by an amount
        that no data contain: the same sales arise from a smaller effect and no competitor. Hidden shocks that go by chance stay
        knowable, as they hit the comparison units by the same law, so that placebos show how far they stray. So does flat
        television, seen or not: its own effect cannot be told, but the comparison units have it too, so the campaign's can.
        """
        return not (self.hidden and self.competitor)

    @property
    def name(self) -> str:
        """Short, for tables."""
        marks = {
            "heavy": self.heavy, "zeros": self.zeros, f"holes {self.holes:g}": self.holes, f"lead {self.lead}": self.lead,
            f"carry {self.carry:g}": self.carry, f"spill {self.spill:g}": self.spill, "national": self.national,
            "regional": self.regional, "break": self.break_in_donor,
            f"{'hidden ' if self.hidden else ''}competitor {self.competitor}": self.competitor is not None,
            "tv flat" if self.flat else f"tv {self.tv}": self.tv is not None, f"tv in {self.overlap}": self.overlap is not None,
        }  # fmt: skip
        also = ", ".join(mark for mark, on in marks.items() if on)
        long = f"{self.pre}+{self.post} {'weeks' if self.weekly else 'days'}"
        return f"{self.treated}/{self.units} units, {long}, ρ {self.rho:g}, {self.effect:.1%} {self.shape}{'; ' if also else ''}{also}"


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
    # no two traits should go together: of many draws, the one whose largest correlation is smallest
    draw = min((_sliced(rng) for _ in range(_DRAWS)), key=_entangled)
    return [_cell(row) for row in draw[::2]]


def _sliced(rng: np.random.Generator) -> Floats:
    """(cells, traits) in [0, 1): a Latin hypercube whose even and odd rows are Latin hypercubes themselves (Qian 2012, JASA 107)."""
    draw = np.empty((_CELLS, len(_TRAITS)))
    for trait in range(len(_TRAITS)):
        pairs = rng.permuted(np.arange(_CELLS).reshape(-1, 2), axis=1)  # of two neighbouring strata, one for each half
        draw[0::2, trait], draw[1::2, trait] = rng.permutation(pairs[:, 0]), rng.permutation(pairs[:, 1])
    return draw / _CELLS


def _entangled(draw: Floats) -> float:
    return max(float(np.abs(np.triu(np.corrcoef(half.T), 1)).max()) for half in (draw[::2], draw[1::2]))


def _cell(row: Floats) -> Cell:
    told = {name: options[int(at * len(options))] for at, (name, options) in zip(row, _TRAITS.items(), strict=True)}
    weekly, pre = told.pop("calendar")
    competitor, hidden = told.pop("competitor")
    tv, flat, overlap = told.pop("tv")
    told["post"] = min(told["post"][0 if weekly else 1], pre // 3)
    told["treated"] = min(told["treated"], told["units"] // 5)
    return Cell(**told, weekly=weekly, pre=pre, competitor=competitor, hidden=hidden, tv=tv, flat=flat, overlap=overlap)


def hard(cell: Cell, seed: int) -> Made:
    """One panel of a cell. The same cell with another effect gives its twin: the same market, with that effect."""
    rng = spawn(seed, f"hard.{replace(cell, effect=0.0)}")
    units, periods = cell.units, cell.pre + cell.post
    size = np.exp(0.7 * rng.normal(size=units))
    spread = 0.06 * size**-0.25 * np.exp(0.25 * rng.normal(size=units))
    noise = np.sqrt(1 - cell.rho**2) * lasting(rng, (units, periods), cell.rho, heavy=cell.heavy)
    level = np.log(1000 * size)[:, None] + _common(rng, cell, units, np.arange(periods)) + spread[:, None] * noise
    level = level + _shocks(rng, cell)
    beside, exposure = _beside(rng, cell)
    without = np.exp(level + beside)
    if cell.zeros:
        small = cell.treated + np.argsort(size[cell.treated :])[: units // 5]
        without[small] *= rng.random((len(small), periods)) > 0.15
    touched = _neighbours(rng, cell) if cell.spill else ()
    curve, pre = _curve(cell), cell.pre - cell.lead
    added = np.zeros_like(without)
    added[: cell.treated] = without[: cell.treated] * curve
    added[list(touched)] = without[list(touched)] * cell.spill * curve
    sales = np.where(_missing(rng, cell), np.nan, without + added)
    share = size[: cell.treated] / size[: cell.treated].sum()
    noisy = float(np.sqrt(np.sum((share * spread[: cell.treated]) ** 2) * (1 - cell.rho**2)))
    oracle = noisy * known_error(pre, periods - pre, cell.rho)
    return Made(sales, cell.treated, pre, float(added[: cell.treated].sum()), oracle, exposure, touched)


def _common(rng: np.random.Generator, cell: Cell, units: int, when: np.ndarray) -> Floats:
    """What moves all regions, each by its own measure: two seasons, a walk, a slow wave."""
    year, week = (52.18, 4.345) if cell.weekly else (365.25, 7.0)
    turn = rng.uniform(0, 2 * np.pi, 2)
    factors = np.array([
        0.10 * np.sin(2 * np.pi * when / year + turn[0]), 0.05 * np.sin(2 * np.pi * when / week + turn[1]),
        np.cumsum(0.008 * rng.normal(size=len(when))), 0.04 * np.sin(2 * np.pi * when / (1.7 * year)),
    ])  # fmt: skip
    return (1 + 0.3 * rng.normal(size=(units, len(factors)))) @ factors


def _shocks(rng: np.random.Generator, cell: Cell) -> Floats:
    """(units, periods) of what else moves sales, on logs: events everywhere, events here and there, a break in one donor."""
    units, periods = cell.units, cell.pre + cell.post
    level = np.zeros((units, periods))
    if cell.national:
        for first in rng.integers(0, periods - 4, 3):
            level[:, first : first + 4] += rng.normal(0, 0.08) * (1 + 0.2 * rng.normal(size=units))[:, None]
    if cell.regional:  # somebody else's event, anywhere and at any time
        for first in rng.integers(0, periods - 8, 3):
            level[rng.random(units) < 0.2, first : first + 8] += rng.normal(0, 0.06)
    if cell.break_in_donor:
        level[-1, cell.pre + cell.post // 2 :] += 0.25
    return level


def _beside(rng: np.random.Generator, cell: Cell) -> tuple[Floats, dict[str, Floats]]:
    """(units, periods) of what competitor and television do to log sales, and what is observed of them."""
    treated = np.arange(cell.units) < cell.treated

    def near(share: float) -> Floats:
        return share * treated + (1 - share) * rng.random(cell.units)

    level, seen = np.zeros((cell.units, cell.pre + cell.post)), dict[str, Floats]()
    if cell.competitor is not None:
        ran = _flights(rng, cell, rng.random((2, cell.units)), near(cell.competitor))
        level -= 0.06 * ran
        if not cell.hidden:
            seen["competitor"] = ran
    keep = rng.uniform(0.5, 0.8)
    if cell.flat:
        seen["tv"] = _carried(_flights(rng, cell, np.ones((2, cell.units)), np.ones(cell.units)), keep)
        level += 0.06 * (1 + 0.2 * rng.normal(size=(cell.units, 1))) * seen["tv"]
    elif cell.tv is not None:
        seen["tv"] = _carried(_flights(rng, cell, rng.random((2, cell.units)), near(cell.tv)), keep)
        level += 0.06 * seen["tv"]
    if cell.overlap is not None:
        reached = int(cell.overlap * cell.treated + rng.random())  # half of one region: one panel in two
        where = np.where(treated, np.arange(cell.units) < reached, rng.random(cell.units) < 1 / 3).astype(float)
        seen["regional_tv"] = _carried(_flights(rng, cell, (rng.random((2, cell.units)) < 1 / 3).astype(float), where), keep)
        level += 0.06 * seen["regional_tv"]
    return level, seen


def _flights(rng: np.random.Generator, cell: Cell, before: Floats, now: Floats) -> Floats:
    """Intensity (units, periods) of something that ran twice before (2, units), and once within a week of the campaign (units,)."""
    long = 6 if cell.weekly else 14
    on = np.zeros((cell.units, cell.pre + cell.post))
    for first, intensity in zip(rng.integers(5, cell.pre - 2 * long, 2), before, strict=True):
        on[:, first : first + long] += intensity[:, None]
    begin = cell.pre + int(rng.integers(-1, 2) if cell.weekly else rng.integers(-7, 8))
    on[:, begin : begin + long] += now[:, None]
    return on


def _curve(cell: Cell) -> Floats:
    """(periods,) of the lift: its shape while the campaign runs, what is left of it afterwards, and what is felt before the start."""
    runs = cell.post if not cell.carry else max(2, round(0.6 * cell.post))
    when = np.arange(runs)
    shape = {"constant": np.ones(runs), "ramp": np.linspace(0.3, 1.7, runs), "decay": 0.5 ** (when / 4)}[cell.shape]
    after = np.concatenate([shape, shape[-1] * cell.carry ** np.arange(1, cell.post - runs + 1)])
    curve = np.zeros(cell.pre + cell.post)
    curve[cell.pre :] = cell.effect * after / after.mean()
    curve[cell.pre - cell.lead : cell.pre] = 0.3 * curve[cell.pre]
    return curve


def _neighbours(rng: np.random.Generator, cell: Cell) -> tuple[int, ...]:
    """Untreated units beside a treated one on a ring of all units."""
    ring = rng.permutation(cell.units)
    treated = ring < cell.treated
    beside = (np.roll(treated, 1) | np.roll(treated, -1)) & ~treated
    return tuple(sorted(ring[beside].tolist()))


def _missing(rng: np.random.Generator, cell: Cell) -> np.ndarray:
    """(units, periods) of data that never came, or have not come yet; never a treated unit's."""
    periods = cell.pre + cell.post
    holed = (rng.random(cell.units) < cell.holes) & (np.arange(cell.units) >= cell.treated)
    late = np.where(rng.random(cell.units) < 0.5, rng.integers(1, 4, cell.units), 0)
    lost = (rng.random((cell.units, periods)) < 0.03) & (late == 0)[:, None]
    return holed[:, None] & (lost | (np.arange(periods) >= (periods - late)[:, None]))


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


@lru_cache
def known_error(pre: int, post: int, rho: float) -> float:
    """Error of a step after `pre` of pre + post periods of unit-innovation AR(1) noise about an unknown level, by least squares."""
    lag = np.abs(np.subtract.outer(np.arange(pre + post), np.arange(pre + post)))
    inverse = np.linalg.inv(rho**lag / (1 - rho**2)) if rho else np.eye(pre + post)
    design = np.column_stack([np.ones(pre + post), np.arange(pre + post) >= pre]).astype(float)
    return float(np.sqrt(np.linalg.inv(design.T @ inverse @ design)[1, 1]))
