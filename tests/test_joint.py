"""The sequence models: what they owe to everybody (sums, seeds, refusals), to experiments, and to whoever scores with them."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from scipy.special import logit

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.tables import check
from liftwise.core.uncertainty import spawn
from liftwise.models.attribution import Journeys, Label, LastTouch, joint, sequence, training
from liftwise.models.attribution.attention import AttentionAttribution
from liftwise.models.attribution.batches import LONGEST, Tensors
from liftwise.models.attribution.counterfactual import leave_one_out, naive, shapley
from liftwise.models.attribution.joint import LSTMAttribution
from liftwise.models.attribution.network import LASTS, Joint
from liftwise.models.attribution.once import seen_once
from liftwise.models.attribution.scale import Scale
from liftwise.models.attribution.sequence import SequenceModel
from liftwise.models.attribution.stream import CREDITS, drift, reference, scorer, whole
from liftwise.sources.simulator.journey_worlds import CHANNELS, JourneySample, JourneyWorld

Model = LSTMAttribution | AttentionAttribution
MEMBERS = (LSTMAttribution, AttentionAttribution)
WORLD = JourneyWorld(seed=11, people=6_000)


def arrays(sample: JourneySample) -> Journeys:
    """A drawn market as the models take it."""
    n, touches = len(sample.bought), len(sample.codes)
    ids, touch_ids = np.array([f"j{k:06d}" for k in range(n)], object), np.array([f"t{k:07d}" for k in range(touches)], object)
    return Journeys(
        ids, sample.offsets.astype(np.int64), sample.codes.astype(np.int64), touch_ids, sample.hours, sample.bought,
        10 * sample.bought, 1 - sample.bought, CHANNELS, sample.covariates, ("known_0", "known_1"), sample.kept,
    )  # fmt: skip


def lift(sample: JourneySample, channels: tuple[str, ...] = CHANNELS) -> pd.DataFrame:
    """Its tests, as shares of all conversions."""
    out = sample.lift[sample.lift["channel"].isin(channels)].copy()
    out[["effect", "standard_error"]] /= sample.rate
    return out


def moments(sample: JourneySample) -> pd.DataFrame:
    """Table `moments`, with what is known of people in columns."""
    facts = sample.facts().pivot(index="journey_id", columns="name", values="value").add_prefix("fact_").reset_index()
    return sample.frame().merge(facts, on="journey_id")


def made(paths: list[tuple[list[str], bool]], hours: Callable[[int, int], float] = lambda p, n: 24.0 * (n - p)) -> pd.DataFrame:
    """A small table `journeys`."""
    rows = []
    for k, (path, won) in enumerate(paths):
        common = {
            "journey_id": f"j{k:05d}",
            "person_id": f"p{k}",
            "converted": won,
            "revenue": 10.0 * won,
            "ended_at": "2025-01-10",
        }
        rows += [{**common, "position": p, "touch_id": f"j{k}-{p}", "channel": c, "hours_before_end": hours(p, len(path))}
                 for p, c in enumerate(path, 1)] or [{**common, "position": 0}]  # fmt: skip
    return check("journeys", pd.DataFrame(rows)).clean


def learns(patch: pytest.MonkeyPatch, steps: int, batch: int = 512) -> None:
    """As many steps, and few for the two networks that only say how sure the joint one is."""
    patch.setattr(training, "BATCH", (batch, batch))
    patch.setattr(training, "STEPS", (steps, steps))

    def halves(*told) -> joint._Halves:
        with pytest.MonkeyPatch.context() as few:
            few.setattr(training, "STEPS", (15, 15))
            return HALVES(*told)

    patch.setattr(joint._Halves, "of", halves)


HALVES = joint._Halves.of


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tested here seldom hangs on how well a model has learned."""
    learns(monkeypatch, 25)


@pytest.fixture(scope="module")
def sample() -> JourneySample:
    return WORLD.draw()


