"""Readings of a hidden state: what truly moves a stage is found, what does not is not, and nobody reads their own states."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.uncertainty import spawn
from liftwise.models.attribution import plots
from liftwise.models.attribution.influence import _auc, _logistic, outcomes_of, read_states
from liftwise.sources.simulator.journey_worlds import CHANNELS, STRENGTH, JourneyWorld

TYPES = ("post", "reel", "story", "tutorial", "haul", "rant")
EFFECT = np.array([0.0, 0.0, 0.0, 0.5, 0.0, -0.3])  # what a touch adds to the state along its true direction
CREATORS = tuple(f"creator {k}" for k in range(12))  # a placebo: drawn without regard to anything


def drawn(seed: int, people: int = 1500, units: int = 8) -> dict[str, np.ndarray]:
    """States that are sums of noise and of what each touch does; the stage depends on one direction of them."""
    rng = spawn(seed, "influence.test")
    lengths = 1 + rng.poisson(2.0, people)
    who = np.repeat(np.arange(people), lengths)
    code, creator = rng.integers(len(TYPES), size=len(who)), rng.integers(len(CREATORS), size=len(who))
    way = rng.normal(size=units)
    way /= np.linalg.norm(way)
    moved = rng.normal(0.0, 0.3, (len(who), units)) + EFFECT[code][:, None] * way
    total, first = np.cumsum(moved, axis=0), np.cumsum(lengths) - lengths
    state = total - (total - moved)[first][who]
    before = state - moved
    after, was = (expit(-0.8 + 1.5 * at @ way) for at in (state, before))
    return {"states": state, "code": code, "creator": creator, "who": who, "true": after - was,
            "reached": (rng.random(len(who)) < after).astype(float)}  # fmt: skip


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    """Mean change of the true probability by content type, and over all touches."""
    many = [drawn(seed, 30_000) for seed in (901, 902, 903)]
    code, change = (np.concatenate([m[key] for m in many]) for key in ("code", "true"))
    return np.append(np.bincount(code, change) / np.bincount(code), change.mean())


def labels(world: dict[str, np.ndarray]) -> dict:
    return {"content_type": (world["code"], TYPES), "influencer": (world["creator"], CREATORS)}


def test_what_moves_a_stage_is_recovered_within_its_interval_and_a_placebo_is_not(truth: np.ndarray) -> None:
    inside, placebo, clear = [], [], []
    for seed in range(30):
        world = drawn(seed, 600)
        frame = read_states(world["states"], labels(world), world["who"], {"conversion": world["reached"]}).frame
        assert frame["tells"].all()
        types, creators = (frame[frame["by"] == by].set_index("name") for by in ("content_type", "influencer"))
        types = types.loc[list(TYPES)]
        inside.append((types["low"] <= truth[:-1]) & (truth[:-1] <= types["high"]))
        placebo.append(((creators["low"] <= truth[-1]) & (truth[-1] <= creators["high"])).mean())
        clear.append(types.loc["tutorial", "low"] > truth[-1] > types.loc["rant", "high"])
    assert all(clear)
    assert 0.84 <= np.mean(inside) <= 0.97
    assert np.mean(inside, axis=0).min() >= 0.75
    assert np.mean(placebo) >= 0.9


def test_the_summary_names_what_moves_and_the_plot_shows_it() -> None:
    world = drawn(3)
    read = read_states(
        world["states"], labels(world), world["who"],
        {"conversion": world["reached"], "awareness": np.full(len(world["who"]), np.nan)},
    )  # fmt: skip
    said = read.summary()
    assert "by content_type most tutorial" in said and "least rant" in said and "no influencer moves it" in said
    assert "awareness: cannot tell: these data do not show it" in said
    assert list(read.frame) == ["stage", "by", "name", "change", "low", "high", "touches", "people", "auc", "auc_low", "tells"]
    assert read.plot().to_json()


def test_random_states_cannot_tell() -> None:
    told = 0
    for seed in range(20):
        world = drawn(seed, 500)
        noise = spawn(seed, "influence.noise").normal(size=world["states"].shape)
        read = read_states(noise, {"content_type": (world["code"], TYPES)}, world["who"], {"conversion": world["reached"]})
        told += bool(read.frame["tells"].any())
        assert read.frame["tells"].any() or "cannot tell" in read.summary()
    assert told <= 1


def test_nobody_reads_their_own_states() -> None:
    """A unit that gives each person away, and an outcome that is the person's alone: only a leak could foretell it."""
    rng = spawn(5, "influence.leak")
    people, each = 120, 10
    who = np.repeat(np.arange(people), each)
    mark, fate = rng.normal(size=(people, 60)), (rng.random(people) < 0.5).astype(float)
    states = mark[who] + 0.01 * rng.normal(size=(len(who), 60))
    code = rng.integers(2, size=len(who))
    read = read_states(states, {"kind": (code, ("a", "b"))}, who, {"conversion": fate[who]})
    auc, low, _ = read.aucs["conversion"]
    assert low < 0.52 and auc < 0.65
    careless = LogisticRegression(C=1.0).fit(states[::2], fate[who][::2])  # rows of everybody on both sides
    assert roc_auc_score(fate[who][1::2], careless.predict_proba(states[1::2])[:, 1]) > 0.9


