"""`make bench`: ratios against peers, measured side by side, written to RESULTS.md. Peers live in their own environments."""

from __future__ import annotations

import datetime
import platform
import sys
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))


def main() -> None:
    """Run every bench and write the page."""
    import bench_imports
    import bench_intake
    import bench_market_selection
    import bench_markov
    import bench_placebos

    rows = [
        row
        for bench in (bench_imports, bench_intake, bench_markov, bench_placebos, bench_market_selection)
        for row in bench.run()
    ]
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "pandas", "duckdb", "numba"))
    lines = ["# Results", "", f"{datetime.date.today()}, {platform.machine()}, {platform.python_implementation()} {platform.python_version()}, {packages}.",  # noqa: DTZ011
             "Medians of alternating pairs in one run.", "", "| what | ours | peer | ratio | note |", "|---|---|---|---|---|"]  # fmt: skip
    lines += [
        f"| {r['what']} | {r['ours']:,.3g} {r['unit']} | {r['peer']:,.3g} {r['unit']} | {r['ratio']:.2f} | {r['note']} |"
        for r in rows
    ]
    (HERE / "RESULTS.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
