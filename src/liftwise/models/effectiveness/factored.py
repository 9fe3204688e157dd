"""FactoredNet: f as sums and products of what belongs to creators, contents and events, so that every tuple is a few array operations.

log f = base + creator + content + event + creator × content + creator × event + content × event + price + fit + timing      (g_I)
      + the creator's own level, own × content, own × event                                                                  (g_H)
      + market                                                                                                               (g_M)

Products are inner products of embeddings (Koren, Bell and Volinsky 2009): a creator's is a network of the record plus one of their own;
ids are dropped at random while learning (Volkovs, Yu and Poutanen 2017), so that the record alone serves whom nobody has seen. The loss
is that of a Student t whose scale is learned. What is each creator's own is then solved anew in closed form (`own_effects`). Several
networks are averaged; averages of these arrays are again such arrays.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from liftwise.core.uncertainty import Floats, spawn
from liftwise.models.effectiveness.design import Design, Scale
from liftwise.models.effectiveness.facts import Facts
from liftwise.models.effectiveness.family import EffectivenessModel
from liftwise.models.effectiveness.member import Member, Task, Terms, r_squared
from liftwise.models.effectiveness.own_effects import OwnEffects, own_effects

CROSS = 4  # factors of content × event
DROP = 0.1  # share of rows that do not see an id
FREEDOM = 5.0
TAU = (0.35, 0.3)  # prior sd of a creator's own level and own factors
COMMON = 20  # posts that a content needs for anything of its own: of rarer ones it would be their posts learned by heart
COMMON_TAU = 0.3  # prior sd of what is a content's or a series' own: with one post each, their records must tell
RATE, IDS_RATE = 3e-3, 1e-2
EPOCHS, BATCH, FEWEST_STEPS = 12, (64, 1024), 400
SIZES = (
    ((4, 64, 0.01), (8, 64, 0.01)),
    ((2, 16, 0.01), (2, 16, 3.0), (2, 16, 10.0)),
)  # (factors, width, decay) tried: with many rows, with few
MANY = 20_000
NAMES = ("creator", "content", "event", "creator × content", "creator × event", "content × event", "price", "fit", "timing",
         "own level", "own × content", "own × event", "market")  # fmt: skip
OWN = (9, 10, 11)
OF = ("influencer",) * 9 + ("history",) * 3 + ("market",)


@contextmanager
def steady(seed: int, threads: int) -> Iterator[None]:
    """The same draws whoever drew before, on that many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(before)


def single(x: Floats) -> Tensor:
    """As the network reads numbers."""
    return torch.as_tensor(np.asarray(x, dtype=np.float32))


