"""Causal designs on panels whose effect is known: do intervals keep their word, and what does it cost in power?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from liftwise.core.errors import CannotTell
from liftwise.core.uncertainty import normal_quantile
from liftwise.sources.simulator.panels import RECAST, Cell, Made, cells, hard, recast
from liftwise.store.runs import Progress, silent

if TYPE_CHECKING:
    from liftwise.models.causal import Lift, Panel

LEVELS, LEVEL, LIFT, SIGNIFICANT = (0.80, 0.90, 0.95), 0.90, 0.20, 0.05
COLUMNS = ["method", "quantity", "error", "worst", "usual", "usual_error", "mc_error", "seeds"]
JUDGED = [
    "refused", *(f"covered {level:.0%}" for level in LEVELS), "usual", "width", "found", "power", "missed", "warned", "unwarned", "away", "error",
]  # fmt: skip
OURS, USUAL = "calibrated_control", "difference in differences, textbook error"

Row = tuple[object, ...]


def prove_panels(count: int, *, first: int = 0, progress: Progress = silent) -> pd.DataFrame:
    """Scoreboard rows of `count` panels in each published scenario and each hard cell; `mc_error` is one standard error.

    Coverage is that of the panels answered; refusals are a row of their own. Cells in which the effect cannot be known
    (`Cell.knowable`) have no coverage to keep: of them the rows tell how often the interval misses, and misses without a check that warns
    (which says something only beside how often checks warn elsewhere, a row too).
    """
    seeds, hard_cells = range(first, first + count), cells()
    rows: list[Row] = []
    for k, name in enumerate(RECAST):
        progress("panels", k / (len(RECAST) + len(hard_cells)), name)
        found = judge(lambda seed, name=name: recast(name, seed, LIFT), seeds)
        rows += [_coverage(found, name, LEVEL), _power(found, name)]
    judged: list[tuple[Cell, pd.DataFrame]] = []
    for k, cell in enumerate(hard_cells):
        name = f"hard {k + 1}: {cell.name}"
        progress("panels", (len(RECAST) + k) / (len(RECAST) + len(hard_cells)), name)
        found = judge(lambda seed, cell=cell: hard(cell, seed), seeds)
        rows += _known(found, name) if cell.knowable else _unknowable(found, name)
        judged.append((cell, found))
    progress("panels", 1.0)
    known = [found for cell, found in judged if cell.knowable]
    null = pd.concat([found for cell, found in judged if cell.knowable and not cell.effect])
    rows += _known(pd.concat(known), "all hard panels", known)
    rows.append(_share(null["found"], f"false positives at {SIGNIFICANT * 100:.0f} %", "all hard panels without effect"))
    rows.append(_share(pd.concat(known)["warned"], "some check warned", "all hard panels"))
    rows += _unknowable(pd.concat([found for cell, found in judged if not cell.knowable]), "all of them")
    return pd.DataFrame(rows, columns=COLUMNS)


def _known(found: pd.DataFrame, name: str, worst: Sequence[pd.DataFrame] = ()) -> list[Row]:
    """What is owed where the effect can be known; `worst` holds the cells apart, when `found` holds them together."""
    covered = [_coverage(found, name, level, worst) for level in LEVELS]
    return [*covered, _width(found, name, worst), _share(found["refused"], "refused", name)]


def _unknowable(found: pd.DataFrame, name: str) -> list[Row]:
    rows = [("missed", "unknowable, missed at 90 %"), ("unwarned", "unknowable, missed and no check warned")]
    return [_share(found[column], what, name) for column, what in rows]


def judge(make: Callable[[int], Made], seeds: range) -> pd.DataFrame:
    """One row a panel, not a number where it was refused.

    Columns: refused; covered at each of `LEVELS` and usual (1 or 0); width of the 90 % interval over that of one who knows all but the noise;
    found (p below 5 %) and power (the chance of one who knows to find it); missed at 90 %; warned: some check did;
    unwarned: missed, and none did;
    away: log of the effect estimated as a ratio, less the true one's; error: half the interval of 90 % as a standard error, on logs.
    """
    return pd.DataFrame([_one(make(seed)) for seed in seeds], index=seeds).reindex(columns=JUDGED)


def lift_of(made: Made) -> Lift:
    """The effect as a careful user would ask for it.

    Neighbours that the campaign may have spilled over to are no donors, and what else was observed is taken out where units differ in it
    (what is alike everywhere the donors carry already; the design refuses it).
    """
    from liftwise.models.causal import CalibratedControl

    panel = panel_of(made)
    names = [f"r{k:04d}" for k in range(len(made.sales))]
    adjust = tuple(name for name, ran in made.exposure.items() if np.ptp(ran, axis=0).max() > 0)
    near = [names[k] for k in made.touched]
    return CalibratedControl(adjust=adjust).estimate(panel, treated=names[: made.treated], start=made.pre, exclude=near)


def panel_of(made: Made) -> Panel:
    """The panel as it is read from rows, so that holes are dealt with by the panel's own rules."""
    from liftwise.models.causal import Panel

    units, periods = made.sales.shape
    names = [f"r{k:04d}" for k in range(units)]
    if not np.isnan(made.sales).any():  # the same, sooner
        return Panel(made.sales, tuple(names), pd.RangeIndex(periods), exposure=made.exposure)
    columns = {"region": np.repeat(names, periods), "week": np.tile(np.arange(periods), units), "revenue": made.sales.ravel()}
    frame = pd.DataFrame(columns | {name: ran.ravel() for name, ran in made.exposure.items()})
    return Panel.of(frame.dropna(subset=["revenue"]), exposure=tuple(made.exposure))


