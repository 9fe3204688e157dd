"""How good a forecast was: errors in money and in percent of a mean period, CRPS and coverage.

The forecast distribution of a fold is its prediction plus the errors made on the other folds (split conformal in spirit; Vovk et al.
2005): one rule for every member of the family, which owes nothing to the member's own idea of its error.
"""

from __future__ import annotations

import numpy as np

from liftwise.core.uncertainty import Floats


def errors(off: Floats, mean: float) -> dict[str, float]:
    """rmse, mae (in the unit of `off`), and both in percent of `mean`.

    >>> errors(np.array([3.0, -4.0]), 50.0)["mae_pct"]
    7.0
    """
    rmse, mae = float(np.sqrt(np.mean(off**2))), float(np.mean(np.abs(off)))
    return {"rmse": rmse, "mae": mae, "rmse_pct": 100 * rmse / mean, "mae_pct": 100 * mae / mean}


def crps(off: Floats, sample: Floats) -> float:
    """Mean continuous ranked probability score of forecasts whose errors are distributed as `sample` (Gneiting & Raftery 2007, eq. 21).

    >>> crps(np.array([2.0]), np.array([0.0]))
    2.0
    """
    spread = np.abs(sample[:, None] - sample[None, :]).mean()
    return float(np.abs(off[:, None] - sample[None, :]).mean() - spread / 2)


def coverage(off: Floats, sample: Floats, level: float = 0.90) -> float:
    """Share of `off` inside the central interval of `sample`, widened a little for being a sample only."""
    outside = (1 - level) / 2 * (1 - 1 / len(sample))
    low, high = np.quantile(sample, [outside, 1 - outside])
    return float(np.mean((off >= low) & (off <= high)))


def report(folds: list[Floats], holdout: Floats, mean: float) -> dict[str, float]:
    """Scores of the hold-out (plain names) and of the rolling origins (`rolling_…`).

    Parameters
    ----------
    folds : national errors after each origin, in currency. holdout : those of the periods kept aside. mean : revenue of a mean period.
    """
    past = np.concatenate(folds)
    out = errors(holdout, mean) | {"crps": crps(holdout, past), "coverage": coverage(holdout, past)}
    rolling = errors(past, mean)
    if len(folds) > 1:
        rest = [np.concatenate([other for j, other in enumerate(folds) if j != k]) for k in range(len(folds))]
        sizes = np.array([len(fold) for fold in folds])
        rolling["crps"] = float(np.average([crps(*pair) for pair in zip(folds, rest, strict=True)], weights=sizes))
        rolling["coverage"] = float(np.average([coverage(*pair) for pair in zip(folds, rest, strict=True)], weights=sizes))
    return out | {f"rolling_{name}": value for name, value in rolling.items()}