def small(inputs: int, hidden: int) -> nn.Sequential:
    """A curve of few inputs."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, 1))


@dataclass(frozen=True)
class Scales:
    """How each block of numbers is standardised."""

    creator: Scale
    content: Scale
    event: Scale
    pair: Scale
    clock: Scale
    market: Scale

    @classmethod
    def of(cls, facts: Facts, design: Design) -> Scales:
        """From the tables and the rows that are learned from."""
        return cls(
            Scale.of(facts.creator.spread_out().numbers[:-1]), Scale.of(facts.content.numbers[:-1]), Scale.of(facts.event.spread_out().numbers[:-1]),
            Scale.of(design.pair), Scale.of(design.clock), Scale.of(design.market),
        )  # fmt: skip

    def entities(self, facts: Facts) -> dict[str, Tensor]:
        """Records as the network reads them, with the row of what is not known."""
        blocks = {"creator": facts.creator.spread_out(), "content": facts.content, "event": facts.event.spread_out()}
        return {name: single(getattr(self, name)(block.numbers)) for name, block in blocks.items()}

    def rows(self, d: Design, facts: Facts) -> dict[str, Tensor]:
        """Codes (what is not known is the last) and numbers of rows."""
        sizes = {"i": len(facts.influencer_ids), "c": len(facts.contents), "e": len(facts.event_ids), "s": len(facts.series)}
        codes = {name: torch.as_tensor(getattr(d, name) % (size + 1)) for name, size in sizes.items()}
        return {**codes, **{name: single(getattr(self, name)(getattr(d, name))) for name in ("pair", "clock", "market")},
                "premium": single(d.premium[:, None])}  # fmt: skip


class Factors(nn.Module):
    """The arrays and the curves."""

    def __init__(
        self, scales: Scales, creators: int, contents: int, series: int, rank: int, width: int, common: np.ndarray
    ) -> None:
        super().__init__()
        self.register_buffer("common", single(common[:, None]))
        self.rank, out = rank, 1 + 2 * rank
        x, v, e = scales.creator.width, scales.content.width, scales.event.width
        self.trunk = nn.Sequential(nn.Linear(x, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.head, self.line = nn.Linear(width, out), nn.Linear(x, out)
        self.own = nn.Embedding(creators + 1, out)
        self.content, self.series = nn.Embedding(contents + 1, 1 + rank + CROSS), nn.Embedding(series + 1, 1 + rank + CROSS)
        for table, size in ((self.own, 0.05), (self.content, 0.3), (self.series, 0.3)):
            nn.init.normal_(table.weight, 0, size)
        self.of_content = nn.Sequential(nn.Linear(v, width), nn.SiLU(), nn.Linear(width, 1 + rank + CROSS)) if v else None
        self.of_event = nn.Linear(e, 1 + rank + CROSS)
        self.fit, self.clock = small(scales.pair.width, 16), small(scales.clock.width + e, 32)
        self.market, self.price = small(scales.market.width, 8), small(1, 8)
        self.noise, self.content_noise = small(x, 16), nn.Embedding(contents + 1, 1)
        nn.init.zeros_(self.content_noise.weight)
        self.base, self.level = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.tensor([-0.5]))

    def of_creators(self, x: Tensor) -> Tensor:
        """(n, 1 + 2 rank): what the record says."""
        return self.head(self.trunk(x)) + self.line(x)

    def of_contents(self, c: Tensor, v: Tensor, keep: Tensor | float = 1.0) -> Tensor:
        """(n, 1 + rank + CROSS)."""
        own = self.content(c) * self.common[c] * keep
        return own if self.of_content is None else own + self.of_content(v)

    def of_events(self, s: Tensor, e: Tensor, keep: Tensor | float = 1.0) -> Tensor:
        """(n, 1 + rank + CROSS)."""
        return self.series(s) * keep + self.of_event(e)

    def log_sd(self, x: Tensor, c: Tensor) -> Tensor:
        """(n,) log of the size of the noise."""
        return (self.level + self.noise(x)[:, 0] + (self.content_noise(c) * self.common[c])[:, 0]).clamp(-6, 3)

    def forward(
        self, rows: dict[str, Tensor], entities: dict[str, Tensor], keep: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Terms (n, 13) in the order of `NAMES`, z (n, 1 + 2 rank) that own effects multiply, log sd (n,)."""
        x, e = entities["creator"][rows["i"]], entities["event"][rows["e"]]
        masks = (1.0, 1.0, 1.0) if keep is None else tuple(keep.unbind(1))
        side, own = self.of_creators(x), self.own(rows["i"]) * (masks[0][:, None] if keep is not None else 1.0)
        k = self.rank
        content = self.of_contents(rows["c"], entities["content"][rows["c"]], masks[1][:, None] if keep is not None else 1.0)
        event = self.of_events(rows["s"], e, masks[2][:, None] if keep is not None else 1.0)
        v, q = content[:, 1 : 1 + k], event[:, 1 : 1 + k]
        terms = [
            side[:, 0], content[:, 0], event[:, 0], (side[:, 1 : 1 + k] * v).sum(1), (side[:, 1 + k :] * q).sum(1),
            (content[:, 1 + k :] * event[:, 1 + k :]).sum(1), self.price(rows["premium"])[:, 0], self.fit(rows["pair"])[:, 0],
            self.clock(torch.cat([rows["clock"], e], 1))[:, 0], own[:, 0], (own[:, 1 : 1 + k] * v).sum(1), (own[:, 1 + k :] * q).sum(1),
            self.market(rows["market"])[:, 0],
        ]  # fmt: skip
        return torch.stack(terms, 1), torch.cat([torch.ones_like(v[:, :1]), v, q], 1), self.log_sd(x, rows["c"])


