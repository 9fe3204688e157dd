"""`make bench`: every bench one after another, measured beside its peers, written to RESULTS.md. Peers live in their own environments.

One thread each (set OMP_NUM_THREADS and its like for more), so that seconds of processor compare work with work, however busy
the machine is.
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
    "frontier",
    "allocation",
    "adaptive",
    "reach",
    "reach_rule",
)
OURS = ("liftwise", "numpy", "scipy", "numba", "pandas", "duckdb", "clarabel")


def main(names: list[str]) -> None:
    """Run every bench, or those named, and write the page; only a whole run replaces RESULTS.md."""
    for name in THREADS:
        os.environ.setdefault(name, "1")  # before a bench imports numpy
    rows = list[Row]()
    for bench in names or BENCHES:
        print(f"… {bench}", flush=True)
        try:
            for row in import_module(f"bench_{bench}").run():
                rows.append(row)
                print(_line(row), flush=True)
        except Exception as why:  # one bench that fails keeps no other from running; the page says so
            told = str(why) or type(why).__name__
            rows.append(Row(bench.replace("_", " "), "", "", note=f"not run: {told[:160]}"))
    page = "\n".join([*_head(), *map(_line, rows), "", *_versions()]) + "\n"
    print(page)
    if not names:
        (HERE / "RESULTS.md").write_text(page, encoding="utf-8")


def _head() -> list[str]:
    return [
        "# Results", "",
        f"{datetime.datetime.now(tz=datetime.UTC).date()}, by `make bench`: each of our answers and its peer's taken in turn, in one run on one machine,",
        "medians over the pairs. Seconds of processor, all threads and child processes; behind them, in brackets, seconds of clock (they grow",
        "when a machine is busy). **Ratio** = theirs / ours in seconds of processor: above 1, ours takes less.", "",
        "| what | size | against | ours, s | theirs, s | ratio | pairs | do the answers agree | note |",
        "|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip


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


def _versions() -> list[str]:
    peers = (
        mlsynth(),
        import_module("bench_placebos").PYSYNCON,
        import_module("bench_markov").PEER,
        import_module("bench_shapley").PEER,
        import_module("bench_mix").PEER,
        import_module("bench_mix").MERIDIAN,
        *import_module("bench_selection").PEERS.values(),
        import_module("bench_frontier").PEER,
        import_module("bench_allocation").PEER,
        import_module("bench_adaptive").MABWISER,
        import_module("bench_adaptive").VW,
    )
    ours = ", ".join(f"{name} {version(name)}" for name in OURS)
    threads = os.environ["OMP_NUM_THREADS"]
    return [
        f"- Machine: {os.cpu_count()} cores, {_processor()}; {platform.system()}; threads each: {threads}",
        f"- Ours: Python {platform.python_version()}, {ours}",
        *(f"- Peer: {_told(peer)}" for peer in peers),
    ]


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