@pytest.fixture(scope="module")
def fitted(sample: JourneySample) -> Iterator[dict[type, Model]]:
    """Both members, a little fitted; of the joint one four channels are tested."""
    with pytest.MonkeyPatch.context() as patch:
        learns(patch, 60)
        tests = lift(sample, CHANNELS[2:6])
        yield {member: member(hidden=8, seed=3).fit(arrays(sample), lift=tests) for member in MEMBERS}


@pytest.fixture(scope="module")
def market() -> Iterator[tuple[JourneySample, LSTMAttribution, LSTMAttribution]]:
    """A market of hidden intent, learned with a test of every channel, and with none."""
    drawn = JourneyWorld(seed=5, people=20_000).draw()
    with pytest.MonkeyPatch.context() as patch:
        learns(patch, 1_000, 256)
        tested = LSTMAttribution(hidden=4, seed=3).fit(arrays(drawn), lift=lift(drawn))
        learns(patch, 300, 512)
        yield drawn, tested, LSTMAttribution(hidden=4, seed=3).fit(arrays(drawn))


@pytest.mark.parametrize("member", MEMBERS)
def test_credits_of_every_converting_journey_sum_to_one(sample: JourneySample, fitted: dict[type, Model], member: type) -> None:
    journeys = arrays(sample)
    for model in (fitted[member], _by_attention(fitted[member])):
        credits = model.credit(journeys)
        sums = credits.groupby("journey_id")["credit"].sum()
        assert set(sums.index) == set(journeys.ids[journeys.conversions > 0])
        np.testing.assert_allclose(sums, 1, atol=1e-6)
        assert (credits["credit"] >= 0).all()
        assert check("credits", credits).rejected.empty
        channels = model.channel_credit(journeys)
        assert channels["conversions"].sum() == pytest.approx(journeys.conversions.sum())
        assert channels["revenue"].sum() == pytest.approx(journeys.value.sum())


def _by_attention(model: Model) -> Model:
    if isinstance(model, AttentionAttribution):
        other = AttentionAttribution.from_bytes(model.to_bytes())
        other.by = "attention"
        return other
    return model


@pytest.mark.parametrize("member", MEMBERS)
def test_the_same_seed_gives_the_same_bytes_in_any_order_of_rows(sample: JourneySample, member: type) -> None:
    frame, facts = sample.frame(), sample.facts()
    frame = frame[frame["journey_id"] < "j0002000"]
    tests = lift(sample, CHANNELS[:2])
    one = member(hidden=4).fit(frame, facts, tests)
    other = member(hidden=4).fit(frame.sample(frac=1, random_state=1), facts.iloc[::-1], tests)
    assert one.to_bytes() == other.to_bytes()
    pd.testing.assert_frame_equal(one.credit(frame, facts), other.credit(frame.iloc[::-1], facts))
    again = SequenceModel.from_bytes(one.to_bytes())
    pd.testing.assert_frame_equal(one.credit(frame, facts), again.credit(frame, facts))
    assert member(hidden=4, seed=8).fit(frame, facts, tests).to_bytes() != one.to_bytes()


def test_with_tests_credit_is_near_the_truth(market: tuple[JourneySample, LSTMAttribution, LSTMAttribution]) -> None:
    drawn, tested, plain = market
    tests = lift(drawn)
    off = (tested.share_ - tests["effect"].to_numpy()) / tests["standard_error"].to_numpy()
    assert np.abs(off).max() < 3
    truth = (drawn.probability[:, None] - drawn.without).sum(axis=0) / drawn.probability.sum()
    last = LastTouch().fit(arrays(drawn)).channel_credit(arrays(drawn))["conversions"].to_numpy()[:-1] / drawn.bought.sum()
    far = {name: np.abs(share - truth).sum() / truth.sum() for name, share in
           (("tested", tested.share_), ("plain", plain.share_), ("last", last))}  # fmt: skip
    assert far["tested"] < 0.3  # the tests themselves are off by about 0.1
    assert far["tested"] < 0.5 * min(far["plain"], far["last"])
    assert tested.calibrated_ == "calibrated" and tested.effects_["tested"].all()
    assert plain.calibrated_ == "uncalibrated" and not plain.effects_["tested"].any()
    assert "do not move money by it" in plain.summary()


