"""A Bayesian mix of 156 weeks and 8 channels against pymc-marketing on nutpie and Meridian on JAX (both Apache-2.0), and the memory of
one of 40 regions.

Each fit is a process of its own, so imports and compilation count; ours has its compiled code on disk, as any fit after the
first. All draw 4 × 1000. Saturation differs: pymc-marketing's is logistic, the others' Hill, one parameter a channel more; ours also
forecasts five stretches it has not seen. The peers' halves are ``peers/pymc_mix.py`` and ``peers/meridian_mix.py``; how near each comes
to the truth over many worlds is `recovery_mix`'s.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from side_by_side import HERE, REFERENCE, NotRun, Peer, Row, Timed, compare
from stopwatch import Spent, measure

DATA, GEOS = REFERENCE / "mmm_param_recovery", REFERENCE / "meridian_simulated"
PEER = Peer("pymc-marketing", ("pymc-marketing==0.19.2", "pymc==5.28.5", "pytensor==2.38.3", "nutpie==0.16.8"))
MERIDIAN = Peer(
    "google-meridian",
    ("google-meridian==2.1.0", "tensorflow==2.21.0", "tfp-nightly==0.26.0.dev20260130", "jax==0.10.2", "arviz==0.19.0", "numpy==2.3.5",
     "pandas==2.3.3"),
)  # fmt: skip
PAIRS = 3
SHORT = (
    "4",
    "20",
    "20",
    "1000",
    "2",
)  # Meridian with 40 regions: as many draws to hold, from trees of depth 2, as a whole fit takes very long


def run() -> Iterator[Row]:
    """A row a peer, and the one of memory."""
    if not DATA.is_dir():
        raise NotRun("the reference data are not at hand (set LIFTWISE_REFERENCE_DATA)")
    import pandas as pd

    frame = pd.read_csv(DATA / "medium_business.csv.gz").query("geo == 'geo_a'").drop(columns="geo")
    truth = pd.read_csv(DATA / "medium_business_truth.csv.gz").query("geo == 'geo_a'").filter(like="contribution_").sum()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "mix.csv"
        frame.to_csv(file, index=False)
        _ours(file)  # compiles
        what, size, agree = "Bayesian mix, a process each", "156 weeks × 8 channels, 4 × 1000 draws", _nearness(truth)
        row = Row(what, size, "pymc-marketing, nutpie", pairs=PAIRS)
        yield compare(row, lambda: _ours(file), lambda: PEER.run("pymc_mix", file, limit=600), agree)
        row = Row(what, size, "Meridian, JAX", pairs=1, note="theirs with yearly Fourier pairs as controls, coefficient prior")
        yield compare(row, lambda: _ours(file), lambda: MERIDIAN.run("meridian_mix", file, limit=600), agree)
        if GEOS.is_dir():
            file = Path(folder) / "geos.csv"
            geos().to_csv(file, index=False)
            row = Row("memory of a Bayesian mix", "40 regions × 156 weeks × 5 channels", "Meridian, JAX", pairs=1,
                      note="theirs cut short (trees of depth 2, 40 tuning draws): its memory, not its answer; seconds do not compare")  # fmt: skip
            yield compare(row, lambda: _ours(file), lambda: MERIDIAN.run("meridian_mix", file, *SHORT, limit=900), _memory)


def geos() -> Any:
    """Meridian's own simulated regions: date, geo, population, y, spend x…, controls c…."""
    import pandas as pd

    raw = pd.read_csv(GEOS / "geo_all_channels.csv.gz")
    spend = raw.filter(like="_spend").add_prefix("x_")
    controls = raw[[*raw.filter(like="_control"), "Promo"]].add_prefix("c_")
    money = raw["conversions"] * raw["revenue_per_conversion"]
    return pd.concat([raw[["geo", "population"]], raw["time"].rename("date"), spend, controls, money.rename("y")], axis=1)


def _nearness(truth: Any) -> Callable[[dict[str, Any], dict[str, Any]], str]:
    def off(told: dict[str, Any]) -> float:
        return sum(abs(value / truth[f"contribution_{name}"] - 1) for name, value in told["contributions"].items()) / len(truth)

    def agree(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
        size = f"least ESS {ours['ess']:.0f}, theirs {theirs['ess']:.0f}"
        return f"error of contributions {off(ours):.3f}, theirs {off(theirs):.3f}; {size}"

    return agree


def _memory(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    of = f"peak memory {ours['rss']:.0f} MB, theirs {theirs['rss']:.0f} MB ({theirs['rss'] / ours['rss']:.1f} times)"
    return f"{of}; our R-hat {ours['rhat']:.3f}"


def _ours(file: Path) -> Timed:
    done = subprocess.run([sys.executable, str(HERE / "bench_mix.py"), str(file)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotRun(done.stderr.strip().splitlines()[-1][:160])
    told = json.loads(done.stdout.strip().splitlines()[-1])
    return Spent(told.pop("cpu"), told.pop("wall")), told


def _fit() -> dict[str, Any]:
    import pandas as pd

    from liftwise.models.mix.bayesian import BayesianMix

    frame = pd.read_csv(sys.argv[1], parse_dates=["date"]).drop(columns="population", errors="ignore")
    frame["region"] = frame.pop("geo") if "geo" in frame else "all"
    weekly = frame.melt(["date", "region"], var_name="name").rename(columns={"date": "week"})
    role = weekly["name"].str[0].map({"x": "channel", "c": "control", "y": "target"})
    mix = BayesianMix().fit(weekly.assign(role=role))
    told = mix.roi().set_index("channel")["revenue"]
    return {
        "ess": float(mix.diagnostics_["ess_bulk"].min()),
        "rhat": float(mix.diagnostics_["rhat"].max()),
        "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "contributions": told.to_dict(),
    }


if __name__ == "__main__":
    spent, found = measure(_fit)
    print(json.dumps({"cpu": spent.cpu, "wall": spent.wall, **found}))