def _one(made: Made) -> dict[str, float]:
    actual = float(made.sales[: made.treated, made.pre :].sum())
    true = np.log(actual / max(actual - made.effect, 1e-9))
    row = {"refused": 0.0, "usual": float(_usual(made)), "power": _power_of(float(true), made.oracle)}
    try:
        lift = lift_of(made)
        ends = {level: lift.interval(level) for level in LEVELS}
    except CannotTell:
        return row | {"refused": 1.0}
    row |= {f"covered {level:.0%}": float(low <= made.effect <= high) for level, (low, high) in ends.items()}
    low, high, middle = (-np.log1p(-min(end / actual, 1 - 1e-9)) for end in (*ends[LEVEL], lift.effect))
    error = (high - low) / 2 / normal_quantile(LEVEL)
    missed = not ends[LEVEL][0] <= made.effect <= ends[LEVEL][1]
    warned = any(check.verdict != "ok" for check in lift.checks)
    return row | {
        "width": error / made.oracle, "found": float(lift.p_value < SIGNIFICANT), "missed": float(missed),
        "warned": float(warned), "unwarned": float(missed and not warned), "away": float(middle - true), "error": float(error),
    }  # fmt: skip


def _power_of(size: float, error: float) -> float:
    from scipy.stats import norm

    limit = normal_quantile(1 - SIGNIFICANT)
    return float(norm.sf(limit - size / error) + norm.cdf(-limit - size / error))


def _coverage(found: pd.DataFrame, name: str, level: float, worst: Sequence[pd.DataFrame] = ()) -> Row:
    column = f"covered {level:.0%}"
    usual = abs(found["usual"].mean() - LEVEL) if level == LEVEL else np.nan
    furthest = max((max(0.0, level - one[column].mean()) for one in worst), default=np.nan)  # the cell that falls short most
    return (OURS, f"coverage − {level * 100:.0f} %, {name}", abs(found[column].mean() - level), furthest, USUAL if level == LEVEL else "", usual,
            *_mc_error(found[column]))  # fmt: skip


def _power(found: pd.DataFrame, name: str) -> Row:
    known = max(found["power"].mean(), 1e-9)
    error, count = _mc_error(found["found"])
    short = max(0.0, 1 - found["found"].mean() / known)
    return OURS, f"power short of one who knows the season, {LIFT:.0%}, {name}", short, np.nan, "", np.nan, error / known, count


def _width(found: pd.DataFrame, name: str, worst: Sequence[pd.DataFrame] = ()) -> Row:
    furthest, told = max((one["width"].median() for one in worst), default=np.nan), found["width"].dropna()
    spread = np.subtract(*np.quantile(told, [0.75, 0.25])) if len(told) else np.nan  # widths have a heavy tail; a median has not
    error = 1.2533 * spread / 1.349 / np.sqrt(max(len(told), 1))
    return (
        OURS,
        f"width over that of one who knows all but the noise, {name}",
        told.median(),
        furthest,
        "",
        np.nan,
        error,
        len(told),
    )


def _share(found: pd.Series, what: str, name: str) -> Row:
    return OURS, f"{what}, {name}", found.mean(), np.nan, "", np.nan, *_mc_error(found)


def _mc_error(held: pd.Series) -> tuple[float, int]:
    """One standard error of a share of panels, not 0 where all or none agree; and of how many panels that had an answer."""
    share, count = float(held.mean()), int(held.notna().sum())
    return float(np.sqrt(max(share * (1 - share), 0.25 / count) / count)) if count else np.nan, count


def _usual(made: Made) -> bool:
    """Whether the usual interval holds the truth: treated less the others' mean, after less before, errors taken as independent."""
    others = np.nanmean(made.sales[made.treated :], axis=0)
    gap = made.sales[: made.treated].mean(axis=0) - others
    before, after = gap[: made.pre], gap[made.pre :]
    effect = (after.mean() - before.mean()) * len(after) * made.treated
    error = np.sqrt(before.var(ddof=1) * (1 / len(before) + 1 / len(after))) * len(after) * made.treated
    return bool(abs(effect - made.effect) <= normal_quantile(LEVEL) * error)