def test_where_marketing_does_nothing_little_is_credited(monkeypatch: pytest.MonkeyPatch) -> None:
    learns(monkeypatch, 80)
    monkeypatch.setattr(joint._Halves, "of", HALVES)  # they say whether touches tell anything
    drawn = JourneyWorld(seed=2, people=8_000, strength=0.0, targeting="random").draw()
    model = LSTMAttribution(hidden=4).fit(arrays(drawn))
    credits = model.channel_credit(arrays(drawn))
    assert credits["conversions"].iloc[:-1].sum() < 0.10 * credits["conversions"].sum()
    assert not model.effects_["tells"].any()


def test_lift_tests_are_checked_and_converted(sample: JourneySample) -> None:
    row = {"channel": "email", "effect": 0.05, "standard_error": 0.01}
    with pytest.raises(InputError, match="no journey has: pigeon"):
        LSTMAttribution().fit(arrays(sample), lift=pd.DataFrame([row | {"channel": "pigeon"}]))
    for error in (0.0, -1.0, np.nan):
        with pytest.raises(InputError, match="positive standard error"):
            sequence.tests_of(pd.DataFrame([row | {"standard_error": error}]), CHANNELS, 0.1)
    both = pd.DataFrame(
        [row | {"metric": "share"}, row | {"metric": "conversion_rate", "effect": 0.005, "standard_error": 0.001}]
    )
    for tests in (sequence.tests_of(both, CHANNELS, 0.1), sequence.tests_of(pd.DataFrame([row, row]), CHANNELS, 0.1)):
        assert tests.codes.tolist() == [CHANNELS.index("email")]
        assert tests.share[0] == pytest.approx(0.05)
        assert tests.error[0] == pytest.approx(0.01 / np.sqrt(2))
    assert len(sequence.tests_of(None, CHANNELS, 0.1).codes) == 0


def test_tests_that_count_people_are_converted() -> None:
    people = pd.DataFrame([{"channel": "email", "effect": 0.05, "standard_error": 0.01, "metric": "buyers"}])
    assert sequence.tests_of(people, CHANNELS, 0.1).once
    with pytest.raises(InputError, match="count people beside tests that count purchases"):
        sequence.tests_of(pd.concat([people, people.assign(metric="share")]), CHANNELS, 0.1)
    drawn = JourneyWorld(seed=11, people=6_000, clock="truncated").draw()
    model = LSTMAttribution(hidden=4).fit(arrays(drawn), lift=people)
    assert model.tests_.share[0] > 0.05 and model.tests_.share[0] / model.tests_.error[0] == pytest.approx(5)


def test_what_a_test_of_people_sees_is_what_a_month_says() -> None:
    # everybody is touched as the month begins and the touch does not fade: months can be reckoned by hand
    with_touch, without, days = 0.04, 0.02, 30
    network = Joint(1, [], 1, 2, np.zeros(1, bool), 0.0)
    with torch.no_grad():
        network.level[:] = np.log(np.expm1(logit(with_touch) - logit(without)))
        network.law[:, LASTS.index(np.inf)] = 50.0
        network.organic.line.bias[:] = logit(without)
    at_risk = np.round(20_000 * (1 - with_touch) ** np.arange(days)).astype(int)  # on each day
    ages = 24.0 * np.repeat(np.arange(days), at_risk)
    ids = np.arange(len(ages)).astype(str).astype(object)
    none = np.zeros(len(ages))
    journeys = Journeys(ids, np.arange(len(ages) + 1), np.zeros(len(ages), np.int64), ids, ages, none, none, 1 - none, ("a",))
    batches = Tensors(journeys, Scale.of(journeys), {}).all()
    with torch.no_grad():
        brought, later = np.sum([seen_once(network, batch, np.zeros(1, np.int64), 0.0).numpy() for batch in batches], axis=0)
    month = [1 - (1 - chance) ** days for chance in (with_touch, without)]
    assert (1 - later / brought)[0] == pytest.approx((1 - month[1] / month[0]) / (1 - without / with_touch), rel=0.02)


