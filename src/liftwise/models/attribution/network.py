# pyright: basic
"""The networks: how a journey is read, and what a touch adds.

Both read touches in order with an LSTM whose inputs are learned places of channel and labels, the time since the touch before,
as it is and as what is left of looks of several lengths, and whether there was one. With the looks a gate soon learns to forget by
the clock: what came "within two days" may lie many touches back. A touch's state knows what came before it and nothing of what
comes after, so a journey need not be read again when it grows.

- `Joint`: log-odds = organic(what is known of the person) + Σ valueᵢ · freshᵢ + selection. A value cannot be negative;
  what is left of it fades by a law that each channel learns as a mixture of exponential and delayed ones (so also hyperbolic
  ones: a mixture of exponentials). Selection is a bounded marker of intent: it may use that a channel was seen, and is kept when
  the touch is taken away. Only experiments can tell it from an effect, so it sees tested channels alone.
- `Attention`: log-odds = organic + w · Σ attentionᵢ stateᵢ, attention a softmax that sums to 1 (Khedekar 2025).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from liftwise.models.attribution.journeys import Journeys
from liftwise.models.attribution.places import Places

LASTS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, np.inf)  # days after which an exponential is at 1/e
PEAKS = (0.75, 2.0, 5.0)  # days after which a delayed law is at its top
LOOKS = (1.0, 3.0, 8.0)  # days over which gates, and selection, look back
BOUND = 2.5  # log-odds that selection may add or take


@dataclass(frozen=True)
class Batch:
    """Journeys of like length, padded on the right: codes, hours, mask (b, length), facts (b, k), marks (b, m), bought (b,)."""

    codes: Tensor
    hours: Tensor
    mask: Tensor
    labels: Tensor  # (b, length, labels), 0 where unknown
    facts: Tensor
    marks: Tensor
    bought: Tensor
    rows: np.ndarray
    at: np.ndarray  # (touches,) of this batch, in the order of `mask`
    dwell: Tensor | None = None  # (b, length), where it is read


def fresh(hours: Tensor) -> Tensor:
    """Each law's share left after `hours`, (..., laws)."""
    days = hours.unsqueeze(-1) / 24.0
    fading = torch.exp(-days / torch.tensor(LASTS, dtype=hours.dtype))
    late = days / torch.tensor(PEAKS, dtype=hours.dtype)
    return torch.cat([fading, late * torch.exp(1.0 - late)], -1)


class Value(nn.Module):
    """Where a label's values lie, (…) codes → (…, width): a learned place, and a line of the value's vector where it has one.

    Whose value has a vector starts where that says, and not at a place drawn at random: few touches could not undo that.
    """

    def __init__(self, places: Places, width: int) -> None:
        super().__init__()
        self.own = nn.Embedding(places.learned, width, padding_idx=0)
        self.vectors: Tensor | None
        told = places.vectors
        self.register_buffer("vectors", None if told is None else torch.from_numpy(told.astype(np.float32)))
        if told is not None:
            self.line = nn.Parameter(torch.zeros(told.shape[1], width))
            with torch.no_grad():
                self.own.weight[torch.from_numpy(told[: places.learned].any(axis=1))] = 0.0

    def forward(self, codes: Tensor) -> Tensor:
        if self.vectors is None:
            return self.own(codes)
        learned = self.own.num_embeddings
        return self.own(codes.masked_fill(codes >= learned, 0)) + self.vectors[codes] @ self.line

    def apart(self) -> Tensor:
        """How far values lie from where their vectors put them, and vectors from saying nothing: a sum of squares."""
        if self.vectors is None:
            return torch.zeros(())
        told = self.vectors[: self.own.num_embeddings].any(1)
        return (self.own.weight[told] ** 2).sum() + (self.line**2).sum()


