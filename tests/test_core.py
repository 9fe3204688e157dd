"""The core: contracts, money, time, randomness, settings."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liftwise.core import tables
from liftwise.core.errors import InputError, SettingsError, TableError
from liftwise.core.money import Money
from liftwise.core.settings import read
from liftwise.core.tables import TABLES, check
from liftwise.core.timegrid import GRIDS, TimeGrid
from liftwise.core.uncertainty import Estimate, spawn

DAYS = st.dates(date(1950, 1, 1), date(2080, 12, 31))


# -- money


@given(st.integers(-(10**12), 10**12), st.lists(st.floats(0, 1e6), min_size=1, max_size=30).filter(lambda w: sum(w) > 0))
def test_splitting_conserves_every_cent(minor: int, weights: list[float]) -> None:
    parts = Money(minor).split(weights)
    assert sum(part.minor for part in parts) == minor
    total = sum(Decimal(str(weight)) for weight in weights)
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part.minor - Decimal(minor) * Decimal(str(weight)) / total) < 1


def test_money_refuses_what_is_not_money() -> None:
    with pytest.raises(InputError, match="not an amount"):
        Money.of("lots")
    with pytest.raises(InputError, match="cannot be added"):
        Money.of(1, "EUR") + Money.of(1, "USD")
    assert str(Money.of("1234.5", "JPY")) == "1,234 JPY"


# -- time


@given(DAYS, st.sampled_from(GRIDS), st.sampled_from(["monday", "wednesday", "sunday"]))
def test_frames_and_sql_cut_time_alike(day: date, name: str, start: str) -> None:
    grid = TimeGrid(name, start)  # type: ignore[arg-type]
    floor = grid.floor_one(day)
    expression = grid.sql(f"DATE '{day}'")
    assert duckdb.sql(f"SELECT {expression}").fetchone() == (floor,)
    assert floor <= day
    assert grid.floor_one(floor) == floor
    if name == "week":
        assert (day - floor).days < 7
        assert f"{floor:%A}".lower() == start


@given(st.datetimes(pd.Timestamp("1990-01-01").to_pydatetime(), pd.Timestamp("2040-01-01").to_pydatetime()))
def test_a_moment_falls_on_its_local_day(moment: pd.Timestamp) -> None:
    grid = TimeGrid("day", timezone="America/New_York")
    floor = grid.floor(pd.Series([pd.Timestamp(moment)]), timestamp=True).iloc[0]
    expression = grid.sql(f"TIMESTAMP '{moment.isoformat(sep=' ')}'", timestamp=True)
    assert duckdb.sql(f"SELECT {expression}").fetchone() == (floor.date(),)


def test_periods_between_have_no_hole() -> None:
    assert len(TimeGrid("month").between("2024-01-15", "2025-01-01")) == 13
    weeks = TimeGrid("week", "sunday").between("2025-01-01", "2025-03-01")
    assert set(np.diff(weeks).astype("timedelta64[D]").astype(int)) == {7}


@given(DAYS, st.integers(1, 12))
def test_fiscal_weeks_count_up_by_one(day: date, start: int) -> None:
    grid = TimeGrid(fiscal_start=start)
    year, week = grid.fiscal(day)
    next_year, next_week = grid.fiscal(day + timedelta(days=7))
    assert (next_year, next_week) in {(year, week + 1), (year + 1, 1)}
    assert 1 <= week <= 53


def test_a_wrong_grid_says_how_to_mend_it() -> None:
    with pytest.raises(SettingsError, match="use one of day, week"):
        TimeGrid("fortnight")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="Europe/Berlin"):
        TimeGrid(timezone="Mars")


# -- randomness and estimates


def test_streams_are_named_and_reproducible() -> None:
    assert spawn(1, "a").random(3).tolist() == spawn(1, "a").random(3).tolist()
    assert len({spawn(seed, name).integers(1 << 62) for seed in (1, 2) for name in ("a", "b", "ab")}) == 6


def test_an_estimate_from_draws_covers_them() -> None:
    draws = spawn(3, "draws").normal(5, 2, 40_000)
    low, high = Estimate.of(draws).interval(0.9)
    assert abs(low - (5 - 2 * 1.645)) < 0.06 and abs(high - (5 + 2 * 1.645)) < 0.06
    with pytest.raises(ValueError, match="two draws"):
        Estimate.of([1.0])


# -- tables


def test_the_page_of_tables_is_up_to_date() -> None:
    page = Path(__file__).parents[1] / "docs" / "tables.md"
    assert page.read_text(encoding="utf-8") == tables.to_markdown(), "run: python -m liftwise.core.tables"


def test_every_column_of_a_key_is_required_or_can_be_all() -> None:
    for contract in TABLES.values():
        for name in contract.key:
            column = contract.column(name)
            assert column.required or column.kind in {"id", "text", "week"}, f"{contract.name}.{name}"


def test_personal_columns_are_marked() -> None:
    marked = {(table.name, column.name) for table in TABLES.values() for column in table.columns if column.personal}
    assert {("orders", "person_id"), ("identifiers", "email"), ("identifiers", "phone"), ("comments", "text")} <= marked


@pytest.mark.parametrize(("column", "value", "reason"), [
    ("revenue", "a lot", "is not an amount"), ("revenue", None, "is missing"), ("revenue", np.inf, "is missing"),
    ("week", "31 February", "is not a date"), ("discount", 1.5, "is above 1"), ("price", -1, "is below 0"), ("region", " ", "is missing"),
])  # fmt: skip
def test_a_broken_cell_is_named(column: str, value: object, reason: str) -> None:
    frame = pd.DataFrame({"week": ["2025-06-04"], "region": ["n"], "revenue": [1.0], "discount": [0.1], "price": [2.0]}).astype(
        object
    )
    frame.loc[0, column] = value
    rejected = check("sales", frame).rejected
    assert rejected["column"].tolist() == [column]
    assert rejected["reason"].str.contains(reason.removeprefix("is ")).all() or (value is np.inf and len(rejected) == 1)


def test_check_fills_optional_columns_keeps_unknown_ones_and_sends_repeats_away() -> None:
    frame = pd.DataFrame(
        {"WEEK": ["2025-06-04", "2025-06-05"], "Region": ["n", "n"], "Revenue": ["1", "2"], "mood": ["good", "bad"]}
    )
    out = check("sales", frame)
    row = out.clean.iloc[0]
    assert (row["week"], row["product_id"], row["mood"]) == (pd.Timestamp("2025-06-02"), "all", "good")
    assert pd.isna(row["units"])
    assert out.unknown == ("mood",)
    assert out.rejected[["row", "reason"]].to_numpy().tolist() == [[1, "repeats a key seen before"]]
    assert list(frame.columns) == ["WEEK", "Region", "Revenue", "mood"], "the argument is left alone"


def test_a_missing_required_column_says_which_and_how_to_map_it() -> None:
    with pytest.raises(
        TableError,
        match=r"sales: missing column revenue; the file has week, region, Total; map one with \[tables.sales.columns\]",
    ):
        check("sales", pd.DataFrame({"week": [], "region": [], "Total": []}))


CELLS = st.one_of(st.none(), st.text(max_size=6), st.floats(), st.integers(-5, 10**6), st.just("2025-06-04"), st.booleans())


@given(st.lists(st.tuples(CELLS, CELLS, CELLS, CELLS), max_size=12))
def test_check_never_loses_a_row_and_is_idempotent(rows: list[tuple[object, ...]]) -> None:
    frame = pd.DataFrame(rows, columns=["week", "region", "revenue", "units"], dtype=object)
    out = check("sales", frame)
    assert len(out.clean) + len(out.rejected) == len(frame)
    assert out.rejected["reason"].notna().all()
    again = check("sales", out.clean)
    assert again.rejected.empty
    pd.testing.assert_frame_equal(again.clean, out.clean)


# -- settings


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "liftwise.toml").write_text('currency = "USD"\n[time]\ngrid = "month"\n[tables.orders]\nfiles = "o*.csv"\n')
    assert (read(tmp_path).currency, read(tmp_path).grid.grid, read(tmp_path).tables["orders"].files) == (
        "USD",
        "month",
        ("o*.csv",),
    )
    monkeypatch.setenv("LIFTWISE_TIME__GRID", "quarter")
    assert read(tmp_path).grid.grid == "quarter"


@pytest.mark.parametrize(("text", "said"), [
    ("time = [", "not valid TOML"), ("[time]\ngrod = 'week'", r"time.grod"), ("currency = 'euro'", "currency"),
    ("[tables.ordres]\n", "no source table 'ordres'"), ("key = 'secret'", "LIFTWISE_KEY"), ("[time]\ntimezone = 'Mars'", "Mars"),
])  # fmt: skip
def test_wrong_settings_are_one_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "liftwise.toml").write_text(text)
    with pytest.raises(SettingsError, match=said) as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)
