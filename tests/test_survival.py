"""The hazard member on journeys drawn from a known hazard: effects, fading and shares come back; little comes of nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import approx_fprime
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.tables import check
from liftwise.core.uncertainty import Floats, spawn
from liftwise.models.attribution import Journeys, SurvivalAttribution
from liftwise.models.attribution.hazard import Law, Watch, _likelihood, hazards, tally

CHANNELS = ("ads", "mail", "mega", "nano")
EFFECT = np.array([0.0, 0.012, 0.006, 0.030])  # purchases a day that a fresh touch adds
DAYS = np.array([3.0, 2.0, 8.0, 4.0])
LEVEL, SLOPE, WATCHED, STEPS = np.log(0.004), 0.5, 30.0, 600  # organic purchases a day; days; looks at the clock


@dataclass(frozen=True)
class People:
    """Everything that happened in `WATCHED` days, purchases ending nothing but the day on which one is watched."""

    person: np.ndarray
    codes: np.ndarray
    day: Floats
    known: Floats
    on: Floats  # day of the first purchase, inf for none
    brought: Floats  # (people, channels) share of the rate when it came

    def until(self, who: np.ndarray, ends: Floats, bought: Floats, kept: float = 1.0) -> Journeys:
        """Journeys of people `who` that end on the day `ends`, with the touches before."""
        offsets = np.searchsorted(self.person, np.arange(len(self.known) + 1))
        rows, codes, hours = list[int](), list[int](), list[float]()
        for j, (k, end) in enumerate(zip(who, ends, strict=True)):
            for i in range(offsets[k], offsets[k + 1]):
                if self.day[i] < end:
                    rows.append(j)
                    codes.append(int(self.codes[i]))
                    hours.append(24 * float(end - self.day[i]))
        ids = np.array([f"j{k:06d}" for k in range(len(who))], object)
        touches = np.array([f"t{k:07d}" for k in range(len(rows))], object)
        return Journeys(
            ids, np.searchsorted(rows, np.arange(len(who) + 1)).astype(np.int64), np.array(codes, np.int64), touches, np.array(hours),
            bought, 10 * bought, 1 - bought, CHANNELS, self.known[who][:, None], ("known",), kept,
        )  # fmt: skip


def world(n: int, seed: int, strength: float = 1.0) -> People:
    """People watched by the clock: at each look they buy with the chance that the hazard says."""
    rng = spawn(seed, "test.survival")
    known, lengths = rng.normal(size=n), rng.poisson(3.0, n)
    person = np.repeat(np.arange(n), lengths)
    day = rng.uniform(0, WATCHED, len(person))
    order = np.lexsort((day, person))
    day, codes = day[order], rng.integers(0, len(CHANNELS), len(person))
    on, brought = np.full(n, np.inf), np.zeros((n, len(CHANNELS)))
    added, step = np.zeros((n, len(CHANNELS))), WATCHED / STEPS
    look = np.minimum((day / step).astype(int), STEPS - 1)
    by_look = np.argsort(look, kind="stable")
    starts = np.searchsorted(look[by_look], np.arange(STEPS + 1))
    organic = np.exp(LEVEL + SLOPE * known)
    for s in range(STEPS):
        added *= np.exp(-step / DAYS)
        rate = organic + added.sum(axis=1)
        now = np.isinf(on) & (rng.random(n) < -np.expm1(-rate * step))
        on[now], brought[now] = s * step, added[now] / rate[now, None]
        fresh = by_look[starts[s] : starts[s + 1]]
        np.add.at(added, (person[fresh], codes[fresh]), strength * EFFECT[codes[fresh]])
    return People(person, codes, day, known, on, brought)


def watched(people: People) -> tuple[Journeys, Floats]:
    """Everybody, until they bought or the watch ended."""
    bought, ends = np.isfinite(people.on), np.clip(people.on, WATCHED / STEPS, WATCHED)
    return people.until(np.arange(len(ends)), ends, bought.astype(float)), ends


def moments(people: People, seed: int, a_day: float = 0.012) -> Journeys:
    """Purchases, and moments drawn from all time at risk at a rate of `a_day`."""
    rng, ends = spawn(seed, "test.survival.moments"), np.minimum(people.on, WATCHED)
    drawn = np.repeat(np.arange(len(ends)), rng.poisson(a_day * ends))
    cases = np.flatnonzero(np.isfinite(people.on))
    at = np.append(people.on[cases], rng.random(len(drawn)) * ends[drawn])
    bought = np.append(np.ones(len(cases)), np.zeros(len(drawn)))
    return people.until(np.append(cases, drawn), at, bought, a_day)


def true_shares(people: People) -> Floats:
    return people.brought[np.isfinite(people.on)].mean(axis=0)


@pytest.fixture(scope="module")
def market() -> People:
    return world(24_000, 1)


@pytest.fixture(scope="module")
def fitted(market: People) -> dict[str, tuple[SurvivalAttribution, Journeys]]:
    censored, days = watched(market)
    sampled = moments(market, 2)
    return {
        "watched": (SurvivalAttribution(seed=3).fit(censored, watched_days=days), censored),
        "moments": (SurvivalAttribution(seed=3).fit(sampled), sampled),
    }


@pytest.mark.parametrize("kind", ["watched", "moments"])
def test_effects_and_fading_come_back(fitted: dict[str, tuple[SurvivalAttribution, Journeys]], kind: str) -> None:
    model = fitted[kind][0]
    told = model.effects_
    assert (np.abs(told["effect"] - EFFECT) < 3 * told["effect_sd"]).all()
    assert (told["effect_sd"].iloc[1:] < 0.35 * EFFECT[1:] + 0.001).all()  # and the errors are small enough to mean something
    strong = told["effect"] > 3 * told["effect_sd"]
    off = np.abs(np.log(told["days"] / DAYS)) / (np.log(told["days_high"] / told["days_low"]) / 2 / 1.6449)
    assert strong.iloc[1:].all() and (off[strong] < 3).all()
    assert model.law_.organic[0] == pytest.approx(LEVEL, abs=0.15)
    assert model.law_.organic[1] / model.scale_.spread[0] == pytest.approx(SLOPE, abs=0.12)
    assert model.keeps_ > 0.9


@pytest.mark.parametrize("kind", ["watched", "moments"])
def test_shares_are_those_of_the_rate_when_people_bought(
    fitted: dict[str, tuple[SurvivalAttribution, Journeys]], market: People, kind: str
) -> None:
    model, journeys = fitted[kind]
    truth = true_shares(market)
    given = model.channel_credit(journeys)["conversions"].to_numpy()[:-1] / journeys.conversions.sum()
    assert np.abs(given - truth).max() < 0.03
    assert np.abs(model.effects_["share"] - truth).max() < 0.03
    assert ((model.effects_["low"] <= truth) & (truth <= model.effects_["high"])).all()
    assert model.effects_["tells"].tolist() == [False, True, True, True]


def test_intervals_hold_the_truth() -> None:
    inside, truth = [], true_shares(world(60_000, 99))
    for seed in range(20):
        people = world(5_000, 100 + seed)
        censored, days = watched(people)
        told = SurvivalAttribution().fit(censored, watched_days=days).effects_
        inside.append((told["low"] <= truth) & (truth <= told["high"]))
    assert 0.85 <= np.mean(inside) <= 0.99


def test_credits_sum_to_one_and_carry_intervals(fitted: dict[str, tuple[SurvivalAttribution, Journeys]]) -> None:
    for model, journeys in fitted.values():
        credits = model.credit(journeys)
        assert check("credits", credits).rejected.empty
        sums = credits.groupby("journey_id")["credit"].sum()
        assert set(sums.index) == set(journeys.ids[journeys.conversions > 0])
        np.testing.assert_allclose(sums, 1, atol=1e-12)
        touches = credits[credits["touch_id"] != "organic"]
        assert (touches["low"] <= touches["credit"]).all() and (touches["credit"] <= touches["high"]).all()
        assert not credits["calibrated"].any()
        channels = model.channel_credit(journeys)
        assert channels["conversions"].sum() == pytest.approx(journeys.conversions.sum())
        assert check("channel_credits", channels).rejected.empty


def test_where_touches_do_nothing_next_to_nothing_is_credited() -> None:
    given, told = [], []
    for seed in range(10):
        people = world(6_000, 200 + seed, strength=0.0)
        censored, days = watched(people)
        model = SurvivalAttribution().fit(censored, watched_days=days)
        credits = model.channel_credit(censored)["conversions"]
        given.append(credits.iloc[:-1].sum() / credits.sum())
        told.append(model.effects_["tells"].any())
    assert np.mean(given) < 0.02 and np.max(given) < 0.08
    assert np.sum(told) <= 1


def test_it_foretells_as_well_as_a_logistic_model_of_the_same_facts(market: People) -> None:
    """On day 15, of those who have not bought: who buys within seven days?"""
    journeys, days = watched(market)
    model = SurvivalAttribution(window_days=7.0).fit(journeys, watched_days=days)
    other = world(24_000, 5)
    seen, unseen = (_landmark(people, 15.0, 7.0) for people in (market, other))
    chance = model.predict(unseen)
    plain = LogisticRegression(C=1.0, max_iter=2000).fit(_columns(seen), seen.conversions)
    logistic = roc_auc_score(unseen.conversions, plain.predict_proba(_columns(unseen))[:, 1])
    assert roc_auc_score(unseen.conversions, chance["probability"]) > logistic - 0.002
    # touches to come are not in it, so it is a little low
    assert 0.75 < chance["probability"].sum() / unseen.conversions.sum() < 1.02
    assert (chance["organic"] <= chance["probability"]).all()
    untouched = unseen.lengths == 0
    np.testing.assert_allclose(chance["organic"][untouched], chance["probability"][untouched])


def _landmark(people: People, day: float, ahead: float) -> Journeys:
    risk = np.flatnonzero(people.on > day)
    return people.until(risk, np.full(len(risk), day), (people.on[risk] <= day + ahead).astype(float))


def _columns(journeys: Journeys) -> Floats:
    """What a logistic model may know: how many touches of each channel, all and of late by several looks, and the person."""
    n, k = len(journeys.ids), len(CHANNELS)
    cell, days = journeys.owner * k + journeys.codes, journeys.hours / 24
    looks = [np.bincount(cell, np.exp(-days / look), minlength=n * k).reshape(n, k) for look in (np.inf, 2.0, 4.0, 8.0)]
    return np.column_stack([*looks, np.log1p(looks[0]), journeys.facts])


# ── the likelihood against slow ways to get it ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["watched", "moments"])
def test_the_likelihood_and_its_slopes(market: People, kind: str) -> None:
    rng = spawn(4, "test.survival.law")
    journeys, days = watched(market) if kind == "watched" else (moments(market, 2), None)
    some = np.concatenate([np.flatnonzero(journeys.conversions > 0)[:60], np.flatnonzero(journeys.conversions == 0)[:60]])
    short = None if days is None else days[some] * rng.uniform(0.3, 1.0, len(some))  # touches before the watch began, too
    watch = Watch.of(journeys.take(some), journeys.facts[some], short)
    at = np.concatenate([[-5.0, 0.4], rng.uniform(0.005, 0.05, 4), rng.uniform(0.2, 2.0, 4)])

    def law(x: Floats) -> Law:
        return Law(x[:2], x[2:6], x[6:])

    value, slope = _likelihood(law(at), watch)
    np.testing.assert_allclose(slope, approx_fprime(at, lambda x: _likelihood(law(x), watch)[0], 1e-7), rtol=2e-4, atol=2e-4)
    slow = 0.0
    for j in range(len(some)):
        mine = slice(watch.offsets[j], watch.offsets[j + 1])
        effect, lasts, ages = at[2:6][watch.codes[mine]], np.exp(at[6:])[watch.codes[mine]], watch.days[mine]

        def rate(back: Floats, effect=effect, lasts=lasts, ages=ages, j=j) -> Floats:
            """Purchases a day so long before the end, from the touches that there were by then."""
            passed = ages[:, None] - back
            return np.exp(watch.design[j] @ at[:2]) + (effect[:, None] * np.exp(-passed / lasts[:, None]) * (passed >= 0)).sum(
                axis=0
            )

        end = rate(np.zeros(1))[0]
        slow -= watch.bought[j] * np.log(end)
        if watch.watched is None:
            slow += np.log(end + watch.kept)
        else:
            grid = (np.arange(40_000) + 0.5) / 40_000 * watch.watched[j]
            slow += rate(grid).mean() * watch.watched[j]
    assert value == pytest.approx(slow, rel=1e-4)


@pytest.mark.parametrize("kind", ["watched", "moments"])
def test_shares_and_their_slopes(market: People, kind: str) -> None:
    journeys, days = watched(market) if kind == "watched" else (moments(market, 2), None)
    some = np.arange(300)
    watch = Watch.of(journeys.take(some), journeys.facts[some], None if days is None else days[some])
    at, rate = np.concatenate([[-5.0, 0.4], np.full(4, 2.0), np.full(4, 1.2)]), 0.01

    def share(x: Floats) -> Floats:
        return tally(Law(x[:2], rate * x[2:6], x[6:]), watch, rate).share

    got = tally(Law(at[:2], rate * at[2:6], at[6:]), watch, rate)
    organic, point, base, area = hazards(Law(at[:2], rate * at[2:6], at[6:]), watch)
    whole, touched = (base + area, area) if watch.watched is not None else (
        (organic + point) / (organic + point + watch.kept), point / (organic + point + watch.kept))  # fmt: skip
    assert got.share.sum() == pytest.approx(touched.sum() / whole.sum())
    slow = np.array([approx_fprime(at, lambda x, k=k: share(x)[k], 1e-6) for k in range(4)])
    np.testing.assert_allclose(got.slopes, slow, rtol=1e-3, atol=1e-6)


# ── invariance and edges ───────────────────────────────────────────────────────────────────────────────────────────────────────


def frame(journeys: Journeys) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables `moments` and `journey_facts`."""
    rows = np.maximum(journeys.lengths, 1)
    owner = np.repeat(np.arange(len(rows)), rows)
    touched = journeys.lengths[owner] > 0
    table = pd.DataFrame({
        "journey_id": journeys.ids[owner], "person_id": journeys.ids[owner], "converted": journeys.conversions[owner] > 0,
        "revenue": journeys.value[owner], "kept": journeys.kept, "touch_id": None, "hours_before_end": np.nan, "channel": None,
        "position": np.where(touched, np.arange(len(owner)) - (np.cumsum(rows) - rows)[owner] + 1, 0),
    })  # fmt: skip
    table = table.astype({"touch_id": object, "channel": object})
    table.loc[touched, "touch_id"], table.loc[touched, "hours_before_end"] = journeys.touch_ids, journeys.hours
    table.loc[touched, "channel"] = np.array(CHANNELS, object)[journeys.codes]
    return table, pd.DataFrame({"journey_id": journeys.ids, "name": "known", "value": journeys.facts[:, 0]})


