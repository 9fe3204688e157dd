"""Readings of a mix: what if, partial dependence, what changed and why, search that follows demand, pictures; each against a plain way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.tables import check
from liftwise.models.mix import BoostedMix, LassoMix, Member, ResidualMix, RidgeMix, StructuralMix, plots
from liftwise.models.mix.changes import Asked, Fit, digests, explain, history, lines
from liftwise.models.mix.readings import SPENDS
from liftwise.models.mix.search import follows, search_demand
from liftwise.models.mix.what_if import FEW
from liftwise.sources.simulator.mix_worlds import CHANNELS, MixWorld, mix_world

MEMBERS: dict[str, type[Member]] = {of.name: of for of in (RidgeMix, LassoMix, BoostedMix, ResidualMix, StructuralMix)}


@pytest.fixture(scope="module")
def world() -> MixWorld:
    return mix_world(11, media_share=0.35, noise=0.02, misallocation="low", synergy=0.5)


@pytest.fixture(scope="module")
def fitted(world: MixWorld) -> dict[str, Member]:
    return {name: of(draws=8, folds=2).fit(world.weekly()) for name, of in MEMBERS.items()}


# -- what if


def test_what_if_is_near_the_truth(fitted: dict[str, Member], world: MixWorld) -> None:
    def true(plan: Mapping[str, float]) -> float:
        times = np.array([plan.get(name, 1.0) for name in CHANNELS])
        return float((world.expected(world.spend * times[:, None]) - world.expected(world.spend)).sum())

    for plan in ({"social": 0.5}, {"tv": 1.3, "search": 0.8}, dict.fromkeys(CHANNELS, 0.7)):
        got = fitted["structural"].what_if(plan).table.iloc[-1]
        moved = sum(abs(true({name: factor})) for name, factor in plan.items())  # gains and losses may nearly cancel
        assert got["change"] == pytest.approx(true(plan), abs=0.35 * moved), plan
        money = sum(world.spend[CHANNELS.index(name)].sum() * (factor - 1) for name, factor in plan.items())
        assert got["spend"] == pytest.approx(money)


@pytest.mark.parametrize("name", list(MEMBERS))
def test_the_total_is_the_sum_and_lies_in_its_interval(name: str, fitted: dict[str, Member]) -> None:
    found = fitted[name].what_if({"social": 1.5, "radio": 0.0})
    table = found.table
    assert table["change"].iloc[:-1].sum() == pytest.approx(table["change"].iloc[-1])
    assert table["spend"].iloc[:-1].sum() == pytest.approx(table["spend"].iloc[-1])
    assert ((table["low"] <= table["change"]) & (table["change"] <= table["high"])).all()
    assert {"social", "radio", "total"} <= set(found.moved["channel"]) and "tv" not in set(found.moved["channel"])
    pd.testing.assert_frame_equal(fitted[name].simulate({"social": 1.5, "radio": 0.0}), table.iloc[:-1])
    assert "radio at 0 times" in found.summary() and "over these 156 periods" in found.summary()
    assert "changes" in fitted[name].what_if({}).summary()


def test_only_what_leaves_the_range_seen_is_extrapolated(fitted: dict[str, Member]) -> None:
    mix = fitted["ridge"]

    def row(factor: float) -> pd.Series:
        return mix.what_if({"social": factor}).table.set_index("channel").loc["social"]

    assert row(0.5)["beyond"] == 0 and row(1.0)["beyond"] == 0
    little = row(1.02)
    assert 0 < little["beyond"] <= FEW and not little["extrapolated"], "the largest week leaves the range, the others do not"
    assert row(3.0)["extrapolated"] and row(3.0)["beyond"] > row(2.0)["beyond"] > little["beyond"]
    k = CHANNELS.index("social")
    carried = mix.learned_.curves.carried(mix._data.spend)[k, 0, 0]
    assert row(2.0)["beyond"] == pytest.approx(np.mean(2 * carried > carried.max()))
    assert "social would have been beyond all spend seen" in mix.what_if({"social": 3.0}).summary()


@pytest.mark.parametrize("name", list(MEMBERS))
def test_partial_dependence_is_one_what_if_after_another(name: str, fitted: dict[str, Member]) -> None:
    mix = fitted[name]
    table = mix.partial_dependence(["social", "tv"], (0.0, 1.0, 1.5))
    assert check("partial_dependence", table).rejected.empty
    for row in table.itertuples():
        total = mix.what_if({row.channel: row.factor}).table.iloc[-1]
        assert row.change == pytest.approx(total["change"], rel=1e-9, abs=1e-3)
        np.testing.assert_allclose((row.low, row.high), (total["low"], total["high"]), rtol=1e-9, atol=1e-3)
    fit = mix.predict()["predicted"].sum()
    np.testing.assert_allclose(table["revenue"] - table["change"], fit)
    with pytest.raises(InputError, match="no channel fax"):
        mix.partial_dependence(["fax"])
    with pytest.raises(InputError, match="below 0"):
        mix.partial_dependence(factors=(-1.0,))


def test_channels_that_add_up_are_read_the_short_way_to_the_same_numbers(fitted: dict[str, Member]) -> None:
    mix = fitted["boosted"]
    curves = mix.learned_.curves
    assert curves.additive
    short, long = (mix._partial(one, [1, 4], (0.5, 2.0)) for one in (curves, _Apart(curves)))
    np.testing.assert_allclose(short, long, rtol=1e-9)


class _Apart:
    """Curves that do not say that they add up."""

    additive = False

    def __init__(self, curves) -> None:
        self.carried, self.own, self.synergy, self.media = curves.carried, curves.own, curves.synergy, curves.media


# -- readings


@pytest.mark.parametrize("name", list(MEMBERS))
def test_curves_read_at_once_are_those_read_one_by_one(name: str, fitted: dict[str, Member]) -> None:
    mix = fitted[name]
    recent = mix._data.spend[:, :, -52:].mean(axis=2)
    read = mix.responses().set_index(["channel", "draw"])
    for k, draw in ((0, 0), (4, 3)):
        curves = mix.curves_[draw]

        def steady(at: float, k: int = k, curves=curves) -> float:
            level = recent[:, :, None].copy()
            level[k] *= at
            forms = curves.carried(level).shape[1]
            bent = np.repeat(level[:, None], forms, axis=1)
            return float(((curves.own(bent).sum(axis=0) + curves.synergy(bent)) * mix.design_.size[:, None]).sum())

        mine = read.loc[(CHANNELS[k] if CHANNELS[k] in mix.design_.channels else "tv", draw)]
        k_ = mix.design_.channels.index(CHANNELS[k])
        slow = [steady(at, k_) - steady(0.0, k_) for at in SPENDS]
        np.testing.assert_allclose(mine["revenue"], slow, rtol=1e-9, atol=1e-3)


def test_scores_are_not_needed_for_the_same_mix(fitted: dict[str, Member], world: MixWorld) -> None:
    for name in ("ridge", "structural"):
        quick = MEMBERS[name](draws=8, folds=2)
        quick.scored = False
        quick.fit(world.weekly())
        pd.testing.assert_frame_equal(quick.roi(), fitted[name].roi())
        pd.testing.assert_series_equal(quick.returns(), quick.roi().set_index("channel")["roi"], check_names=False)
        assert quick.scores_ == {} and quick.forecasts().empty and "had not seen" not in quick.summary()


def test_forecasts_are_of_weeks_not_seen(fitted: dict[str, Member], world: MixWorld) -> None:
    mix = fitted["ridge"]
    told = mix.forecasts()
    assert check("mix_forecasts", told).rejected.empty
    late = told[told["part"] == "holdout"]
    assert late["week"].tolist() == list(world.weeks[-26:])
    np.testing.assert_allclose(late["actual"], world.revenue[-26:])
    assert np.sqrt(np.mean((late["actual"] - late["predicted"]) ** 2)) == pytest.approx(mix.scores_["rmse"])
    assert (late["low"] < late["high"]).all() and told.loc[told["part"] == "origin", "low"].isna().all()


def test_a_second_fit_forgets_the_first(world: MixWorld) -> None:
    mix = LassoMix(draws=4, folds=1)
    mix.fit(world.weekly()).roi()
    doubled = world.weekly()
    doubled.loc[doubled["role"] == "target", "value"] *= 2
    again = mix.fit(doubled).roi()
    pd.testing.assert_frame_equal(again, LassoMix(draws=4, folds=1).fit(doubled).roi())


# -- what changed


def told(model: str, weekly: pd.DataFrame, tests: pd.DataFrame | None = None, settings: Mapping[str, int] | None = None) -> Fit:
    mix = MEMBERS[model](folds=2)
    mix.scored = False
    return Fit.of(model, mix.fit(weekly).returns(), weekly, tests, settings or {"seed": 7}, "one")


def again(weekly: pd.DataFrame, asked_for: list[Asked]):
    """Refits as a flow does, and remembers what was asked for."""

    def refit(asked: Asked) -> pd.Series:
        asked_for.append(asked)
        return told(asked.model, weekly[weekly["week"] <= asked.until]).returns

    return refit


def corrected(world: MixWorld) -> pd.DataFrame:
    """The world with revenue of ten early weeks a tenth higher."""
    long = world.weekly()
    early = (long["role"] == "target") & long["week"].isin(world.weeks[20:30])
    return long.assign(value=long["value"].where(~early, 1.1 * long["value"]))


def test_parts_of_a_change_sum_to_it_in_order(world: MixWorld) -> None:
    long, new = world.weekly(), corrected(world)
    before, now = told("ridge", long[long["week"] <= world.weeks[129]]), told("structural", new)
    asked: list[Asked] = []
    table = explain(before, now, new, again(new, asked)).table
    assert check("mix_changes", table).rejected.empty
    assert list(dict.fromkeys(table["part"])) == ["history", "weeks", "model"]
    sums = table.groupby("channel")["amount"].sum()
    np.testing.assert_allclose(sums, (now.returns - before.returns)[sums.index], rtol=0, atol=1e-12)
    assert [(one.model, one.until) for one in asked] == [("ridge", world.weeks[129]), ("ridge", world.weeks[155])]
    by_hand = told("ridge", new[new["week"] <= world.weeks[129]]).returns - before.returns
    mine = table[table["part"] == "history"].set_index("channel")["amount"]
    np.testing.assert_allclose(mine, by_hand[mine.index])


def test_one_cause_has_one_part_and_needs_no_fit(world: MixWorld) -> None:
    long = world.weekly()
    old, new = told("ridge", long[long["week"] <= world.weeks[140]]), told("ridge", long)
    asked: list[Asked] = []
    found = explain(old, new, long, again(long, asked))
    assert set(found.table["part"]) == {"weeks"} and not asked
    assert explain(new, new, long, again(long, asked)).table.empty
    assert "Nothing worth a line" in explain(new, new, long, again(long, asked)).summary()
    other = replace(new, model="lasso", returns=1.1 * new.returns)
    assert set(explain(new, other, long, again(long, asked)).table["part"]) == {"model"}
    assert set(explain(new, replace(other, model="ridge", software="two"), long, again(long, asked)).table["part"]) == {
        "software"
    }
    assert set(explain(new, replace(other, model="ridge", settings={"seed": 8}), long, again(long, asked)).table["part"]) == {
        "settings"
    }
    heard = replace(other, model="ridge", tests={"t": "x"})
    assert set(explain(new, heard, long, again(long, asked)).table["part"]) == {"tests"} and not asked


def test_what_cannot_be_told_apart_goes_to_the_next_part(world: MixWorld) -> None:
    long, new = world.weekly(), corrected(world)
    before, now = told("ridge", long[long["week"] <= world.weeks[129]]), told("lasso", new)

    def refit(asked: Asked) -> pd.Series:
        if asked.until < world.weeks[155]:
            raise CannotTell("too short")
        return again(new, [])(asked)

    found = explain(before, now, new, refit)
    assert list(dict.fromkeys(found.table["part"])) == ["weeks", "model"] and found.left_out == {"history": "too short"}
    sums = found.table.groupby("channel")["amount"].sum()
    np.testing.assert_allclose(sums, (now.returns - before.returns)[sums.index], atol=1e-12)


def test_channels_come_and_go(world: MixWorld) -> None:
    fit = told("ridge", world.weekly())
    before, now = replace(fit, returns=fit.returns.drop("tv"), model="lasso"), replace(fit, returns=fit.returns.drop("radio"))
    table = explain(before, now, world.weekly(), again(world.weekly(), [])).table.set_index("channel")
    assert np.isnan(table.loc["tv", "before"]) and table.loc["tv", "amount"] == pytest.approx(fit.returns["tv"])
    assert np.isnan(table.loc["radio", "now"]) and table.loc["radio", "amount"] == pytest.approx(-fit.returns["radio"])
    said = " ".join(lines(table.reset_index()))
    assert "tv is new in the mix" in said and "radio is no longer in the mix" in said and "search" not in said


def test_a_fit_is_kept_and_found_again(world: MixWorld) -> None:
    tests = pd.DataFrame({"test_id": ["a", "b"], "channel": "tv", "effect": [1.0, 2.0]})
    fit = told("ridge", world.weekly(), tests)
    assert check("mix_facts", fit.to_frame()).rejected.empty
    found = Fit.from_frame(fit.to_frame())
    assert found is not None
    pd.testing.assert_series_equal(found.returns[fit.returns.index], fit.returns, check_names=False)
    assert (found.model, found.until, found.history, found.tests) == (fit.model, fit.until, fit.history, fit.tests)
    assert Fit.from_frame(fit.to_frame().iloc[:0]) is None
    assert digests(tests)["a"] == digests(tests.iloc[::-1])["a"] != digests(tests.assign(effect=[1.5, 2.0]))["a"]
    more = pd.concat([tests, pd.DataFrame({"test_id": ["c"], "channel": "tv", "effect": 1.0, "spend": 9.0})], ignore_index=True)
    assert digests(more)["a"] == digests(tests)["a"], "a column that another test brings changes nothing"
    long = world.weekly()
    last = world.weeks[155]
    assert history(long, last) == history(long.sample(frac=1, random_state=1), last)
    assert history(long, last) != history(corrected(world), last) and history(long, last) != history(long, world.weeks[154])


# -- search


def test_search_money_that_follows_demand_is_named() -> None:
    seeds = range(700, 712)
    blind = [follows(mix_world(seed, confounded=True, noise=0.02).weekly(), "search") for seed in seeds]
    free = [follows(mix_world(seed, noise=0.02).weekly(), "search") for seed in seeds]
    assert np.mean(np.array(blind) < 0.01) >= 0.75 and np.mean(np.array(free) < 0.01) <= 0.1
    (line,) = search_demand(mix_world(700, confounded=True, noise=0.02).weekly())
    assert "search follows demand" in line and "query_volume" in line
    (line,) = search_demand(mix_world(700, noise=0.02).weekly())
    assert "follows demand" not in line and "cannot be told" in line


def test_a_control_for_demand_is_said_and_without_search_there_is_nothing_to_say(world: MixWorld) -> None:
    long = world.weekly()
    queries = long[long["role"] == "target"].assign(role="control", name="query_volume")
    assert search_demand(pd.concat([long, queries])) == ["search is controlled for demand by query_volume"]
    assert search_demand(long[long["name"] != "search"]) == []


# -- pictures


def test_pictures_show_the_tables(fitted: dict[str, Member]) -> None:
    mix = fitted["structural"]
    parts, returns = mix.contributions(), mix.roi()
    stacked = plots.over_time(parts)
    total = np.sum([trace.y for trace in stacked.data], axis=0)
    np.testing.assert_allclose(total, parts.groupby("week")["contribution"].sum())
    spots = [trace for trace in plots.curves(mix.responses(), returns).data if trace.name == "today"]
    assert sorted(trace.x[0] for trace in spots) == pytest.approx(sorted(returns["recent"]))
    table = mix.partial_dependence()
    dotted = {trace.name for trace in plots.dependence(table).data if trace.line.dash == "dot" and len(trace.x)}
    assert dotted == set(table.loc[table["beyond"] > FEW, "channel"])
    dots = plots.returns(returns).data[0]
    assert dict(zip(dots.y, dots.x, strict=True)) == pytest.approx(returns.set_index("channel")["roi"].to_dict())
    arrived = plots.carry(mix.carryover()).data[0].y
    assert (np.diff(arrived) >= 0).all() and arrived[-1] <= 1 + 1e-9
    assert {trace.name for trace in plots.foretold(mix.forecasts()).data} >= {"sold", "foretold, weeks kept aside"}
    changes = pd.DataFrame([("tv", 1.0, 2.0, "weeks", 0.6), ("tv", 1.0, 2.0, "model", 0.4)],
                           columns=["channel", "before", "now", "part", "amount"])  # fmt: skip
    assert [trace.name for trace in plots.changed(changes).data] == ["new weeks", "another model"]
    found = mix.what_if({"tv": 2.0})
    np.testing.assert_allclose(found.plot().data[0].x, found.moved["change"])
    assert len(mix.plot().data) == len(CHANNELS) + 1
