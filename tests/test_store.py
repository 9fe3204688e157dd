"""Warehouse, ledger, steps and workspace."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa

from liftwise.core.errors import TableError, WorkspaceError
from liftwise.store.ledger import Ledger
from liftwise.store.runs import Steps
from liftwise.store.warehouse import Warehouse
from liftwise.store.workspace import Workspace

REGIONS = pd.DataFrame({"region": ["north", "south"], "population": [10, 20]})
PLAN = pd.DataFrame([{
    "plan_id": "p1", "made_at": "2025-01-01", "metric": "revenue", "budget": 10.0, "cost": 9.0, "value": 5.0, "bound": 5.0,
    "gap": 0.0, "rules": "[]", "state": "proposed",
}])  # fmt: skip
LINES = pd.DataFrame([{
    "plan_id": "p1", "influencer_id": "i", "content_type": "reel", "event_id": "e", "days_from_event": -1, "week": "2025-01-06",
    "budget": 9.0, "predicted": 5.0, "uncertainty": 1.0, "why": "best",
}])  # fmt: skip


def elsewhere(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a second process."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


def test_a_table_comes_back_as_it_was_written(tmp_path: Path) -> None:
    with Warehouse(tmp_path / "w.duckdb") as warehouse:
        warehouse.write("regions", REGIONS.assign(mood="good"))
        frame = warehouse.table("regions")
    assert frame["population"].tolist() == [10, 20]
    assert frame["neighbours"].isna().all() and frame["neighbours"].dtype == "str"
    assert frame["mood"].tolist() == ["good", "good"]


def test_a_table_nobody_wrote_is_empty_and_typed(tmp_path: Path) -> None:
    with Warehouse(tmp_path / "w.duckdb") as warehouse:
        assert warehouse.table("sales", ["week", "revenue"]).dtypes.astype(str).to_dict() == {
            "week": "datetime64[us]", "revenue": "float64"}  # fmt: skip
        assert not warehouse.has("sales")
        with pytest.raises(TableError, match="no table 'salse'"):
            warehouse.table("salse")


def test_a_layer_answers_for_every_row(tmp_path: Path) -> None:
    with Warehouse(tmp_path / "w.duckdb") as warehouse, pytest.raises(TableError, match="population is below 0"):
        warehouse.write("regions", REGIONS.assign(population=-1))


def test_a_second_process_can_look_while_one_writes(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    with Warehouse(path) as warehouse:
        warehouse.write("regions", REGIONS)
        warehouse.publish()
        warehouse.write("regions", REGIONS.head(1))
        start = f"from pathlib import Path; from liftwise.store.warehouse import Warehouse; path = Path({str(path)!r})\n"
        looked = elsewhere(start + "print(Warehouse(path, mode='read').rows('regions'))")
        assert looked.stdout.strip() == "2", looked.stderr
        second = elsewhere(start + "Warehouse(path)")
        assert "another liftwise process is writing here" in second.stderr
    assert Warehouse(path, mode="read").rows("regions") == 1


def test_looking_never_writes(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="liftwise refresh"):
        Warehouse(tmp_path / "w.duckdb", mode="read")
    Warehouse(tmp_path / "w.duckdb").close()
    reader = Warehouse(tmp_path / "w.duckdb", mode="read")
    with pytest.raises(WorkspaceError, match="looking only"):
        reader.write("regions", REGIONS)


def test_encrypted_at_rest_and_sealed_without_the_key(tmp_path: Path) -> None:
    plain, sealed = tmp_path / "plain.duckdb", tmp_path / "sealed.duckdb"
    for path, key in ((plain, None), (sealed, "correct horse")):
        with Warehouse(path, key) as warehouse:
            warehouse.write("regions", REGIONS.assign(neighbours="a-text-to-look-for"))
    assert b"a-text-to-look-for" in plain.read_bytes()
    for name in ("sealed.duckdb", "sealed.snapshot.duckdb"):
        assert b"a-text-to-look-for" not in (tmp_path / name).read_bytes()
        assert b"neighbours" not in (tmp_path / name).read_bytes()
    with pytest.raises(WorkspaceError, match="no key was given; set LIFTWISE_KEY"):
        Warehouse(sealed)
    with pytest.raises(WorkspaceError, match="does not open it"):
        Warehouse(sealed, "wrong")
    assert Warehouse(sealed, "correct horse", "read").rows("regions") == 2


def test_unchanged_steps_are_skipped_and_changed_ones_are_not(tmp_path: Path) -> None:
    with Warehouse(tmp_path / "w.duckdb") as warehouse:
        steps, ran = Steps(warehouse), []

        def work() -> dict[str, int]:
            ran.append(1)
            warehouse.replace("people", "SELECT region AS person_id, region AS record_id, 1.0 AS match_probability FROM regions")
            return {"rows": 2}

        def go(**parameters: object) -> bool:
            return steps.run("people", work, reads=["regions"], writes=["people"], parameters=parameters).skipped

        warehouse.write("regions", REGIONS)
        assert [go(), go()] == [False, True]
        warehouse.write("regions", REGIONS.iloc[::-1])
        assert go(), "the same rows in another order are the same table"
        warehouse.write("regions", REGIONS.assign(population=[10, 21]))
        assert not go()
        assert not go(lookback=3), "another parameter"
        warehouse.drop("people")
        assert not go(lookback=3), "its output is gone"
        assert len(ran) == 4
        runs = warehouse.table("runs")
        assert runs["step"].tolist() == ["people"] * 4
        assert '"regions"' in runs["inputs"].iloc[0] and '"rows": 2' in runs["metrics"].iloc[0]
        comment = warehouse.sql("SELECT comment FROM duckdb_tables() WHERE table_name = 'people'")["comment"].iloc[0]
        assert comment == f"run {runs.sort_values('at')['run_id'].iloc[-1]}"


def test_a_step_that_fails_leaves_everything_as_it_was(tmp_path: Path) -> None:
    with Warehouse(tmp_path / "w.duckdb") as warehouse:
        warehouse.write("regions", REGIONS)

        def work() -> None:
            warehouse.write("regions", REGIONS.head(1))
            raise TableError("half way")

        with pytest.raises(TableError):
            Steps(warehouse).run("broken", work, writes=["regions"])
        assert warehouse.rows("regions") == 2
        assert "runs" not in warehouse.names()


def ledgers(tmp_path: Path) -> list[str]:
    return [f"sqlite:///{tmp_path / 'l.sqlite'}", os.environ.get("TEST_POSTGRES", "postgresql+psycopg://localhost/test")]


@pytest.mark.parametrize("kind", [0, 1], ids=["sqlite", "postgresql"])
def test_the_ledger_keeps_plans_and_refuses_halves(tmp_path: Path, kind: int) -> None:
    url = ledgers(tmp_path)[kind]
    if kind == 1:
        url = _fresh_schema(url)
    ledger = Ledger(url)
    ledger.append({"plan_runs": PLAN, "plans": LINES})
    assert ledger.table("plans")["week"].iloc[0] == pd.Timestamp("2025-01-06")
    with pytest.raises(sa.exc.IntegrityError):
        ledger.append({"plan_runs": PLAN.assign(plan_id="p2"), "plans": LINES})
    assert ledger.table("plan_runs")["plan_id"].tolist() == ["p1"], "all or none"
    ledger.close()
    reopened = Ledger(url)
    assert len(reopened.table("plan_runs")) == 1
    reopened.close()


def _fresh_schema(url: str) -> str:
    """The URL of an empty PostgreSQL schema of this test's own."""
    pytest.importorskip("psycopg")
    schema = f"liftwise_{os.getpid()}"
    engine = sa.create_engine(url)
    try:
        with engine.begin() as connection:
            connection.execute(sa.text(f"DROP SCHEMA IF EXISTS {schema} CASCADE"))
            connection.execute(sa.text(f"CREATE SCHEMA {schema}"))
        engine.dispose()
    except sa.exc.OperationalError:
        pytest.skip("no PostgreSQL at TEST_POSTGRES (default: database 'test' on localhost)")
    return f"{url}?options=-csearch_path%3D{schema}"


def test_the_ledger_survives_a_power_cut(tmp_path: Path) -> None:
    ledger = Ledger.at(tmp_path / "l.sqlite")
    with ledger.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    ledger.close()


def test_a_ledger_that_cannot_be_opened_is_one_line() -> None:
    with pytest.raises(WorkspaceError, match="ledger cannot be opened") as caught:
        Ledger("postgresql+psycopg://nobody@localhost:1/nothing")
    assert "\n" not in str(caught.value)


def test_a_workspace_adopts_a_folder_and_refuses_a_second_init(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "orders.csv").write_text("order_id\n")
    with Workspace.create(tmp_path) as ws:
        assert [path.name for path in ws.data.iterdir()] == ["orders.csv"]
    with pytest.raises(WorkspaceError, match="a workspace already"):
        Workspace.create(tmp_path)
    with pytest.raises(WorkspaceError, match="no sample"):
        Workspace.create(tmp_path / "other", sample="cars")
