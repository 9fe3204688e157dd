"""A Bayesian mix of 156 weeks and 8 channels against pymc-marketing on nutpie (Apache-2.0).

Each fit is a process of its own, so imports and compilation count; ours has its compiled code on disk, as any fit after the
first. Both draw 4 × 1000 and reach an effective sample size of 1000 in every parameter. Saturation differs: theirs is logistic,
ours Hill, one parameter a channel more; ours also forecasts five stretches it has not seen. The peer's half is
``peers/pymc_mix.py``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from side_by_side import HERE, REFERENCE, NotRun, Peer, Row, Timed, compare
from stopwatch import Spent, measure

DATA = REFERENCE / "mmm_param_recovery"
PEER = Peer("pymc-marketing", ("pymc-marketing==0.19.2", "pymc==5.28.5", "pytensor==2.38.3", "nutpie==0.16.8"))
PAIRS = 3


def run() -> Iterator[Row]:
    """One row."""
    if not DATA.is_dir():
        raise NotRun("the reference data are not at hand (set LIFTWISE_REFERENCE_DATA)")
    import pandas as pd

    frame = pd.read_csv(DATA / "medium_business.csv.gz").query("geo == 'geo_a'").drop(columns="geo")
    truth = pd.read_csv(DATA / "medium_business_truth.csv.gz").query("geo == 'geo_a'").filter(like="contribution_").sum()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "mix.csv"
        frame.to_csv(file, index=False)
        _ours(file)  # compiles

        def agree(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
            def off(told: dict[str, Any]) -> float:
                return sum(abs(value / truth[f"contribution_{name}"] - 1) for name, value in told["contributions"].items()) / len(
                    truth
                )

            size = f"least ESS {ours['ess']:.0f}, theirs {theirs['ess']:.0f}"
            return f"error of contributions {off(ours):.3f}, theirs {off(theirs):.3f}; {size}"

        row = Row("Bayesian mix, a process each", "156 weeks × 8 channels, 4 × 1000 draws", "pymc-marketing, nutpie", pairs=PAIRS)
        yield compare(row, lambda: _ours(file), lambda: PEER.run("pymc_mix", file, limit=600), agree)


def _ours(file: Path) -> Timed:
    done = subprocess.run([sys.executable, str(HERE / "bench_mix.py"), str(file)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotRun(done.stderr.strip().splitlines()[-1][:160])
    told = json.loads(done.stdout.strip().splitlines()[-1])
    return Spent(told.pop("cpu"), told.pop("wall")), told


def _fit() -> dict[str, Any]:
    import pandas as pd

    from liftwise.models.mix.bayesian import BayesianMix

    frame = pd.read_csv(sys.argv[1], parse_dates=["date"])
    weekly = frame.melt("date", var_name="name").rename(columns={"date": "week"})
    role = weekly["name"].str[0].map({"x": "channel", "c": "control", "y": "target"})
    mix = BayesianMix().fit(weekly.assign(region="all", role=role))
    told = mix.roi().set_index("channel")["revenue"]
    return {
        "ess": float(mix.diagnostics_["ess_bulk"].min()),
        "rhat": float(mix.diagnostics_["rhat"].max()),
        "contributions": told.to_dict(),
    }


if __name__ == "__main__":
    spent, found = measure(_fit)
    print(json.dumps({"cpu": spent.cpu, "wall": spent.wall, **found}))
