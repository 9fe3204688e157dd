"""Files of every shape and every kind of damage: never a traceback, nothing lost, each row in its table or in quarantine."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from liftwise.core.tables import check
from liftwise.core.timegrid import TimeGrid
from liftwise.flows.refresh import refresh
from liftwise.governance.privacy import Pseudonymiser, mask_text, open_key
from liftwise.pipeline.intake import Incoming, Intake, Told
from liftwise.store.warehouse import Warehouse
from liftwise.store.workspace import Workspace

SALES = "week,region,revenue,units\n2025-06-02,north,100.5,3\n2025-06-09,north,200,4\n"
Make = Callable[..., Workspace]
MISSING = "(the whole row)"


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A refreshed workspace with these files (name → text or bytes)."""

    def workspace(files: dict[str, str | bytes], toml: str = "") -> Workspace:
        folder = tmp_path / f"ws{len(list(tmp_path.iterdir()))}"
        with Workspace.create(folder) as ws:
            (folder / "liftwise.toml").write_text((folder / "liftwise.toml").read_text() + toml)
            for name, content in files.items():
                (ws.data / name).write_bytes(content.encode() if isinstance(content, str) else content)
        with Workspace.open(folder) as ws:
            refresh(ws)
        return Workspace.open(folder, "read")

    return workspace


def sales(ws: Workspace) -> pd.DataFrame:
    return ws.warehouse.table("sales").sort_values("week", ignore_index=True)


def quarantine(ws: Workspace) -> list[tuple[object, ...]]:
    table = ws.warehouse.table("quarantine")
    table["column"] = table["column"].fillna(MISSING)
    return list(table[["source", "line", "column", "reason"]].itertuples(index=False, name=None))


@pytest.mark.parametrize("text", [
    SALES, SALES.replace(",", ";"), SALES.replace(",", "\t"), SALES.replace(",", "|"), SALES.replace("\n", "\r\n"), "\ufeff" + SALES,
    SALES.rstrip("\n"), SALES.replace("week", "WEEK").replace("revenue", "Revenue"), SALES.replace("2025-06-02", "2025-06-04"),
    SALES.replace("2025-06-02", "02.06.2025").replace("2025-06-09", "09.06.2025"),
    SALES.replace(",", ";").replace("100.5", "100,50").replace("200", "1.200,00").replace(";1.200", ";200").replace("200.200", "200"),
    SALES.replace("100.5", "€ 100.5").replace("200", "$200"), SALES.replace("100.5", '"100.5"'),
])  # fmt: skip
def test_the_same_sales_in_many_spellings(make: Make, text: str) -> None:
    with make({"sales.csv": text}) as ws:
        assert quarantine(ws) == []
        assert sales(ws)["revenue"].tolist() == [100.5, 200.0]
        assert sales(ws)["week"].dt.strftime("%m-%d").tolist() == ["06-02", "06-09"]


def test_thousands_and_decimal_commas(make: Make) -> None:
    text = "week;region;revenue\n2025-06-02;n;1.234.567,89 €\n2025-06-09;n;12,5\n"
    with make({"sales.csv": text}) as ws:
        assert sales(ws)["revenue"].tolist() == [1234567.89, 12.5]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252", "latin-1"])
def test_encodings(make: Make, encoding: str) -> None:
    with make({"regions.csv": "region,population\nZürich,4\nKöln,5\n".encode(encoding)}) as ws:
        assert sorted(ws.warehouse.table("regions")["region"]) == ["Köln", "Zürich"]


def test_json_parquet_xlsx_gz_and_tsv(make: Make, tmp_path: Path) -> None:
    frame = pd.DataFrame({"region": ["a", "b"], "population": [1, 2]})
    frame.to_parquet(tmp_path / "r.parquet")
    frame.to_excel(tmp_path / "r.xlsx", index=False)
    shapes = {
        "regions.parquet": (tmp_path / "r.parquet").read_bytes(), "regions.xlsx": (tmp_path / "r.xlsx").read_bytes(),
        "regions.json": frame.to_json(orient="records"), "regions.jsonl": frame.to_json(orient="records", lines=True),
        "regions.csv.gz": gzip.compress(frame.to_csv(index=False).encode()), "regions.tsv": frame.to_csv(index=False, sep="\t"),
    }  # fmt: skip
    for name, content in shapes.items():
        with make({name: content}) as ws:
            table = ws.warehouse.table("regions").sort_values("region")
            assert table[["region", "population"]].to_numpy().tolist() == [["a", 1], ["b", 2]], name