def test_people_who_touch_more_do_not_make_it_surer() -> None:
    world = drawn(8, 400)
    once = read_states(world["states"], labels(world), world["who"], {"c": world["reached"]})
    # every touch told twice, as two journeys of one person: the same people know the same
    journey = np.concatenate([2 * world["who"], 2 * world["who"] + 1])
    both = np.tile(np.arange(len(world["who"])), 2)
    doubled = read_states(
        world["states"][both], {k: (c[both], n) for k, (c, n) in labels(world).items()}, world["who"][both],
        {"c": world["reached"][both]}, journey=journey, ridge=2.0,
    )  # fmt: skip
    one, two = (r.frame[r.frame["by"] == "content_type"] for r in (once, doubled))
    assert np.allclose(one["change"], two["change"], atol=2e-3)
    width = (two["high"] - two["low"]).to_numpy() / (one["high"] - one["low"]).to_numpy()
    assert width.min() > 0.8  # not 1/√2


def test_parts_match_scikit_learn() -> None:
    world = drawn(2, 500)
    X = np.column_stack([np.ones(len(world["who"])), world["states"]])
    beta, _ = _logistic(X, world["reached"], 1.0)
    oracle = LogisticRegression(C=1.0, tol=1e-10, max_iter=1000).fit(world["states"], world["reached"])
    assert np.allclose(beta, [*oracle.intercept_, *oracle.coef_[0]], atol=1e-4)
    score = np.round(X @ beta, 1)  # with ties
    auc, low, high = _auc(score, world["reached"], world["who"], np.zeros(len(score), int), 1.645)
    assert auc == pytest.approx(roc_auc_score(world["reached"], score)) and low < auc < high


def test_small_groups_lean_on_the_mean_of_all() -> None:
    world = drawn(4, 800)
    code = np.where(
        np.arange(len(world["who"])) < 6, 6 + np.arange(len(world["who"])), world["code"]
    )  # six names with one touch each
    names = (*TYPES, *(f"rare {k}" for k in range(6)))
    frame = read_states(world["states"], {"by": (code, names)}, world["who"], {"c": world["reached"]}).frame.set_index("name")
    rare = frame.loc[frame.index.str.startswith("rare")]
    mean = np.average(frame["change"], weights=frame["touches"])
    assert ((rare["high"] - rare["low"]) > 2 * (frame.loc["reel", "high"] - frame.loc["reel", "low"])).all()
    assert (rare["people"] <= 2).all() and ((rare["low"] < mean) & (mean < rare["high"])).sum() >= 4


def test_journeys_that_begin_teach_what_the_start_is_worth() -> None:
    """States after a touch sit far from the start, and a line through them misses it; the journeys' beginnings mend that."""
    rng = spawn(6, "influence.start")
    people = 6000
    touched = rng.random(people) < 0.5
    reached = (rng.random(people) < np.where(touched, 0.3, 0.1)).astype(float)
    who = np.flatnonzero(touched)
    states = np.column_stack([1 + 0.05 * rng.normal(size=len(who)), rng.normal(size=len(who))])
    label = {"kind": (np.zeros(len(who), int), ("touch",))}
    change = 0.3 - reached.mean()
    taught = read_states(states, label, who, {"c": reached[who]}, begun=(np.arange(people), {"c": reached})).frame.iloc[0]
    assert taught["low"] < change < taught["high"] and taught["high"] - taught["low"] < 0.06


def test_channels_of_a_market_come_in_the_order_of_their_strength() -> None:
    """States made by hand, fading sums by channel, in a market whose exposure is random."""
    sample = JourneyWorld(targeting="random", people=25_000, seed=3, lends=0.0).draw()
    owner = np.repeat(np.arange(len(sample.bought)), np.diff(sample.offsets))
    states, seen = np.zeros((len(owner), len(CHANNELS))), np.zeros(len(CHANNELS))
    for k in range(len(owner)):
        if k == 0 or owner[k] != owner[k - 1]:
            seen = np.zeros(len(CHANNELS))
        else:
            seen = seen * np.exp(-(sample.hours[k - 1] - sample.hours[k]) / 120.0)
        seen = seen + np.eye(len(CHANNELS))[sample.codes[k]]
        states[k] = seen
    placebo = spawn(1, "influence.platform").integers(4, size=len(owner))
    read = read_states(
        states, {"channel": (sample.codes, CHANNELS), "platform": (placebo, tuple("wxyz"))}, owner, {"conversion": sample.bought[owner]},
        begun=(np.arange(len(sample.bought)), {"conversion": sample.bought}),
    )  # fmt: skip
    mine = read.frame[read.frame["by"] == "channel"].set_index("name").loc[list(CHANNELS)]
    true = np.bincount(sample.codes, sample.effect) / np.bincount(sample.codes)
    assert read.frame["tells"].all()
    assert spearmanr(mine["change"], true).statistic > 0.75
    assert mine["change"].idxmax() in {CHANNELS[k] for k in np.argsort(STRENGTH)[-3:]}
    assert "no platform moves it" in read.summary()


