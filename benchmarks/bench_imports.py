"""Seconds to import liftwise against pandas."""

from __future__ import annotations

import subprocess
import sys

from side_by_side import Row, Timed, compare
from stopwatch import measure


def run() -> list[Row]:
    """One row."""

    def process(name: str) -> Timed:
        return measure(lambda: subprocess.run([sys.executable, "-c", f"import {name}"], check=True))

    row = Row("import, whole process", "", "pandas", pairs=3)
    return [compare(row, lambda: process("liftwise"), lambda: process("pandas"), lambda ours, theirs: "")]
