# pyright: basic
"""How a network learns: cross-entropy, and experiments in the loss.

What a test of a channel measured is held against what the model says of taking that channel away, over everybody. The model's
figure is a running mean over batches; its gradient comes from the batch at hand, so the pull is unbiased however small the batch.
Tests weigh more than their share of the likelihood: they are unbiased, what journeys say is only as good as the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from liftwise.core.uncertainty import Floats, spawn
from liftwise.models.attribution.batches import Tensors
from liftwise.models.attribution.network import Attention, Joint

BATCH, EPOCHS, STEPS = (256, 1024), 8, (600, 1600)  # journeys a step; rounds; fewest and most steps
RATE, HEADS = 8e-3, 7.5  # of learning; times that for levels, laws and lines, which are few and far from where they end
COMMON = 1e-4  # how strongly channels' laws of fading are drawn to what they have in common
PULL = 10.0  # times its share of the likelihood that a test weighs; much more, and a few hundred steps do not settle
APART = 8.0  # log-likelihood that it costs to lie 1 away from where a vector says: a few touches weigh less
QUICK = ("level", "common", "law", "organic.line.weight", "organic.line.bias", "marker.weight")


@dataclass(frozen=True)
class Tests:
    """What experiments say: channels (t,), their share of all conversions, with standard errors; `once`: they count people (`once`)."""

    codes: np.ndarray
    share: Floats
    error: Floats
    once: bool = False

    @classmethod
    def none(cls) -> Tests:
        """Nothing was tested."""
        return cls(np.empty(0, np.int64), np.empty(0), np.empty(0))


def train(
    network: Joint | Attention, shards: Callable[[np.random.Generator], Iterable[Tensors]], size: int, seed: int, tests: Tests, offset: float,
    progress: Callable[[float], None] = lambda _: None,
) -> None:  # fmt: skip
    """Fit `network` in place.

    Parameters
    ----------
    shards : called once a round; yields the journeys in parts, so that not all need to be in memory.
    size : journeys in all.
    offset : log of the share of not buying that is kept; probabilities are those of the whole.
    """
    batch = int(np.clip(size // 64, *BATCH))
    # few journeys are read in smaller batches and more of them, or levels stop on their way
    steps = max(20, int(np.clip(EPOCHS * size / batch, STEPS[0] * (BATCH[1] / batch) ** 0.5, STEPS[1])))
    named = dict(network.named_parameters())
    groups = [[named[name] for name in named if (name in QUICK) is quick] for quick in (False, True)]
    optimiser = torch.optim.Adam([{"params": part} for part in groups if part], lr=RATE)
    rates = [RATE, RATE * HEADS][: len(optimiser.param_groups)]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, total_steps=steps, pct_start=0.1)
    pull = _Pull(tests, size, offset)
    rng, done = spawn(seed, "attribution.batches"), 0
    while done < steps:
        for shard in shards(rng):
            order = rng.permutation(len(shard.lengths))
            for rows in np.array_split(order, max(1, len(order) // batch)):
                if done == steps:
                    return
                optimiser.zero_grad()
                _loss(network, shard, rows, pull).backward()
                optimiser.step()
                schedule.step()
                done += 1
                if done % 50 == 0:
                    progress(done / steps)


def _loss(network: Joint | Attention, shard: Tensors, rows: np.ndarray, pull: _Pull) -> Tensor:
    entropy, effects, conversions = torch.zeros(()), torch.zeros(len(pull.codes)), torch.zeros(())
    for batch in shard.grouped(rows):
        log_odds, added = network.log_odds(batch)
        entropy = entropy + functional.binary_cross_entropy_with_logits(log_odds, batch.bought, reduction="sum")
        if len(pull.codes):
            effects = effects + pull.effects(log_odds, added, batch)
            conversions = conversions + batch.bought.sum()
    loss = entropy / len(rows)
    loss = loss + APART * network.reader.apart() / pull.size
    if isinstance(network, Joint):
        loss = loss + COMMON * (network.law**2).mean()
    return loss + pull(effects, conversions) if len(pull.codes) else loss


class _Pull:
    """Tests in the loss."""

    def __init__(self, tests: Tests, size: int, offset: float) -> None:
        self.codes, self.offset, self.weight, self.size = tests.codes, offset, PULL / size, size
        self.share, self.error = (torch.tensor(part, dtype=torch.float32) for part in (tests.share, tests.error))
        self.effect: Tensor | None = None
        self.conversions = torch.ones(())

    def effects(self, log_odds: Tensor, added: Tensor, batch) -> Tensor:
        """Conversions that would be missing without each tested channel."""
        return _missing(log_odds, added, batch.codes, self.offset, self.codes).sum(0)

    def __call__(self, effects: Tensor, conversions: Tensor) -> Tensor:
        now = effects.detach()
        if self.effect is None:
            self.effect, self.conversions = now, conversions
        self.effect, self.conversions = 0.9 * self.effect + 0.1 * now, 0.9 * self.conversions + 0.1 * conversions
        total = self.conversions.clamp(min=1e-6)
        gap = (self.effect / total - self.share) / self.error**2
        return self.weight * (gap * effects / total).sum()


def _missing(log_odds: Tensor, added: Tensor, codes: Tensor, offset: float, wanted: np.ndarray) -> Tensor:
    """Purchases of the sample that would be missing without each channel of `wanted`, (b, wanted).

    A purchase would be missing with chance 1 − p′ / p, and a moment is one with the chance that the sample has. To weigh each moment by how
    few of its kind were kept comes to the same on average, but hangs on the few moments at which many buy and whose weights are large.
    """
    whole = torch.sigmoid(log_odds + offset)
    without = [torch.sigmoid(log_odds + offset - (added * (codes == code)).sum(1)) for code in wanted]
    return torch.sigmoid(log_odds)[:, None] * (1.0 - torch.stack(without, 1) / whole[:, None])