def test_outcomes_look_only_at_what_comes_later_in_the_same_journey() -> None:
    kinds = ["visit", "view", "search", "view", "view", "add_to_cart", "view", None, "view"]
    journey = np.array([0, 0, 0, 1, 1, 1, 2, 2, 3])
    hours = np.array([9.0, 5.0, 1.0, 8.0, 2.0, 2.0, 6.0, 3.0, 4.0])
    bought = np.array([0.0, 1.0, 0.0, np.nan])
    plain = outcomes_of(kinds, journey, hours, bought, further=False)
    assert list(plain) == ["awareness", "consideration", "basket", "conversion"]
    np.testing.assert_equal(plain["awareness"], [0, 0, 0, 0, 0, 0, np.nan, 0, 0])
    np.testing.assert_equal(plain["consideration"], [1, 1, 0, 0, 0, 0, np.nan, 0, 0])
    np.testing.assert_equal(plain["basket"], [0, 0, 0, 1, 0, 0, np.nan, 0, 0])  # a touch at the same hour is not later
    np.testing.assert_equal(plain["conversion"], [0, 0, 0, 1, 1, 1, 0, 0, np.nan])
    full = outcomes_of(kinds, journey, hours, bought)
    np.testing.assert_equal(full["awareness"], [1, 1, 0, 1, 1, 1, np.nan, 0, np.nan])
    order = np.array([8, 3, 1, 5, 0, 7, 2, 4, 6])
    mixed = outcomes_of(np.array(kinds, dtype=object)[order], journey[order], hours[order], bought)
    for stage in full:
        np.testing.assert_equal(mixed[stage], full[stage][order])
    # no search, click or basket anywhere: these are unknown, and what is above them is not
    shallow = outcomes_of(["view", "visit", "view"], np.array([0, 0, 1]), np.array([2.0, 1.0, np.nan]), np.array([0.0, 1.0]))
    np.testing.assert_equal(shallow["awareness"], [1, 0, np.nan])
    assert np.isnan(shallow["basket"]).all() and np.isnan(shallow["consideration"]).all()
    with pytest.raises(InputError):
        outcomes_of(["view"], np.array([2]), np.array([1.0]), np.array([0.0]))


def test_what_cannot_be_read_is_said() -> None:
    world = drawn(1, 60)
    states, who, few = world["states"], world["who"], np.zeros(len(world["who"]))
    label = {"content_type": (world["code"], TYPES)}
    with pytest.raises(CannotTell, match="0 people reached it"):
        read_states(states, label, who, {"conversion": few})
    for wrong in (
        {"states": states[:, :0]}, {"states": np.where(states > 1, np.nan, states)}, {"person": who[1:]}, {"outcomes": {"c": few + 2}},
        {"labels": {"x": (world["code"], TYPES[:2])}}, {"start": np.zeros(3)},
    ):  # fmt: skip
        with pytest.raises(InputError):
            read_states(**{"states": states, "labels": label, "person": who, "outcomes": {"c": few}, **wrong})


def test_every_picture_can_be_drawn() -> None:
    strip = pd.DataFrame({"hours_before_end": [600.0, 5, 5, 0], "channel": ["tv", "mail", "mail", "organic"], "credit": [0.3, 0.2, 0.1, 0.4],
                          "low": 0.0, "high": 0.6, "calibrated": False})  # fmt: skip
    hours = np.geomspace(6, 1000, 20)
    decay = pd.DataFrame(
        {"channel": "tv", "hours": hours, "fresh": np.exp(-hours / 200), "low": 0.0, "high": 1.0, "calibrated": True}
    )
    names = pd.DataFrame({"name": range(25), "credit": np.arange(25.0), "low": 0.0, "high": 30.0, "last_touch": 1.0})
    shares = pd.DataFrame({"channel": ["tv", "mail"] * 2, "method": ["last_touch"] * 2 + ["lstm"] * 2, "share": 0.5,
                           "low": [np.nan] * 2 + [0.4] * 2, "high": [np.nan] * 2 + [0.6] * 2, "calibrated": False})  # fmt: skip
    drawn_ = {
        "strip": plots.journey_strip(strip), "short": plots.journey_strip(strip.iloc[1:3]), "bare": plots.journey_strip(strip.iloc[3:]),
        "decay": plots.decay_curves(decay), "names": plots.credit_by(names), "shares": plots.channels(shares),
    }  # fmt: skip
    for name, figure in drawn_.items():
        assert figure.to_json()
        assert ("uncalibrated" in figure.to_json()) == (name in {"strip", "short", "bare", "shares"}), name
    assert len(drawn_["names"].data[0].y) == 20 and drawn_["names"].data[0].y[0] == "24"
    assert drawn_["shares"].data[-1].name == "lstm"
