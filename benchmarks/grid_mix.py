"""What a mix is worth on markets whose truth is known: 216 cells of media share × noise × misallocation × synergy × confounded search.

In every cell the rule of choice takes one of the fast members; its forecast of the last 26 weeks is compared with ridge on carried spend
(`AdstockMix`, the usual yardstick) and with `RidgeMix`, and the budget it would spend (each channel between half and twice today's money)
is judged by the market itself, beside the best split there is.

    python benchmarks/grid_mix.py --cells 36 --seeds 2 --to grid.csv

`--cells 9` are those of a media share of 15 %. A hold-out is one draw of noise, so that forecasts need many seeds.

Cells that are in the file already are not run again. About 3 seconds of processor a cell and seed.
"""

from __future__ import annotations

# ruff: noqa: E402 (threads are counted when numpy is first imported)
import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import argparse
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from liftwise.core.uncertainty import Floats, spawn
from liftwise.decisions.allocation.allocate import allocate
from liftwise.models.mix import BayesianMix, Member, RidgeMix, StructuralMix, TimeSeriesMix
from liftwise.models.mix.choose import best_of
from liftwise.models.mix.design import Design
from liftwise.models.mix.ridge import AdstockMix
from liftwise.sources.simulator.mix_worlds import CHANNELS, MixWorld, mix_world

SHARES, NOISES, SPREADS, SYNERGIES = (0.1, 0.2, 0.35, 0.5), (0.02, 0.04, 0.08), ("low", "mid", "high"), (0.0, 0.25, 0.5)
BETWEEN = 0.15
HOLDOUT, DRAWS, YEAR = 26, 200, 52.18
LOWEST, HIGHEST = 0.5, 2.0  # of today's money in a channel
SCENARIOS = {"same": 1.0, "more": 1.1}  # money, today's being 1
MARGINS = ("share", "noise", "misallocation", "synergy", "confounded")
SURE = 1e-4  # percent of revenue; what is less is rounding to cents, the plan stays


class Cell(NamedTuple):
    """Dials of a market, see `mix_world`."""

    share: float
    noise: float
    misallocation: str
    synergy: float
    confounded: bool

    def world(self, seed: int) -> MixWorld:
        """The market of a seed; no two cells share their channels, weeks or noise."""
        return mix_world(1000 * seed + (cells(216) + cells(9)).index(self), media_share=self.share, noise=self.noise, misallocation=self.misallocation, synergy=self.synergy,
                         confounded=self.confounded)  # fmt: skip


