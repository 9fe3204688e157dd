"""What the flow adds to the models: nobody makes a cell alone, and which test comes next."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.uncertainty import Floats, spawn
from liftwise.flows.attribution import _of_one_kind, bounded
from liftwise.flows.measure import measure
from liftwise.flows.refresh import refresh
from liftwise.governance.cells import Cells
from liftwise.models.attribution import Journeys, LastTouch, Linear, Markov, Shapley, SurvivalAttribution
from liftwise.models.attribution.next_test import next_tests
from liftwise.store.workspace import Workspace


def bought(times: Floats, seed: int = 1) -> tuple[Journeys, np.ndarray]:
    """Each person's purchases, as journeys of one to three touches, and as many that did not convert."""
    rng = spawn(seed, "test.bounded")
    person = np.repeat(np.arange(len(times)), 2 * times.astype(int))
    won = np.arange(len(person)) % 2 == 0
    lengths = rng.integers(1, 4, len(person))
    offsets, touches = np.concatenate([[0], np.cumsum(lengths)]), int(lengths.sum())
    hours = rng.uniform(1, 700, touches)
    ids = np.array([f"j{k:06d}" for k in range(max(touches, len(person)))], object)
    value = np.where(won, rng.gamma(2.0, 5.0, len(person)), 0.0)
    order = np.lexsort((-hours, np.repeat(np.arange(len(person)), lengths)))
    return Journeys(
        ids[: len(person)], offsets, rng.integers(0, 3, touches), ids[:touches], hours[order], won.astype(float), value,
        1.0 - won, ("ads", "mail", "nano"),
    ), person  # fmt: skip


def test_ordinary_buyers_are_not_bent() -> None:
    """Weekly shoppers beside rare ones: counts of a year as wide as those of groceries (negative binomial, Ehrenberg 1959)."""
    for seed in range(5):
        rng = spawn(seed, "test.ordinary")
        journeys, person = bought(1 + rng.poisson(rng.gamma(0.7, 12.0, 3_000)), seed)
        same, line = bounded(journeys, person)
        assert same is journeys and line == ""


def test_one_account_that_resells_makes_no_cell() -> None:
    times = np.append(np.full(400, 2.0), 3_000.0)
    journeys, person = bought(times)
    journeys = replace(journeys, codes=np.where(person[journeys.owner] == 400, 2, journeys.codes % 2))
    counted, line = bounded(journeys, person)
    assert line == "1 person buys far more than others and counts for at most 50 times the median buyer in sums of credit"
    for member in (LastTouch(), Linear(), Markov(), Shapley()):
        plain, held = (member.fit(journeys).channel_credit(part).set_index("channel") for part in (journeys, counted))
        most = 800 + Cells().people * 2
        assert held["conversions"].sum() == pytest.approx(most)
        if not isinstance(member, Markov):  # the chain shares out all conversions by channel, whoever passed it
            assert plain.loc["nano", "conversions"] > 0.7 * plain["conversions"].sum()
            assert held.loc["nano", "conversions"] < 0.12 * held["conversions"].sum()
            np.testing.assert_allclose(held.loc[["ads", "mail"], "conversions"], plain.loc[["ads", "mail"], "conversions"])
    others = person[journeys.owner] < 400
    assert (counted.value[person < 400] == journeys.value[person < 400]).all() and others.any()


def test_a_few_purchases_are_never_too_many_and_one_huge_basket_is() -> None:
    few = np.append(np.full(300, 1.0), Cells().most)
    assert bounded(*bought(few))[1] == ""
    journeys, person = bought(np.full(300, 1.0))
    journeys = replace(journeys, value=np.where(np.arange(len(person)) == 0, 1e6, journeys.value))
    counted, line = bounded(journeys, person)
    assert line.startswith("1 person buys") and (counted.conversions == journeys.conversions).all()
    assert counted.value[0] == pytest.approx(Cells().people * np.median(journeys.value[journeys.conversions > 0]))