def test_order_decides_where_people_are_wary() -> None:
    drawn = JourneyWorld(seed=1, people=300, targeting="random", wary=True, lends=0.0).draw()
    owner, day = np.repeat(np.arange(len(drawn.bought)), np.diff(drawn.offsets)), -drawn.hours / 24.0
    word = np.flatnonzero(drawn.codes < 4)
    ads = np.flatnonzero(np.isin(drawn.codes, (4, 5, 8, 9)))
    gap = day[word][:, None] - day[ads]
    spoiled = ((owner[word][:, None] == owner[ads]) & (gap >= 0) & (gap <= 2)).any(axis=1)
    assert 0.2 < spoiled.mean() < 0.8
    assert (drawn.effect[word[spoiled]] == 0).all() and (drawn.effect[word[~spoiled]] > 0).all()


@pytest.mark.parametrize("member", MEMBERS)
def test_what_cannot_be_told_is_refused(member: type, fitted: dict[type, Model]) -> None:
    lost, won = [(["a", "b"], False)] * 200, [(["b"], True)] * 200
    for paths, why in (
        (lost, "no journey converted"), (won, "every journey converted"), (lost + won[:20], "only 20 journeys that did convert"),
        (lost[:20] + won, "only 20 journeys that did not convert"), ([([], k % 2 == 0) for k in range(300)], "nobody was touched"),
    ):  # fmt: skip
        with pytest.raises(CannotTell, match=why):
            member().fit(made(paths))
    with pytest.raises(InputError, match="never seen when fitting: pigeon"):
        fitted[member].credit(made([(["email", "pigeon"], True)]))
    with pytest.raises(CannotTell, match="no journey converted"):
        fitted[member].credit(made([(["email"], False)]))
    with pytest.raises(InputError, match="choose 2 to 512"):
        member(hidden=1)


@pytest.mark.parametrize("member", MEMBERS)
def test_odd_journeys(member: type) -> None:
    paths = [(["a"] * (k % 4), k % 3 == 0) for k in range(600)]
    one = member(hidden=4).fit(made(paths))  # one channel; people without a touch
    assert np.isfinite(one.credit(made(paths))["credit"]).all()
    long = made([(["a"] * 10_000, True), *paths])
    model = member(hidden=4).fit(long)
    credits = model.credit(long)
    first = credits[credits["journey_id"] == "j00000"]
    assert first["credit"].sum() == pytest.approx(1)
    assert len(first) in (10_000, 10_001)
    missing = leave_one_out(model, model.arrays(long))
    assert missing[: 10_000 - LONGEST] == pytest.approx(0)  # older touches are not read
    at_once = made(paths, hours=lambda p, n: 5.0)
    assert np.isfinite(member(hidden=4).fit(at_once).credit(at_once)["credit"]).all()


def test_parts_are_as_good_as_the_whole(sample: JourneySample, monkeypatch: pytest.MonkeyPatch) -> None:
    learns(monkeypatch, 80)
    journeys = arrays(sample)
    parts = [lambda k=k: journeys.take(np.arange(k, len(journeys.ids), 3)) for k in range(3)]
    for member in MEMBERS:
        one, other = member(hidden=4).fit(journeys).predict(journeys), member(hidden=4).fit(parts).predict(journeys)
        assert other["probability"].mean() == pytest.approx(one["probability"].mean(), rel=0.15)
        assert np.corrcoef(one["probability"], other["probability"])[0, 1] > 0.85
    with pytest.raises(InputError, match="different shares were kept"):
        LSTMAttribution().fit([parts[0], lambda: replace(parts[1](), kept=0.5)])