def test_the_same_seed_gives_the_same_bytes_in_any_order_of_rows(market: People) -> None:
    journeys = moments(market, 2)
    table, facts = frame(journeys.take(np.arange(0, len(journeys.ids), 2)))
    one = SurvivalAttribution().fit(table, facts)
    other = SurvivalAttribution().fit(table.sample(frac=1, random_state=1), facts.iloc[::-1])
    assert one.effects_.to_json(double_precision=15) == other.effects_.to_json(double_precision=15)
    pd.testing.assert_frame_equal(one.credit(table, facts), other.credit(table.iloc[::-1], facts), check_exact=True)
    assert one.keeps_ == other.keeps_ != SurvivalAttribution(seed=8).fit(table, facts).keeps_


def test_what_cannot_be_told_is_refused(fitted: dict[str, tuple[SurvivalAttribution, Journeys]]) -> None:
    model, journeys = fitted["moments"]
    for wrong, why in (
        ({"conversions": 0 * journeys.conversions, "nulls": 1 + 0 * journeys.nulls}, "no journey converted"),
        ({"conversions": 1 + 0 * journeys.conversions, "nulls": 0 * journeys.nulls}, "every journey converted"),
    ):
        with pytest.raises(CannotTell, match=why):
            SurvivalAttribution().fit(replace(journeys, **wrong))
    with pytest.raises(CannotTell, match="nobody was touched"):
        SurvivalAttribution().fit(journeys.take(np.flatnonzero(journeys.lengths == 0)))
    with pytest.raises(CannotTell, match="only 20 journeys that did convert"):
        few = np.concatenate([np.flatnonzero(journeys.conversions > 0)[:20], np.flatnonzero(journeys.conversions == 0)])
        SurvivalAttribution().fit(journeys.take(few))
    with pytest.raises(InputError, match="for how long people did not buy"):
        SurvivalAttribution().fit(frame(journeys)[0].drop(columns="kept"))
    for hours in (-1.0, np.nan):
        with pytest.raises(InputError, match="after its journey's end"):
            SurvivalAttribution().fit(
                replace(journeys, hours=np.where(np.arange(len(journeys.hours)) == 3, hours, journeys.hours))
            )
    for days in (np.ones(3), np.zeros(len(journeys.ids))):
        with pytest.raises(InputError, match="days watched"):
            SurvivalAttribution().fit(journeys, watched_days=days)
    with pytest.raises(InputError, match="never seen when fitting: pigeon"):
        model.credit(replace(journeys, channels=("pigeon", *CHANNELS[1:])))
    with pytest.raises(CannotTell, match="no journey converted"):
        model.credit(journeys.take(np.flatnonzero(journeys.conversions == 0)))
    with pytest.raises(InputError, match="a window of 0 days"):
        SurvivalAttribution(window_days=0)


