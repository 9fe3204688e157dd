"""Commands that decide without a plan, as a user runs them: reach from a workspace, policies from a log; bad input in one line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from liftwise.cli import app
from liftwise.core.errors import CannotTell, InputError
from liftwise.core.uncertainty import spawn
from liftwise.decisions.adaptive.offpolicy import Log, evaluate
from liftwise.flows import policy
from liftwise.flows.reach import reach, reach_rule
from liftwise.store.workspace import Workspace


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(words))
    return done.exit_code, done.output if done.exception is None or isinstance(done.exception, SystemExit) else str(
        done.exception
    )


def told(shown: str) -> dict:
    return json.loads(shown[shown.index("{") :])


# -- reach


FOLLOWERS = {"ada": range(40), "ben": range(30, 60), "cai": range(25), "dee": range(58, 70), "eve": range(100)}
PRICES = {"ada": (90.0, 60.0), "ben": (45.0, 50.0), "cai": (20.0, 30.0), "dee": (15.0, 16.0)}  # nothing is known of eve's


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    folder = tmp_path_factory.mktemp("town") / "ws"
    Workspace.create(folder).close()
    place = spawn(1, "town").random(100)
    with Workspace.open(folder) as ws:
        ws.warehouse.write("audience_samples", pd.DataFrame(
            [(name, place[p]) for name, members in FOLLOWERS.items() for p in members], columns=["influencer_id", "hash"]))  # fmt: skip
        ws.warehouse.write("rates", pd.DataFrame(
            [(name, content, price, None, "EUR") for name, both in PRICES.items() for content, price in zip(("reel", "story"), both, strict=True)],
            columns=["influencer_id", "content_type", "price", "minimum_fee", "currency"]))  # fmt: skip
        ws.warehouse.publish()
        yield ws


def most(budget: float, price: dict[str, float], places: int) -> int:
    plans = (
        plan for size in range(places + 1) for plan in combinations(price, size) if sum(price[name] for name in plan) <= budget
    )
    return max(len(set().union(*(FOLLOWERS[name] for name in plan))) for plan in plans)


@pytest.mark.parametrize(
    ("words", "kind", "places"), [((), None, 4), (("--max-influencers", "2"), None, 2), (("--content", "reel"), 0, 4)]
)
def test_reach_hires_whom_trying_everybody_would(town: Workspace, words: tuple[str, ...], kind: int | None, places: int) -> None:
    price = {name: min(both) if kind is None else both[kind] for name, both in PRICES.items()}
    code, shown = run("reach", "--budget", "100", *words, "--json", "--workspace", str(town.folder))
    answer = told(shown)
    names = [line["influencer_id"] for line in answer["lines"]]
    assert code == 0 and answer["reach"] == most(100, price, places) == len(set().union(*(FOLLOWERS[name] for name in names)))
    assert answer["cost"] == sum(price[name] for name in names) <= 100 and answer["bound"] >= answer["reach"]
    assert answer["standard_error"] == 0 and answer["unpriced"] == 1 and "want of such a price: 1 of" in answer["summary"]
    assert all(
        line["content_type"] == ("story" if line["influencer_id"] == "ada" and kind is None else "reel")
        for line in answer["lines"]
    )


def test_reach_is_shown_and_refused_in_a_line(town: Workspace, tmp_path: Path) -> None:
    code, shown = run("reach", "--budget", "100", "--workspace", str(town.folder))
    assert code == 0 and "lost without" in shown and "different people, proven to be within" in shown
    for words, said in (
        (("--budget", "1"), "nobody may be hired"),
        (("--budget", "90", "--content", "song"), "nobody offers 'song'; choose reel, story"),
    ):
        code, shown = run("reach", *words, "--workspace", str(town.folder))
        assert code == 1 and said in shown and "\n" not in shown.strip()
    Workspace.create(tmp_path / "empty").close()
    with (
        Workspace.open(tmp_path / "empty") as ws,
        pytest.raises(CannotTell, match="audience_samples: nobody's audience is known"),
    ):
        reach(ws, 100)
    with Workspace.open(tmp_path / "empty") as ws, pytest.raises(CannotTell, match="deliver touchpoints that name influencers"):
        reach_rule(ws, 100)
    code, shown = run("plan", "--budget", "100", "--min-reach", "50", "--workspace", str(tmp_path / "empty"))
    assert code == 1 and "audience_samples: nobody's audience is known" in shown
    with pytest.raises(InputError, match="a reach of -5"):
        reach_rule(town, -5)
    assert reach_rule(town, 60).reached(["ada", "ben"]) == (60.0, 0.0)


# -- policies


def written(folder: Path, rows: int = 3000, ending: str = "csv") -> Path:
    """Arms a, b, c tried with known chances; b is best where x is high, c elsewhere; a costs 1, b 2, c 1."""
    random = spawn(3, "policy log")
    x = random.normal(size=rows)
    chance = np.column_stack([np.full(rows, 0.3), 0.35 + 0.15 * np.tanh(x), 0.35 - 0.15 * np.tanh(x)])
    arm = (chance.cumsum(axis=1) < random.random((rows, 1))).sum(axis=1)
    mean = np.column_stack([np.full(rows, 0.2), 0.3 + 0.2 * np.tanh(x), 0.3 - 0.2 * np.tanh(x)])
    reward = (random.random(rows) < mean[np.arange(rows), arm]).astype(float)
    best = (x > 0).astype(float)
    frame = pd.DataFrame({
        "arm": np.array(["a", "b", "c"])[arm], "reward": reward, "propensity": chance[np.arange(rows), arm], "x": x, "cost": np.array([1.0, 2.0, 1.0])[arm],
        "person": [f"p{k // 2}" for k in range(rows)], "to_a": 0.0, "to_b": best, "to_c": 1 - best,
    })  # fmt: skip
    path = folder / f"log.{ending}"
    frame.to_csv(path, index=False) if ending == "csv" else frame.to_parquet(path)
    return path


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_policy_is_evaluated_as_the_estimators_say(tmp_path: Path, ending: str) -> None:
    path = written(tmp_path, ending=ending)
    code, shown = run("policy", "evaluate", str(path), "--target", "columns=to_", "--features", "x", "--json")
    answer = told(shown)
    frame = pd.read_csv(path) if ending == "csv" else pd.read_parquet(path)
    codes = frame["arm"].map({"a": 0, "b": 1, "c": 2}).to_numpy()
    log = Log.of(frame["reward"], codes, frame["propensity"], features=frame[["x"]])
    same = evaluate(log, frame[["to_a", "to_b", "to_c"]].to_numpy(), method="dr")
    row = next(row for row in answer["estimates"] if row["method"] == "dr")
    assert (
        code == 0
        and answer["method"] == "dr"
        and row["value"] == pytest.approx(same.value)
        and row["low"] == pytest.approx(same.low)
    )
    assert row["low"] > frame["reward"].mean() and "more than" in answer["summary"], "choosing by x earns more than the log did"
    code, shown = run("policy", "evaluate", str(path), "--target", "always=a", "--cluster", "person")
    assert code == 0 and "less than" in shown and "effective_rows" in shown
    assert told(run("policy", "evaluate", str(path), "--target", "uniform", "--json")[1])["estimates"][0]["effective_rows"] > 2000


def test_a_log_that_cannot_tell_says_so_in_a_line(tmp_path: Path) -> None:
    code, shown = run("policy", "evaluate", str(written(tmp_path, 60)), "--target", "always=b")
    assert code == 1 and "the log cannot tell" in shown and "effective sample size" in shown and "\n" not in shown.strip()
    code, shown = run("policy", "replay", str(written(tmp_path, 60)), "--features", "x")
    assert code == 1 and "a replay would accept" in shown


def test_a_replay_learns_what_the_log_did_not_do(tmp_path: Path) -> None:
    path = written(tmp_path)
    code, shown = run("policy", "replay", str(path), "--features", "x", "--json")
    free = told(shown)
    assert code == 0 and free["low"] > free["logged"] and free["spent"] == {}
    code, shown = run("policy", "replay", str(path), "--features", "x", "--budget", "1500")
    assert code == 0 and "decisions of its learning" in shown and "% of the money" in shown
    paced = policy.replay(path, ["x"], budget=1500)
    assert 0.5 < paced.spent[policy.MONEY] <= 1 and paced.value < free["value"]


def test_the_next_choice_is_the_same_when_asked_again_and_follows_the_context(tmp_path: Path) -> None:
    path = written(tmp_path)
    words = ("policy", "next", str(path), "--budget", "5000", "--decisions", "4000", "--json", "--context")
    high, again, low = (told(run(*words, context)[1]) for context in ("x=1.5", "x=1.5", "x=-1.5"))
    assert high == again and high["arm"] == "b" and low["arm"] == "c" and min(high["propensity"], low["propensity"]) > 0.5
    spent = pd.read_csv(path)["cost"].sum()
    assert high["left"][policy.MONEY] == pytest.approx(5000 - spent) and high["costs"] == {policy.MONEY: 2.0}
    assert "with probability" in run("policy", "next", str(path), "--context", "x=0")[1]
    assert run("policy", "next", str(path), "--context", "x")[0] == 2
    broke = run("policy", "next", str(path), "--context", "x=0", "--budget", f"{spent + 0.5}", "--decisions", "4000")[1]
    assert "Choose nobody" in broke and "0.50 is left, and the cheapest choice costs" in broke
    code, shown = run("policy", "next", str(path), "--context", "x=0", "--budget", "10")
    assert code == 1 and "more than the 3,000 decisions" in shown


@pytest.mark.parametrize(("spoil", "words"), [
    ({"propensity": "0"}, r"log.csv, row 5, column propensity: '0' is no probability above 0"),
    ({"propensity": "1.2"}, r"row 5, column propensity: '1.2' is no probability"),
    ({"reward": "soon"}, r"row 5, column reward: 'soon' is no finite number; give a number or drop the row"),
    ({"reward": ""}, r"row 5, column reward: '' is no finite number"),
    ({"x": "nan"}, r"row 5, column x: 'nan' is no finite number"),
    ({"cost": "7"}, r"row 5, column cost|row \d+, column cost: arm '.' costs"),
])  # fmt: skip
def test_what_is_wrong_with_a_log_is_told_with_row_and_column(tmp_path: Path, spoil: dict[str, str], words: str) -> None:
    path = written(tmp_path, 200)
    frame = pd.read_csv(path, dtype="str")
    for column, cell in spoil.items():
        frame.loc[4, column] = cell
    frame.to_csv(path, index=False)
    with pytest.raises(InputError, match=words):
        policy.replay(path, ["x"], budget=100)


def test_files_and_targets_that_are_none_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, 200)
    broken = tmp_path / "broken.parquet"
    broken.write_text("no parquet")
    pd.read_csv(path).drop(columns="propensity").to_csv(tmp_path / "short.csv", index=False)
    for file, target, words in (
        (tmp_path / "none.csv", "uniform", "there is no such file"), (broken, "uniform", "it cannot be read"), (tmp_path / "short.csv", "uniform", "column 'propensity' is missing; it has arm, reward"),
        (path, "always=z", "the log has no arm 'z'; choose a, b, c"), (path, "columns=pi_", "column 'pi_a' is missing"), (path, "best", "no policy 'best'; say uniform"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=words) as refused:
            policy.evaluate(file, target)
        assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match=r"row 1, columns to_…"):
        frame = pd.read_csv(path).assign(to_a=0.5)
        frame.to_csv(path, index=False)
        policy.evaluate(path, "columns=to_")
    (tmp_path / "log.txt").write_text("arm")
    with pytest.raises(InputError, match=r"a log is no \.txt"):
        policy.evaluate(tmp_path / "log.txt", "uniform")
