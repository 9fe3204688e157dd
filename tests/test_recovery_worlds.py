"""The generator of recovery worlds: its law of effect is the published one, its truth adds up, and its options do what they say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from liftwise.core.errors import InputError
from liftwise.sources.simulator.recovery_worlds import FORMS, LENGTH, PRESETS, caused, lag_weights, recovery_world


@pytest.mark.parametrize("preset", PRESETS)
def test_effects_are_those_of_the_published_run(preset: str, shared_data: Callable[[str], Path]) -> None:
    folder = shared_data("mmm_param_recovery")
    data, truth = (pd.read_csv(folder / f"{preset}_business{kind}.csv.gz").set_index(["geo", "date"]) for kind in ("", "_truth"))
    names = [name for name in data if name.startswith("x")]

    def cube(frame: pd.DataFrame, name: str) -> np.ndarray:
        return frame[name].unstack("date").to_numpy()

    spend = np.array([cube(data, name) for name in names])
    published = np.array([cube(truth, f"contribution_{name}") for name in names])
    told = caused(PRESETS[preset], spend, spend.max(axis=2), "hill", "geometric")
    np.testing.assert_allclose(told, published, rtol=1e-6, atol=1e-4)  # the files are rounded to ten digits


def test_spend_and_sales_are_of_the_published_size(shared_data: Callable[[str], Path]) -> None:
    """Mean contributions of 40 regions lie within 3 standard errors (of both samples) of those of the 8 published ones."""
    truth = pd.read_csv(shared_data("mmm_param_recovery") / "medium_business_truth.csv.gz")
    published = truth.groupby("geo")[[name for name in truth if name.startswith("contribution_")]].mean().to_numpy()
    ours = recovery_world(5, regions=40).media.mean(axis=2).T
    spread = np.sqrt(ours.var(axis=0, ddof=1) / len(ours) + published.var(axis=0, ddof=1) / len(published))
    assert (np.abs(ours.mean(axis=0) - published.mean(axis=0)) < 3 * spread).all()


def test_truth_adds_up_to_the_table() -> None:
    world = recovery_world(2, "growing", regions=2)
    weekly = world.weekly()
    target = weekly[weekly["role"] == "target"].groupby("week")["value"].sum().to_numpy()
    parts = world.contributions().sum(axis=1).to_numpy() + world.outside.sum(axis=(0, 1)) + world.baseline.sum(axis=0)
    np.testing.assert_allclose(target, parts)
    assert len(weekly) == 131 * 2 * (1 + 2 + 6)
    assert set(weekly.loc[weekly["role"] == "channel", "name"]) == set(world.channels)
    assert (weekly["value"] >= 0).all()


def test_same_seed_same_world_and_a_region_more_changes_no_other() -> None:
    one, two, other = recovery_world(3), recovery_world(3, regions=2), recovery_world(4)
    np.testing.assert_array_equal(one.revenue[0], two.revenue[0])
    assert not np.array_equal(one.revenue, other.revenue)
    assert abs(np.corrcoef(two.spend[0, 0], two.spend[0, 1])[0, 1]) < 0.9


def test_what_another_plan_would_have_caused() -> None:
    world = recovery_world(3)
    np.testing.assert_allclose(world.contributions(world.spend), world.contributions())
    less = world.spend.copy()
    less[2] = 0.0
    told = world.contributions(less)
    assert (told["video"] == 0).all()
    np.testing.assert_allclose(told.drop(columns="video"), world.contributions().drop(columns="video"))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_one_half_at_kappa_and_rises_from_nothing(form: str) -> None:
    k, s = np.array([0.4, 1.5]), np.array([0.5, 2.0])
    assert FORMS[form](k, k, s) == pytest.approx(0.5)
    assert FORMS[form](np.zeros(2), k, s) == pytest.approx(0.0)
    grid = FORMS[form](np.linspace(0, 2, 50)[:, None], k, s)
    assert (np.diff(grid, axis=0) >= 0).all()


def test_delayed_effect_peaks_later_and_channels_without_carry_over_stay_immediate() -> None:
    retention = np.array([0.0, 0.4, 0.4])
    assert lag_weights(retention, "geometric").argmax(axis=1).tolist() == [0, 0, 0]
    delayed = lag_weights(retention, "delayed")
    assert delayed.argmax(axis=1).tolist() == [0, 2, 1]
    assert delayed.max(axis=1) == pytest.approx(1.0)
    assert delayed[0].tolist() == [1.0, *[0.0] * (LENGTH - 1)]


@pytest.mark.parametrize(
    "asked", [{"preset": "huge"}, {"saturation": "tanh"}, {"adstock": "weibull"}, {"regions": 0}, {"weeks": 4}]
)
def test_unknown_wishes_are_refused(asked: dict[str, object]) -> None:
    with pytest.raises(InputError):
        recovery_world(1, **asked)  # pyright: ignore[reportArgumentType]
