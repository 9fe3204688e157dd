"""The general mix: worlds whose truth is known, in forms the standard member does not have."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from liftwise.core.errors import CannotTell, InputError
from liftwise.models.mix import GeneralMix
from liftwise.models.mix.bayesian import Prior

pytest.importorskip("jax", reason="the extra liftwise[general] is not installed")
pytest.importorskip("numpyro", reason="the extra liftwise[general] is not installed")
WEEKS = 90


def _world(multiplicative: bool) -> tuple[pd.DataFrame, pd.Series]:
    """Two channels on log or on plain revenue; what each caused (coming last, where they multiply)."""
    rng = np.random.default_rng(3)
    spend = rng.gamma(2, 0.5, (2, WEEKS)) * (rng.random((2, WEEKS)) < 0.7)
    keep, half, top = np.array([0.5, 0.2]), np.array([1.0, 0.7]), np.array([0.3, 0.2])
    level, carried = np.zeros(2), np.empty_like(spend)
    for t in range(WEEKS):
        level = keep * level + (1 - keep) * spend[:, t]
        carried[:, t] = level
    media = top[:, None] * carried / (carried + half[:, None])
    season = 0.1 * np.sin(2 * np.pi * np.arange(WEEKS) / 52.18)
    if multiplicative:
        mean = 1e4 * np.exp(season + media.sum(axis=0))
        revenue, caused = mean * np.exp(rng.normal(0, 0.02, WEEKS)), mean * (1 - np.exp(-media))
    else:
        mean = 1e4 * (1 + season + media.sum(axis=0))
        revenue, caused = mean + rng.normal(0, 150, WEEKS), 1e4 * media
    weeks = pd.date_range("2024-01-01", periods=WEEKS, freq="W-MON")
    rows = [("target", "revenue", revenue), ("channel", "one", 100 * spend[0]), ("channel", "two", 100 * spend[1])]
    weekly = pd.concat(
        [
            pd.DataFrame({"week": weeks, "region": "all", "role": role, "name": name, "value": values})
            for role, name, values in rows
        ]
    )
    return weekly, pd.Series(caused.sum(axis=1), index=["one", "two"])


@pytest.mark.parametrize("likelihood", ["student", "lognormal"])
def test_truth_is_found_and_parts_sum_to_the_fit(likelihood: str) -> None:
    weekly, truth = _world(likelihood == "lognormal")
    mix = GeneralMix(likelihood=likelihood, folds=1, holdout=13, chains=2, samples=300, draws=60, lags=8).fit(weekly)
    assert mix.diagnostics_["rhat"].iloc[0] < 1.05
    parts, fit = mix.contributions().groupby("week")["contribution"].sum(), mix.predict().groupby("week")["predicted"].sum()
    assert np.abs(parts - fit).max() < 1e-9 * fit.mean()
    roi = mix.roi().set_index("channel")
    assert (roi["revenue"] / truth - 1).abs().max() < 0.2
    assert ((roi["low"] * roi["spend"] <= truth) & (truth <= roi["high"] * roi["spend"])).sum() >= 1
    if mix.state_ != "published":
        with pytest.raises(CannotTell, match="preview"):
            mix.responses()
    assert (mix.responses(preview=True).groupby(["channel", "draw"])["revenue"].diff().dropna() >= -1e-9 * fit.mean()).all()


def test_what_cannot_be_meant_is_refused() -> None:
    weekly, _ = _world(multiplicative=False)
    with pytest.raises(InputError, match="adstock"):
        GeneralMix(adstock="square")
    with pytest.raises(InputError, match="lift tests"):
        GeneralMix().fit(weekly, pd.DataFrame({"test_id": ["t"]}))
    with pytest.raises(InputError, match="not in the mix"):
        GeneralMix(priors={"three": Prior("roi", 1, 2)}, holdout=13).fit(weekly)