def write(folder: Path, hoard: int) -> None:
    """A shop of 300 people who buy once or twice; one of them, if asked, again and again."""
    rng = spawn(3, "test.shop")
    who = np.append(np.repeat(np.arange(300), rng.integers(1, 3, 300)), np.zeros(hoard, int))
    when = pd.Timestamp("2025-01-01") + pd.to_timedelta(rng.uniform(40, 160, len(who)), unit="D")
    people, touches = np.array([f"p{k:03d}" for k in who]), 1_200
    pd.DataFrame({
        "order_id": np.arange(len(who)).astype(str), "person_id": people, "product_id": "milk", "ordered_at": when,
        "revenue": rng.gamma(4.0, 3.0, len(who)).round(2),
    }).to_csv(folder / "orders.csv", index=False)  # fmt: skip
    pd.DataFrame({
        "touch_id": np.arange(touches).astype(str), "person_id": np.array([f"p{k:03d}" for k in rng.integers(0, 300, touches)]),
        "channel": np.array(["mail", "search"])[rng.integers(0, 2, touches)], "kind": "view",
        "occurred_at": pd.Timestamp("2025-01-01") + pd.to_timedelta(rng.uniform(0, 160, touches), unit="D"),
    }).to_csv(folder / "touchpoints.csv", index=False)  # fmt: skip


@pytest.mark.parametrize("hoard", [0, 400])
def test_the_flow_says_whom_it_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hoard: int) -> None:
    def tells_nothing(*_: object, **__: object) -> None:
        raise CannotTell("not asked here")

    monkeypatch.setattr("liftwise.flows.attribution.learned", tells_nothing)  # what learns takes a while
    Workspace.create(tmp_path / "ws").close()
    write(tmp_path / "ws" / "data", hoard)
    with Workspace.open(tmp_path / "ws") as ws:
        refresh(ws)
        told = measure(ws, "attribution").metrics("attribution")
        assert told["left_out"] == "not asked here"
        said = "1 person buys far more than others and counts for at most 50 times the median buyer in sums of credit"
        assert told["mind"] == ([said] if hoard else [])
        channels = ws.warehouse.table("channel_credits").groupby("method")["conversions"].sum()
        credits = ws.warehouse.table("credits").groupby("method")["credit"].sum()  # a touch's share is nobody's cell
        assert (channels < credits - 300).all() if hoard else np.allclose(channels, credits)


def of(sd: list[float], tested: list[bool]) -> SurvivalAttribution:
    """A model of which only this is known."""
    model = SurvivalAttribution()
    model.effects_ = pd.DataFrame({"channel": list("abc"), "share": [0.3, 0.2, 0.1], "sd": sd, "tested": tested})
    return model


def test_the_test_that_narrows_most_for_its_cost_comes_first() -> None:
    model = of([0.01, 0.06, 0.05], [True, False, False])
    ranked = next_tests(model)
    assert ranked.error == 0.01 and ranked.frame["channel"].tolist() == ["b", "c", "a"]
    assert ranked.summary().startswith(
        "test b next: with an error of 1.0% of conversions it would narrow its share from ± 6.0% to ± 1.0%"
    )
    cheap = next_tests(model, error=0.02, cost={"a": 1.0, "b": 4.0, "c": 1.0})
    assert cheap.frame["channel"].tolist() == ["c", "b", "a"]
    # against draws: what is unsure after a test, by Bayes' rule on a grid of what the test may say
    rng = spawn(1, "test.next")
    for row in next_tests(model, error=0.03).frame.itertuples():
        true = rng.normal(row.share, row.sd, 400_000)
        said = true + 0.03 * rng.normal(size=len(true))
        left = np.polyfit(said, true, 1)
        assert np.std(true - np.polyval(left, said)) == pytest.approx(row.sd_after, rel=0.01)
        fall = (row.sd**2 - row.sd_after**2) / (0.01**2 + 0.06**2 + 0.05**2)
        assert row.falls == pytest.approx(fall)
    assert next_tests(of([0.04, 0.06, 0.05], [False] * 3)).error == 0.05


def test_a_test_that_tells_nothing_is_not_proposed() -> None:
    with pytest.raises(CannotTell, match="no channel's share is unsure"):
        next_tests(of([0.0, 0.0, 0.0], [False] * 3))
    with pytest.raises(InputError, match="standard error of 0"):
        next_tests(of([0.1, 0.1, 0.1], [False] * 3), error=0.0)
    with pytest.raises(InputError, match="no positive cost of a test of b, c"):
        next_tests(of([0.1, 0.1, 0.1], [False] * 3), cost={"a": 1.0, "b": 0.0})


def test_tests_of_people_give_way_to_tests_of_purchases() -> None:
    told = pd.DataFrame({"channel": ["a", "b"], "effect": 0.1, "standard_error": 0.01, "metric": ["buyers", "share"]})
    used, notes = _of_one_kind(told)
    assert used["channel"].tolist() == ["b"] and "do not mix" in notes[0]
    assert _of_one_kind(told[:1])[0]["channel"].tolist() == ["a"]
