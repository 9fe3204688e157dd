"""`make bench`: every bench one after another, measured beside its peers, written to RESULTS.md. Peers live in their own environments.

`python run.py markov mix` runs those two and writes their sections anew; the others stay as they were, each with its own day.
One thread each (set OMP_NUM_THREADS and its like for more), so that seconds of processor compare work with work, however busy the machine is.
"""

from __future__ import annotations

import datetime
import os
import platform
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from side_by_side import HERE, NotRun, Peer, Row, mlsynth
from stopwatch import Spent

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

BENCHES = (
    "imports",
    "intake",
    "placebos",
    "market_selection",
    "markov",
    "shapley",
    "attribution",
    "mix",
    "effectiveness",
    "selection",
    "public_plans",
    "frontier",
    "allocation",
    "adaptive",
    "reach",
    "reach_rule",
)
HEAD = (
    "# Results", "",
    "By `make bench`: each of our answers and its peer's taken in turn, in one run on one machine, medians over the pairs. Seconds of processor, all threads",
    "and child processes; behind them, in brackets, seconds of clock (they grow when a machine is busy). **Ratio** = theirs / ours in seconds of processor:",
    "above 1, ours takes less. Sections are measured on their own day.",
)  # fmt: skip
TABLE = (
    "| what | size | against | ours, s | theirs, s | ratio | pairs | do the answers agree | note |",
    "|---|---|---|---|---|---|---|---|---|",
)  # fmt: skip
OURS = ("liftwise", "numpy", "scipy", "numba", "pandas", "duckdb", "clarabel")


def main(names: list[str]) -> None:
    """Run every bench, or those named, and write their sections of RESULTS.md, each as soon as it is there."""
    for name in THREADS:
        os.environ.setdefault(name, "1")  # before a bench imports numpy
    for bench in names or BENCHES:
        print(f"… {bench}", flush=True)
        rows, peers = list[Row](), list[str]()
        try:
            for row in import_module(f"bench_{bench}").run():
                rows.append(row)
                print(_line(row), flush=True)
            peers = _versions(bench)  # installed by now
        except Exception as why:  # one bench that fails keeps no other from running; the page says so
            told = str(why) or type(why).__name__
            rows.append(Row(bench.replace("_", " "), "", "", note=f"not run: {told[:160]}"))
            print(_line(rows[-1]), flush=True)
        _write(
            bench,
            [f"{datetime.datetime.now(tz=datetime.UTC).date()}, {_machine()}", *peers, "", *TABLE, *map(_line, rows)],
        )


def _write(bench: str, lines: list[str]) -> None:
    """Put a section in its place in RESULTS.md."""
    page = HERE / "RESULTS.md"
    parts = page.read_text(encoding="utf-8").split("\n## ")[1:] if page.exists() else []
    sections = {part.split("\n", 1)[0]: part.split("\n", 1)[1].strip() for part in parts}
    sections[bench.replace("_", " ")] = "\n".join(lines)
    order = [name.replace("_", " ") for name in BENCHES]
    kept = sorted(sections.items(), key=lambda section: order.index(section[0]))
    page.write_text("\n\n".join(["\n".join(HEAD), *(f"## {name}\n\n{told}" for name, told in kept)]) + "\n", encoding="utf-8")


def _line(row: Row) -> str:
    def seconds(spent: Spent | None) -> str:
        return f"{spent.cpu:.3g} ({spent.wall:.3g})" if spent else "–"

    ratio = f"{row.theirs.cpu / row.ours.cpu:,.3g}" if row.ours and row.theirs else "–"
    cells = (
        row.what,
        row.size,
        row.peer,
        seconds(row.ours),
        seconds(row.theirs),
        ratio,
        row.pairs,
        row.agreement or "–",
        row.note,
    )
    return f"| {' | '.join(map(str, cells))} |"


def _versions(bench: str) -> list[str]:
    """Ours, and those of the peers that the bench names as constants of its module."""
    found = import_module(f"bench_{bench}")
    peers = [value for name, value in vars(found).items() if name.isupper() and isinstance(value, Peer)]
    peers += [peer for peer in getattr(found, "PEERS", {}).values() if isinstance(peer, Peer)]
    peers += [mlsynth()] if hasattr(found, "mlsynth") else []
    ours = ", ".join(f"{name} {version(name)}" for name in OURS)
    return [f"Python {platform.python_version()}, {ours}", *(f"Peer: {_told(peer)}" for peer in peers)]


def _machine() -> str:
    return f"{os.cpu_count()} cores, {_processor()}; {platform.system()}; threads each: {os.environ['OMP_NUM_THREADS']}"


def _told(peer: Peer) -> str:
    try:
        return peer.version
    except NotRun as why:
        return f"{peer.folder}: {why}"


def _processor() -> str:
    """The processor's name, where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    main(sys.argv[1:])