def train(
    net: Factors, rows: dict[str, Tensor], entities: dict[str, Tensor], target: Tensor, weight: Tensor, decay: float, seed: int
) -> None:
    """Fit `net` in place: the most probable values under a Student t and normal priors of what belongs to ids."""
    n = len(target)
    batch = int(np.clip(n // 32, *BATCH))
    steps = max(FEWEST_STEPS, EPOCHS * n // batch)
    ids = [net.own.weight, net.content.weight, net.series.weight]
    known = {id(table) for table in ids}
    rest = [p for p in net.parameters() if id(p) not in known]
    optimiser = torch.optim.AdamW([{"params": rest, "weight_decay": decay}, {"params": ids, "weight_decay": 0.0}], lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, [RATE, IDS_RATE], total_steps=steps, pct_start=0.15)
    often = torch.bincount(rows["i"], minlength=len(net.own.weight)).float()
    rng, order, at = spawn(seed, "effectiveness.batches"), torch.empty(0, dtype=torch.long), 0
    for _ in range(steps):
        if at + batch > len(order):
            order, at = torch.as_tensor(rng.permutation(n)), 0
        pick = order[at : at + batch]
        at += batch
        part = {name: values[pick] for name, values in rows.items()}
        keep = single(rng.random((len(pick), 3)) > DROP)
        terms, _, log_sd = net(part, entities, keep)
        rest_of = target[pick] - net.base - terms.sum(1)
        loss = (FREEDOM + 1) / 2 * torch.log1p((rest_of * torch.exp(-log_sd)) ** 2 / FREEDOM) + log_sd
        own = net.own(part["i"])
        prior = (own[:, 0] ** 2 / TAU[0] ** 2 + (own[:, 1:] ** 2).sum(1) / TAU[1] ** 2) / (2 * often[part["i"]])
        others = ((net.content.weight**2).sum() + (net.series.weight**2).sum()) / (2 * n * COMMON_TAU**2)
        optimiser.zero_grad()
        ((weight[pick] * loss + prior).mean() + others).backward()
        optimiser.step()
        schedule.step()


def sharpen(net: Factors, rows: dict[str, Tensor], entities: dict[str, Tensor], rest: Tensor, seed: int) -> None:
    """Learn the size of the noise alone, from residuals freed of what their fit took up, so that doubt of f is not counted as noise."""
    told = [*net.noise.parameters(), *net.content_noise.parameters(), net.level]
    n, batch = len(rest), int(np.clip(len(rest) // 16, *BATCH))
    steps = max(FEWEST_STEPS // 2, 6 * n // batch)
    optimiser = torch.optim.AdamW(told, lr=RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, IDS_RATE, total_steps=steps, pct_start=0.1)
    rng = spawn(seed, "effectiveness.noise")
    for _ in range(steps):
        pick = torch.as_tensor(rng.integers(0, n, batch))
        log_sd = net.log_sd(entities["creator"][rows["i"][pick]], rows["c"][pick])
        loss = (FREEDOM + 1) / 2 * torch.log1p((rest[pick] * torch.exp(-log_sd)) ** 2 / FREEDOM) + log_sd
        optimiser.zero_grad()
        (loss.mean() + (net.content_noise.weight**2).sum() * 5 / n).backward()
        optimiser.step()
        schedule.step()


@dataclass(frozen=True)
class Trained:
    """One network and the own effects solved on top of it."""

    net: Factors
    scales: Scales
    own: OwnEffects
    base: float
    unit: float  # of the network's target

    def read(self, facts: Facts, d: Design) -> tuple[Floats, Floats, Floats]:
        """Terms (n, 13), spread (n,), log sd (n,)."""
        with torch.no_grad():
            terms, z, log_sd = (
                t.numpy().astype(float) for t in self.net(self.scales.rows(d, facts), self.scales.entities(facts))
            )
        k, own = self.net.rank, self.own.mean[d.i] * z
        terms *= self.unit
        terms[:, OWN] = np.column_stack([own[:, 0], own[:, 1 : 1 + k].sum(axis=1), own[:, 1 + k :].sum(axis=1)])
        return terms, self.own.spread(d.i, z), log_sd + np.log(self.unit)


@dataclass(frozen=True)
class Ensemble:
    """Networks that differ by their draws, averaged."""

    members: tuple[Trained, ...]

    @property
    def base(self) -> float:
        """Mean of the networks' levels."""
        return float(np.mean([member.base for member in self.members]))

    def terms(self, facts: Facts, design: Design) -> Terms:
        """See `member.Learned`."""
        parts = []
        for rows in np.array_split(np.arange(len(design)), max(1, len(design) // 100_000)):
            read = [member.read(facts, design.take(rows)) for member in self.members]
            each = np.array([member.base + one[0].sum(axis=1) for member, one in zip(self.members, read, strict=True)])
            own = np.mean([one[1] ** 2 for one in read], axis=0)
            spread = np.sqrt(own + each.var(axis=0, ddof=min(1, len(read) - 1)) / len(read))
            parts.append((np.mean([one[0] for one in read], axis=0), spread, np.mean([one[2] for one in read], axis=0)))
        amounts, spread, noise = (np.concatenate(column) for column in zip(*parts, strict=True))
        return Terms(NAMES, OF, amounts, self.base, spread, noise)


@dataclass
class FactoredMember:
    """Learns `networks` networks of a size (factors, width, decay), which is chosen out of time where it is not given."""

    networks: int = 3
    size: tuple[int, int, float] | None = None
    name: str = "factored net"
    screens: ClassVar[bool] = True  # whether what is learned is a sum of small arrays (see `grid`)

    def choose(self, task: Task, rows: np.ndarray, later: np.ndarray) -> dict[str, Any]:
        """Factors, width and decay by one network each."""
        tried = {}
        for size in (self.size,) if self.size else SIZES[len(rows) < MANY]:
            found = Ensemble((self._one(task, rows, 0, *size),)).terms(task.facts, task.design.take(later)).total
            tried[size] = r_squared(task.target[later], found)
        self.size = max(tried, key=lambda size: tried[size])
        return {
            f"{self.name}, {rank} factors, width {width}, decay {decay:g}": value for (rank, width, decay), value in tried.items()
        }

    def learn(self, task: Task, rows: np.ndarray) -> Ensemble:
        """See `member.Member`."""
        size = self.size or SIZES[len(rows) < MANY][0]
        return Ensemble(tuple(self._one(task, rows, k, *size) for k in range(self.networks)))

    @staticmethod
    def _one(task: Task, rows: np.ndarray, k: int, rank: int, width: int, decay: float) -> Trained:
        d, y, weight = task.design.take(rows), task.target[rows], task.weight[rows]
        scales, level = Scales.of(task.facts, d), float(np.average(y, weights=weight))
        spread = float(np.std(y)) or 1.0
        seed = int(spawn(task.seed, f"effectiveness.net.{k}").integers(2**31))
        with steady(seed, task.threads):
            sizes = [len(ids) for ids in (task.facts.influencer_ids, task.facts.contents, task.facts.series)]
            common = np.bincount(d.c % (sizes[1] + 1), minlength=sizes[1] + 1) >= COMMON
            net = Factors(scales, *sizes, rank, width, common)
            read, entities = scales.rows(d, task.facts), scales.entities(task.facts)
            train(net, read, entities, single((y - level) / spread), single(weight), decay, seed)
            _forget(net, d)
            base, own = level + float(net.base.detach()) * spread, None
            for again in range(2):
                with torch.no_grad():
                    terms, z, log_sd = (t.numpy().astype(float) for t in net(read, entities))
                rest = y - base - spread * np.delete(terms, OWN, axis=1).sum(axis=1)
                own = own_effects(read["i"].numpy(), z, rest, np.exp(log_sd) * spread, len(entities["creator"]), weight)
                if not again:
                    left = rest - (own.mean[read["i"].numpy()] * z).sum(axis=1)
                    sharpen(net, read, entities, single(left / np.sqrt(1 - own.leverage) / spread), seed)
        return Trained(net, scales, own, base, spread)


def _forget(net: Factors, d: Design) -> None:
    """What no row taught stays at nothing instead of at its first draw."""
    with torch.no_grad():
        for table, codes in ((net.content, d.c), (net.series, d.s)):
            count = np.bincount(codes[codes >= 0], minlength=len(table.weight))
            table.weight[torch.as_tensor(count == 0)] = 0.0


class FactoredNet(EffectivenessModel):
    """f by the factored network alone.

    Parameters
    ----------
    metric, seed, threads, selection : see `EffectivenessModel`.
    networks : how many are averaged.
    size : factors of a product, units of a layer, decay of weights; chosen out of time where not given.
    """

    def __init__(
        self, *, metric: str = "revenue", seed: int = 7, threads: int = 1, selection: str = "auto", networks: int = 3,
        size: tuple[int, int, float] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(metric=metric, seed=seed, threads=threads, selection=selection)
        self.networks, self.size = networks, size

    def member(self) -> Member:
        """What learns."""
        return FactoredMember(self.networks, self.size)
