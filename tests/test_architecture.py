"""The documents are held to the code, and the code to its own rules."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import liftwise

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "liftwise"
LAYERS = ("core", "store", "governance", "sources", "pipeline", "models", "decisions", "flows", "outputs")


def rooms() -> set[str]:
    """Every module or family directly inside a layer."""
    found = set()
    for layer in LAYERS:
        for path in (SOURCE / layer).iterdir():
            if path.name.startswith("_") or (path.is_dir() and not list(path.glob("*.py"))):
                continue
            if path.suffix == ".py" or path.is_dir():
                found.add(f"{layer}.{path.stem}")
    return found


def test_architecture_names_every_room_and_no_other() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^- `([a-z]+\.[a-z_]+)`:", text, flags=re.MULTILINE))
    assert named == rooms()


def test_nobody_but_the_time_grid_truncates_a_date() -> None:
    cutting = re.compile(r"date_trunc|\.to_period\(|\.dt\.floor\(|time_bucket")
    guilty = [
        f"{path.relative_to(SOURCE)}:{number}"
        for path in SOURCE.rglob("*.py")
        if path.name != "timegrid.py" and "simulator" not in path.parts
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if cutting.search(line)
    ]
    assert guilty == []


def test_nobody_seeds_itself() -> None:
    seeding = re.compile(r"default_rng\(|np\.random\.seed|[^_]random\.seed\(")
    code = {
        path.name: re.sub(r"^\s*(>>>|\.\.\.).*$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        for path in SOURCE.rglob("*.py")
    }
    assert [name for name, text in code.items() if seeding.search(text)] == ["uncertainty.py"]


def test_every_command_is_in_the_readme_and_has_an_example() -> None:
    from liftwise.cli import app

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    groups = {f"{group.name} ": group.typer_instance.registered_commands for group in app.registered_groups}  # type: ignore[union-attr]
    named = [(first + (command.name or command.callback.__name__)) for first, commands in {"": app.registered_commands, **groups}.items()
             for command in commands]  # type: ignore[union-attr]  # fmt: skip
    for name in named:
        assert f"liftwise {name}" in readme, name
        shown = CliRunner().invoke(app, [*name.split(), "--help"])
        assert shown.exit_code == 0
        assert f"liftwise {name}" in shown.output.replace("\n", " "), f"{name} --help has no example"


def test_every_root_name_can_be_had() -> None:
    for name in liftwise.__all__:
        assert getattr(liftwise, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        liftwise.nothing  # noqa: B018


def test_import_loads_nothing_heavy() -> None:
    code = "import liftwise, sys; print([m for m in ('pandas','torch','duckdb','lightgbm','scipy','plotly') if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_make_alone_prints_its_targets() -> None:
    shown = subprocess.run(["make", "-C", str(ROOT)], capture_output=True, text=True, check=True).stdout
    assert all(target in shown for target in ("demo", "test", "check", "bench", "clean"))
