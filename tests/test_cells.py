"""Cells about few people: none is shown, none can be had by subtraction, and totals stay."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liftwise.core.errors import InputError
from liftwise.governance.cells import WHOLE, Cells

RULE = Cells()


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    """Rows of a few groups, many of them small, with different people and buyers."""
    rows = draw(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 140), st.integers(0, 60)), min_size=0, max_size=14))
    return pd.DataFrame({
        "platform": [f"p{g}" for g, _, _ in rows], "name": [f"n{k}" for k in range(len(rows))],
        "people": [p for _, p, _ in rows], "buyers": [min(p, b) for _, p, b in rows], "revenue": [3.0 * b for _, _, b in rows],
        "rate": [0.5] * len(rows),
    })  # fmt: skip


def small(people: float, buyers: float) -> bool:
    return people < RULE.people or buyers < RULE.converting


@given(tables())
def test_disjoint_rows_fold_without_a_small_cell_and_totals_stay(table: pd.DataFrame) -> None:
    shown = RULE.suppress(table, "people", "buyers", names=["name"], group=["platform"], fold=["revenue"], disjoint=True)
    told = shown[shown["people"].notna()]
    assert not any(small(p, b) for p, b in zip(told["people"], told["buyers"], strict=True))
    assert set(told["withheld"]) <= {"", "does not add up: rate"}
    if small(table["people"].sum(), table["buyers"].sum()):
        assert told.empty
    else:
        for column in ("people", "buyers", "revenue"):
            assert told[column].sum() == table[column].sum()
        # a group that is still there still has its total
        for name, group in told.groupby("platform"):
            if name != "other":
                assert group["people"].sum() == table.loc[table["platform"] == name, "people"].sum()


@given(tables())
def test_no_difference_of_nested_totals_is_small(table: pd.DataFrame) -> None:
    """Everything one can add and subtract is a set of hidden blocks and shown rows; none of these is small."""
    held = RULE.suppress(table, "people", "buyers", names=["name"], group=["platform"], disjoint=True)
    hidden, whole = held["people"].isna().to_numpy(), (held["withheld"] == WHOLE).to_numpy()
    size = table[["people", "buyers"]].to_numpy()
    assert not any(small(*row) for row in size[~hidden])
    # blocks that no shown number tells apart: the hidden rows of a group that has a total, and all groups that have none
    platform = table["platform"].to_numpy()
    blocks = [size[hidden & ~whole & (platform == p)] for p in set(platform[hidden & ~whole])]
    blocks += [size[whole]] if whole.any() and not whole.all() else []
    assert all(len(block) > 1 and not small(*block.sum(axis=0)) for block in blocks)
    # queries nested in one another: the total, each group that has one, each shown row
    queries = [np.ones(len(table), bool)] if not whole.all() else []
    queries += [(platform == p) for p in set(platform) if not whole[platform == p].any()]
    queries += [np.arange(len(table)) == k for k in np.flatnonzero(~hidden)]
    for one, other in combinations(queries, 2):
        if (one & other == other).all() or (one & other == one).all():
            rest = one ^ other
            assert not rest.any() or not small(*size[rest].sum(axis=0))


@given(tables())
def test_where_one_person_may_be_in_many_rows_other_holds_one_large_row(table: pd.DataFrame) -> None:
    shown = RULE.suppress(table, "people", "buyers", names=["name"], group=["platform"], fold=["revenue"])
    told = shown[shown["people"].notna()]
    assert not any(small(p, b) for p, b in zip(told["people"], told["buyers"], strict=True))
    assert told["people"].max() <= table["people"].max() if len(told) else True
    if len(told):
        assert told["revenue"].sum() == table["revenue"].sum()


@given(
    st.lists(st.tuples(st.floats(-1e6, 1e6), st.integers(0, 5)), max_size=30),
    st.floats(0.1, 100.0),
)
def test_nobody_adds_more_than_the_bound(rows: list[tuple[float, int]], most: float) -> None:
    values, person = np.array([v for v, _ in rows]), np.array([p for _, p in rows], dtype=int)
    out = RULE.clamp(values, person, most)
    for who in set(person.tolist()):
        mine = person == who
        assert np.abs(out[mine]).sum() <= most * (1 + 1e-9)
        if np.abs(values[mine]).sum() <= most:
            assert (out[mine] == values[mine]).all()
    assert (np.sign(out) * np.sign(values) >= 0).all()


def test_a_single_small_row_takes_the_next_smallest_with_it() -> None:
    table = pd.DataFrame({"name": list("abcd"), "people": [400, 60, 20, 90], "rate": [0.1, 0.2, 0.3, 0.4]})
    held = RULE.suppress(table, "people", names=["name"], disjoint=True)
    assert held["rate"].isna().tolist() == [False, True, True, False]
    assert held["name"].tolist() == list("abcd")  # rows keep their names
    assert held.loc[1, "withheld"] == held.loc[2, "withheld"] != ""  # and nobody learns which of them was the small one


def test_two_small_rows_that_are_few_together_take_a_third() -> None:
    table = pd.DataFrame({"name": list("abc"), "people": [20, 15, 90]})
    assert RULE.suppress(table, "people", names=["name"], disjoint=True)["people"].isna().all()
    enough = pd.DataFrame({"name": list("abc"), "people": [30, 25, 90]})
    assert RULE.suppress(enough, "people", names=["name"], disjoint=True)["people"].isna().tolist() == [True, True, False]


def test_rows_that_share_people_need_a_large_one_beside_them() -> None:
    table = pd.DataFrame({"name": list("abcd"), "people": [30, 25, 90, 500]})
    # 30 and 25 may be the same people: only a row of enough people by itself hides them
    assert RULE.suppress(table, "people", names=["name"])["people"].isna().tolist() == [True, True, True, False]


def test_buyers_alone_need_ten_and_a_missing_count_is_not_enough() -> None:
    table = pd.DataFrame({"name": list("abcd"), "buyers": [11.0, 12.0, np.nan, 30.0], "revenue": [1.0, 2.0, 4.0, 8.0]})
    shown = RULE.suppress(table, None, "buyers", names=["name"], fold=["revenue"], disjoint=True)
    assert shown["name"].tolist() == ["b", "d", "other"]
    assert shown["revenue"].tolist() == [2.0, 8.0, 5.0]


def test_small_groups_become_one_and_the_name_other_is_not_taken_twice() -> None:
    table = pd.DataFrame({
        "platform": ["a", "a", "b", "c"], "name": ["x", "other", "y", "z"], "people": [100, 20, 30, 40], "spend": [1.0, 2.0, 3.0, 4.0],
    })  # fmt: skip
    shown = RULE.suppress(table, "people", names=["name"], group=["platform"], fold=["spend"], disjoint=True)
    assert shown[["platform", "name", "people", "spend"]].to_numpy().tolist() == [
        ["other", "all other", 70.0, 7.0], ["a", "all other", 120.0, 3.0],
    ]  # fmt: skip


def test_too_few_people_altogether_show_nothing() -> None:
    table = pd.DataFrame({"name": list("ab"), "people": [3, 4], "spend": [1.0, 2.0], "kind": ["u", "v"]})
    folded = RULE.suppress(table, "people", names=["name"], fold=["spend"], disjoint=True)
    assert len(folded) == 1 and folded[["people", "spend", "kind"]].isna().all(axis=None) and folded.loc[0, "withheld"] == WHOLE
    held = RULE.suppress(table, "people", names=["name"])
    assert held[["people", "spend", "kind"]].isna().all(axis=None)
    assert RULE.suppress(table.head(0), "people", names=["name"], fold=["spend"]).empty
    assert RULE.suppress(table.head(0), "people", names=["name"]).empty


def test_only_what_is_asked_for_is_shown_and_mistakes_are_said() -> None:
    table = pd.DataFrame({"name": ["a"], "people": [90], "spend": [1.0], "secret": [5]})
    assert list(RULE.suppress(table, "people", columns=["spend"], names=["name"])) == ["name", "people", "spend", "withheld"]
    for wrong in ({"people": None}, {"people": "persons"}, {"people": "people", "fold": ["name"]}):
        with pytest.raises(InputError):
            RULE.suppress(table, **{"names": ["name"], **wrong})
    with pytest.raises(InputError, match="about one person"):
        Cells(people=1)
    with pytest.raises(InputError, match="infinite"):
        RULE.clamp([np.inf], ["a"])
