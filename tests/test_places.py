"""What sequence models read of a touch beside its channel: values of labels, where influencers lie in a graph, how long people looked."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.uncertainty import Floats, spawn
from liftwise.flows.measure import measure
from liftwise.flows.refresh import refresh
from liftwise.models.attribution import Journeys, Label, joint, training
from liftwise.models.attribution.attention import AttentionAttribution
from liftwise.models.attribution.counterfactual import leave_one_out, naive
from liftwise.models.attribution.joint import LSTMAttribution
from liftwise.models.attribution.places import HASHES, LABELS, Places
from liftwise.models.attribution.sequence import SequenceModel
from liftwise.models.attribution.stream import scorer
from liftwise.store.workspace import Workspace

MEMBERS = (LSTMAttribution, AttentionAttribution)
HALVES = joint._Halves.of
SEEN, LATER = 12, ("later-bad", "later-good")
NAMES = (*(f"i{k:02d}" for k in range(SEEN)), *LATER)  # every other one convinces


def steps(patch: pytest.MonkeyPatch, number: int) -> None:
    """So many, and few for the two networks that only say how sure the joint one is."""
    patch.setattr(training, "BATCH", (256, 256))
    patch.setattr(training, "STEPS", (number, number))

    def halves(*told) -> joint._Halves:
        with pytest.MonkeyPatch.context() as few:
            few.setattr(training, "STEPS", (3, 3))
            return HALVES(*told)

    patch.setattr(joint._Halves, "of", halves)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    steps(monkeypatch, 10)


def touched(who: np.ndarray, bought: Floats, dwell: Floats | None = None) -> Journeys:
    """One fresh touch a person: an ad (−1), or an influencer of `NAMES`."""
    n = len(who)
    ids = np.array([f"j{k:05d}" for k in range(n)], object)
    return Journeys(
        ids, np.arange(n + 1), (who >= 0).astype(np.int64), ids, np.full(n, 3.0), bought, 10 * bought, 1 - bought, ("ad", "influencer"),
        labels={"influencer_id": Label(who.astype(np.int64), NAMES)}, dwell=np.empty(0) if dwell is None else dwell,
    )  # fmt: skip


def market(n: int = 800) -> Journeys:
    """Half of the influencers seen convince; the last two of `SEEN` are hardly ever seen, `LATER` never."""
    rng = spawn(6, "test.places")
    who = np.where(rng.random(n) < 0.1, -1, rng.integers(0, SEEN - 2, n))
    who[:6] = [SEEN - 2, SEEN - 1] * 3
    bought = rng.random(n) < np.where(who < 0, 0.1, np.where(who % 2 == 1, 0.35, 0.05))
    bought[:6] = False  # what those few journeys say is chance
    return touched(who, bought.astype(float))


def graph() -> pd.DataFrame:
    """Table `embeddings`: those who convince lie apart from those who do not, and older vectors say nothing."""
    rng = spawn(7, "test.places")
    side = np.where(np.arange(len(NAMES)) % 2 == 1, 1.0, -1.0)
    now = np.column_stack([side, rng.normal(size=(len(NAMES), 3))]) + 0.1 * rng.normal(size=(len(NAMES), 4))
    rows = [(day, vectors) for day, vectors in (("2025-01-01", rng.normal(size=now.shape)), ("2025-06-01", now))]
    return pd.concat([
        pd.DataFrame({"entity": "influencer", "entity_id": NAMES, "as_of": pd.Timestamp(day), "vector": list(vectors)})
        for day, vectors in rows
    ], ignore_index=True)  # fmt: skip


def chances(model: SequenceModel) -> pd.Series:
    """Of buying after one fresh touch of each influencer."""
    told = model.predict(touched(np.arange(len(NAMES)), np.zeros(len(NAMES))))
    return pd.Series(told["probability"].to_numpy(), NAMES)


def alike(one: SequenceModel, other: SequenceModel) -> bool:
    """Whether two models learned the same numbers, bit by bit."""
    ours, theirs = (model.network_.state_dict() for model in (one, other))
    return list(ours) == list(theirs) and all(np.array_equal(ours[name], theirs[name]) for name in ours)


def labelled(counts: list[int]) -> Journeys:
    """So many touches of value v0000, v0001, …"""
    names = tuple(f"v{k:04d}" for k in range(len(counts)))
    codes = np.repeat(np.arange(len(counts)), counts)
    return replace(touched(np.zeros(len(codes)), np.zeros(len(codes))), labels={"influencer_id": Label(codes, names)})


def test_rare_values_share_places_by_a_hash_that_never_changes() -> None:
    few = Places.of(labelled([1] * LABELS), "influencer_id")
    assert few.shared == () and few.codes(["v0000", "v0499", "stranger"]).tolist() == [1, LABELS, 0]
    many = Places.of(labelled([*[2] * LABELS, 1, 1, 0]), "influencer_id")
    assert many.names == few.names
    assert many.shared == (1, 23)  # of v0501 and v0500, whatever the machine and the run
    assert many.codes(["v0500", "v0501"]).tolist() == [LABELS + 2, LABELS + 1]
    strangers = [f"stranger-{k}" for k in range(2_000)]
    codes = many.codes(strangers)
    assert set(codes) == {0, LABELS + 1, LABELS + 2}  # in a bucket that is known, or unknown
    assert np.mean(codes > 0) == pytest.approx(2 / HASHES, abs=0.03)
    assert many.learned == many.size == LABELS + 3


def test_whoever_has_a_vector_has_a_code() -> None:
    told = pd.DataFrame(
        {"entity": "influencer", "entity_id": ["v0502", "v0003", "new"], "vector": [[1.0, 5.0], [3.0, 5.0], [2.0, 5.0]]}
    )
    places = Places.of(labelled([*[2] * LABELS, 1, 1, 1]), "influencer_id", told)
    assert places.others == ("new", "v0502") and len(places.shared) == 2
    assert places.codes(["v0003", "new", "v0502"]).tolist() == [4, places.learned, places.learned + 1]
    assert places.vectors is not None and places.vectors.shape == (places.size, 2)
    assert np.flatnonzero(places.vectors.any(axis=1)).tolist() == [4, places.learned + 1]  # "new" lies in the middle
    assert places.vectors[4].tolist() == pytest.approx([np.sqrt(1.5) / np.sqrt(2), 0])
    assert Places.of(labelled([1]), "platform", told) == Places()  # vectors of influencers say nothing of platforms


@pytest.mark.parametrize("member", MEMBERS)
def test_the_unknown_lies_at_nought_and_stays_there(member: type) -> None:
    model = member(hidden=4, labels=("influencer_id",)).fit(market())
    value = model.network_.reader.label[0]
    assert not value(torch.zeros(1, dtype=torch.long)).any()
    assert value.own.weight[1:].all()
    assert chances(model)[LATER[0]] == chances(model)[LATER[1]]


@pytest.mark.parametrize("member", MEMBERS)
def test_who_was_never_seen_is_read_as_who_lies_near(member: type, monkeypatch: pytest.MonkeyPatch) -> None:
    steps(monkeypatch, 120)
    without, read = (member(hidden=8, labels=("influencer_id",)).fit(market(3_000), places=places) for places in (None, graph()))
    plain, near = chances(without), chances(read)
    assert plain["later-good"] == plain["later-bad"]
    good, bad = (near.iloc[k : SEEN - 2 : 2].mean() for k in (1, 0))
    assert good - bad > 0.1
    far = {name: abs(told["later-good"] - told.iloc[1 : SEEN - 2 : 2].mean()) + abs(told["later-bad"] - told.iloc[0 : SEEN - 2 : 2].mean())
           for name, told in (("without", plain), ("with", near))}  # fmt: skip
    assert far["with"] < 0.6 * far["without"]
    assert near["later-good"] - near["later-bad"] > 0.5 * (good - bad)
    assert near["i11"] - near["i10"] > 0.25 * (good - bad)  # seen three times, and nobody bought
    again = SequenceModel.from_bytes(read.to_bytes())
    assert chances(again).tolist() == near.tolist()


def test_without_vectors_nothing_changes() -> None:
    none = LSTMAttribution(hidden=4, labels=("influencer_id",)).fit(market())
    for places in (graph()[:0], graph().assign(entity="event")):
        told = LSTMAttribution(hidden=4, labels=("influencer_id",)).fit(market(), places=places)
        assert alike(told, none)
        pd.testing.assert_frame_equal(told.effects_, none.effects_, check_exact=True)
    assert [name for name, _ in none.network_.reader.label.named_parameters()] == ["0.own.weight"]


@pytest.mark.parametrize("member", MEMBERS)
def test_the_same_seed_learns_the_same_from_parts_and_in_any_order(member: type) -> None:
    def fit(places: pd.DataFrame) -> SequenceModel:
        parts = [lambda k=k: journeys.take(np.arange(k, len(journeys.ids), 2)) for k in range(2)]
        return member(hidden=4, labels=("influencer_id",)).fit(parts, places=places)

    journeys = market()
    one = fit(graph())
    assert alike(one, fit(graph().sample(frac=1, random_state=1)))
    newest = graph().iloc[len(NAMES) :]
    assert alike(one, fit(newest))
    assert not alike(one, fit(graph().iloc[: len(NAMES)]))


def test_vectors_that_cannot_be_read_are_refused() -> None:
    told, model = graph(), LSTMAttribution(labels=("influencer_id",))
    broken = told.assign(vector=[*told["vector"][:-1], np.array([1.0, np.nan, 0, 0])])
    with pytest.raises(InputError, match="the vector of influencer 'later-good' holds what is not a number"):
        model.fit(market(), places=broken)
    with pytest.raises(InputError, match="vectors of 3 and of 4 numbers"):
        model.fit(market(), places=told.assign(vector=[*told["vector"][:-1], np.zeros(3)]))
    with pytest.raises(InputError, match="add influencer_id to its labels"):
        LSTMAttribution(labels=("platform",)).fit(market(), places=told)


def test_how_long_people_looked_is_read_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, n = spawn(8, "test.dwell"), 2_000
    dwell = rng.exponential(6.0, n)
    dwell[::5] = np.nan
    bought = rng.random(n) < np.where(dwell > 6, 0.4, 0.05)
    journeys = touched(np.full(n, -1), bought.astype(float), dwell)
    two = touched(np.full(3, -1), np.zeros(3), np.array([1.0, 30.0, np.nan]))
    for member in MEMBERS:
        deaf = member(hidden=8).fit(journeys)
        assert alike(deaf, member(hidden=8).fit(replace(journeys, dwell=np.empty(0))))
        assert np.ptp(deaf.predict(two)["probability"]) == 0
    steps(monkeypatch, 150)
    for member in MEMBERS:
        model = member(hidden=8, dwell=True).fit(journeys)
        short, long, unknown = model.predict(two)["probability"]
        assert long > max(short, unknown) + 0.05
        assert model.predict(replace(two, dwell=np.empty(0)))["probability"].tolist() == pytest.approx([unknown] * 3)
    assert journeys.take(np.array([3, 1])).dwell.tolist() == dwell[[3, 1]].tolist()


@pytest.mark.parametrize("member", MEMBERS)
def test_places_and_looks_are_read_alike_wherever_journeys_are_scored(member: type) -> None:
    rng, n = spawn(9, "test.places.frame"), 400
    owner = np.repeat(np.arange(n), 3)
    frame = pd.DataFrame({
        "journey_id": np.array([f"j{k:05d}" for k in range(n)], object)[owner], "position": np.tile([1, 2, 3], n),
        "touch_id": np.arange(3 * n).astype(str), "hours_before_end": np.tile([60.0, 30.0, 5.0], n),
        "channel": np.array(["ad", "influencer"], object)[rng.integers(0, 2, 3 * n)], "converted": (rng.random(n) < 0.4)[owner],
        "influencer_id": np.array([*NAMES, "stranger", None], object)[rng.integers(0, len(NAMES) + 2, 3 * n)],
        "dwell_s": np.where(rng.random(3 * n) < 0.2, np.nan, rng.exponential(6.0, 3 * n)), "revenue": 10.0,
    })  # fmt: skip
    model = member(hidden=4, labels=("influencer_id",), dwell=True).fit(frame, places=graph())
    np.testing.assert_allclose(*(way(model, model.arrays(frame)) for way in (leave_one_out, naive)), atol=1e-6)
    score = pickle.loads(pickle.dumps(scorer(model.to_bytes())))  # noqa: S301 - our own bytes
    at_once = score(pa.RecordBatch.from_pandas(frame, preserve_index=False)).to_pandas()
    pieces = [
        score(pa.RecordBatch.from_pandas(frame[k : k + 300], preserve_index=False)).to_pandas() for k in range(0, 3 * n, 300)
    ]
    pd.testing.assert_frame_equal(pd.concat(pieces, ignore_index=True), at_once, check_exact=True)
    want = model.credit(frame).set_index(["journey_id", "touch_id"])["credit"]
    got = at_once.set_index(["journey_id", "touch_id"])["credit"]
    np.testing.assert_allclose(got, want.reindex(got.index), atol=1e-5)


def test_the_flow_gives_the_graph_to_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = list[pd.DataFrame | None]()

    def fit(*_: object, places: pd.DataFrame | None = None, **__: object) -> None:
        given.append(places)
        raise CannotTell("not asked here")

    monkeypatch.setattr(LSTMAttribution, "fit", fit)
    Workspace.create(tmp_path / "ws").close()
    rng, data, n = spawn(3, "test.shop"), tmp_path / "ws" / "data", 600
    day = lambda size: pd.Timestamp("2025-01-01") + pd.to_timedelta(rng.uniform(0, 160, size), unit="D")  # noqa: E731
    common = {"person_id": np.array([f"p{k:03d}" for k in rng.integers(0, 200, n)])}
    pd.DataFrame({"order_id": np.arange(n).astype(str), **common, "ordered_at": day(n), "revenue": 9.0}).to_csv(
        data / "orders.csv"
    )
    pd.DataFrame({"touch_id": np.arange(n).astype(str), **common, "occurred_at": day(n), "channel": "influencer",
                  "influencer_id": "i01"}).to_csv(data / "touchpoints.csv")  # fmt: skip
    with Workspace.open(tmp_path / "ws") as ws:
        refresh(ws)
        measure(ws, "attribution")
        assert given == [None]
        ws.warehouse.write("embeddings", graph())
        measure(ws, "attribution")  # again, since there is something new to read
        measure(ws, "attribution")
        assert len(given) == 2
        assert given[1] is not None and len(given[1]) == len(graph())
        assert Places.of(market(), "influencer_id", given[1]).others == LATER