class Reader(nn.Module):
    """Touches in order → states (b, length, hidden)."""

    def __init__(self, channels: int, places: Sequence[Places], hidden: int, dwell: bool = False, width: int = 12) -> None:
        super().__init__()
        self.channel = nn.Embedding(channels, width)
        widths = [min(6, 2 + (part.size - 1) // 4) for part in places]
        self.label = nn.ModuleList(Value(part, wide) for part, wide in zip(places, widths, strict=True))
        inside = width + sum(widths) + 2 + len(LOOKS) + dwell
        self.lstm = nn.LSTM(inside, hidden, batch_first=True)

    def inputs(self, batch: Batch) -> Tensor:
        """What the LSTM sees of each touch."""
        gap = torch.zeros_like(batch.hours)
        gap[:, 1:] = (batch.hours[:, :-1] - batch.hours[:, 1:]).clamp(min=0)
        first = torch.zeros_like(gap)
        first[:, 0] = 1
        known = [module(batch.labels[..., k]) for k, module in enumerate(self.label)]
        left = torch.exp(-gap.unsqueeze(-1) / (24.0 * torch.tensor(LOOKS, dtype=gap.dtype)))
        stayed = [] if batch.dwell is None else [batch.dwell.unsqueeze(-1)]
        return torch.cat([self.channel(batch.codes), *known, torch.stack([torch.log1p(gap) / 5, first], -1), left, *stayed], -1)

    def apart(self) -> Tensor:
        """See `Value.apart`; of all labels."""
        return sum((value.apart() for value in self.label if isinstance(value, Value)), torch.zeros(()))

    def forward(self, batch: Batch) -> Tensor:
        return self.lstm(self.inputs(batch))[0]


class Organic(nn.Module):
    """Log-odds without any touch, from what is known of the person: a line and a small bend."""

    def __init__(self, facts: int, start: float) -> None:
        super().__init__()
        self.line, last = nn.Linear(facts, 1), nn.Linear(16, 1, bias=False)
        self.bend = nn.Sequential(nn.Linear(facts, 16), nn.Tanh(), last)
        nn.init.zeros_(self.line.weight)
        nn.init.constant_(self.line.bias, start)
        nn.init.zeros_(last.weight)

    def forward(self, facts: Tensor) -> Tensor:
        return (self.line(facts) + self.bend(facts)).squeeze(-1)


class Joint(nn.Module):
    """See the top. `tested` (channels,) says which channels selection may use; none: no selection."""

    def __init__(
        self, channels: int, places: Sequence[Places], facts: int, hidden: int, tested: np.ndarray, start: float, dwell: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.reader = Reader(channels, places, hidden, dwell)
        self.level = nn.Parameter(torch.full((channels,), -1.0))
        self.bends = nn.Linear(hidden, channels, bias=False)  # how a channel's value depends on what came before
        nn.init.zeros_(self.bends.weight)
        laws = len(LASTS) + len(PEAKS)
        self.common, self.law = nn.Parameter(torch.zeros(laws)), nn.Parameter(torch.zeros(channels, laws))
        self.organic = Organic(facts, start)
        self.selects = bool(tested.any())
        sees = np.append(np.tile(tested, 2 + len(LOOKS)), True).astype(np.float32)
        self.sees: Tensor
        self.register_buffer("sees", torch.from_numpy(sees))
        self.marker, last = nn.Linear(len(sees), 1, bias=False), nn.Linear(32, 1, bias=False)
        self.bent = nn.Sequential(nn.Linear(len(sees), 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), last)
        nn.init.zeros_(self.marker.weight)
        nn.init.zeros_(last.weight)

    def mixture(self) -> Tensor:
        """Weight of each law in each channel's fading, (channels, laws)."""
        return torch.softmax(self.common + self.law, -1)

    def value(self, states: Tensor, codes: Tensor) -> Tensor:
        """Log-odds that a touch adds while it is fresh."""
        return functional.softplus(self.level[codes] + (self.bends.weight[codes] * states).sum(-1))

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(log-odds without touches, value of each touch, what is left of it, states)."""
        states = self.reader(batch)
        left = (self.mixture()[batch.codes] * fresh(batch.hours)).sum(-1)
        return self.base(batch), self.value(states, batch.codes) * batch.mask, left, states

    def base(self, batch: Batch) -> Tensor:
        """Organic and selection together: what stays when touches are taken away."""
        base = self.organic(batch.facts)
        if not self.selects:
            return base
        seen = batch.marks * self.sees
        return base + BOUND * torch.tanh((self.marker(seen) + self.bent(seen)).squeeze(-1) / BOUND)

    def log_odds(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(log-odds of buying, what each touch adds to them)."""
        base, value, left, _ = self(batch)
        added = value * left
        return base + added.sum(1), added


class Attention(nn.Module):
    """See the top."""

    def __init__(
        self, channels: int, places: Sequence[Places], facts: int, hidden: int, start: float, dwell: bool = False
    ) -> None:
        super().__init__()
        self.reader = Reader(channels, places, hidden, dwell)
        self.query = nn.Sequential(nn.Linear(hidden + 1, hidden), nn.Tanh(), nn.Linear(hidden, 1, bias=False))
        self.out = nn.Linear(hidden + 1, 1)
        self.organic = Organic(facts, start)

    def log_odds(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(log-odds of buying, attention on each touch)."""
        return self.judge(self.reader(batch), batch)

    def judge(self, states: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """The same, from states."""
        seen = torch.cat([states, torch.log1p(batch.hours).unsqueeze(-1) / 5], -1)
        score = self.query(seen).squeeze(-1).masked_fill(batch.mask == 0, -1e9)
        attention = torch.softmax(score, -1) * batch.mask
        added = self.out((attention.unsqueeze(-1) * seen).sum(1)).squeeze(-1)
        return self.organic(batch.facts) + added * (batch.mask.sum(1) > 0), attention


def marks(journeys: Journeys) -> np.ndarray:
    """What selection may see, (n, (2 + looks) · channels + 1): counts, counts of late by several looks, freshness of the last; all touches."""
    n, k = len(journeys.ids), len(journeys.channels)
    cell, days = journeys.owner * k + journeys.codes, journeys.hours / 24.0
    counts = [np.bincount(cell, np.exp(-days / look), minlength=n * k) for look in (np.inf, *LOOKS)]
    last = np.full(n * k, np.inf)
    np.minimum.at(last, cell, days)
    parts = [*(np.log1p(count) for count in counts), np.exp(-last / 3.0)]
    return np.column_stack([*(part.reshape(n, k) for part in parts), np.log1p(journeys.lengths)]).astype(np.float32)
