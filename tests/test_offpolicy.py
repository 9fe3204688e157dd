"""Off-policy evaluation: estimators agree with their formulas and the truth, intervals cover, and what cannot be told is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.uncertainty import spawn
from liftwise.decisions.adaptive.offpolicy import METHODS, Log, compare, evaluate, tail

Floats = np.ndarray


def campaign(seed: int, rows: int, rate: float, sharp: float, arms: int = 6) -> tuple[Log, Floats, Floats]:
    """A log by a softmax policy of that sharpness; the uniform target; expected rewards of all arms."""
    fixed, random = spawn(5, "ope campaign"), spawn(seed, f"ope {rate} {sharp}")
    taste, habit = fixed.normal(size=(4, arms)), fixed.normal(size=(4, arms))
    x = random.normal(size=(rows, 4))
    mean = 1 / (1 + np.exp(-(np.log(rate / (1 - rate)) - 0.3 + 0.4 * x @ taste)))
    chance = np.exp(sharp * 0.5 * x @ habit)
    chance /= chance.sum(axis=1, keepdims=True)
    action = np.minimum((chance.cumsum(axis=1) < random.random((rows, 1))).sum(axis=1), arms - 1)
    reward = (random.random(rows) < mean[np.arange(rows), action]).astype(float)
    log = Log.of(reward, action, chance[np.arange(rows), action], features=x)
    return log, np.full((rows, arms), 1 / arms), mean


def test_estimators_are_their_formulas() -> None:
    log, target, mean = campaign(1, 4000, 0.3, 1.0)
    q = np.clip(mean + 0.05, 0, 1)
    w = np.array([target[i, a] / p for i, (a, p) in enumerate(zip(log.action, log.propensity, strict=True))])
    assert evaluate(log, target, method="ipw").value == pytest.approx(np.mean([w[i] * log.reward[i] for i in range(4000)]))
    assert evaluate(log, target, method="snipw").value == pytest.approx((w * log.reward).sum() / w.sum())
    slow = [sum(target[i] * q[i]) + w[i] * (log.reward[i] - q[i, a]) for i, a in enumerate(log.action)]
    told = evaluate(log, target, method="dr", model=q)
    assert told.value == pytest.approx(np.mean(slow))
    assert told.effective_rows == pytest.approx(w.sum() ** 2 / (w**2).sum())
    chances = target[np.arange(4000), log.action]
    assert evaluate(log, chances, method="snipw").value == evaluate(log, target, method="snipw").value


@given(st.integers(0, 10_000), st.floats(0.0, 1.2))
@settings(max_examples=25)
def test_the_logging_policy_itself_is_told_exactly(seed: int, sharp: float) -> None:
    log, _, _ = campaign(seed, 1500, 0.3, sharp)
    told = evaluate(log, log.propensity, method="snipw")
    assert told.value == pytest.approx(log.reward.mean()) and told.mean_weight == pytest.approx(1) and told.tail == 0
    assert told.low < told.value < told.high and told.effective_rows == pytest.approx(1500)


@pytest.mark.parametrize(("rate", "sharp", "rows"), [(0.01, 0.6, 5000), (0.05, 1.0, 3000), (0.3, 1.3, 2000)])
def test_intervals_keep_their_word(rate: float, sharp: float, rows: int) -> None:
    truth = float(campaign(99_999, 400_000, rate, sharp)[2].mean())
    inside, told = dict.fromkeys(METHODS, 0), dict.fromkeys(METHODS, 0)
    for seed in range(60):
        log, target, _ = campaign(seed, rows, rate, sharp)
        for method in METHODS:
            try:
                answer = evaluate(log, target, method=method)
            except CannotTell:
                continue
            inside[method] += answer.low <= truth <= answer.high
            told[method] += 1
    for method in METHODS:
        assert told[method] >= 30
        assert inside[method] / told[method] > 0.95 - 3 * np.sqrt(0.95 * 0.05 / told[method])


def test_rewards_of_any_sign_and_a_model_that_helps() -> None:
    log, target, mean = campaign(3, 5000, 0.3, 1.0)
    values = 100 * log.reward - 20
    money = Log(values, log.action, log.propensity, log.features)
    truth = float((100 * mean - 20).mean())
    plain, robust = (evaluate(money, target, method=m) for m in ("snipw", "dr"))
    assert plain.low < truth < plain.high and robust.low < truth < robust.high
    assert robust.standard_error < 1.02 * plain.standard_error
    flipped = evaluate(Log(-values, log.action, log.propensity, log.features), target, method="dr")
    assert flipped.value == pytest.approx(-robust.value)


def test_people_count_once() -> None:
    """Rows copied tenfold with their cluster say no more than before."""
    log, target, _ = campaign(4, 2000, 0.3, 0.8)
    many = np.repeat(np.arange(2000), 10)
    copied = Log.of(log.reward[many], log.action[many], log.propensity[many], cluster=many)
    one, ten = evaluate(log, target, method="snipw"), evaluate(copied, target[many], method="snipw")
    assert ten.value == pytest.approx(one.value) and ten.standard_error == pytest.approx(one.standard_error, rel=0.02)


def test_refusals_say_their_figures() -> None:
    log, target, _ = campaign(6, 3000, 0.3, 5.0)
    with pytest.raises(CannotTell, match=r"tail index|effective sample size"):
        evaluate(log, target, method="ipw")
    looked = evaluate(log, target, method="ipw", refuse=False)
    assert looked.warnings and looked.low <= looked.value <= looked.high
    wrong = Log.of(log.reward, log.action, np.full(3000, 0.5))
    with pytest.raises(CannotTell, match="propensities do not fit"):
        evaluate(wrong, target, method="snipw")
    log, target, _ = campaign(7, 3000, 0.3, 1.3)
    free, clipped = evaluate(log, target, method="ipw"), evaluate(log, target, method="ipw", clip=4.0)
    assert free.assumed == 0 and 0 < clipped.assumed < 0.2 and clipped.value < free.value
    assert clipped.high > clipped.value + 1.5 * clipped.standard_error  # what was clipped away is in the interval
    none = Log.of(np.zeros(3000), log.action, log.propensity)
    with pytest.raises(CannotTell, match="effective rewards 0"):
        evaluate(none, target, method="snipw")


def test_tail_index_finds_its_pareto() -> None:
    for k in (0.2, 0.5, 0.9):
        draws = [tail(spawn(seed, "pareto").pareto(1 / k, 20_000) + 1) for seed in range(20)]
        assert abs(np.mean(draws) - k) < 0.12


def test_bad_input_is_named() -> None:
    log, target, _ = campaign(1, 100, 0.3, 0.5)
    for wrong, where in (((0.0,), "log row 2"), ((np.nan,), "log row 2")):
        propensity = log.propensity.copy()
        propensity[2] = wrong[0]
        with pytest.raises(InputError, match=where):
            Log.of(log.reward, log.action, propensity)
    with pytest.raises(InputError, match="target row 3"):
        evaluate(log, np.where(np.arange(100)[:, None] == 3, 0.5, target), method="dr")
    with pytest.raises(InputError, match="probabilities of all arms"):
        evaluate(log, target[:, 0], method="dr")
    with pytest.raises(InputError, match="no estimator"):
        evaluate(log, target, method="magic")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="the target 2 arms"):
        evaluate(log, np.full((100, 2), 0.5))


def open_bandit(folder: Path, campaign: str) -> tuple[Log, Floats]:
    """Log of the BTS policy, and the uniform target."""
    frame = pd.read_csv(folder / f"bts_{campaign}.csv.gz")
    arms = len(pd.read_csv(folder / f"item_context_{campaign}.csv"))
    features = pd.get_dummies(frame[[f"user_feature_{k}" for k in range(4)]]).to_numpy(dtype=float)
    people = frame[[f"user_feature_{k}" for k in range(4)]].agg("|".join, axis=1).to_numpy()
    log = Log.of(frame["click"], frame["item_id"], frame["propensity_score"], features=features, cluster=people)
    return log, np.full((len(frame), arms), 1 / arms)


def test_a_real_log_is_refused_and_another_agrees_with_its_experiment(shared_data: Callable[[str], Path]) -> None:
    folder = shared_data("open_bandit_small")
    log, target = open_bandit(folder, "women")
    for method in METHODS:
        with pytest.raises(CannotTell):
            evaluate(log, target, method=method)
    log, target = open_bandit(folder, "men")
    random = pd.read_csv(folder / "random_men.csv.gz")["click"].mean()
    told = compare(log, target)
    assert (told["refused"] == "").all()
    assert ((told["low"] <= random) & (random <= told["high"])).all()
    assert told.loc[told["method"] == "ipw", "value"].iloc[0] == pytest.approx(0.0030, abs=5e-5)
    assert told.loc[told["method"] == "snipw", "value"].iloc[0] == pytest.approx(0.0032, abs=5e-5)
    assert told["effective_rows"].iloc[0] == pytest.approx(656, abs=1)
    one = evaluate(log, target, method="snipw")
    assert "not provably more or less" in one.summary() and len(one.plot().data) == 1 and len(one.to_frame()) == 1