def cells(number: int) -> list[Cell]:
    """All 216, or 36 of them: every share with every noise and spread, the other dials in a Latin order; or 9 more, of a share of 15 %."""
    if number == 216:
        return list(itertools.starmap(Cell, itertools.product(SHARES, NOISES, SPREADS, SYNERGIES, (False, True))))
    shares = SHARES if number == 36 else (BETWEEN,)
    return [Cell(share, NOISES[b], SPREADS[c], SYNERGIES[(a + b + c) % 3], bool((a + b * 3 + c + a // 2) % 2))
            for (a, share), b, c in itertools.product(enumerate(shares), range(3), range(3))]  # fmt: skip


def judged(cell: Cell, seed: int, mover: str | None) -> dict[str, Any]:
    """One row: errors on the hold-out, and for each scenario true gain, claim and the oracle's gain, in percent of mean revenue."""
    world = cell.world(seed)
    long = world.weekly()
    yardstick = AdstockMix(draws=4, holdout=HOLDOUT).fit(long)
    candidates: list[Member] = [of(draws=DRAWS, holdout=HOLDOUT).fit(long) for of in (RidgeMix, TimeSeriesMix, StructuralMix)]
    if mover == "bayesian":
        candidates.append(BayesianMix(holdout=HOLDOUT).fit(long))
    chosen = best_of(candidates)[0] if mover is None else next(member for member in candidates if member.name == mover)
    row: dict[str, Any] = cell._asdict() | {"seed": seed, "chosen": chosen.name, "adstock": yardstick.scores_["rmse_pct"]}
    row |= {member.name: member.scores_["rmse_pct"] for member in candidates}
    luckiest = min(candidates, key=lambda member: member.scores_["rolling_rmse"])
    row |= {
        "forecast": chosen.scores_["rmse_pct"],
        "least_rolling": luckiest.scores_["rmse_pct"],
        "oracle": 100 * oracle_error(world) / world.revenue.mean(),
    }
    return row | moved(world, chosen)


def moved(world: MixWorld, chosen: Any) -> dict[str, float]:
    """What the split of `chosen` brings, what it claims to bring and the best there is, for each scenario; and spreading 10 % evenly."""
    responses = chosen.responses(preview=True) if isinstance(chosen, BayesianMix) else chosen.responses()
    today = pd.Series(world.spend[:, -52:].mean(axis=1), CHANNELS)
    shares, now, unit = today / today.sum(), world.steady(today.to_numpy()), 100 / world.revenue.mean()
    floors, ceilings = (shares * LOWEST).to_dict(), (shares * HIGHEST).clip(upper=1.0).to_dict()
    out = {"even_more": unit * (world.steady(SCENARIOS["more"] * today.to_numpy()) - now)}
    for scenario, times in SCENARIOS.items():
        total = times * float(today.sum())
        split = allocate(responses, current=today, total=total, floors=floors, ceilings=ceilings, scenario=scenario)
        low, high = split.gain.interval(0.90)
        true = world.steady(split.recommended[list(CHANNELS)].to_numpy()) - now
        best = best_worth(world, today.to_numpy(), total) - now
        out |= {f"{scenario}_true": unit * true, f"{scenario}_claimed": unit * split.gain.mean, f"{scenario}_oracle": unit * best,
                f"{scenario}_covered": float(low <= true <= high)}  # fmt: skip
    return out


def oracle_error(world: MixWorld) -> float:
    """RMSE on the hold-out when the effect of media is known and only the baseline has to be learned."""
    base = Design.of(world.weekly(), HOLDOUT).base(YEAR)[0]
    rest = world.revenue - world.contributions().sum(axis=1).to_numpy()
    gamma = np.linalg.lstsq(base[:-HOLDOUT], rest[:-HOLDOUT], rcond=None)[0]
    return float(np.sqrt(np.mean((rest - base @ gamma)[-HOLDOUT:] ** 2)))


def best_worth(world: MixWorld, today: Floats, total: float) -> float:
    """The most that media can bring for `total` within the limits: money moved in pairs while that helps, from several starts."""
    usual = today / today.sum() * total
    low, high = LOWEST * usual, HIGHEST * usual
    rng, best = spawn(0, "grid-mix.starts"), -np.inf
    give, take = np.array(list(itertools.permutations(range(len(today)), 2))).T
    pairs = np.arange(len(give))
    for start in range(4):
        split = usual if start == 0 else _within(rng.uniform(low, high), low, high, total)
        value, step = world.steady(split), total / 50
        while step > total / 20_000:
            tried = np.repeat(split[:, None], len(give), axis=1)
            tried[give, pairs] -= step
            tried[take, pairs] += step
            allowed = (tried[give, pairs] >= low[give]) & (tried[take, pairs] <= high[take])
            worth = np.where(allowed, [world.steady(np.maximum(plan, 0.0)) for plan in tried.T], -np.inf)
            at = int(np.argmax(worth))
            if worth[at] > value + 1e-9:
                split, value = tried[:, at], float(worth[at])
            else:
                step /= 2
        best = max(best, value)
    return best


def _within(split: Floats, low: Floats, high: Floats, total: float) -> Floats:
    """The split moved evenly until it sums to `total` inside the limits."""
    for _ in range(100):
        split = np.clip(split + (total - split.sum()) / len(split), low, high)
    return split


def tables(rows: pd.DataFrame) -> str:
    """Forecasts and reallocation, over all and by every dial; ± is a standard error over markets."""
    parts = list[str]()
    for margin in ("all", *MARGINS):
        groups = rows.assign(all="all").groupby(margin)
        parts.append(
            pd.DataFrame([{margin: key, "markets": len(group), **_forecasts(group)} for key, group in groups]).to_string(
                index=False
            )
        )
        for scenario in SCENARIOS:
            told = [{margin: key, "scenario": scenario, **_moves(group, scenario)} for key, group in groups]
            parts.append(pd.DataFrame(told).to_string(index=False))
    hard = rows[rows["oracle"] <= 0.8 * rows["adstock"]]
    easy = rows.drop(hard.index)
    parts.append(
        f"oracle at least 20 % below adstock ridge, {len(hard)} markets: {_forecasts(hard)}\nelsewhere, {len(easy)} markets: {_forecasts(easy)}; "
        f"more than 2 % above in {(easy['forecast'] > 1.02 * easy['adstock']).mean():.1%} of markets"
    )
    for scenario, paper in (("same", 5.0), ("more", 12.0)):
        able = rows[rows[f"{scenario}_oracle"] >= paper]
        met = (able[f"{scenario}_true"] >= paper).mean()
        parts.append(f"{scenario}: the oracle gains {paper:g} % or more in {len(able)} markets; ours in {met:.0%} of those")
    return "\n\n".join(parts)


def _forecasts(group: pd.DataFrame) -> dict[str, str]:
    """RMSE as a ratio to adstock ridge, geometric means; the chosen one's also to `RidgeMix`."""
    if group.empty:
        return {}
    told = {
        f"{name}/adstock": group[name] / group["adstock"]
        for name in ("oracle", "ridge", "structural", "least_rolling", "forecast")
    }
    told["forecast/ridge"] = group["forecast"] / group["ridge"]
    logs = {name: np.log(ratio) for name, ratio in told.items()}
    return {name: f"{np.exp(x.mean()):.3f} ± {np.exp(x.mean()) * x.sem():.3f}" for name, x in logs.items()}


def _moves(group: pd.DataFrame, scenario: str) -> dict[str, str]:
    true, claimed, best = (group[f"{scenario}_{name}"] for name in ("true", "claimed", "oracle"))
    captured, moves = true / best, true.abs() > SURE
    return {
        "captured, median": f"{captured.median():.2f}", "mean": f"{captured.mean():.2f} ± {captured.sem():.2f}",
        "of all gains": f"{true.sum() / best.sum():.2f}", "moves": f"{moves.mean():.0%}",
        "loses": f"{(true < -SURE).mean():.1%}",
        "claimed/true, median": f"{(claimed / true)[moves].median():.2f}", "of sums": f"{claimed.sum() / true.sum():.2f}",
        "covered": f"{group[f'{scenario}_covered'].mean():.0%}",
        "true %": f"{true.mean():.2f}", "oracle %": f"{best.mean():.2f}",
    }  # fmt: skip


def _wanted(number: int, seeds: range, done: pd.DataFrame) -> Iterator[tuple[Cell, int]]:
    known = set(done[[*Cell._fields, "seed"]].itertuples(index=False, name=None)) if len(done) else set()
    return ((cell, seed) for seed in seeds for cell in cells(number) if (*cell, seed) not in known)


def main() -> None:
    """Run what is missing and print the tables."""
    told = argparse.ArgumentParser(description="What a mix is worth on markets whose truth is known.")
    told.add_argument("--cells", type=int, choices=(9, 36, 216), default=36)
    told.add_argument("--seeds", type=int, default=1, help="markets a cell")
    told.add_argument("--first", type=int, default=1, help="the first seed")
    told.add_argument("--mover", choices=("ridge", "time_series", "structural", "bayesian"), help="instead of the rule's choice")
    told.add_argument("--to", type=Path, default=Path("grid_mix.csv"), help="all cells, one a row")
    given = told.parse_args()
    rows = pd.read_csv(given.to) if given.to.exists() else pd.DataFrame()
    wanted = list(_wanted(given.cells, range(given.first, given.first + given.seeds), rows))
    for k, (cell, seed) in enumerate(wanted, 1):
        rows = pd.concat([rows, pd.DataFrame([judged(cell, seed, given.mover)])], ignore_index=True)
        rows.to_csv(given.to, index=False)
        print(f"\r{k}/{len(wanted)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    print(tables(rows))


if __name__ == "__main__":
    main()
