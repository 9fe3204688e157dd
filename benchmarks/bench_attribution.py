"""Sequence attribution against slower ways to the same answer: padded training, journeys read anew without each touch; and how it scales."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from side_by_side import Row, Timed, compare
from stopwatch import Spent, measure
from truth_attribution import arrays

from liftwise.core.uncertainty import spawn
from liftwise.models.attribution import Journeys, training
from liftwise.models.attribution.attention import AttentionAttribution
from liftwise.models.attribution.batches import Scale, Tensors
from liftwise.models.attribution.counterfactual import leave_one_out, naive
from liftwise.models.attribution.joint import LSTMAttribution
from liftwise.models.attribution.network import Joint
from liftwise.models.attribution.sequence import SequenceModel, steady
from liftwise.sources.simulator.journey_worlds import CHANNELS, JourneyWorld

STEPS, HIDDEN = 20, 32
MANY = 1_000_000
MOST = 80_000  # people who fill the largest batches


def run() -> Iterator[Row]:
    """Training, leave-one-out of both networks, credits of a million journeys, memory."""
    journeys = arrays(JourneyWorld(seed=1, people=20_000).draw())
    yield _training()
    with _few_steps():
        members = [member(hidden=HIDDEN).fit(journeys) for member in (LSTMAttribution, AttentionAttribution)]
    members[0].cut_ = np.ones(len(CHANNELS))  # forecasts do not cut channels without a test, credits do
    for model in members:
        yield _leave_one_out(model, journeys, "the same in batches", naive)
        yield _leave_one_out(model, journeys.take(np.arange(4_000)), "forecasts of rebuilt journeys", _rebuilt)
    many = journeys.take(np.arange(MANY) % len(journeys.ids))
    yield _shares(members[0], many)
    yield _credits(members[0], many)
    yield _memory()


class _few_steps:  # noqa: N801 - reads as a word
    """How long a model learned changes nothing of what is measured here."""

    def __enter__(self) -> None:
        self.steps, training.STEPS = training.STEPS, (STEPS, STEPS)

    def __exit__(self, *_: object) -> None:
        training.STEPS = self.steps


class _Padded(Tensors):
    """Every batch in one piece, as long as the longest journey of all."""

    def grouped(self, rows: np.ndarray, groups: int = 1):
        longest = int(self.lengths.argmax())
        batch = self.batch(np.append(rows, longest))
        n = len(rows)
        yield replace(batch, codes=batch.codes[:n], hours=batch.hours[:n], mask=batch.mask[:n], labels=batch.labels[:n],
                      facts=batch.facts[:n], marks=batch.marks[:n], bought=batch.bought[:n], rows=rows)  # fmt: skip


def _training() -> Row:
    """The same steps on the same journeys, in groups of like length or padded; a process each, or one reuses the memory that the other asked for."""
    row = Row(
        "training a sequence model, a process each", f"{STEPS} steps of {training.BATCH[1]}", "padded to the longest", pairs=3
    )
    row = compare(row, lambda: _apart("Tensors"), lambda: _apart("_Padded"), _far)
    rates = [STEPS * training.BATCH[1] / spent.cpu / 1e3 for spent in (row.ours, row.theirs) if spent]
    told = " against ".join(f"{rate:.0f}" for rate in rates)
    return replace(row, note=f"state of {HIDDEN}; {told} thousand journeys a second")


def _apart(kind: str) -> Timed:
    code = f"import bench_attribution as b; b.trained({kind!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parent)
    cpu, wall, *told = map(float, done.stdout.split())
    return Spent(cpu, wall), np.array(told)


def trained(kind: str) -> None:
    """Print seconds of processor and of clock, and some forecasts."""
    journeys = arrays(JourneyWorld(seed=1, people=MOST).draw())
    scale, start = Scale.of(journeys), float(np.log(journeys.conversions.mean() / (1 - journeys.conversions.mean())))
    with steady(1), _few_steps():
        network = Joint(len(CHANNELS), [], scale.width, HIDDEN, np.zeros(len(CHANNELS), bool), start)
        ready = {"Tensors": Tensors, "_Padded": _Padded}[kind](journeys, scale, {})

        def train() -> None:
            training.train(network, lambda _: [ready], len(journeys.ids), 1, training.Tests.none(), 0.0)

        train()  # kernels of every length are made ready once, which hundreds of steps share
        spent, _ = measure(train)
        with torch.no_grad():
            print(spent.cpu, spent.wall, *network.log_odds(ready.batch(np.arange(200)))[0].numpy())


def _leave_one_out(model: SequenceModel, journeys: Journeys, against: str, other: Callable[..., np.ndarray]) -> Row:
    row = Row(f"leave one touch out, {model.method}", f"{len(journeys.codes):,} touches", against, pairs=3)
    row = compare(
        row, lambda: measure(lambda: leave_one_out(model, journeys)), lambda: measure(lambda: other(model, journeys)), _far
    )
    rate = len(journeys.codes) / row.ours.cpu / 1e3 if row.ours else 0.0
    return replace(row, note=f"each state before a touch read once; {rate:.0f} thousand touches a second")


def _rebuilt(model: SequenceModel, journeys: Journeys) -> np.ndarray:
    """Probability less that of a journey that never had the touch, all such journeys made as arrays and read as any other."""
    owner, lengths = journeys.owner, journeys.lengths
    copies = journeys.take(owner)
    gone = copies.offsets[:-1] + np.arange(len(owner)) - journeys.offsets[owner]
    rest = np.delete(np.arange(len(copies.codes)), gone)
    fewer = replace(
        copies, offsets=np.append(0, np.cumsum(lengths[owner] - 1)), codes=copies.codes[rest], hours=copies.hours[rest],
        touch_ids=copies.touch_ids[rest],
    )  # fmt: skip
    whole, without = (model.predict(part)["probability"].to_numpy() for part in (journeys, fewer))
    return whole[owner] - without


def _far(ours: np.ndarray, theirs: np.ndarray) -> str:
    return f"within {np.abs(ours - theirs).max():.1g}"


def _shares(model: SequenceModel, many: Journeys) -> Row:
    spent, _ = measure(lambda: model.shares(many))
    note = f"every journey as though it converted; {len(many.ids) / spent.cpu / 1e3:.0f} thousand journeys a second"
    return Row("credit of touches, lstm", f"{len(many.ids):,} journeys", "–", ours=spent, pairs=1, note=note)


def _credits(model: SequenceModel, many: Journeys) -> Row:
    won = many.conversions.sum()
    spent, credits = measure(lambda: model.credit(many))
    note = f"{won:,.0f} converted; {len(many.ids) / spent.cpu / 1e3:.0f} thousand journeys, {len(credits) / spent.cpu / 1e3:.0f} thousand credits a second"
    return Row("table of credits, lstm", f"{len(many.ids):,} journeys", "–", ours=spent, pairs=1, note=note)


def _memory() -> Row:
    """Bytes of arrays a touch, at 0.1 and 1 million journeys, without names; 10 million are 10 times the latter."""
    small, large = _held(100_000, named=False), _held(MANY, named=False)
    names = _held(100_000, named=True)[0] - small[0]
    note = (
        f"arrays {small[0]:.0f} MiB at 0.1 M, {large[0]:.0f} at 1 M, so {10 * large[0] / 1024:.1f} GiB at 10 M; a touch {_each(*large):.0f} "
        f"bytes and its name {_each(names, small[1]):.0f} more"
    )
    return Row("memory of journeys", f"{MANY:,} journeys", "–", note=note)


def _held(count: int, named: bool) -> tuple[float, int]:
    """MiB that journeys hold, and touches."""
    tracemalloc.start()
    journeys = _plain(count, named)
    held = tracemalloc.get_traced_memory()[0] / 2**20
    tracemalloc.stop()
    return held, len(journeys.codes)


def _each(held: float, touches: int) -> float:
    return held * 2**20 / touches


def _plain(count: int, named: bool) -> Journeys:
    """Random journeys, touches named or not, 8 touches on average."""
    rng = spawn(1, "bench.attribution")
    offsets = np.append(0, np.cumsum(np.minimum(rng.geometric(1 / 8, count), 24))).astype(np.int64)
    codes = rng.integers(0, len(CHANNELS), offsets[-1])
    bought = (rng.random(count) < 0.12).astype(float)
    nameless = np.empty(0, object)
    names = np.array([f"t{k:015x}" for k in range(len(codes))], object) if named else nameless
    return Journeys(nameless, offsets, codes, names, rng.random(len(codes)), bought, 10 * bought, 1 - bought, CHANNELS)
