"""What all benches share: a peer in its own environment, the alternation of ours with it, and a row of the page."""

from __future__ import annotations

import json
import os
import resource
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from stopwatch import Spent

HERE = Path(__file__).parent
ENVIRONMENTS = HERE.parent / ".bench"
REFERENCE = Path(os.environ.get("LIFTWISE_REFERENCE_DATA", HERE.parents[1] / "shared" / "data"))
MLSYNTH = "git+https://github.com/jgreathouse9/mlsynth@62afd572182a6c6a28f083845f2c98722acfabe6"
LIMIT = 300  # seconds of processor for one run of a peer, unless told otherwise

Timed = tuple[Spent, Any]


class NotRun(Exception):  # noqa: N818
    """Why a peer gave no answer, for the page."""


@dataclass(frozen=True)
class Row:
    """One line of the page. `scale`: 1, or what both times were multiplied by to reach `size` (then `note` says so)."""

    what: str
    size: str
    peer: str
    ours: Spent | None = None
    theirs: Spent | None = None
    agreement: str = ""
    pairs: int = 0
    note: str = ""


@dataclass(frozen=True)
class Peer:
    """A package that is measured against ours, installed into ``.bench/<folder>``."""

    folder: str
    requirements: tuple[str, ...]
    label: str = ""  # what its version number does not say, such as the commit

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return ENVIRONMENTS / self.folder / "bin" / "python"

    @cached_property
    def version(self) -> str:
        """Name, version and the numpy beside it; installs what is not there yet."""
        self.install()
        code = f"from importlib.metadata import version as v; print('{self.folder}', v('{self.folder}') + '{self.label}, numpy', v('numpy'))"
        return _last_line(subprocess.run([str(self.python), "-c", code], capture_output=True, text=True, check=False))

    def install(self) -> None:
        """Make the environment where it is missing or made of other requirements."""
        stamp, wanted = ENVIRONMENTS / self.folder / "requirements.txt", "\n".join(self.requirements)
        if stamp.exists() and stamp.read_text() == wanted:
            return
        made = [sys.executable, "-m", "venv", "--clear", str(ENVIRONMENTS / self.folder)]
        for command in (made, [str(self.python), "-m", "pip", "install", "--quiet", *self.requirements]):
            if subprocess.run(command, capture_output=True, check=False).returncode:
                raise NotRun("cannot be installed")
        stamp.write_text(wanted)

    def run(self, script: str, *arguments: str | Path, limit: int = LIMIT) -> Timed:
        """What ``peers/<script>.py`` measured and found; it may use `limit` seconds of processor."""
        self.install()

        def hold() -> None:
            resource.setrlimit(
                resource.RLIMIT_CPU, (limit, limit + 5)
            )  # a warning ends it first, so that a kill means something else

        done = subprocess.run(
            [str(self.python), str(HERE / "peers" / f"{script}.py"), *map(str, arguments)], capture_output=True, text=True,
            check=False, env={**os.environ, "PYTHONPATH": str(HERE), "MPLBACKEND": "agg"}, preexec_fn=hold,
        )  # fmt: skip
        if done.returncode < 0:
            over = -done.returncode == signal.SIGXCPU
            raise NotRun(f"over {limit} s of processor" if over else f"ended by signal {-done.returncode}")
        told = json.loads(_last_line(done))
        return Spent(told.pop("cpu"), told.pop("wall")), told


def mlsynth() -> Peer:
    """Its commit is on no registry; LIFTWISE_BENCH_MLSYNTH names another place of the same source (a folder or a URL)."""
    source = os.environ.get("LIFTWISE_BENCH_MLSYNTH", MLSYNTH)
    return Peer("mlsynth", (source,), " (git 62afd57)")


def compare(row: Row, ours: Callable[[], Timed], theirs: Callable[[], Timed], agree: Callable[[Any, Any], str]) -> Row:
    """Alternate both `row.pairs` times; medians, and how far the last answers agree. A peer that fails leaves our time and a reason."""
    mine, yours, own, other = list[Spent](), list[Spent](), None, None
    try:
        for _ in range(row.pairs):
            spent, own = ours()
            mine.append(spent)
            spent, other = theirs()
            yours.append(spent)
    except NotRun as why:
        return replace(row, ours=_median(mine), note=f"not run: {why}")
    return replace(row, ours=_median(mine), theirs=_median(yours), agreement=agree(own, other))


def _median(spent: list[Spent]) -> Spent:
    return Spent(statistics.median(s.cpu for s in spent), statistics.median(s.wall for s in spent))


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise NotRun(lines[-1][:160].replace("|", "/"))
    return done.stdout.strip().splitlines()[-1]
