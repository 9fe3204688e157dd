"""The general mix: worlds whose truth is known, in forms the standard member does not have."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from liftwise.core.errors import CannotTell, InputError
from liftwise.models.mix import GeneralMix
from liftwise.models.mix.design import Design
from liftwise.models.mix.family import Data
from liftwise.models.mix.priors import Prior
from liftwise.models.mix.transforms import Geometric, MichaelisMenten

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


def test_truth_is_found_and_parts_sum_to_the_fit() -> None:
    weekly, truth = _world(multiplicative=True)
    mix = GeneralMix(likelihood="lognormal", folds=1, holdout=13, chains=2, samples=300, draws=60, lags=8).fit(weekly)
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


def _at_the_mode(weekly: pd.DataFrame, **form: Any) -> GeneralMix:
    """Fitted without drawing: what the forecasts of the origins use."""
    import jax

    mix = GeneralMix(holdout=13, lags=8, **form)
    mix.design_ = Design.of(weekly, 13)
    mix._data = Data.of(mix.design_, 52.18)
    with jax.enable_x64(True):
        mix.learned_ = mix._learn(mix._data, mix._data.whole)
    return mix


def test_an_effect_that_moves_in_regions_that_differ() -> None:
    from numpyro.distributions import Beta

    rng = np.random.default_rng(4)
    weeks = pd.date_range("2024-01-01", periods=WEEKS, freq="W-MON")
    grown, rows = np.where(np.arange(WEEKS) < 45, 0.6, 1.4), list[tuple[object, ...]]()
    for region, size, strength in (("north", 1.0, 1.5), ("south", 3.0, 0.8)):
        spend = rng.gamma(2, 0.5, (2, WEEKS))
        carried = np.array([Geometric(keep).apply(x) for keep, x in zip((0.5, 0.2), spend, strict=True)])
        media = strength * carried / (1 + carried) * np.array([0.4 * grown, np.full(WEEKS, 0.2)])
        revenue = size * 1e4 * (1 + media.sum(axis=0) + rng.normal(0, 0.01, WEEKS))
        for role, name, values in (
            ("target", "revenue", revenue),
            ("channel", "one", size * spend[0]),
            ("channel", "two", size * spend[1]),
        ):
            rows += [(week, region, role, name, value) for week, value in zip(weeks, values, strict=True)]
    weekly = pd.DataFrame(rows, columns=["week", "region", "role", "name", "value"])
    back = Prior("roi", 1990, 2010)  # far from what the data say: it must be believed
    mix = _at_the_mode(
        weekly,
        likelihood="student",
        moving="channels",
        smooth="walk",
        baseline=30,
        priors={"two": back, "geometric_retention": Beta(5000.0, 5000.0)},
    )
    told = mix.learned_.curves.told
    np.testing.assert_allclose(told["weights"][0, 0], Geometric(0.5).weights(8), atol=0.01)
    moved, beta = told["moved"][0, 0], told["beta"][0, 0]
    assert moved[55:].mean() / moved[:35].mean() == pytest.approx(1.4 / 0.6, rel=0.15)
    assert 1.2 < beta[0] / beta[1] < 1.5 / 0.8 * 1.1  # pooled: nearer to one another than they are
    assert mix.returns()["two"] == pytest.approx(2000, rel=0.02)
    # a steady year as the last one was: what was spent in it brings about what it brought
    usual = mix._steady(mix.learned_.curves, np.array([1.0]))[0, 0]
    own = mix.learned_.curves.own(mix.learned_.curves.carried(mix._data.spend))[0] * mix._size
    assert usual == pytest.approx(own[:, -52:].sum(axis=0).mean(), rel=0.15)


def test_counts_and_reach() -> None:
    rng = np.random.default_rng(5)
    weeks = pd.date_range("2024-01-01", periods=WEEKS, freq="W-MON")
    reach, often, spend = rng.gamma(3, 100, WEEKS) * (rng.random(WEEKS) < 0.8), rng.uniform(1, 8, WEEKS), rng.gamma(2, 50, WEEKS)
    seen = Geometric(0.4).apply(reach * often**2 / (often**2 + 9))
    media = np.array([400 * seen / seen.mean(), 300 * MichaelisMenten(80.0).apply(spend)])
    counts = rng.poisson(1500 + 200 * np.sin(np.arange(WEEKS) / 8.3) + media.sum(axis=0)).astype(float)
    parts = [("target", "orders", counts), ("channel", "tv", reach * often * 0.01), ("reach", "tv", reach), ("frequency", "tv", often),
             ("channel", "search", spend)]  # fmt: skip
    weekly = pd.concat(
        [
            pd.DataFrame({"week": weeks, "region": "all", "role": role, "name": name, "value": values})
            for role, name, values in parts
        ]
    )
    mix = _at_the_mode(weekly, likelihood="poisson", saturation="michaelis_menten")
    own = mix.learned_.curves.own(mix.learned_.curves.carried(mix._data.spend))[:, 0] * mix.design_.size[0]
    tv, search = (own[mix.design_.channels.index(name)] for name in ("tv", "search"))
    assert tv.sum() == pytest.approx(media[0].sum(), rel=0.15)
    assert np.corrcoef(tv, media[0])[0, 1] > 0.97  # the week's frequency counts, not only its impressions
    assert search.sum() == pytest.approx(media[1].sum(), rel=0.5)
    assert mix.learned_.predict(mix._data).min() > 0
    broken = weekly.assign(value=np.where(weekly["role"] == "target", weekly["value"] + 0.5, weekly["value"]))
    with pytest.raises(InputError, match="whole counts"):
        _at_the_mode(broken, likelihood="poisson")
