"""Hard panels: cells that fill the space, layers that do what they say, and judges who count right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from liftwise.core.errors import CannotTell
from liftwise.core.uncertainty import spawn
from liftwise.flows import panels as judging
from liftwise.flows.panels import judge, lift_of, panel_of
from liftwise.sources.simulator.panels import Cell, Made, cells, hard, known_error, lasting

PLAIN = Cell(
    units=20, pre=60, post=8, weekly=True, rho=0.3, heavy=False, zeros=False, holes=0.0, treated=2, effect=0.10, shape="constant", lead=0,
    carry=0.0, spill=0.0, national=False, regional=False, break_in_donor=False, competitor=None, hidden=False, tv=None, flat=False, overlap=None,
)  # fmt: skip


def twins(seed: int = 1, **told: object) -> tuple[Made, Made]:
    """The same market with and without the campaign."""
    cell = replace(PLAIN, **told)  # type: ignore[arg-type]
    return hard(cell, seed), hard(replace(cell, effect=0.0), seed)


# --- the cells


def test_cells_fill_the_space() -> None:
    found = cells()
    assert len(found) == len(set(found)) == 24
    assert found == cells(), "the same cells every time"
    for trait, options in (("rho", (0, 0.3, 0.6, 0.8)), ("effect", (0, 0.02, 0.05, 0.075, 0.10, 0.20)), ("heavy", (False, True))):
        counts = [sum(getattr(cell, trait) == option for cell in found) for option in options]
        assert counts == [24 // len(options)] * len(options), "each half is a Latin hypercube of its own"
    assert {cell.units for cell in found} == {20, 30, 50, 100, 200, 1000}
    assert max(cell.pre + cell.post for cell in found) == 730
    for layer in ("zeros", "holes", "lead", "carry", "spill", "national", "regional", "break_in_donor", "hidden", "flat"):
        assert 2 <= sum(bool(getattr(cell, layer)) for cell in found) <= 16, layer
    assert {cell.overlap for cell in found} == {None, 0.0, 0.5, 1.0}
    assert sum(not cell.knowable for cell in found) == 3
    assert all(cell.competitor == 0.9 and cell.hidden for cell in found if not cell.knowable)
    assert all(cell.treated <= cell.units // 5 for cell in found)
    assert len({cell.name for cell in found}) == 24


def test_hidden_shocks_by_chance_stay_knowable() -> None:
    assert replace(PLAIN, competitor=0.0, hidden=True).knowable
    assert replace(PLAIN, competitor=0.9).knowable
    assert replace(PLAIN, tv=None, flat=True).knowable
    assert not replace(PLAIN, competitor=0.9, hidden=True).knowable


# --- the layers


def test_the_effect_is_what_was_added() -> None:
    for told in ({}, {"shape": "ramp"}, {"shape": "decay", "carry": 0.6}, {"carry": 0.6, "post": 15}):
        made, twin = twins(**told)
        added = made.sales - twin.sales
        assert added[:2].sum() == pytest.approx(made.effect)
        assert not added[2:].any() and not added[:, : made.pre].any()
        assert np.mean(added[0, made.pre :] / twin.sales[0, made.pre :]) == pytest.approx(0.10), (
            "the mean lift is the cell's effect"
        )
        assert made.oracle == twin.oracle


def test_what_is_carried_over_fades() -> None:
    made, twin = twins(post=10, carry=0.6)
    lift = (made.sales / twin.sales - 1)[0, made.pre :]
    np.testing.assert_allclose(lift[6:] / lift[5:-1], 0.6, err_msg="the last four of ten periods have what is left")
    np.testing.assert_allclose(lift[:6], lift[0])


def test_anticipation_is_counted_from_the_announcement() -> None:
    made, twin = twins(lead=3)
    assert made.pre == 57
    lift = (made.sales / twin.sales - 1)[0]
    np.testing.assert_allclose(lift[57:60], 0.3 * lift[60])
    assert not (made.sales - twin.sales)[:, :57].any()
    assert (made.sales - twin.sales)[:2].sum() == pytest.approx(made.effect)


def test_it_spills_over_to_neighbours_who_are_told() -> None:
    made, twin = twins(spill=0.30)
    lift = (made.sales / twin.sales - 1)[:, made.pre :]
    assert 2 <= len(made.touched) <= 4 and min(made.touched) >= 2
    np.testing.assert_allclose(lift[list(made.touched)], 0.30 * lift[:1].repeat(len(made.touched), axis=0))
    rest = np.setdiff1d(np.arange(2, 20), made.touched)
    assert not lift[rest].any()
    assert made.effect == pytest.approx((made.sales - twin.sales)[:2].sum()), "what spills over is not counted"


def test_small_regions_sell_nothing_on_some_days() -> None:
    made = hard(replace(PLAIN, zeros=True), 1)
    empty = (made.sales == 0).mean(axis=1)
    assert (empty > 0).sum() == 4 and not empty[:2].any()
    assert 0.05 < empty[empty > 0].mean() < 0.3
    assert made.sales[empty > 0].mean() < made.sales[empty == 0].mean()


def test_holes_are_left_to_the_panel() -> None:
    made = hard(replace(PLAIN, holes=0.5, competitor=0.0), 3)
    holed = np.isnan(made.sales)
    assert not holed[:2].any() and 4 <= holed.any(axis=1).sum() <= 14
    late = holed[:, -1] & ~holed[:, :-3].any(axis=1)
    assert late.any() and (holed.any(axis=1) & ~late).any(), "some are late, some have holes"
    panel = panel_of(made)
    assert len(panel.units) == 20 - holed.any(axis=1).sum() == 20 - len(panel.dropped)
    assert panel.exposure["competitor"].shape == panel.matrix.shape
    assert "Left out for holes" in next(check.sentence for check in lift_of(made).checks if check.name == "data")


def test_a_competitor_strikes_where_the_campaign_runs() -> None:
    shares = [hard(replace(PLAIN, competitor=near), 1).exposure["competitor"][:, -3] for near in (0.0, 0.5, 0.9)]
    gaps = [share[:2].mean() - share[2:].mean() for share in shares]
    assert gaps[2] > 0.8 and 0.3 < gaps[1] < 0.7
    seen, hidden = hard(replace(PLAIN, competitor=0.9), 1), hard(replace(PLAIN, competitor=0.9, hidden=True), 1)
    assert seen.exposure and not hidden.exposure


def test_television_flat_or_regional() -> None:
    flat = hard(replace(PLAIN, flat=True, tv=0.0), 1).exposure["tv"]
    assert np.ptp(flat, axis=0).max() == 0 and flat.max() > 0.5
    for overlap, reached in ((0.0, 0), (0.5, 1), (1.0, 2)):
        made = hard(replace(PLAIN, overlap=overlap), 1)
        now = made.exposure["regional_tv"][:, made.pre + 3] > 0.45  # what is left of earlier flights is less
        assert now[:2].sum() == reached
    halves = [hard(replace(PLAIN, treated=1, overlap=0.5), seed).exposure["regional_tv"][0, 63] > 0.45 for seed in range(40)]
    assert 8 <= sum(halves) <= 32, "half of one region is one panel in two"


def test_who_knows_all_but_the_noise_is_that_sure() -> None:
    """Against the spread of after − before in noise itself, which is a little more."""
    noise = lasting(spawn(1, "known"), (8000, 35), 0.6)
    spread = float((noise[:, 30:].mean(axis=1) - noise[:, :30].mean(axis=1)).std())
    assert 0.97 <= spread / known_error(30, 5, 0.6) <= 1.2
    assert known_error(30, 5, 0.0) == pytest.approx(np.sqrt(1 / 30 + 1 / 5))
    oracles = [[hard(replace(PLAIN, treated=treated), seed).oracle for seed in range(30)] for treated in (1, 4)]
    assert np.median(oracles[1]) < 0.75 * np.median(oracles[0]), "four units are surer than one"


# --- the judge


def test_judging_counts_what_it_says() -> None:
    found = judge(lambda seed: hard(replace(PLAIN, effect=0.2, treated=1), seed), range(3))
    assert found[["refused", "covered 80%", "covered 90%", "covered 95%", "found", "usual"]].isin([0, 1]).all().all()
    assert (found["covered 80%"] <= found["covered 90%"]).all() and (found["covered 90%"] == 1 - found["missed"]).all()
    assert (found["width"] > 0.8).all() and (found["unwarned"] <= found["missed"]).all()
    inside = found["away"].abs() <= 1.645 * found["error"] * 1.3
    assert (inside | (found["missed"] == 1)).all()


def test_a_refusal_is_no_coverage(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(made: Made) -> None:
        raise CannotTell("no")

    monkeypatch.setattr(judging, "lift_of", refuse)
    found = judge(lambda seed: hard(PLAIN, seed), range(2))
    assert (found["refused"] == 1).all() and found["usual"].notna().all()
    assert found[["covered 90%", "missed", "width"]].isna().all().all()


def test_hard_panels_keep_their_word() -> None:
    """The plainest cells, on a few panels each: an interval of 90 % that held the truth less than 3 times in 4 would show."""
    few = [cell for cell in cells() if cell.units <= 30 and cell.pre <= 130 and cell.knowable][:2]
    for cell in few:
        found = judge(lambda seed, cell=cell: hard(cell, seed), range(40))
        assert found["covered 90%"].mean() >= 0.75, cell.name
