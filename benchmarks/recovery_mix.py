"""How far the contributions a Bayesian mix tells are from the true ones, over generated worlds, beside pymc-marketing
and Meridian.

``python recovery_mix.py --seeds 20 --folder results`` writes each world as a csv and each answer beside it, and prints the table from
all answers that are there. What is on disk is not fitted again, except our own answers with ``--again``. Accuracy only: seconds are
`bench_mix`'s. With ``--peers pymc meridian`` the peers run too, in their own environments.

Error: mean over channels of abs(told / true − 1), of totals over all weeks. Coverage: share of channels whose 90 % interval holds the truth.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from liftwise.sources.simulator.recovery_worlds import FORMS, PRESETS, RecoveryWorld, recovery_world

PEERS = ("pymc", "meridian")
SHORT = ("2", "300", "400")  # chains, tuning and draws of pymc-marketing: enough for a mean
PREFIX = {"channel": "x_", "control": "c_", "target": ""}


def main() -> None:
    """Worlds, answers, table."""
    asked = _asked()
    asked.folder.mkdir(parents=True, exist_ok=True)
    worlds = {seed: recovery_world(seed, asked.preset, saturation=asked.saturation, adstock=asked.adstock)
              for seed in range(asked.first, asked.first + asked.seeds)}  # fmt: skip
    files = {seed: asked.folder / f"{asked.preset}_{seed:03d}.csv" for seed in worlds}
    for seed, world in worlds.items():
        if not files[seed].exists():
            wide(world).to_csv(files[seed], index=False)
        told = files[seed].with_suffix(".ours.json")
        if not asked.no_ours and (asked.again or not told.exists()):
            told.write_text(json.dumps(ours(world, asked.options)))
    for peer in asked.peers:
        _run(peer, [file for file in files.values() if not file.with_suffix(f".{peer}.json").exists()], asked.python)
    print(table(worlds, files))


def wide(world: RecoveryWorld) -> pd.DataFrame:
    """date, a column x_… a channel, c_… a control, and y; one region."""
    weekly = world.weekly()
    weekly["name"] = weekly["role"].map(PREFIX) + weekly["name"].where(weekly["role"] != "target", "y")
    return weekly.pivot(index="week", columns="name", values="value").rename_axis("date").reset_index()


def ours(world: RecoveryWorld, options: dict[str, Any]) -> dict[str, Any]:
    """What `BayesianMix` says."""
    from liftwise.models.mix.bayesian import BayesianMix

    mix = BayesianMix(**options)
    mix.scored = False  # no hold-out is asked for
    mix.fit(world.weekly())
    told = mix.roi().set_index("channel")
    low, high = told["low"] * told["spend"], told["high"] * told["spend"]
    return {
        "state": mix.state_,
        "ess": float(mix.diagnostics_["ess_bulk"].min()),
        "rhat": float(mix.diagnostics_["rhat"].max()),
        "contributions": {f"x_{name}": float(value) for name, value in told["revenue"].items()},
        "interval": {f"x_{name}": (float(low[name]), float(high[name])) for name in told.index},
    }


def table(worlds: dict[int, RecoveryWorld], files: dict[int, Path]) -> str:
    """A line a method, and the paired ratios to ours."""
    errors, lines = dict[str, pd.Series](), list[str]()
    for method in ("ours", *PEERS):
        found = {seed: json.loads(file.with_suffix(f".{method}.json").read_text())
                 for seed, file in files.items() if file.with_suffix(f".{method}.json").exists()}  # fmt: skip
        if not found:
            continue
        off = pd.DataFrame({seed: _off(worlds[seed], told) for seed, told in found.items()}).T
        held = pd.DataFrame({seed: _held(worlds[seed], told) for seed, told in found.items()}).T
        errors[method] = off.abs().mean(axis=1)
        rhat, ess = np.array([told["rhat"] for told in found.values()]), np.array([told["ess"] for told in found.values()])
        lines += [
            f"{method}: {len(found)} worlds; error {_mean(errors[method])}, worst channel {_mean(off.abs().max(axis=1))}; "
            f"90 % intervals hold {_mean(held.mean(axis=1))}; R-hat ≤ {rhat.max():.3f} (median {np.median(rhat):.3f}), ESS ≥ {ess.min():.0f}",
            "  mean of told / true − 1: " + ", ".join(f"{name[2:]} {value:+.3f}" for name, value in off.mean().items()),
            "  held: " + ", ".join(f"{name[2:]} {value:.2f}" for name, value in held.mean().items()),
        ]
    for method in set(errors) - {"ours"}:
        pair = pd.concat([errors.get("ours", pd.Series(dtype=float)), errors[method]], axis=1, keys=["ours", "theirs"]).dropna()
        if len(pair) > 1:
            ratio = pair["ours"] / pair["theirs"]
            lines.append(f"ours / {method}, {len(pair)} pairs: mean ratio {_mean(ratio)}, median {ratio.median():.3f}, "
                         f"ratio of means {pair['ours'].mean() / pair['theirs'].mean():.3f}; ours nearer in {(ratio < 1).sum()}")  # fmt: skip
    return "\n".join(lines)


def _off(world: RecoveryWorld, told: dict[str, Any]) -> pd.Series:
    return pd.Series(told["contributions"]) / world.contributions().sum().add_prefix("x_") - 1


def _held(world: RecoveryWorld, told: dict[str, Any]) -> pd.Series:
    interval, true = pd.DataFrame(told["interval"], index=["low", "high"]).T, world.contributions().sum().add_prefix("x_")
    return true.between(interval["low"].reindex(true.index), interval["high"].reindex(true.index)).astype(float)


def _mean(values: pd.Series) -> str:
    return f"{values.mean():.4f} ± {values.std() / np.sqrt(len(values)):.4f}"


def _run(peer: str, files: list[Path], python: Path | None) -> None:
    """pymc-marketing: all files in one process; Meridian: one process each."""
    import bench_mix
    from side_by_side import HERE

    if not files:
        return
    environment = {"pymc": bench_mix.PEER, "meridian": bench_mix.MERIDIAN}[peer]
    if python is None:
        environment.install()
    command = [
        str(python or environment.python),
        str(HERE / "peers" / ("pymc_mixes.py" if peer == "pymc" else "meridian_mix.py")),
    ]
    if peer == "pymc":
        subprocess.run([*command, *SHORT, *map(str, files)], check=True)
        return
    for file in files:
        done = subprocess.run(
            [*command, str(file)], check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(HERE)}
        )
        file.with_suffix(".meridian.json").write_text(done.stdout.strip().splitlines()[-1])


def _asked() -> argparse.Namespace:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--seeds", type=int, default=20, help="how many worlds")
    words.add_argument("--first", type=int, default=1, help="the first seed")
    words.add_argument("--preset", default="medium", choices=sorted(PRESETS))
    words.add_argument("--saturation", default="hill", choices=sorted(FORMS))
    words.add_argument("--adstock", default="geometric", choices=["geometric", "delayed"])
    words.add_argument("--folder", type=Path, required=True, help="where worlds and answers are kept")
    words.add_argument("--peers", nargs="*", default=[], choices=PEERS)
    words.add_argument("--python", type=Path, help="the peer's interpreter, when not the bench's own environment of it")
    words.add_argument("--again", action="store_true", help="fit ours again")
    words.add_argument("--no-ours", action="store_true", help="only the peers")
    words.add_argument("--options", type=json.loads, default={}, help='of BayesianMix, as JSON: {"forms": ["hill", "logistic"]}')
    return words.parse_args()


if __name__ == "__main__":
    sys.exit(main())
