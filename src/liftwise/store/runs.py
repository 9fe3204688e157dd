"""Steps with a memory: each is recorded in `runs`, and one whose inputs, code and parameters did not change is skipped."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from liftwise.store.warehouse import Warehouse

PUBLISH_AFTER = 20.0  # seconds of work after which readers are shown what is done so far


class Progress(Protocol):
    """Hears of the work: a step's name, how far it is (0 to 1), and a word on what it does now."""

    def __call__(self, step: str, done: float, note: str = "") -> None: ...


def silent(step: str, done: float, note: str = "") -> None:
    """A progress that nobody watches."""


@dataclass(frozen=True)
class Ran:
    """What became of a step."""

    step: str
    run_id: str
    skipped: bool
    seconds: float
    metrics: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Steps:
    """Runs steps against a warehouse."""

    warehouse: Warehouse
    progress: Progress = silent
    _published: float = field(default_factory=time.monotonic)

    def run(
        self,
        step: str,
        work: Callable[[], Mapping[str, Any] | None],
        *,
        reads: Sequence[str] = (),
        writes: Sequence[str] = (),
        parameters: Mapping[str, Any] | None = None,
        files: Sequence[Path] = (),
        again: bool = False,
    ) -> Ran:
        """Do `work` in one transaction, unless it was done before on the same inputs.

        Parameters
        ----------
        work : writes the tables `writes` and returns its metrics (or nothing).
        reads, files : what it depends on; a change in their content makes it run again.
        parameters : what else it depends on (JSON).
        again : run it even if nothing changed.
        """
        key = self._key(step, reads, files, parameters or {})
        before = None if again else self._last(step, key)
        if before is not None and before["outputs"] == self._outputs(writes):
            self.progress(step, 1.0, "unchanged")
            return Ran(step, before["run_id"], True, 0.0, before["metrics"])
        self.progress(step, 0.0)
        began = time.perf_counter()
        with self.warehouse.transaction():
            metrics = dict(work() or {})
            seconds = time.perf_counter() - began
            run_id = self._record(step, key, writes, metrics, seconds)
        self.progress(step, 1.0)
        if time.monotonic() - self._published > PUBLISH_AFTER:
            self.warehouse.publish()
            self._published = time.monotonic()
        return Ran(step, run_id, False, seconds, metrics)

    def reported(self, step: str) -> dict[str, Any]:
        """What the newest run of a step told of itself; empty where it never ran."""
        if "runs" not in self.warehouse.names():
            return {}
        rows = self.warehouse.sql("SELECT metrics FROM runs WHERE step = ? ORDER BY runs.at DESC, run_id DESC LIMIT 1", [step])
        return {} if rows.empty else json.loads(rows["metrics"].iloc[0])

    def _key(self, step: str, reads: Sequence[str], files: Sequence[Path], parameters: Mapping[str, Any]) -> dict[str, str]:
        inputs = {name: self.warehouse.fingerprint(name) for name in reads}
        inputs |= {f"file:{path.name}": file_fingerprint(path) for path in files}
        return {
            "step": step, "inputs": json.dumps(inputs, sort_keys=True), "code": code_version(),
            "parameters": json.dumps(parameters, sort_keys=True, default=str),
        }  # fmt: skip

    def _last(self, step: str, key: Mapping[str, str]) -> dict[str, Any] | None:
        """The newest run of a step, if it saw the same inputs, code and parameters."""
        if "runs" not in self.warehouse.names():
            return None
        rows = self.warehouse.sql("SELECT * FROM runs WHERE step = ? ORDER BY runs.at DESC, run_id DESC LIMIT 1", [step])
        if rows.empty:
            return None
        last = rows.iloc[0]
        if any(last[name] != key[name] for name in ("inputs", "code", "parameters")):
            return None
        return {"run_id": last["run_id"], "outputs": json.loads(last["outputs"]), "metrics": json.loads(last["metrics"])}

    def _outputs(self, writes: Sequence[str]) -> dict[str, str]:
        return {name: self.warehouse.fingerprint(name) for name in writes}

    def _record(
        self, step: str, key: Mapping[str, str], writes: Sequence[str], metrics: Mapping[str, Any], seconds: float
    ) -> str:
        """Append the run, and stamp its tables with it."""
        at = datetime.now(UTC).replace(tzinfo=None)
        run_id = hashlib.sha256(f"{step}{at.isoformat()}{key}".encode()).hexdigest()[:16]
        row = {
            "run_id": run_id, "at": pd.Timestamp(at), **key, "metrics": json.dumps(metrics, default=float),
            "outputs": json.dumps(self._outputs(writes), sort_keys=True), "seconds": seconds,
        }  # fmt: skip
        if "runs" not in self.warehouse.names():
            self.warehouse.empty("runs")
        columns = ", ".join(f'"{name}"' for name in row)
        marks = ", ".join("?" for _ in row)
        self.warehouse.connection.execute(f"INSERT INTO runs ({columns}) VALUES ({marks})", list(row.values()))
        for name in writes:
            if name in self.warehouse.names():
                self.warehouse.connection.execute(f"COMMENT ON TABLE \"{name}\" IS 'run {run_id}'")
        return run_id


@cache
def code_version() -> str:
    """A hash of liftwise's own source: any change of code makes every step run again, which is safe."""
    digest = hashlib.sha256()
    root = Path(__file__).parents[1]
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def file_fingerprint(path: Path) -> str:
    """A hash of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]
