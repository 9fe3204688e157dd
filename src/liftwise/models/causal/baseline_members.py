"""The forecasters of the baseline ensemble: each says from the past alone what the next periods would be.

References
----------
Hyndman and Athanasopoulos (2021), Forecasting: principles and practice, 8 (Holt-Winters), 6.6 (STL), 5.2 (seasonal naive).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np

from liftwise.core.uncertainty import Floats, spawn

Member = Callable[[Floats, Floats, int, int, int], Floats]  # (y (n,), factors (n + h, q), season or 0, h, seed) → (h,)


def seasonal_naive(y: Floats, known: Floats, season: int, horizon: int, seed: int) -> Floats:
    """What was a season ago; without a season, the mean of the last four."""
    del known, seed
    return np.resize(y[-season:], horizon) if season else np.full(horizon, y[-4:].mean())


def exponential_smoothing(y: Floats, known: Floats, season: int, horizon: int, seed: int) -> Floats:
    """Holt-Winters with damped trend and additive season."""
    del known, seed
    from statsmodels.tsa.holtwinters import ExponentialSmoothing

    pattern = _pattern(y, season)  # a start for the states: estimating 52 of them would take seconds and teach little
    level = y[: max(season, 8)] - np.resize(pattern, max(season, 8))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an optimiser that stops early still forecasts; how well is judged at the origins
        model = ExponentialSmoothing(
            y, trend="add", damped_trend=True, seasonal="add" if season else None, seasonal_periods=season or None,
            initialization_method="known", initial_level=float(level.mean()), initial_trend=0.0, initial_seasonal=pattern if season else None,
        )  # fmt: skip
        return np.asarray(model.fit(optimized=True, use_brute=False).forecast(horizon))


def decomposition(y: Floats, known: Floats, season: int, horizon: int, seed: int) -> Floats:
    """STL's season, a ridge regression of what is left on the factors' own movements, and the level since."""
    del seed
    n = len(y)
    pattern = np.zeros(n + horizon)
    if season:
        from statsmodels.tsa.seasonal import STL

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = np.asarray(STL(y, period=season, robust=True).fit().seasonal)
        pattern = np.concatenate([found, np.resize(found[-season:], horizon)])
    rest = y - pattern[:n]
    outside = np.zeros(n + horizon)
    if known.shape[1]:
        x = (known - known[:n].mean(axis=0)) / np.maximum(known[:n].std(axis=0), 1e-12)
        moves, answers = _around(x[:n]), _around(rest[:, None])[:, 0]
        slope = np.linalg.solve(moves.T @ moves + np.eye(x.shape[1]), moves.T @ answers)
        outside = x @ slope
    level = rest - outside[:n]
    share = 0.7 ** np.arange(n)[::-1]  # the level since: the last ten periods or so
    return pattern[n:] + outside[n:] + (share @ level) / share.sum()


def boosted_trees(y: Floats, known: Floats, season: int, horizon: int, seed: int) -> Floats:
    """LightGBM on the distance ahead, last values, place in the season and factors; it forecasts the change from the level."""
    import lightgbm

    recent = 4
    origins = np.arange(max(season, 8), len(y))
    origins = origins[-max(40, 4000 // horizon) :]
    rows = [(o, h) for o in origins for h in range(min(horizon, len(y) - o))]
    train = np.array([_row(y, known, season, o, h, recent) for o, h in rows])
    change = np.array([y[o + h] - y[o - recent : o].mean() for o, h in rows])
    scale = max(float(np.abs(change).mean()), 1e-300)
    options = {
        "objective": "regression", "num_leaves": 8, "min_data_in_leaf": 10, "learning_rate": 0.08, "verbosity": -1, "num_threads": 1,
        "deterministic": True, "force_row_wise": True, "seed": int(spawn(seed, "boosted trees").integers(1 << 30)),
    }  # fmt: skip
    trees = lightgbm.train(options, lightgbm.Dataset(train, change / scale), num_boost_round=80)
    ahead = np.array([_row(y, known, season, len(y), h, recent) for h in range(horizon)])
    return y[-recent:].mean() + scale * np.asarray(trees.predict(ahead, num_threads=1))


MEMBERS: dict[str, Member] = {
    "exponential smoothing": exponential_smoothing, "decomposition": decomposition, "boosted trees": boosted_trees,
    "seasonal naive": seasonal_naive,
}  # fmt: skip


def _row(y: Floats, known: Floats, season: int, origin: int, step: int, recent: int) -> list[float]:
    """What is known at `origin` (the first period not seen) of the period `step` ahead of it."""
    level = y[origin - recent : origin].mean()
    row = [step, y[origin - 1] - level, y[origin - 2] - level, level - y[max(origin - 8, 0) : origin].mean()]
    if season:
        same = origin + step
        while same >= origin:
            same -= season
        place = 2 * np.pi * ((origin + step) % season) / season
        row += [y[max(same, 0)] - level, np.sin(place), np.cos(place)]
    return [*row, *known[origin + step], *(known[origin + step] - known[origin - recent : origin].mean(axis=0))]


def _pattern(y: Floats, season: int) -> Floats:
    """Mean of each place in the season, about 0; (season,) or one 0."""
    if not season:
        return np.zeros(1)
    whole = y[: len(y) // season * season].reshape(-1, season)
    pattern = (whole - whole.mean(axis=1, keepdims=True)).mean(axis=0)
    return pattern - pattern.mean()


def _around(x: Floats, width: int = 9) -> Floats:
    """Less its own moving mean: slow movements of factor and outcome teach nothing of one another. x: (n, q)."""
    summed = np.vstack([np.zeros((1, x.shape[1])), np.cumsum(x, axis=0)])
    low = np.maximum(np.arange(len(x)) - width // 2, 0)
    high = np.minimum(np.arange(len(x)) + width // 2 + 1, len(x))
    return x - (summed[high] - summed[low]) / (high - low)[:, None]
