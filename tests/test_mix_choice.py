"""Which mix moves the money, what the money then does, and what is promised of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from liftwise.core.transforms import adstock
from liftwise.core.uncertainty import spawn
from liftwise.decisions.allocation.allocate import allocate
from liftwise.decisions.allocation.winners_curse import shrunk
from liftwise.models.mix import RidgeMix, StructuralMix
from liftwise.models.mix.choose import CANDIDATES, TRUSTED, best_of
from liftwise.models.mix.ridge import AdstockMix
from liftwise.sources.simulator.mix_worlds import CHANNELS, MixWorld, mix_world


class Told:
    """A mix of which only the scores are known."""

    monotone, state_ = True, "published"

    def __init__(self, name: str, folds: list[float], coverage: float = 0.9) -> None:
        self.name, self.fold_errors_ = name, [np.array([fold]) for fold in folds]
        rmse = float(np.sqrt(np.mean(np.square(folds))))
        self.scores_ = {"rmse": rmse, "rolling_rmse": rmse, "rolling_rmse_pct": rmse, "rolling_coverage": coverage}


def test_every_candidate_has_its_place() -> None:
    assert set(TRUSTED) == set(CANDIDATES)


def test_the_trusted_form_is_kept_unless_clearly_beaten() -> None:
    structural = Told("structural", [10.0, 12, 10, 12])
    luckier, better = Told("ridge", [9.0, 12.5, 9.5, 11]), Told("ridge", [5.0, 6, 5, 6])
    chosen, why = best_of([luckier, structural])
    assert chosen is structural and "not clearly more than ridge's" in why
    chosen, why = best_of([better, structural])
    assert chosen is better and "clearly less than structural's" in why
    # squares of 100, 100, 121, 144 against 90 lie 26.25 above, with a standard error of 10.5 (sd 20.9 over four origins)
    edge = [Told("structural", [10.0, 10, 11, 12]), Told("ridge", [90**0.5] * 4)]
    assert best_of(edge)[0] is edge[1], "2.5 standard errors are clear"
    edge[1] = Told("ridge", [98**0.5] * 4)
    assert best_of(edge)[0] is edge[0], "1.7 are not"


def test_unsound_intervals_disqualify_the_most_trusted() -> None:
    unsound, sound = Told("structural", [5.0, 6, 5, 6], coverage=0.3), Told("lasso", [9.0, 9, 9, 10])
    assert best_of([sound, unsound])[0] is sound


def test_who_has_one_origin_only_is_chosen_by_error() -> None:
    one, other = Told("structural", [10.0]), Told("ridge", [9.0])
    assert best_of([other, one])[0] is other


@pytest.fixture(scope="module")
def market() -> tuple[MixWorld, RidgeMix, StructuralMix]:
    world = mix_world(3077, media_share=0.35, noise=0.02, misallocation="high", synergy=0.25)
    return world, AdstockMix(draws=4).fit(world.weekly()), StructuralMix().fit(world.weekly())


def test_the_yardstick_is_a_straight_line_on_carried_spend(market: tuple[MixWorld, RidgeMix, StructuralMix]) -> None:
    world, yardstick, _ = market
    money = world.spend[[CHANNELS.index(name) for name in yardstick.design_.channels]]
    usual = money / money.mean(axis=1, keepdims=True)
    curves = yardstick.learned_.curves
    own = curves.own(curves.carried(usual[:, None]))[:, 0]
    assert (own.sum(axis=1) > 0).sum() >= 4, "most channels act"
    for mine, spent, retention in zip(own, usual, yardstick.retention_.values(), strict=True):
        straight = adstock(spent, retention)
        np.testing.assert_allclose(mine, mine.sum() / straight.sum() * straight, rtol=0.06)


def test_the_structure_forecasts_and_moves_money_better_than_the_yardstick(
    market: tuple[MixWorld, RidgeMix, StructuralMix],
) -> None:
    world, yardstick, structural = market
    assert structural.scores_["rmse"] < 0.85 * yardstick.scores_["rmse"]
    gained = {mix.name: _gain(world, mix)[0] for mix in (yardstick, structural)}
    assert gained["structural"] > max(gained["adstock"], 0.02 * world.revenue.mean())


def test_what_is_promised_is_near_what_is_won(market: tuple[MixWorld, RidgeMix, StructuralMix]) -> None:
    world, _, structural = market
    true, promised, (low, high) = _gain(world, structural)
    assert 0.5 < promised / true < 1.5
    assert low < true < high


def _gain(world: MixWorld, mix: RidgeMix | StructuralMix) -> tuple[float, float, tuple[float, float]]:
    today = pd.Series(world.spend[:, -52:].mean(axis=1), CHANNELS)
    shares = today / today.sum()
    split = allocate(mix.responses(), current=today, total=float(today.sum()), floors=(0.5 * shares).to_dict(),
                     ceilings=(2 * shares).clip(upper=1.0).to_dict())  # fmt: skip
    true = world.steady(split.recommended[list(CHANNELS)].to_numpy()) - world.steady(today.to_numpy())
    return true, split.gain.mean, split.gain.interval(0.90)


def test_a_gain_that_is_hardly_known_is_shrunk_to_none_and_a_sure_one_kept() -> None:
    rng = spawn(3, "gains")
    noise = rng.normal(size=4000)
    noise -= noise.mean()
    noise /= noise.std()
    assert shrunk(10 + noise).mean() == pytest.approx(9.9)
    assert shrunk(0.8 + noise).mean() == pytest.approx(0.0)
    assert shrunk(-2 + noise).mean() == pytest.approx(-2.0), "a loss is not made smaller"
    assert shrunk(2 + noise).std() == pytest.approx(1.0), "what is not known stays so"


def test_shrinking_takes_most_of_the_winners_curse_away() -> None:
    """Of 5 plans the one that seems best is taken: it seems to bring twice what it brings. Two thirds of the flattery must go."""
    rng = spawn(4, "curse")
    true = rng.normal(size=(4000, 5))
    seen = true + rng.normal(size=true.shape)
    rows, taken, draws = np.arange(len(true)), seen.argmax(axis=1), np.array([-1.0, 1.0])
    won, first_seen = true[rows, taken].mean(), seen[rows, taken].mean()
    promised = np.mean([shrunk(value + draws).mean() for value in seen[rows, taken]])
    assert first_seen > 1.8 * won
    assert abs(promised - won) < 0.4 * (first_seen - won)


def _straight(slopes: dict[str, list[float]]) -> pd.DataFrame:
    """Response curves that are lines, a slope a draw."""
    spend = np.linspace(0, 250, 6)
    return pd.concat([
        pd.DataFrame({"channel": name, "draw": draw, "spend": spend, "revenue": slope * spend})
        for name, mine in slopes.items() for draw, slope in enumerate(mine)
    ])  # fmt: skip


def test_money_moves_only_where_it_will_likely_gain() -> None:
    today = pd.Series({"a": 100.0, "b": 100.0})
    half = np.arange(160) // 2  # both halves of the draws are alike
    likely = _straight({"a": [1.0] * 160, "b": list(np.where(half < 1, 0.9, 1.5))})  # 79 of 80 gain
    doubtful = _straight({"a": [1.0] * 160, "b": list(np.where(half < 8, 0.9, 1.5))})  # 72 of 80
    for curves, moves in ((likely, True), (doubtful, False)):
        same = allocate(curves, current=today, total=200.0)
        assert (same.recommended["b"] > 150) == moves
        assert (same.gain.mean > 0) == moves
    more = allocate(doubtful, current=today, total=220.0)
    assert more.recommended.tolist() == [110.0, 110.0], "a tenth more is spread as today's money is"
    assert more.gain.mean == pytest.approx(10 + 10 * (0.9 * 1.5 + 0.1 * 0.9)), (
        "and what that brings was not chosen, so it is not shrunk"
    )
