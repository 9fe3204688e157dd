"""The market selection of the GeoLift walkthrough against mlsynth GEOX (git 62afd57, MIT, in its own environment).

Like for like: the same panel, sizes, durations, effects, one window, fixed effects, a conformal test, a required market, a barred one and
a budget; GEOX with its augsynth engine, with and without ridge. Both reach the same designs (checked here). The peer is not on a registry
in this version: put its source (``mlsynth/`` and ``pyproject.toml``) in ``.bench/mlsynth-src``, or install it into ``.bench/mlsynth``.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from liftwise.models.causal import Panel
from liftwise.models.causal.markets import select_markets

ROOT = Path(__file__).parents[1]
PEER = ROOT / ".bench" / "mlsynth"
DATA = (
    Path(os.environ.get("LIFTWISE_REFERENCE_DATA", ROOT.parent / "shared" / "data"))
    / "geolift_walkthrough"
    / "GeoLift_PreTest.csv.gz"
)
SIZES, DURATIONS, EFFECTS = [2, 3, 4, 5], [10, 15], [0.0, 0.05, 0.10, 0.15, 0.20]
PAIRS = 5
CODE = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
import pandas as pd
from mlsynth import GEOX
from mlsynth.config_models import GEOXConfig
frame, ridge = pd.read_csv(sys.argv[1]), sys.argv[2] or None
def once():
    return GEOX(GEOXConfig(
        df=frame, outcome="Y", unitid="location", time="date", treatment_size=[2, 3, 4, 5], to_be_treated=["chicago"],
        not_to_be_treated=["honolulu"], durations=[10, 15], effect_sizes=[0.0, 0.05, 0.10, 0.15, 0.20], n_backtests=1, how="sum",
        engine="augsynth", augment=ridge, fixed_effects=True, alpha=0.1, power_threshold=0.8, cpic=7.5, budget=1e5, ns=1000, seed=0,
        conformal_type="block", n_validation_backtests=0,
    )).fit()
began = time.perf_counter()
found = once().power
seconds = time.perf_counter() - began
top = found.sort_values("rank").head(2)
print(json.dumps([seconds, [";".join(sorted(c)) for c in top["candidate"]]]))
"""


def run() -> list[dict]:
    """A row for each engine of the peer."""
    _install()
    frame = pd.read_csv(DATA)
    panel, rows = Panel.of(frame, "location", "date", "Y"), []
    _ours(panel)  # compiles
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "panel.csv"
        frame.to_csv(file, index=False)
        for name, ridge in (("ridge", "ridge"), ("plain", "")):
            ours, peer = [], []
            for _ in range(PAIRS):
                seconds, best = _ours(panel)
                theirs, their_best = _peer(file, ridge)
                assert sorted(best) == sorted(their_best), (best, their_best)
                ours.append(seconds)
                peer.append(theirs)
            ratio = statistics.median(b / a for a, b in zip(ours, peer, strict=True))
            rows.append({"what": f"market selection, 2-5 of 40 cities, GEOX {name}", "ours": statistics.median(ours), "peer": statistics.median(peer),
                         "ratio": ratio, "unit": "s", "note": "peer: mlsynth 62afd57, augsynth engine; same top two designs"})  # fmt: skip
    return rows


def _ours(panel: Panel) -> tuple[float, list[str]]:
    began = time.perf_counter()
    found = select_markets(
        panel, SIZES, DURATIONS, EFFECTS, include=["chicago"], forced_control=["honolulu"], budget=100_000, cost_per_unit=7.5,
        lookback=1, alpha=0.1, inference="conformal",
    )  # fmt: skip
    return time.perf_counter() - began, [";".join(curve.markets) for curve in found.curves[:2]]


def _peer(file: Path, ridge: str) -> tuple[float, list[str]]:
    done = subprocess.run(
        [str(PEER / "bin" / "python"), "-c", CODE, str(file), ridge], capture_output=True, text=True, check=True
    )
    seconds, best = json.loads(done.stdout.strip().splitlines()[-1])
    return seconds, best


def _install() -> None:
    if (PEER / "bin" / "python").exists():
        return
    source = ROOT / ".bench" / "mlsynth-src"
    if not source.is_dir():
        raise SystemExit("mlsynth 62afd57 is not at hand: put its source in .bench/mlsynth-src")
    subprocess.run([sys.executable, "-m", "venv", str(PEER)], check=True)
    subprocess.run([str(PEER / "bin" / "python"), "-m", "pip", "install", "-q", str(source)], check=True)


if __name__ == "__main__":
    for row in run():
        print(row)