def test_lines_are_those_of_the_file_also_after_line_breaks_in_cells(make: Make) -> None:
    text = 'week,region,revenue\n2025-06-02,"north\nwest",1\n2025-06-09,n,much\n\n2025-06-16,n,3,4\n2025-06-23,,5\n'
    with make({"sales.csv": text}) as ws:
        assert sorted(quarantine(ws), key=lambda row: str(row[1])) == [
            ("sales.csv", 4, "revenue", "is not an amount"),
            ("sales.csv", 6, MISSING, "has 4 fields where the first line has 3"),
            ("sales.csv", 7, "region", "is missing"),
        ]


def test_repeats_are_found_within_and_across_files(make: Make) -> None:
    toml = '[tables.sales]\nfiles = "sales*.csv"\n'
    with make({"sales1.csv": SALES, "sales2.csv": SALES.replace("2025-06-09", "2025-06-16")}, toml) as ws:
        assert len(sales(ws)) == 3
        assert quarantine(ws) == [("sales2.csv", 2, "week, region, product_id, segment", "repeats a key seen before")]


BAD = {
    "an empty file": ("sales.csv", b"", "the file is empty"),
    "a type nobody knows": ("sales.pdf", b"%PDF", "unknown file type"),
    "a parquet cut in half": ("sales.parquet", b"PAR1\x00\x01", "cannot be read"),
    "json cut in half": ("sales.json", b'[{"week": "2025-06-02", "reg', "not valid JSON"),
    "a workbook that is none": ("sales.xlsx", b"PK\x03\x04nothing", "cannot be read"),
    "a gzip that is none": ("sales.csv.gz", b"plain", "cannot be read"),
    "bytes": ("sales.csv", bytes(range(256)) * 4, ""),
    "no header": ("sales.csv", b"\n\n1,2\n", ""),
    "a table nobody asked for": ("notes.csv", b"a,b\n1,2\n", "belongs to no table"),
    "columns missing": ("sales.csv", b"week,region\n2025-06-02,n\n", "missing column revenue"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_line_and_the_others_go_on(make: Make, name: str) -> None:
    file, content, said = BAD[name]
    with make({file: content, "regions.csv": "region\nnorth\n"}) as ws:
        assert len(ws.warehouse.table("regions")) == 1
        reasons = [str(row[3]) for row in quarantine(ws)]
        assert reasons and all(said in reason and "\n" not in reason for reason in reasons), reasons


def test_bombs_are_not_opened(make: Make, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "b.xlsx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b"0" * 300_000_000)
    bombs = {"sales.xlsx": (tmp_path / "b.xlsx").read_bytes(), "spend.csv.gz": gzip.compress(b"0" * 300_000_000)}
    with make({**bombs, "regions.csv": "region\nn\n"}) as ws:
        assert sum("expands to far more" in str(row[3]) for row in quarantine(ws)) == 2


def test_a_file_cut_in_half_keeps_its_first_half(make: Make) -> None:
    text = SALES + '2025-06-16,"north'
    with make({"sales.csv": text}) as ws:
        assert len(sales(ws)) == 2
        assert [(row[1], row[3]) for row in quarantine(ws)] == [(4, "a quote is opened and never closed")]


def test_a_table_can_be_one_select_and_nothing_else(make: Make) -> None:
    plan = "day,tv_cost,search_cost\n2025-06-02,5,1\n2025-06-09,7,2\n"
    query = "unpivot (select day as week, tv_cost, search_cost from plan) on tv_cost, search_cost into name channel value spend"
    with make({"plan.csv": plan, "sales.csv": SALES}, f'[tables.spend]\nselect = "{query}"\n') as ws:
        assert ws.warehouse.table("spend")["spend"].sum() == 15
    for evil, said in (("drop table plan", "exactly one SELECT"), ("select 1; select 2", "exactly one SELECT"),
                       ("select * from read_csv('/etc/passwd')", "disabled"), ("select * from nowhere", "nowhere")):  # fmt: skip
        with make({"plan.csv": plan, "sales.csv": SALES}, f'[tables.spend]\nselect = "{evil}"\n') as ws:
            assert any(said in str(row[3]) and "[tables.spend] select" in str(row[0]) for row in quarantine(ws)), quarantine(ws)


def test_columns_can_be_mapped_and_unknown_ones_are_kept(make: Make) -> None:
    text = "date,area,Total,mood\n2025-06-02,north,10,good\n"
    toml = '[tables.sales]\nfiles = "export.csv"\n[tables.sales.columns]\nweek = "Date"\nregion = "area"\nrevenue = "total"\n'
    with make({"export.csv": text}, toml) as ws:
        assert sales(ws)[["revenue", "mood"]].to_numpy().tolist() == [[10.0, "good"]]
        assert ws.warehouse.table("loads")["unknown_columns"].item() == "mood"


def test_local_times_become_utc(make: Make) -> None:
    text = "order_id,person_id,ordered_at,revenue\n1,a,2025-06-02 12:00,1\n2,a,2025-06-02T12:00:00+02:00,1\n"
    with make({"orders.csv": text}, '[tables.orders]\ntimezone = "America/New_York"\n') as ws:
        hours = ws.warehouse.table("orders").set_index("order_id")["ordered_at"].dt.hour
        assert hours.to_dict() == {"1": 16, "2": 10}, "a time with an offset says itself where it is"


CELL = st.one_of(
    st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8), st.sampled_from(["2025-06-02", "1", "-3", "1,5", "n/a", '"', "'", ";", "\n"])
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(CELL, min_size=1, max_size=5), max_size=25))
def test_mutated_rows_are_never_lost(tmp_path: Path, rows: list[list[str]]) -> None:
    """Each example is a file of raw, unescaped rows: whatever they parse to is in the table or in quarantine."""
    text = "week,region,revenue\n" + "".join(",".join(row) + "\n" for row in rows)
    counts_add_up(tmp_path, "sales.csv", text.encode())


def test_ten_thousand_mutated_rows(tmp_path: Path) -> None:
    from liftwise.core.uncertainty import spawn

    rng = spawn(1, "mutations")
    lines = [f"2025-06-{1 + k % 28:02d},region{k},{k}.5" for k in range(10_000)]
    for k in range(0, 10_000, 3):
        at, what = int(rng.integers(0, len(lines[k]))), rng.choice(list('",;\n\t=x\u00e9'))
        lines[k] = lines[k][:at] + str(what) + lines[k][at + 1 :]
    kept, bad = counts_add_up(tmp_path, "sales.csv", ("week,region,revenue\n" + "\n".join(lines)).encode())
    assert kept > 6_600 and bad > 1_000
    objects = [json.dumps({"week": "2025-06-02", "region": f"r{k}", "revenue": k}) for k in range(10_000)]
    broken = [line[: int(rng.integers(1, len(line)))] if k % 4 == 0 else line for k, line in enumerate(objects)]
    assert counts_add_up(tmp_path, "sales.jsonl", "\n".join(broken).encode()) == (7_500, 2_500)


def counts_add_up(folder: Path, name: str, content: bytes) -> tuple[int, int]:
    from liftwise.core.errors import InputError
    from liftwise.sources import files

    path = folder / name
    path.write_bytes(content)
    (folder / "w.duckdb").unlink(missing_ok=True)
    with Warehouse(folder / "w.duckdb") as warehouse:
        taking = Intake(warehouse, TimeGrid(), Pseudonymiser(b"k" * 32))
        try:
            staged = files.stage(warehouse.connection, path, "staged")
        except InputError as error:
            assert "\n" not in str(error)
            return 0, 0
        rows = warehouse.rows("staged") + len(staged.broken)
        taking.load(
            "sales",
            [Incoming(name, "staged", staged.columns, staged.line, [(b.line, b.reason) for b in staged.broken])],
            Told({}),
        )
        taking.finish()
        load = warehouse.table("loads").iloc[0]
        assert load["rows_in"] == rows == load["kept"] + load["quarantined"]
        assert warehouse.rows("sales") == load["kept"]
        bad = warehouse.table("quarantine")
        assert len(bad) == load["quarantined"] and bad["reason"].str.len().gt(0).all() and bad["line"].notna().all()
        assert check("sales", warehouse.table("sales")).rejected.empty
        return int(load["kept"]), int(load["quarantined"])


SIMPLE = st.one_of(
    st.none(),
    st.sampled_from(["", " ", "2025-06-04", "2025-02-31", "north", "x", "12", "-1", "1.5", "0.3", "1e3", "nan", "inf", "1_0"]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(*[SIMPLE] * 5), min_size=1, max_size=8))
def test_sql_and_frames_read_alike(tmp_path: Path, rows: list[tuple[str | None, ...]]) -> None:
    """Intake's SQL and `core.tables.check` accept the same rows and make the same values of them."""
    frame = pd.DataFrame(rows, columns=["week", "region", "revenue", "price", "discount"], dtype=object)
    wanted = check("sales", frame)
    (tmp_path / "w.duckdb").unlink(missing_ok=True)
    with Warehouse(tmp_path / "w.duckdb") as warehouse:
        columns = ", ".join(f"{name} VARCHAR" for name in frame)
        warehouse.connection.execute(f"CREATE OR REPLACE TEMP TABLE staged ({columns}, __line BIGINT)")
        warehouse.connection.executemany(
            "INSERT INTO staged VALUES (?, ?, ?, ?, ?, ?)", [(*row, k) for k, row in enumerate(rows)]
        )
        taking = Intake(warehouse, TimeGrid(), Pseudonymiser(b"k" * 32))
        taking.load("sales", [Incoming("f", "staged", dict.fromkeys(frame.columns, "VARCHAR"), "__line")], Told({}))
        taking.finish()
        got, bad = warehouse.table("sales"), warehouse.table("quarantine")
    assert sorted(bad["line"].astype(int)) == sorted(wanted.rejected["row"])
    keys = ["week", "region", "product_id", "segment"]
    pd.testing.assert_frame_equal(
        got.sort_values(keys, ignore_index=True), wanted.clean.sort_values(keys, ignore_index=True), check_dtype=False
    )


# -- privacy


def test_pseudonyms_are_the_same_in_python_and_sql(tmp_path: Path) -> None:
    ours = Pseudonymiser(b"a key that is long enough")
    values = ["Ann@Example.org", " ann@example.org", "+49 (151) 123-456", "Zoë", "x", "Müller"]
    with Warehouse(tmp_path / "w.duckdb") as warehouse:
        for domain in ("email", "phone", "person", "last_name"):
            for value in values:
                row = warehouse.connection.execute(
                    f"SELECT {ours.sql(domain, '$1')}, {ours.tokens_sql(domain, '$1')}", [value]
                ).fetchone()
                assert row == (ours.pseudonym(domain, value), ours.tokens(domain, value)), (domain, value)
    assert (
        ours.pseudonym("email", "a")
        != ours.pseudonym("phone", "a")
        != Pseudonymiser(b"another key, long too").pseudonym("phone", "a")
    )
    near, far = (
        set(ours.tokens("last_name", "Mueller")) & set(ours.tokens("last_name", other)) for other in ("Muller", "Schmidt")
    )
    assert len(near) > 4 > len(far)


def test_personal_values_never_reach_the_disk(make: Make) -> None:
    planted = ["ann.planted@example.org", "plantedname", "0151777666555", "planted-account", "plantedstreet"]
    files = {
        "identifiers.csv": "record_id,source,person_id,email,last_name,phone,home_address\n"
        f"1,shop,{planted[3]},{planted[0]},{planted[1]},{planted[2]},{planted[4]}\n,shop,{planted[3]},{planted[0]},{planted[1]},x,{planted[4]}\n",
        "orders.csv": f"order_id,person_id,ordered_at,revenue,customer email\n1,{planted[3]},2025-06-02,much,{planted[0]}\n2,{planted[3]},2025-06-02,5,{planted[0]}\n",
        "comments.csv": f"comment_id,post_id,posted_at,text\n1,p,2025-06-02,write me: {planted[0]}\n",
    }  # fmt: skip
    with make(files) as ws:
        assert len(quarantine(ws)) == 2
        assert ws.warehouse.table("comments")["text"].item() == "write me: [mail]"
        assert ws.warehouse.table("orders")["person_id"].item() == ws.warehouse.table("identifiers")["person_id"].item()
        folder = ws.folder
        tables = " ".join(ws.warehouse.table(name).to_csv() for name in ws.warehouse.names())
    for value in planted:
        assert value not in tables
        for path in folder.glob("*.duckdb"):
            assert value.encode() not in path.read_bytes(), (value, path.name)


def test_the_key_is_made_once_and_must_be_private(tmp_path: Path) -> None:
    from liftwise.core.errors import WorkspaceError

    assert open_key(tmp_path, None) == open_key(tmp_path, None)
    key = tmp_path / "keys" / "privacy.key"
    assert key.stat().st_mode & 0o777 == 0o600
    key.chmod(0o644)
    with pytest.raises(WorkspaceError, match="chmod 600"):
        open_key(tmp_path, None)
    assert open_key(tmp_path, "from the environment").pseudonym("x", "y")
    with pytest.raises(WorkspaceError, match="too short"):
        open_key(tmp_path, "short")
    assert mask_text("call +49 151 1234567 or @ann") == "call [phone] or [mention]"