def test_labels_are_read_and_unknown_ones_count_as_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    learns(monkeypatch, 150)
    n = 6_000
    rng = spawn(4, "test.labels")
    good, names = rng.integers(0, 2, n), ("bad", "good")
    bought = (rng.random(n) < np.where(good == 1, 0.4, 0.05)).astype(float)
    ids = np.array([f"j{k:05d}" for k in range(n)], object)
    journeys = Journeys(ids, np.arange(n + 1), np.zeros(n, np.int64), ids, np.full(n, 3.0), bought, bought, 1 - bought, ("a",),
                        labels={"influencer_id": Label(good, names)})  # fmt: skip
    for member in MEMBERS:
        model = member(hidden=8, labels=("influencer_id",)).fit(journeys)
        two = model.predict(replace(journeys.take(np.arange(2)), labels={"influencer_id": Label(np.array([0, 1]), names)}))
        assert two["probability"][1] > two["probability"][0] + 0.15
        few = journeys.take(np.arange(3))
        for label in (Label(np.array([0, 0, -1]), ("stranger",)), Label(np.array([-1, -1, -1]), names)):
            told = model.predict(replace(few, labels={"influencer_id": label}))["probability"]
            assert told.tolist() == model.predict(replace(few, labels={}))["probability"].tolist()


@pytest.mark.parametrize("member", MEMBERS)
def test_leave_one_out_is_that_of_journeys_read_anew(sample: JourneySample, fitted: dict[type, Model], member: type) -> None:
    model, journeys = fitted[member], arrays(sample).take(np.arange(1_500))
    quick = leave_one_out(model, journeys)
    np.testing.assert_allclose(quick, naive(model, journeys), atol=1e-6)
    assert len(leave_one_out(model, journeys.take(np.flatnonzero(journeys.lengths == 0)))) == 0
    plain = SequenceModel.from_bytes(model.to_bytes())
    plain.cut_ = np.ones(len(CHANNELS))  # `predict` does not cut channels without a test, credits do
    if member is LSTMAttribution:
        plain.network_.selects = False  # what marks intent stays when a touch goes; a rebuilt journey would lose it
    long = np.flatnonzero(journeys.lengths >= 3)[:40]
    few = journeys.take(long)
    quick, whole = leave_one_out(plain, few), plain.predict(few)["probability"].to_numpy()
    for touch in (0, 1, -1):
        at = few.offsets[:-1] + touch if touch >= 0 else few.offsets[1:] - 1
        rest = np.setdiff1d(np.arange(len(few.codes)), at)
        rebuilt = replace(few, offsets=few.offsets - np.arange(len(few.offsets)), codes=few.codes[rest], hours=few.hours[rest],
                          touch_ids=few.touch_ids[rest])  # fmt: skip
        np.testing.assert_allclose(quick[at], whole - plain.predict(rebuilt)["probability"], atol=1e-6)


@pytest.mark.parametrize("member", MEMBERS)
def test_the_game_of_touches_shares_out_all_that_they_did(sample: JourneySample, fitted: dict[type, Model], member: type) -> None:
    model, journeys = fitted[member], arrays(sample).take(np.arange(300))
    model = SequenceModel.from_bytes(model.to_bytes())
    model.cut_ = np.ones(len(CHANNELS))
    chances = model.predict(journeys)
    value = shapley(model, journeys)
    total = np.bincount(journeys.owner, value, minlength=len(journeys.ids))
    np.testing.assert_allclose(total, chances["probability"] - chances["organic"], atol=1e-6)
    alone = np.flatnonzero(journeys.lengths == 1)
    np.testing.assert_allclose(total[alone], leave_one_out(model, journeys.take(alone)), atol=1e-6)
    two = np.flatnonzero(journeys.lengths == 2)
    pairs = journeys.take(two)
    np.testing.assert_allclose(shapley(model, pairs, 2), shapley(model, pairs, 6), atol=1e-6)
    with pytest.raises(InputError, match="even number"):
        shapley(model, journeys, 3)


def test_attention_is_not_attribution(sample: JourneySample, fitted: dict[type, Model]) -> None:
    model, journeys = fitted[AttentionAttribution], arrays(sample)
    told = model.explain(journeys)
    sums = told.touches.groupby("journey_id")["attention"].sum()
    assert sums.to_numpy() == pytest.approx(1, abs=1e-5)
    assert "where the network looked" in told.summary
    credits = model.channel_credit(journeys).set_index("channel")["conversions"]
    looked = _by_attention(model).channel_credit(journeys).set_index("channel")["conversions"]
    untouched = journeys.conversions[journeys.lengths == 0].sum()
    assert looked["organic"] == pytest.approx(untouched, abs=1e-2)
    assert credits["organic"] > looked["organic"]
    with pytest.raises(InputError, match="counterfactual or attention"):
        AttentionAttribution(credit="looks")


