"""Seconds to import liftwise against pandas."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time


def run() -> list[dict]:
    """One row."""
    times: dict[str, list[float]] = {"liftwise": [], "pandas": []}
    for _ in range(6):
        for name, found in times.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", f"import {name}"], check=True)
            found.append(time.perf_counter() - began)
    ours, peer = (statistics.median(found[1:]) for found in times.values())
    return [
        {
            "what": "import, whole process",
            "ours": ours,
            "peer": peer,
            "ratio": ours / peer,
            "unit": "s",
            "note": "peer: import pandas",
        }
    ]
