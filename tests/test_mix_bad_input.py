"""What a mix is given that it should not be given: refused or named, in one line, with what to do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from liftwise.core.errors import CannotTell, InputError, LiftwiseError
from liftwise.core.uncertainty import Floats, spawn
from liftwise.models.mix import LassoMix, RidgeMix, choose
from liftwise.models.mix.adequacy import Adequacy, adequacy, jump
from liftwise.sources.simulator.mix_worlds import MixWorld, mix_world

LATE = np.arange(156) >= 90


@pytest.fixture(scope="module")
def world() -> MixWorld:
    return mix_world(11, media_share=0.35, noise=0.02, misallocation="low", synergy=0.5)


def changed(world: MixWorld, **series: Floats) -> pd.DataFrame:
    long = world.weekly()
    for name, values in series.items():
        long.loc[long["name"] == name, "value"] = values
    return long


def many(channels: int, weeks: int) -> pd.DataFrame:
    """Channels without any effect."""
    rng, days = spawn(1, "many"), pd.date_range("2024-01-01", periods=weeks, freq="W-MON")
    names = [("target", "revenue"), *(("channel", f"c{k:02}") for k in range(channels))]
    scale = {"target": 1e6, "channel": 1e3}
    return pd.concat([pd.DataFrame({"week": days, "region": "all", "role": role, "name": name,
                                    "value": scale[role] * rng.lognormal(0, 0.3, weeks)}) for role, name in names])  # fmt: skip


def said(found: Adequacy, kind: str) -> str:
    return " | ".join(line for mine, line in zip(found.kinds, found.findings, strict=True) if mine == kind)


def refused(ask: Callable[[], object]) -> LiftwiseError:
    """One line, with a way out."""
    with pytest.raises(LiftwiseError) as caught:
        ask()
    assert "\n" not in str(caught.value) and caught.value.fix
    return caught.value


def everywhere(weekly: pd.DataFrame) -> list[LiftwiseError]:
    """What each way in says."""
    return [refused(lambda: adequacy(weekly)), refused(lambda: RidgeMix(draws=4, folds=1).fit(weekly)),
            refused(lambda: choose([RidgeMix(draws=4, folds=1), LassoMix(draws=4, folds=1)], weekly))]  # fmt: skip


def test_twelve_weeks_are_refused(world: MixWorld) -> None:
    long = world.weekly()
    for error in everywhere(long[long["week"].isin(world.weeks[:12])]):
        assert isinstance(error, CannotTell) and "12 periods of revenue; a mix needs 30" in str(error)


def test_forty_channels_on_sixty_weeks_are_named_and_more_are_refused() -> None:
    weekly = many(40, 60)
    found = adequacy(weekly)
    assert "0.4 periods for each parameter: join channels" in said(found, "controls")
    assert len(RidgeMix(draws=4, folds=1).fit(weekly).roi()) == 40, "flagged, and no traceback"
    for error in everywhere(many(60, 60)):
        assert isinstance(error, CannotTell) and "60 channels and 0 controls on 60 periods" in str(error)


def test_identical_channels_are_named_and_share(world: MixWorld) -> None:
    weekly = changed(world, radio=world.spend[0])
    found = adequacy(weekly)
    assert (
        "tv" in said(found, "collinear")
        and "radio" in said(found, "collinear")
        and "run a test by region" in said(found, "collinear")
    )
    assert "move together (1.00)" in said(found, "design")
    told = RidgeMix(draws=4, folds=1).fit(weekly).roi().set_index("channel")["revenue"]
    assert np.isfinite(told).all() and (told >= 0).all()


def test_a_channel_switched_on_in_the_hold_out_is_left_out_and_named(world: MixWorld) -> None:
    weekly = changed(world, radio=np.where(np.arange(156) >= 135, world.spend[1], 0.0))
    assert "radio ran only in the hold-out" in said(adequacy(weekly), "design")
    mix = RidgeMix(draws=4, folds=1).fit(weekly)
    assert "radio" not in set(mix.roi()["channel"]) and any("radio ran only in the hold-out" in note for note in mix.notes_)


def test_negative_spend_is_refused_with_its_place(world: MixWorld) -> None:
    spend = world.spend[0].copy()
    spend[17] = -5.0
    for error in everywhere(changed(world, tv=spend)):
        assert isinstance(error, InputError) and f"negative spend of tv in {world.weeks[17].date()}" in str(error)


def test_nothing_but_zeros_is_refused(world: MixWorld) -> None:
    weekly = world.weekly()
    none = weekly.assign(value=weekly["value"].where(weekly["role"] != "channel", 0.0))
    for error in everywhere(none):
        assert isinstance(error, CannotTell) and "no channel's spend changes" in str(error)
    for error in everywhere(changed(world, revenue=np.zeros(156))):
        assert "revenue never changes" in str(error)


def test_revenue_in_cents_is_named(world: MixWorld) -> None:
    assert not said(adequacy(world.weekly()), "units")
    all_of_it = said(adequacy(changed(world, revenue=100 * world.revenue)), "units")
    assert "% of revenue: are both in the same unit (cents" in all_of_it and "Convert one side" in all_of_it
    spend = world.weekly()
    spend.loc[spend["role"] == "channel", "value"] *= 100
    assert "are both in the same unit" in said(adequacy(spend), "units")
    later = said(adequacy(changed(world, revenue=world.revenue * np.where(LATE, 100, 1))), "units")
    assert f"times as large from {world.weeks[90].date()} on" in later and "cents" in later


@pytest.mark.parametrize("times", [0.25, 0.5, 2.0, 4.0, 7.5, 90.0])
def test_another_currency_in_the_middle_is_named_with_its_week_and_rate(world: MixWorld, times: float) -> None:
    rate = np.where(LATE, times, 1.0)
    found = jump(world.revenue * rate)
    assert found is not None and abs(found[0] - 90) <= 1 and found[1] == pytest.approx(times, rel=0.15)
    line = said(adequacy(changed(world, revenue=world.revenue * rate)), "units")
    assert "revenue is" in line and f"from {world.weeks[90].date()} on" in line and "two currencies" in line
    if times >= 4:  # spend itself varies by a third from week to week
        assert "social is" in said(adequacy(changed(world, social=world.spend[4] * rate)), "units")


def test_growth_seasons_flights_and_bursts_are_not_taken_for_another_currency() -> None:
    for seed in range(30):
        some = mix_world(seed, misallocation="high", confounded=bool(seed % 2))
        assert "units" not in adequacy(some.weekly()).kinds, seed
    clock = np.arange(156.0)
    noise = np.exp(spawn(3, "growth").normal(0, 0.05, 156))
    assert jump(1e6 * np.exp(2 * clock / 156) * noise) is None, "seven times as large, slowly"
    assert jump(1e6 * (1 + 0.6 * np.sin(2 * np.pi * clock / 52)) * noise) is None


def test_missing_weeks_are_named_and_carry_over_does_not_leap(world: MixWorld) -> None:
    weekly = world.weekly()
    holes = weekly[~weekly["week"].isin(world.weeks[50:54])]
    line = said(adequacy(holes), "gaps")
    assert f"periods are missing after {world.weeks[49].date()}" in line and "deliver them" in line
    mix = RidgeMix(draws=4, folds=1).fit(holes)
    assert np.isfinite(mix.roi()[["revenue", "roi", "low", "high"]].to_numpy()).all()


def test_spend_booked_by_month_is_named(world: MixWorld) -> None:
    month = np.arange(156) // 4
    spread = np.bincount(month, world.spend[4])[month] / 4
    assert "booked by month" in said(adequacy(changed(world, social=spread)), "coarse spend")


def test_a_test_is_worth_most_where_least_is_known_for_the_money(world: MixWorld) -> None:
    found = adequacy(world.weekly())
    table = found.to_frame().set_index("channel")
    assert (table["tested"].to_numpy() <= table["error"].to_numpy() + 1e-12).all() and bool(table["error"].between(0, 1).all())
    assert found.worth_testing() in found.summary() and "half of the market" in found.summary()
    steady = 2e4 * np.exp(0.02 * spawn(1, "steady").normal(size=156))  # hardly moves: the data cannot tell, a test can
    still = adequacy(changed(world, social=steady))
    error, tested = still.to_frame().set_index("channel").loc["social", ["error", "tested"]].astype(float)
    assert error == pytest.approx(1.0) and tested < 0.8
    assert "worth most for social" in still.worth_testing()