@pytest.mark.parametrize("member", MEMBERS)
def test_scoring_in_pieces_is_scoring_at_once_to_the_byte(sample: JourneySample, fitted: dict[type, Model], member: type) -> None:
    frame, model = moments(sample), fitted[member]
    frame = frame[frame["journey_id"] < "j0003000"]
    score = pickle.loads(pickle.dumps(scorer(model.to_bytes())))  # noqa: S301 - our own bytes
    at_once = score(pa.RecordBatch.from_pandas(frame, preserve_index=False))
    assert at_once.schema.equals(CREDITS)
    pieces = pa.Table.from_pandas(frame, preserve_index=False).to_batches(max_chunksize=777)
    cut = list(whole(pieces))
    assert len(cut) > 10 and sum(batch.num_rows for batch in cut) == len(frame)
    parts = pa.Table.from_batches([score(batch) for batch in cut]).combine_chunks().to_batches()[0]
    assert pickle.dumps(parts.to_pydict()) == pickle.dumps(at_once.to_pydict())
    journeys = arrays(sample).take(np.arange(3_000))
    want = model.credit(journeys).sort_values(["journey_id", "touch_id"])["credit"].to_numpy()
    got = at_once.to_pandas().sort_values(["journey_id", "touch_id"])["credit"].to_numpy()
    np.testing.assert_allclose(np.sort(got), np.sort(want), atol=1e-5)
    nobody = score(pa.RecordBatch.from_pandas(frame[~frame["converted"]], preserve_index=False))
    assert nobody.num_rows == 0 and nobody.schema.equals(CREDITS)
    with pytest.raises(InputError, match="a batch without channel"):
        score(pa.RecordBatch.from_pandas(frame.drop(columns="channel"), preserve_index=False))


def test_a_touch_may_be_part_of_several_moments(sample: JourneySample, fitted: dict[type, Model]) -> None:
    frame = moments(sample)
    once = frame[frame["journey_id"].isin(frame.loc[frame["converted"], "journey_id"].unique()[:50])]
    twice = pd.concat([once, once.assign(journey_id="again-" + once["journey_id"])])
    for member in MEMBERS:
        credits = fitted[member].credit(twice)
        assert credits.groupby("journey_id")["credit"].sum().to_numpy() == pytest.approx(1, abs=1e-6)


def test_drift_is_seen_and_its_absence_too(market: tuple[JourneySample, LSTMAttribution, LSTMAttribution]) -> None:
    drawn, _, model = market
    then = reference(model, arrays(drawn))
    fresh = arrays(JourneyWorld(seed=5, people=6_000).draw("fresh"))
    calm = drift(model, fresh, then)
    assert not calm.refit and calm.why == "new journeys are as the model expects"
    assert calm.auc > 0.65 and abs(calm.z) < 4 and calm.stability < 0.02
    assert calm.log_loss == pytest.approx(calm.log_loss_then, rel=0.1)
    assert not drift(model, fresh).refit
    won = np.flatnonzero(fresh.conversions > 0)
    fewer = drift(model, fresh.take(np.setdiff1d(np.arange(len(fresh.ids)), won[::2])), then)
    assert fewer.refit and fewer.z < -4 and "were expected" in fewer.why
    turned = drift(model, replace(fresh, codes=(fresh.codes + 7) % len(CHANNELS)), then)
    assert turned.refit and turned.stability > 0.05
    mega = replace(fresh, codes=np.where(fresh.codes < 6, 0, fresh.codes))
    assert "channel mix" in drift(model, mega, then).why
    luck = spawn(1, "test.luck").permutation(len(fresh.ids))
    blind = drift(model, replace(fresh, conversions=fresh.conversions[luck]), then)
    assert blind.refit and "too bold" in blind.why
    strange = drift(model, replace(fresh, channels=("pigeon", *CHANNELS[1:])), then)
    assert strange.refit and "pigeon" in strange.why
