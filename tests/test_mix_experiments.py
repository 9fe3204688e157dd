"""The structural mix and lift tests: what a test should find, who hears it and when; and what regions share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from liftwise.core.tables import check
from liftwise.core.uncertainty import Floats, spawn
from liftwise.models.mix import StructuralMix, plots
from liftwise.models.mix.errors_in_time import Lasting
from liftwise.models.mix.experiments import Experiments
from liftwise.models.mix.learned import Data
from liftwise.models.mix.structural import walk_covariance
from liftwise.models.mix.structural_curves import curves_of, media_of, slopes_of

REGIONS, WEEKS = 8, 104
SIZE = np.linspace(50_000.0, 150_000.0, REGIONS)[:, None]


def market(seed: int, follows: float = 3.0) -> tuple[pd.DataFrame, dict[str, float], dict[str, Floats]]:
    """Table `weekly` of eight regions whose demand moves together, unseen, and money that follows it; what each channel brought; its spend."""
    rng = spawn(seed, "shared demand")
    demand = 0.06 * rng.normal(size=WEEKS)
    spend = {
        "search": 0.03 * SIZE * np.exp(follows * demand + 0.25 * rng.normal(size=(REGIONS, WEEKS))),
        "display": 0.02 * SIZE * np.exp(0.4 * rng.normal(size=(REGIONS, WEEKS))),
    }
    brought = {"search": 1.5 * spend["search"], "display": 2.0 * spend["display"]}
    revenue = SIZE * (1 + demand + 0.01 * rng.normal(size=(REGIONS, WEEKS))) + sum(brought.values())
    weeks, names = pd.date_range("2023-01-02", periods=WEEKS, freq="W-MON"), [f"r{k}" for k in range(REGIONS)]
    rows = [("target", "revenue", revenue), *(("channel", name, money) for name, money in spend.items())]
    weekly = pd.concat([pd.DataFrame({"week": np.tile(weeks, REGIONS), "region": np.repeat(names, WEEKS), "role": role, "name": name,
                                      "value": values.ravel()}) for role, name, values in rows], ignore_index=True)  # fmt: skip
    return weekly, {name: float(values.sum()) for name, values in brought.items()}, spend


def one_test(spend: Floats, effect: float, error: float, *, start: int = 60, stop: int = 66) -> pd.DataFrame:
    """All money of display withheld in half the regions would have cost `effect` for each unit of it."""
    weeks = pd.date_range("2023-01-02", periods=WEEKS, freq="W-MON")
    money = spend[:4, start:stop].sum()
    return pd.DataFrame([{"test_id": "t", "channel": "display", "starts_on": weeks[start], "ends_on": weeks[stop - 1] + pd.Timedelta(days=6),
                          "effect": effect * money, "standard_error": error * money, "metric": "revenue", "regions": "r0;r1;r2;r3",
                          "spend": money}])  # fmt: skip


def quick(**told: int) -> StructuralMix:
    mix = StructuralMix(**told)
    mix.scored = False
    return mix


def test_errors_that_regions_share_become_independent() -> None:
    weekly, _, _ = market(1)
    data = Data.of(quick().fit(weekly).design_, 52.18)
    data = replace(
        data, whole=data.whole & ~((data.period < 5) & (np.arange(len(data.y)) < 3 * WEEKS))
    )  # three regions begin later
    lasting = Lasting.of(walk_covariance(0.1, WEEKS), data, data.whole, 0.7)
    train = data.whole.reshape(REGIONS, WEEKS)
    late = np.arange(REGIONS) < 3
    shared = np.eye(REGIONS) + 0.7 * (late[:, None] == late[None, :])  # only regions seen in the same weeks share
    whole = np.kron(shared, walk_covariance(0.1, WEEKS))
    turn = lasting.whiten(np.eye(len(data.y)))
    assert turn @ whole @ turn.T == pytest.approx(np.eye(train.sum()), abs=1e-8)
    seen = np.flatnonzero(data.whole)
    assert lasting.log_determinant == pytest.approx(np.linalg.slogdet(whole[np.ix_(seen, seen)])[1])


def test_money_that_follows_what_all_regions_share_is_not_believed() -> None:
    weekly, brought, _ = market(2)
    mix = quick().fit(weekly)
    assert mix.learned_.tuning.common > 0.5
    told = mix.roi().set_index("channel")
    for name, real in brought.items():
        assert told.at[name, "low"] <= real / told.at[name, "spend"] <= told.at[name, "high"]
        assert told.at[name, "revenue"] == pytest.approx(real, rel=0.35)
    alone = replace(mix.learned_.tuning, common=0.0)  # the same search, regions taken for independent: three times too much
    naive = mix._at(mix._data, mix._data.whole, mix._top(mix._data, mix._data.whole, alone)[0])
    search = mix._effects(naive.curves, mix._data.spend)[0].sum(axis=1)[mix.design_.channels.index("search")]
    assert search > 2 * brought["search"]


@pytest.mark.parametrize("impressions", [False, True])
def test_what_a_test_should_find_is_media_with_less_media_without(impressions: bool) -> None:
    weekly, _, spend = market(3)
    if impressions:  # for which money pays very different prices
        seen = weekly[weekly["name"] == "display"].assign(role="impressions")
        seen["value"] *= spawn(3, "prices").uniform(20, 100, len(seen))
        weekly = pd.concat([weekly, seen], ignore_index=True)
    mix = quick()
    mix.fit(weekly, one_test(spend["display"], 2.0, 0.5))
    data, pairs = mix._data, ((1, 0),)
    heard = data.experiments
    assert heard is not None and heard.names == ("t",)
    theta = spawn(3, "theta").normal(0, 0.5, 4 * 2 + 2 + 1)
    curves = curves_of(theta, 2, pairs)
    without = data.spend.copy()
    without[data.design.channels.index("display"), :4, 60:66] = 0.0
    lost = (media_of(curves, data) - media_of(curves, replace(data, spend=without))).reshape(REGIONS, WEEKS)
    there = curves.saturated(curves.carried(data.spend))
    expected = float((lost * data.design.size[:, None])[:4, 60:66].sum())
    assert heard.expected(curves, there)[0] == pytest.approx(expected, rel=1e-9)
    slope = slopes_of(theta, data, pairs, heard)[1][0]
    for at in range(len(theta)):
        moved = [curves_of(theta + step * (np.arange(len(theta)) == at), 2, pairs) for step in (1e-4, -1e-4)]
        up, down = (heard.expected(curve, curve.saturated(curve.carried(data.spend)))[0] for curve in moved)
        assert slope[at] == pytest.approx((up - down) / 2e-4 / heard.tests.error[0], rel=1e-3, abs=1e-6)


def test_a_test_moves_the_fit_and_narrows_it_and_a_wrong_one_is_named() -> None:
    weekly, _, spend = market(4)
    deaf = quick().fit(weekly).roi().set_index("channel").loc["display"]
    exact = quick().fit(weekly, one_test(spend["display"], 2.0, 0.05))
    heard = exact.roi().set_index("channel").loc["display"]
    assert float(heard["high"] - heard["low"]) < 0.7 * float(deaf["high"] - deaf["low"])
    assert bool(heard["low"] <= 2.0 <= heard["high"])
    assert not any("one of them is wrong" in note for note in exact.notes_)
    assert exact.lift_["expected"].iloc[0] == pytest.approx(exact.lift_["effect"].iloc[0], rel=0.05)
    (told,) = exact.tests_.to_dict("records")
    assert check("mix_tests", exact.tests_.assign(model="structural")).rejected.empty
    assert told["expected"] == pytest.approx(told["effect"], rel=0.05) and told["expected_sd"] < 0.5 * told["without_sd"]
    assert len(plots.tested(exact.tests_).data) == 3
    wrong = quick().fit(weekly, one_test(spend["display"], 8.0, 0.05))
    assert any("test t measured" in note and "one of them is wrong" in note for note in wrong.notes_)


def test_no_fit_hears_a_test_that_ends_after_its_weeks() -> None:
    weekly, _, spend = market(5)
    mix = quick()
    mix.fit(weekly, one_test(spend["display"], 2.0, 0.05, start=90, stop=96))
    experiments = mix._data.experiments
    assert isinstance(experiments, Experiments)
    assert len(experiments.within(95)) == 0 and len(experiments.within(96)) == 1
    past = mix._data.whole & (mix._data.period < 90)
    deaf = replace(mix._data, experiments=None)
    assert mix.learn(mix._data, past).curves.beta == pytest.approx(mix.learn(deaf, past).curves.beta)