def test_odd_journeys(market: People) -> None:
    journeys = moments(market, 2)
    one = replace(journeys, codes=0 * journeys.codes, channels=("only",), facts=np.empty((0, 0)), fact_names=())
    model = SurvivalAttribution().fit(one)  # one channel, nothing known of people
    assert model.effects_["tells"].all() and np.isfinite(model.credit(one)["credit"]).all()
    at_once = replace(journeys, hours=0 * journeys.hours + 5.0)
    assert np.isfinite(SurvivalAttribution().fit(at_once).effects_.select_dtypes("number")).all(axis=None)
    holes = replace(journeys, facts=np.where(np.arange(len(journeys.ids))[:, None] % 3 == 0, np.nan, journeys.facts))
    assert np.isfinite(SurvivalAttribution().fit(holes).effects_["share"]).all()
    many = np.tile(np.arange(4), 2_500)
    long = replace(
        journeys, offsets=np.append(journeys.offsets, journeys.offsets[-1] + 10_000), codes=np.append(journeys.codes, many),
        hours=np.append(journeys.hours, np.linspace(700, 0, 10_000)), ids=np.append(journeys.ids, "long"),
        touch_ids=np.append(journeys.touch_ids, np.arange(10_000).astype(str)), conversions=np.append(journeys.conversions, 1.0),
        value=np.append(journeys.value, 1.0), nulls=np.append(journeys.nulls, 0.0), facts=np.append(journeys.facts, [[0.0]], axis=0),
    )  # fmt: skip
    credits = SurvivalAttribution().fit(long).credit(long)
    assert credits.loc[credits["journey_id"] == "long", "credit"].sum() == pytest.approx(1)


def test_stages_are_read_and_the_rest_is_said(fitted: dict[str, tuple[SurvivalAttribution, Journeys]]) -> None:
    model, journeys = fitted["moments"]
    read = model.influence(journeys)
    mine = read.frame.set_index("name")
    assert read.frame["tells"].all() and mine["change"].idxmax() == "nano"
    assert model.summary().startswith("brought by touches: nano") and "no test stands behind it" in model.summary()
    fading = model.fading_
    assert check("fading", fading).rejected.empty
    assert (fading["low"] <= fading["fresh"]).all() and (fading["fresh"] <= fading["high"]).all()
    hazard = model.hazard(journeys)
    bought = journeys.conversions > 0
    assert (hazard["organic"] + hazard["touches"])[bought].mean() > (hazard["organic"] + hazard["touches"])[~bought].mean()
