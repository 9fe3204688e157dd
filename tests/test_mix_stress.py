"""Worlds that break assumptions, the verdict on a fit, and the checks that should speak up, and keep quiet on clean worlds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from liftwise.core.uncertainty import Floats, spawn
from liftwise.models.mix import LassoMix, StructuralMix
from liftwise.models.mix.checks import Ground, searched
from liftwise.models.mix.examine import SEARCHES, Findings, _confounded, examine
from liftwise.models.mix.family import Member
from liftwise.models.mix.trust import refute
from liftwise.sources.simulator.mix_stress import CHANNELS, VERDICTS, WORLDS, StressWorld, overall, stress_world
from liftwise.sources.simulator.mix_worlds import mix_world

# -- worlds


@pytest.mark.parametrize("name", list(WORLDS))
def test_a_world_is_the_same_for_the_same_seed_and_holds_its_truth(name: str) -> None:
    one, same, other = stress_world(name, 3), stress_world(name, 3), stress_world(name, 4)
    pd.testing.assert_frame_equal(one.weekly(), same.weekly())
    assert not np.allclose(one.revenue[:100], other.revenue[:100])
    assert tuple(one.truth) == CHANNELS and len(one.truth) == len(one.weeks) == len(one.revenue)
    share = one.truth.to_numpy().sum() / one.revenue.sum()
    assert share == pytest.approx(0.02 if name == "tiny signal" else 0.3, rel=0.1)
    assert (one.spend > 0).all() and (one.revenue > 0).all()
    if name != "pulled forward":
        assert one.truth.to_numpy().min() >= 0
    clean = stress_world("clean", 3)
    assert (name == "clean") == (one.spend.shape == clean.spend.shape and np.allclose(one.spend, clean.spend)
                                 and np.allclose(one.revenue, clean.revenue) and list(one.controls) == list(clean.controls))  # fmt: skip


def test_there_are_enough_worlds_and_every_kind_is_a_check_or_known_to_have_none() -> None:
    assert len(WORLDS) - 1 >= 16
    known = {*SEARCHES, "confounded", "variance", "weak", "collinear", "controls", "gaps", "coarse spend"}
    assert {kind for _, kinds, _ in WORLDS.values() for kind in kinds} - known == {"noisy spend"}, (
        "nothing in weekly data shows it"
    )


# -- the verdict


def judged(world: StressWorld, factor: float, width: float, warnings: tuple[str, ...] = ()) -> str:
    true = world.truth.sum()
    told = pd.DataFrame({"channel": true.index, "estimate": factor * true.to_numpy(), "low": (factor - width) * true.to_numpy(),
                         "high": (factor + width) * true.to_numpy()})  # fmt: skip
    total = true.sum() * factor
    return world.verdict(told, (total, total * (1 - width), total * (1 + width)), warnings)


def test_the_verdict_is_as_written() -> None:
    world = stress_world("season", 1)
    assert judged(world, 1.15, 0.0) == "good", "within a fifth"
    assert judged(world, 1.4, 0.5) == "wide"
    assert judged(world, 1.4, 0.1) == "silent"
    assert judged(world, 1.4, 0.1, ("outliers", "break")) == "silent", "a warning of another kind does not count"
    assert judged(world, 1.4, 0.1, ("outliers", "season")) == "flagged"
    assert judged(world, 0.7, 0.1) == "silent"
    assert overall(["good", "silent", "good"]) == "good" and overall(["good", "silent"]) == "silent"
    assert set(VERDICTS) == {"good", "wide", "flagged", "silent"}


# -- the engine of the checks


def test_a_search_pays_for_searching_and_finds_what_is_there() -> None:
    rng = spawn(1, "search")
    held, groups = (
        np.column_stack([np.ones(120), rng.normal(size=(120, 3))]),
        {str(k): rng.normal(size=(120, 2)) for k in range(12)},
    )
    values = [searched(rng.normal(size=120), held, groups)[1] for _ in range(60)]
    assert 0.3 < np.mean(np.array(values) < 0.5) < 0.7 and np.mean(np.array(values) < 0.05) <= 0.15, "uniform without an effect"
    there = searched(rng.normal(size=120) + 0.8 * groups["7"][:, 1], held, groups)
    assert there[0] == "7" and there[1] < 0.01
    assert searched(held[:, 1] * 5.0 + rng.normal(size=120), held, groups)[1] > 0.001, "what is held fixed is no evidence"
    nothing = searched(rng.normal(size=120), held, {"same": held[:, :2]})
    assert nothing[1] > 0.5, "columns that add nothing explain nothing"


# -- examine


def fit(name: str, seed: int = 2, member: type[Member] = StructuralMix) -> tuple[Member, pd.DataFrame]:
    weekly = stress_world(name, seed).weekly()
    return member(folds=1, draws=40).fit(weekly), weekly


@pytest.mark.parametrize("name", ["outliers", "season", "collinear", "dense controls", "monthly spend", "level shift",
                                  "multiplicative", "tiny signal", "trend break"])  # fmt: skip
def test_a_broken_assumption_is_named(name: str) -> None:
    mix, weekly = fit(name)
    found = examine(mix, weekly)
    assert WORLDS[name][1] & set(found.warnings), found.table[["check", "where", "p_value"]]


def test_clean_worlds_are_left_in_peace() -> None:
    alarms = [examine(*fit("clean", seed)).warnings for seed in range(201, 204)]
    assert sum(map(bool, alarms)) <= 1, alarms


def test_media_that_work_from_a_threshold_are_read_and_others_keep_plain_curves() -> None:
    """Thin-tailed shapes read the step as a line and what lies below it as effect: half too much, for this seed."""
    world = stress_world("saturation", 3)
    mix = StructuralMix(folds=1, draws=8)
    mix.scored = False
    steep = mix.fit(world.weekly())
    told = steep.roi()["revenue"].sum()
    assert steep.learned_.tuning.steep and abs(told / world.truth.to_numpy().sum() - 1) < 0.25
    assert not mix.fit(stress_world("clean", 3).weekly()).learned_.tuning.steep


def test_channels_that_one_demand_drives_are_named_unless_both_are_known_otherwise() -> None:
    world = stress_world("hidden demand", 3)
    mix = StructuralMix(folds=1, draws=8)
    mix.scored = False
    ground = Ground.of(mix.fit(world.weekly()), world.weekly())
    rows = _confounded(ground, ())
    assert len(rows) == 1 and rows[0][:2] == ("confounded", "social and search")
    assert _confounded(ground, ("social",)) and not _confounded(ground, ("search", "social"))


def test_findings_are_a_table_a_sentence_and_a_picture() -> None:
    mix, weekly = fit("level shift")
    found = examine(mix, weekly)
    table = found.to_frame()
    assert list(table.columns) == ["check", "where", "severity", "p_value", "said"] and set(table["severity"]) <= {
        "warning",
        "note",
    }
    warned = table["severity"].eq("warning").to_numpy()
    assert warned[: warned.sum()].all(), "warnings come first"
    assert not table["said"].str.contains("\n|[{}]").any()
    assert found.summary().startswith(f"{warned.sum()} warnings.") and "2023-" in " ".join(table["said"])
    residuals = found.residuals.set_index("week")
    predicted = mix.predict().set_index("week")["predicted"]
    np.testing.assert_allclose(residuals["fitted"], predicted.reindex(residuals.index), rtol=1e-9)
    np.testing.assert_allclose(residuals["revenue"] - residuals["fitted"], residuals["residual"], rtol=1e-6, atol=1e-3)
    assert len(residuals) == 148 and len(found.plot().data) == 1
    assert Findings(table.iloc[:0], found.residuals).summary() == "Nothing speaks against this mix."


def test_revenue_that_goes_with_future_spend_is_taken_for_confounding() -> None:
    world = stress_world("clean", 4)
    weekly, search = world.weekly(), world.spend[CHANNELS.index("search")]
    target = weekly["role"] == "target"
    weekly.loc[target, "value"] += 1e5 * np.roll(search / search.mean(), -1)  # sales come before the money
    found = examine(StructuralMix(folds=1, draws=40).fit(weekly), weekly)
    row = found.table.set_index("check").loc[["confounded"]].iloc[0]
    assert row["where"] == "search" and "periods to come" in row["said"] and "query volume" in row["said"]


def test_a_mix_surer_than_its_data_and_one_held_back_are_named() -> None:
    mix, weekly = fit("clean")

    class Sure(StructuralMix):
        def roi(self) -> pd.DataFrame:
            told = super().roi()
            return told.assign(low=0.999 * told["roi"], high=1.001 * told["roi"])

    sure = examine(Sure(folds=1, draws=20).fit(weekly), weekly)
    assert "narrow" in sure.warnings and "narrow" not in examine(mix, weekly).warnings

    class Held(StructuralMix):
        def contributions(self) -> pd.DataFrame:
            told = super().contributions()
            return told.assign(contribution=told["contribution"].where(told["channel"] != "tv", 0.3 * told["contribution"]))

    held = examine(Held(folds=1, draws=20).fit(weekly), weekly).table.set_index("check")
    assert held.loc["scale", "where"] == "tv" and "times as much on tv" in held.loc["scale", "said"]


def test_regions_and_gaps_are_carried() -> None:
    north, south = (stress_world("clean", seed).weekly().assign(region=region) for seed, region in ((1, "north"), (2, "south")))
    weekly = pd.concat([north, south], ignore_index=True)
    weekly = weekly[~((weekly["region"] == "south") & weekly["week"].isin(stress_world("clean", 1).weeks[20:23]))]
    ground = Ground.of(LassoMix(folds=1, draws=4).fit(weekly), weekly)
    assert len(ground.y) == 153 and np.isfinite(ground.told).all()
    assert ground.y.mean() == pytest.approx(1.0)


# -- refute


def test_a_sound_mix_survives_and_one_that_pays_for_nothing_does_not() -> None:
    weekly = mix_world(11, media_share=0.35, noise=0.02, misallocation="low", synergy=0.0).weekly()
    told = refute(lambda: StructuralMix(folds=1, draws=40), weekly)
    table = told.to_frame()
    assert set(table["test"]) == {"placebo", "random common cause", "latest left out", "earliest left out"}
    assert table["passed"].mean() > 0.7 and table.loc[table["test"] == "placebo", "passed"].all()

    class Generous(StructuralMix):
        """Gives the placebo half of what the others have."""

        def roi(self) -> pd.DataFrame:
            told = super().roi()
            rest = told.loc[told["channel"] != "placebo", "revenue"].sum()
            return told.assign(revenue=told["revenue"].where(told["channel"] != "placebo", rest / 2))

    found = refute(lambda: Generous(folds=1, draws=10), weekly)
    assert not found.passed and "cannot have worked" in found.summary() and len(found.plot().data) == 2


def test_the_placebo_is_real_spend_in_another_order() -> None:
    seen: list[Floats] = []

    class Watching(LassoMix):
        def fit(self, weekly: pd.DataFrame, lift: pd.DataFrame | None = None) -> Watching:
            seen.append(weekly[weekly["name"] == "placebo"].sort_values("week")["value"].to_numpy())
            return super().fit(weekly, lift)

    refute(lambda: Watching(folds=1, draws=4), stress_world("clean", 1).weekly())
    spend = stress_world("clean", 1).spend
    false = next(values for values in seen if len(values))
    assert any(np.allclose(np.sort(false), np.sort(real)) and not np.allclose(false, real) for real in spend)
