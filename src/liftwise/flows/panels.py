"""Causal designs on panels whose effect is known: do intervals keep their word, and what does it cost in power?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from liftwise.core.uncertainty import normal_quantile
from liftwise.sources.simulator.panels import RECAST, Made, cells, hard, recast
from liftwise.store.runs import Progress, silent

LEVEL, LIFT, SIGNIFICANT = 0.90, 0.20, 0.05
COLUMNS = ["method", "quantity", "error", "worst", "usual", "usual_error", "mc_error", "seeds"]
USUAL = "difference in differences, textbook error"


def prove_panels(count: int, *, first: int = 0, progress: Progress = silent) -> pd.DataFrame:
    """Scoreboard rows of `count` panels in each published scenario and each hard cell; `mc_error` is one standard error."""
    rows: list[tuple[object, ...]] = []
    told = [*((name, lambda seed, name=name: recast(name, seed, LIFT)) for name in RECAST),
            *((f"hard {k + 1}: {cell.name}", lambda seed, cell=cell: hard(cell, seed)) for k, cell in enumerate(cells()))]  # fmt: skip
    covered: list[tuple[float, float]] = []
    for k, (name, make) in enumerate(told):
        progress("panels", k / len(told), name)
        ours, usual, power, oracle = _judge(make, range(first, first + count))
        error = _mc_error(ours, count)
        rows.append(
            ("calibrated_control", f"coverage − 90 %, {name}", abs(ours - LEVEL), np.nan, USUAL, abs(usual - LEVEL), error, count)
        )
        if name in RECAST:
            short = max(0.0, 1 - power / max(oracle, 1e-9))
            rows.append(("calibrated_control", f"power short of one who knows the season, {LIFT:.0%}, {name}", short, np.nan, "", np.nan,
                         _mc_error(power, count) / max(oracle, 1e-9), count))  # fmt: skip
        else:
            covered.append((ours, usual))
    progress("panels", 1.0)
    hard_cells = np.array(covered)
    overall, away = hard_cells.mean(axis=0), np.abs(hard_cells - LEVEL).max(axis=0)
    error = float(np.sqrt(overall[0] * (1 - overall[0]) / (count * len(covered))))
    rows.append(("calibrated_control", "coverage − 90 %, all hard panels", abs(overall[0] - LEVEL), away[0], USUAL, abs(overall[1] - LEVEL), error,
                 count * len(covered)))  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def _mc_error(share: float, count: int) -> float:
    """One standard error of a share of `count` panels; not 0 where all or none agree."""
    return float(np.sqrt(max(share * (1 - share), 0.25 / count) / count))


def _judge(make, seeds: range) -> tuple[float, float, float, float]:
    """Shares of panels: our interval holds the truth, the usual one does, we find the effect, an oracle would."""
    found = np.array([list(_one(make(seed))) for seed in seeds], dtype=float)
    return tuple(found.mean(axis=0).tolist())


def _one(made: Made) -> Iterator[float]:
    from liftwise.models.causal import CalibratedControl, Panel

    units, periods = made.sales.shape
    panel = Panel(made.sales, tuple(f"r{k:03d}" for k in range(units)), pd.RangeIndex(periods), exposure=made.exposure)
    treated = panel.units[: made.treated]
    lift = CalibratedControl(adjust=tuple(made.exposure)).estimate(panel, treated=treated, start=made.pre)
    low, high = lift.interval(LEVEL)
    yield float(low <= made.effect <= high)
    yield float(_usual(made))
    yield float(lift.p_value < SIGNIFICANT)
    size = np.log1p(made.effect / max(made.sales[: made.treated, made.pre :].sum() - made.effect, 1e-9)) / made.oracle
    from scipy.stats import norm

    limit = normal_quantile(1 - SIGNIFICANT)
    yield float(norm.sf(limit - size) + norm.cdf(-limit - size))


def _usual(made: Made) -> bool:
    """Whether the usual interval holds the truth: treated less the others' mean, after less before, errors taken as independent."""
    others = made.sales[made.treated :].mean(axis=0)
    gap = made.sales[: made.treated].mean(axis=0) - others
    before, after = gap[: made.pre], gap[made.pre :]
    effect = (after.mean() - before.mean()) * len(after) * made.treated
    error = np.sqrt(before.var(ddof=1) * (1 / len(before) + 1 / len(after))) * len(after) * made.treated
    return bool(abs(effect - made.effect) <= normal_quantile(LEVEL) * error)
