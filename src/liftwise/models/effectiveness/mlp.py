"""Entity embeddings and a multilayer perceptron (seed B §6–7; Guo and Berkhahn 2016), alone or under boosted trees.

Embeddings of influencer, content type, event and of the words of their records (genre, location, platform, kind) stand beside the numbers in
one perceptron, which is g_I; small ones of history and market are g_H and g_M. The hybrid gives the embeddings to trees as columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from liftwise.core.uncertainty import Floats, spawn
from liftwise.models.effectiveness.design import Design, Scale
from liftwise.models.effectiveness.factored import single, small, steady
from liftwise.models.effectiveness.facts import Facts
from liftwise.models.effectiveness.family import EffectivenessModel
from liftwise.models.effectiveness.history import History
from liftwise.models.effectiveness.member import DATABASES, Member, Task, Terms, r_squared
from liftwise.models.effectiveness.stages import BoostedMember, Stages

SIZES = (4, 16)  # of embeddings that are tried
WORD = 3  # size of a word's embedding
DROP, DECAY = 0.1, 0.05
RATE, EPOCHS, BATCH, FEWEST_STEPS = 3e-3, 12, (64, 1024), 400
IDS = ("i", "c", "s")


@dataclass(frozen=True)
class Inputs:
    """How rows become what the perceptron reads."""

    facts: Facts
    numbers: Scale
    history: Scale
    market: Scale

    @staticmethod
    def raw(facts: Facts, d: Design) -> Floats:
        """All numbers of 𝒟_I."""
        return np.column_stack(
            [facts.creator.numbers[d.i], facts.content.numbers[d.c], facts.event.numbers[d.e], d.pair, d.clock, d.premium]
        )

    @staticmethod
    def words(facts: Facts) -> list[tuple[str, np.ndarray]]:
        """(code of the row, codes of words) of records."""
        return [("i", codes) for codes in facts.creator.words.values()] + [("e", codes) for codes in facts.event.words.values()]

    def read(self, facts: Facts, d: Design, past: Floats) -> dict[str, Tensor]:
        """Tensors of rows."""
        sizes = {"i": len(facts.influencer_ids), "c": len(facts.contents), "s": len(facts.series)}
        rows = {name: torch.as_tensor(getattr(d, name) % (size + 1)) for name, size in sizes.items()}
        words = [codes[getattr(d, name)] + 1 for name, codes in self.words(facts)]
        rows["words"] = torch.as_tensor(np.column_stack(words)) if words else torch.zeros((len(d), 0), dtype=torch.long)
        return {
            **rows,
            "numbers": single(self.numbers(self.raw(facts, d))),
            "history": single(self.history(past)),
            "market": single(self.market(d.market)),
        }


class Perceptron(nn.Module):
    """Embeddings and three perceptrons."""

    def __init__(self, inputs: Inputs, size: int, width: int = 64) -> None:
        super().__init__()
        facts = inputs.facts
        counts = (len(facts.influencer_ids), len(facts.contents), len(facts.series))
        self.ids = nn.ModuleList([nn.Embedding(count + 1, size) for count in counts])
        self.words = nn.ModuleList([nn.Embedding(int(codes.max(initial=0)) + 2, WORD) for _, codes in inputs.words(facts)])
        for table in (*self.ids, *self.words):
            nn.init.normal_(table.weight, 0, 0.1)
        width_in = 3 * size + WORD * len(self.words) + inputs.numbers.width
        self.deep = nn.Sequential(
            nn.Linear(width_in, 2 * width), nn.SiLU(), nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, 1)
        )
        self.history, self.market = small(inputs.history.width, 16), small(inputs.market.width, 8)
        self.base = nn.Parameter(torch.zeros(1))

    def forward(self, rows: dict[str, Tensor], keep: Tensor | None = None) -> Tensor:
        """(n, 3) parts by database."""
        ids = [table(rows[name]) for table, name in zip(self.ids, IDS, strict=True)]
        if keep is not None:
            ids = [one * keep[:, [k]] for k, one in enumerate(ids)]
        words = [table(rows["words"][:, k]) for k, table in enumerate(self.words)]
        return torch.cat(
            [
                self.deep(torch.cat([*ids, *words, rows["numbers"]], 1)),
                self.history(rows["history"]),
                self.market(rows["market"]),
            ],
            1,
        )


def train(net: Perceptron, rows: dict[str, Tensor], target: Tensor, weight: Tensor, seed: int) -> None:
    """Fit `net` in place by Huber's loss."""
    n = len(target)
    batch = int(np.clip(n // 32, *BATCH))
    steps = max(FEWEST_STEPS, EPOCHS * n // batch)
    optimiser = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps, pct_start=0.15)
    rng, often = spawn(seed, "effectiveness.mlp"), torch.bincount(rows["i"], minlength=len(net.ids[0].weight)).float()
    for _ in range(steps):
        pick = torch.as_tensor(rng.integers(0, n, batch))
        keep = single(rng.random((batch, 3)) > DROP)
        part = {name: values[pick] for name, values in rows.items()}
        loss = functional.huber_loss(net.base[0] + net(part, keep).sum(1), target[pick], reduction="none", delta=1.5)
        prior = (net.ids[0](part["i"]) ** 2).sum(1) / often[part["i"]]
        optimiser.zero_grad()
        (weight[pick] * loss + 0.5 * prior).mean().backward()
        optimiser.step()
        schedule.step()


@dataclass(frozen=True)
class Perceived:
    """One perceptron that has learned."""

    net: Perceptron
    inputs: Inputs
    history: History
    base: float
    unit: float

    def terms(self, facts: Facts, design: Design) -> Terms:
        """See `member.Learned`: one term a database."""
        with torch.no_grad():
            parts = (
                self.net(self.inputs.read(facts, design, self.history.features(facts, design))).numpy().astype(float) * self.unit
            )
        nothing = np.zeros(len(design))
        return Terms(("perceptron", "history", "market"), DATABASES, parts, self.base, nothing, nothing)

    def embeddings(self, facts: Facts, d: Design) -> tuple[tuple[str, ...], Floats]:
        """(names, (n, columns)) of influencer, content and event of each row."""
        codes = (d.i % (len(facts.influencer_ids) + 1), d.c % (len(facts.contents) + 1), d.s % (len(facts.series) + 1))
        tables = [table.weight.detach().numpy() for table in self.net.ids]
        names = tuple(
            f"learned {what} {k}"
            for what, table in zip(("influencer", "content", "event"), tables, strict=True)
            for k in range(table.shape[1])
        )
        return names, np.column_stack([table[code] for table, code in zip(tables, codes, strict=True)]).astype(float)


@dataclass
class MLPMember:
    """Learns one perceptron; the size of embeddings is chosen out of time."""

    size: int | None = None
    name: str = "MLP"

    def choose(self, task: Task, rows: np.ndarray, later: np.ndarray) -> dict[str, Any]:
        """Size of embeddings."""
        tried = {}
        for size in (self.size,) if self.size else SIZES:
            self.size = size
            tried[size] = r_squared(task.target[later], self.learn(task, rows).terms(task.facts, task.design.take(later)).total)
        self.size = max(tried, key=lambda size: tried[size])
        return {f"{self.name}, embeddings of {size}": value for size, value in tried.items()}

    def learn(self, task: Task, rows: np.ndarray) -> Perceived:
        """See `member.Member`."""
        d, y, weight, history = task.design.take(rows), task.target[rows], task.weight[rows], History.of(task, rows)
        past = history.features(task.facts, d)
        inputs = Inputs(task.facts, Scale.of(Inputs.raw(task.facts, d)), Scale.of(past), Scale.of(d.market))
        level, unit = float(np.average(y, weights=weight)), float(np.std(y)) or 1.0
        seed = int(spawn(task.seed, "effectiveness.mlp").integers(2**31))
        with steady(seed, task.threads):
            net = Perceptron(inputs, self.size or SIZES[0])
            read = inputs.read(task.facts, d, past)
            train(net, read, single((y - level) / unit), single(weight), seed)
            with torch.no_grad():
                for table, name in zip(net.ids, IDS, strict=True):  # what no row taught is nothing
                    table.weight[torch.bincount(read[name], minlength=len(table.weight)) == 0] = 0.0
        return Perceived(net, inputs, history, level + float(net.base.detach()) * unit, unit)


@dataclass
class HybridMember:
    """A perceptron's embeddings as columns of trees."""

    size: int | None = None
    name: str = "hybrid"

    def choose(self, task: Task, rows: np.ndarray, later: np.ndarray) -> dict[str, Any]:
        """Size of embeddings, by the perceptron alone."""
        mlp = MLPMember(self.size, f"{self.name}, MLP")
        tried = mlp.choose(task, rows, later)
        self.size = mlp.size
        return tried

    def learn(self, task: Task, rows: np.ndarray) -> Stages:
        """See `member.Member`."""
        return BoostedMember(extra=MLPMember(self.size).learn(task, rows).embeddings).learn(task, rows)


class MLPNet(EffectivenessModel):
    """f by embeddings and a perceptron alone. size : of embeddings; chosen out of time where not given."""

    def __init__(
        self, *, metric: str = "revenue", seed: int = 7, threads: int = 1, selection: str = "auto", size: int | None = None
    ) -> None:
        super().__init__(metric=metric, seed=seed, threads=threads, selection=selection)
        self.size = size

    def member(self) -> Member:
        """What learns."""
        return MLPMember(self.size)


class HybridEffectiveness(MLPNet):
    """f by trees on a perceptron's embeddings and all numbers: seed B's architecture."""

    def member(self) -> Member:
        """What learns."""
        return HybridMember(self.size)
