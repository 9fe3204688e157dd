"""The family of mixes: one contract for every member, exact sums, the rule of choice, the world it is judged on, bad input."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.tables import check
from liftwise.core.uncertainty import Floats, spawn
from liftwise.models.mix import (
    BoostedMix,
    ForestMix,
    LassoMix,
    Member,
    Mix,
    NeuralMix,
    ResidualMix,
    RidgeMix,
    StructuralMix,
    TimeSeriesMix,
    choose,
    members,
)
from liftwise.models.mix.adequacy import adequacy
from liftwise.models.mix.choose import best_of
from liftwise.models.mix.design import Design
from liftwise.models.mix.errors_in_time import Lasting
from liftwise.models.mix.family import Data
from liftwise.models.mix.scores import coverage, crps, report
from liftwise.models.mix.structural import walk_covariance
from liftwise.models.mix.structural_curves import curves_of, media_of, slopes_of
from liftwise.models.mix.trust import placebo, stability
from liftwise.sources.simulator.mix_worlds import CHANNELS, MixWorld, mix_world

MEMBERS = (RidgeMix, LassoMix, TimeSeriesMix, StructuralMix, ResidualMix, BoostedMix, ForestMix, NeuralMix)


@pytest.fixture(scope="module")
def world() -> MixWorld:
    return mix_world(11, media_share=0.35, noise=0.02, misallocation="low", synergy=0.5)


@pytest.fixture(scope="module")
def fitted(world: MixWorld) -> dict[str, Member]:
    long = world.weekly()
    return {of.name: of(draws=4, folds=1).fit(long) for of in MEMBERS}


@pytest.mark.parametrize("name", [of.name for of in MEMBERS])
def test_every_member_keeps_the_contract(name: str, fitted: dict[str, Member], world: MixWorld) -> None:
    mix = fitted[name]
    assert isinstance(mix, Mix)
    parts, expected = mix.contributions(), mix.predict().set_index("week")["predicted"]
    np.testing.assert_allclose(parts.groupby("week")["contribution"].sum(), expected, rtol=1e-9)
    own = parts[parts["part"].isin(["immediate", "carried"])]  # synergy may be below zero: channels also stand in for one another
    assert own["contribution"].min() >= -1e-9 * expected.mean()
    media = parts[parts["part"].isin(["immediate", "carried", "synergy"])]
    assert media.groupby("week")["contribution"].sum().min() >= -1e-9 * expected.mean()
    for table in ("contributions", "responses", "carryover"):
        assert check(table, getattr(mix, table)()).rejected.empty, table
    curves = mix.responses()
    for _, curve in curves.groupby(["channel", "draw"]):
        revenue = curve.sort_values("spend")["revenue"].to_numpy()
        assert revenue[0] == pytest.approx(0.0, abs=1e-6 * expected.mean())
        assert (np.diff(revenue) >= -1e-9 * expected.mean()).all(), "an effect falls with spend"
    assert curves["marginal_roi"].min() >= -1e-9
    assert (mix.carryover().groupby(["channel", "draw"])["weight"].sum() <= 1 + 1e-9).all()
    for metric in ("rmse", "mae", "rmse_pct", "mae_pct", "crps", "coverage", "rolling_rmse"):
        assert np.isfinite(mix.scores_[metric])
    assert mix.scores_["mae"] <= mix.scores_["rmse"] < 0.15 * world.revenue.mean()
    told = mix.roi()
    assert (told["half_saturation"] <= told["saturation"]).all() and (told["half_life"] > 0).all()


@pytest.mark.parametrize("name", [of.name for of in MEMBERS])
def test_what_if_is_the_difference_of_two_fits(name: str, fitted: dict[str, Member]) -> None:
    mix = fitted[name]
    assert mix.simulate({})["change"].abs().max() < 1e-6
    twice = mix.simulate({"social": 2.0}).set_index("channel")
    assert twice["change"].sum() >= 0 and twice.loc["social", "extrapolated"] and not twice.loc["tv", "extrapolated"]
    gone = mix.simulate(dict.fromkeys(CHANNELS, 0.0))["change"].sum()
    media = mix.contributions().query("part in ['immediate', 'carried', 'synergy']")["contribution"].sum()
    assert gone == pytest.approx(-media, rel=1e-6, abs=1e-3)
    with pytest.raises(InputError, match="no channel fax"):
        mix.simulate({"fax": 2.0})
    with pytest.raises(InputError, match="less than 0"):
        mix.simulate({"tv": -1.0})


def test_the_structure_finds_what_media_added(fitted: dict[str, Member], world: MixWorld) -> None:
    true = world.contributions().sum()
    got = fitted["structural"].contributions().query("part in ['immediate', 'carried', 'synergy']")["contribution"].sum()
    assert got == pytest.approx(true.sum(), rel=0.25)


def test_the_hold_out_is_never_learned_from(world: MixWorld) -> None:
    long = world.weekly()
    late = (long["role"] == "target") & (long["week"] > long["week"].max() - pd.Timedelta(weeks=26))
    mean = world.revenue[:-26].mean()
    for of in (LassoMix, StructuralMix, BoostedMix):
        one = of(draws=4, folds=2).fit(long)
        # scaled by the region's mean revenue, which the hold-out moves; errors before it must not move otherwise
        other = of(draws=4, folds=2).fit(long.assign(value=long["value"].where(~late, mean)))
        for a, b in zip(one.fold_errors_, other.fold_errors_, strict=True):
            np.testing.assert_allclose(a, b, rtol=0.02, atol=0.002 * mean)


def test_the_same_seed_gives_the_same_answer(world: MixWorld) -> None:
    long = world.weekly()
    for of in (LassoMix, BoostedMix):
        pd.testing.assert_frame_equal(of(draws=4, folds=1).fit(long).responses(), of(draws=4, folds=1).fit(long).responses())


def test_slopes_are_differences() -> None:
    data = Data.of(Design.of(mix_world(3).weekly(), 26), 52.18)
    theta, pairs = spawn(1, "theta").normal(size=28), ((4, 3), (2, 0))
    slopes = slopes_of(theta, data, pairs, None)[0]
    for at in (0, 7, 14, 21, 24, 25, 26, 27):
        step = 1e-4 * np.eye(28)[at]
        two_sided = (media_of(curves_of(theta + step, 6, pairs), data) - media_of(curves_of(theta - step, 6, pairs), data)) / 2e-4
        np.testing.assert_allclose(slopes[:, at], two_sided, rtol=2e-3, atol=1e-5)


def test_errors_that_last_are_whitened_and_foreseen() -> None:
    rng = spawn(5, "lasting")
    data = Data.of(Design.of(mix_world(3, weeks=80).weekly(), 26), 52.18)
    covariance = walk_covariance(0.2, 80)
    train = (data.period < 60) & (data.period != 17)
    lasting = Lasting.of(covariance, data, train)
    white = lasting.whiten(np.linalg.cholesky(covariance) @ rng.normal(size=(80, 4000)))
    np.testing.assert_allclose(np.cov(white), np.eye(59), atol=0.12)
    assert lasting.log_determinant == pytest.approx(np.linalg.slogdet(covariance[np.ix_(train, train)])[1])
    errors = np.linalg.cholesky(covariance) @ rng.normal(size=80)
    known = covariance[np.ix_(~train, train)] @ np.linalg.solve(covariance[np.ix_(train, train)], errors[train])
    np.testing.assert_allclose(lasting.foreseen(errors)[60:], known[1:])
    assert not lasting.foreseen(errors)[:60].any()


# -- scores and the rule


def test_scores_are_proper() -> None:
    rng = spawn(2, "scores")
    off, right, wide = rng.normal(size=4000), rng.normal(size=1000), 3 * rng.normal(size=1000)
    assert crps(off, right) == pytest.approx(np.pi**-0.5, rel=0.03), "of a standard normal about itself"
    assert crps(off, right) < crps(off, wide) and crps(off, right) < crps(off, right + 1)
    assert coverage(off, right) == pytest.approx(0.9, abs=0.03)
    assert report([off[:20], off[20:40]], off[40:60], 10.0)["rolling_rmse_pct"] == pytest.approx(
        10 * np.sqrt(np.mean(off[:40] ** 2))
    )


class Told:
    """A mix of which only the scores are known."""

    def __init__(
        self, name: str, folds: list[float], *, coverage: float = 0.9, monotone: bool = True, state: str = "published"
    ) -> None:
        self.name, self.monotone, self.state_ = name, monotone, state
        self.fold_errors_ = [np.array([fold]) for fold in folds]
        rmse = float(np.sqrt(np.mean(np.square(folds))))
        self.scores_ = {"rmse": rmse, "rolling_rmse": rmse, "rolling_rmse_pct": rmse, "rolling_coverage": coverage}


def test_the_rule_is_as_written() -> None:
    ridge, far = Told("ridge", [10.0, 11, 10, 11]), Told("lasso", [20.0, 21, 20, 21])
    close, clear = Told("boosted", [10.5, 10.5, 9.5, 11]), Told("boosted", [5.0, 6, 5, 6])
    assert best_of([ridge, far, close])[0] is ridge, "the simpler of two that cannot be told apart"
    assert best_of([ridge, far, clear])[0] is clear
    for bad in ({"monotone": False}, {"coverage": 0.2}, {"state": "preview"}):
        assert best_of([ridge, Told("boosted", [5.0, 6, 5, 6], **bad)])[0] is ridge, bad
    assert "preview" in best_of([Told("ridge", [1.0, 1], coverage=0.1)])[1]


def test_choosing_reports_all_and_names_what_failed(world: MixWorld) -> None:
    heard: list[str] = []
    made = choose(
        [RidgeMix(draws=4, folds=2), LassoMix(draws=4, folds=2)], world.weekly(), heard=lambda _, name: heard.append(name)
    )
    table = made.to_frame()
    assert check("fits", table).rejected.empty and set(table["model"]) == {"ridge", "lasso"} == set(heard)
    assert set(table.loc[table["chosen"], "model"]) == {made.chosen.name}
    with pytest.raises(InputError, match="no mix called 'oracle'"):
        made.member("oracle")
    with pytest.raises(InputError, match="no mix called 'oracle'"):
        members(world.weekly(), also="oracle")
    assert {member.name for member in members(world.weekly())} == {"bayesian", *(of.name for of in MEMBERS)}


# -- the world


def test_a_world_adds_up_and_keeps_its_dials() -> None:
    for share, noise, synergy in ((0.1, 0.02, 0.0), (0.35, 0.04, 0.5)):
        world = mix_world(4, media_share=share, noise=noise, synergy=synergy)
        parts = world.contributions()
        expected = world.expected(world.spend)
        np.testing.assert_allclose(world.baseline + world.outside + parts.sum(axis=1), expected)
        assert parts.to_numpy().sum() / expected.sum() == pytest.approx(share, rel=0.01)
        assert (world.revenue - expected).std() / expected.mean() == pytest.approx(noise, rel=0.25)
        assert parts["synergy"].sum() == pytest.approx(synergy * (parts["search"] + parts["social"]).sum(), abs=1e-3)


def test_a_world_answers_other_plans(world: MixWorld) -> None:
    money = world.spend.mean(axis=1)
    long_run = world.contributions(np.repeat(money[:, None], 150, axis=1)).sum(axis=1).to_numpy()[-1]
    assert world.steady(money) == pytest.approx(long_run, rel=1e-6)
    curve = world.response("search", np.linspace(0, 3e4, 7))
    assert curve[0] == 0 and (np.diff(curve) > 0).all()
    apart: Floats = mix_world(6, confounded=False).spend[3]
    follows = mix_world(6, confounded=True)
    assert np.corrcoef(follows.spend[3] / apart, follows.baseline)[0, 1] > 0.8, "search money follows demand"


# -- trust


def test_a_shuffled_channel_gets_next_to_nothing(world: MixWorld) -> None:
    told = placebo(lambda: StructuralMix(draws=4, folds=1), world.weekly())
    assert told["share"].item() < told["fair"].item() / 2


def test_a_window_shift_is_told_by_channel(world: MixWorld) -> None:
    told = stability(lambda: LassoMix(draws=4, folds=1), world.weekly())
    assert set(told["channel"]) == set(CHANNELS) and told["stable"].dtype == bool
    assert told["before"].notna().all()


# -- bad input


def changed(world: MixWorld, name: str, values: Floats) -> pd.DataFrame:
    long = world.weekly()
    long.loc[long["name"] == name, "value"] = values
    return long


def test_too_little_is_refused(world: MixWorld) -> None:
    long = world.weekly()
    with pytest.raises(CannotTell, match="12 periods of revenue; a mix needs 30"):
        RidgeMix().fit(long[long["week"] < long["week"].min() + pd.Timedelta(weeks=12)])
    rng = spawn(1, "forty")
    weeks = pd.date_range("2024-01-01", periods=60, freq="W-MON")
    rows = [("target", "revenue")] + [("channel", f"c{k}") for k in range(60)]
    many = pd.concat(
        [pd.DataFrame({"week": weeks, "region": "all", "role": r, "name": n, "value": rng.lognormal(size=60)}) for r, n in rows]
    )
    with pytest.raises(CannotTell, match="60 channels and 0 controls on 60 periods"):
        RidgeMix().fit(many)


def test_spend_below_zero_or_nothing_at_all_is_refused(world: MixWorld) -> None:
    with pytest.raises(InputError, match="negative spend of tv"):
        RidgeMix().fit(changed(world, "tv", -world.spend[0]))
    nothing = world.weekly()
    nothing.loc[nothing["role"] == "channel", "value"] = 0.0
    with pytest.raises(CannotTell, match="no channel's spend changes"):
        RidgeMix().fit(nothing)
    with pytest.raises(CannotTell, match="revenue never changes"):
        RidgeMix().fit(changed(world, "revenue", np.zeros(156)))


def test_a_channel_of_the_hold_out_alone_and_twins_are_named(world: MixWorld) -> None:
    late = np.where(np.arange(156) >= 135, world.spend[1], 0.0)
    assert "radio ran only in the hold-out" in " ".join(Design.of(changed(world, "radio", late), 26).notes)
    assert "radio and tv move together" in " ".join(Design.of(changed(world, "radio", world.spend[0]), 26).notes) or (
        "tv and radio move together" in " ".join(Design.of(changed(world, "radio", world.spend[0]), 26).notes)
    )


def test_sound_data_are_found_sound_and_poor_ones_say_what_to_do(world: MixWorld) -> None:
    assert adequacy(world.weekly()).findings == ()
    twins = adequacy(changed(world, "radio", world.spend[0]))
    assert any("radio moves with the other channels" in line and "test by region" in line for line in twins.findings)
    assert any(
        "radio has 0.0% of the money" in line for line in adequacy(changed(world, "radio", world.spend[1] * 1e-3)).findings
    )
    still = 1e4 * (1 + 0.02 * np.sin(np.arange(156.0)))
    assert any("radio hardly changes" in line for line in adequacy(changed(world, "radio", still)).findings)


def test_cents_another_currency_and_missing_weeks_are_named(world: MixWorld) -> None:
    times = np.where(np.arange(156) >= 90, 100.0, 1.0)
    cents = adequacy(changed(world, "revenue", world.revenue * times)).findings
    day = world.weeks[90].date()
    assert any("revenue is " in line and f"times as large from {day} on" in line and "Convert one side" in line for line in cents)
    rupees = np.where(np.arange(156) >= 90, 90.0, 1.0)
    assert any(
        line.startswith("social is") and "currencies" in line
        for line in adequacy(changed(world, "social", world.spend[4] * rupees)).findings
    )
    long = world.weekly()
    holes = adequacy(long[~long["week"].isin(world.weeks[50:54])])
    assert any(f"periods are missing after {world.weeks[49].date()}" in line for line in holes.findings)
    # revenue in cents throughout is only another unit: the same effects, a hundred times as large
    all_cents = changed(world, "revenue", world.revenue * 100)
    one, other = (LassoMix(draws=4, folds=1).fit(frame).roi()["roi"] for frame in (world.weekly(), all_cents))
    np.testing.assert_allclose(other, 100 * one, rtol=1e-6)
