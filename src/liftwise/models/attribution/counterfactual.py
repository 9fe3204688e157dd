# pyright: basic
"""What a model says of a journey had a touch not been: one touch at a time, or as a game between all of them.

A state knows nothing of what comes after it, so the state before a touch is read once, and taking the touch away means to read
again only what came later: half of the work. Touches with equally many later ones are read together, so nothing is padding.
Of `network.Joint` what is not a touch's (organic and selection) stays, and channels without a test count as far as they do in the
credits of `LSTMAttribution`. Touches older than the `batches.LONGEST` newest are not read, and change nothing.

None of this is proof: a model that took intent for an effect takes the intent away with the touch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor
from torch.nn import functional

from liftwise.core.errors import InputError
from liftwise.core.uncertainty import Floats, spawn
from liftwise.models.attribution.journeys import Ints, Journeys
from liftwise.models.attribution.network import Batch, Joint, fresh
from liftwise.models.attribution.sequence import steady

if TYPE_CHECKING:
    from liftwise.models.attribution.attention import AttentionAttribution
    from liftwise.models.attribution.joint import LSTMAttribution

    Model = LSTMAttribution | AttentionAttribution

CELLS = 1 << 15  # touches read at a time


def leave_one_out(model: Model, journeys: Journeys) -> Floats:
    """(touches,) probability of buying less that without the touch, the others left as they were; may be negative."""
    game = _Game(model, journeys)
    out = np.zeros(len(journeys.codes))
    with steady(model.seed), torch.no_grad():
        for rows in game.pieces():
            _one_by_one(game, rows, out)
    return out


def naive(model: Model, journeys: Journeys) -> Floats:
    """What `leave_one_out` says, each journey read anew without the touch: the slow way, to hold the quick one against."""
    game = _Game(model, journeys)
    out = np.zeros(len(journeys.codes))
    with steady(model.seed), torch.no_grad():
        for length in np.unique(game.lengths[game.lengths > 0]):
            rows = np.flatnonzero(game.lengths == length)
            every, gone = np.repeat(rows, length), np.tile(np.arange(length), len(rows))
            steps, some = np.arange(length - 1), max(1, CELLS // int(length))
            for k in range(0, len(every), some):
                row, i = every[k : k + some], gone[k : k + some]
                at = game.first[row][:, None] + steps + (steps >= i[:, None])
                out[game.first[row] + i] = game.chance(row, game.sums(at))
            out[_span(game, rows)] = game.whole(rows)[:, None] - out[_span(game, rows)]
    return out


def shapley(model: Model, journeys: Journeys, permutations: int = 4) -> Floats:
    """(touches,) each touch's part of p − p without any touch, by a game among the touches of its journey.

    A coalition is read as a journey that has these touches alone. The orders in which touches join are drawn, each with its
    reverse, so journeys of two touches are exact; in every journey the parts sum to p − p without any touch.

    Raises
    ------
    InputError
        When `permutations` is not an even number of 2 or more.
    """
    if permutations < 2 or permutations % 2:
        raise InputError(f"{permutations} permutations", fix="choose an even number; each has its reverse")
    game = _Game(model, journeys)
    out = np.zeros(len(journeys.codes))
    drawn = spawn(model.seed, "attribution.touches").random((permutations // 2, len(out)))
    with steady(model.seed), torch.no_grad():
        for rows in game.pieces():
            for keys in (*drawn, *-drawn):
                _join(game, rows, keys, out)
    return out / permutations


class _Game:
    """Probability of buying with some of the touches, as one of the two networks says.

    Both add up over touches: `Joint` what each adds, `Attention` the weight of each, and that times what it says.
    """

    def __init__(self, model: Model, journeys: Journeys) -> None:
        self.network: Any = model.network_
        self.offset = model.offset
        ready = model.tensors(journeys.recoded(model.channels_))
        self.first, self.lengths = ready.first, ready.lengths
        self.codes, self.hours, self.stayed = torch.from_numpy(ready.codes), torch.from_numpy(ready.hours), ready.stayed
        labels = ready.labels if ready.labels is not None else np.zeros((len(ready.codes), 0), np.int64)
        self.labels, self.adds = torch.from_numpy(labels), isinstance(self.network, Joint)
        self.width = 1 if self.adds else 2
        with steady(model.seed), torch.no_grad():
            self.base = self._base(ready.facts, ready.marks).numpy().astype(float)
            self.late = self._late(getattr(model, "cut_", np.ones(len(model.channels_))))

    def _base(self, facts: Tensor, marks: Tensor) -> Tensor:
        if not self.adds:
            return self.network.organic(facts)
        none = torch.zeros(len(facts), 0)
        return self.network.base(Batch(none.long(), none, none, none.long(), facts, marks, none, np.empty(0), np.empty(0)))

    def _late(self, cut: Floats) -> Tensor:
        """What of a touch its hours decide alone, (touches,): what is left of it, or how late it was."""
        if not self.adds:
            return torch.log1p(self.hours) / 5
        left = torch.empty(len(self.codes), dtype=self.hours.dtype)
        for k in range(0, len(left), CELLS):
            codes, hours = self.codes[k : k + CELLS], self.hours[k : k + CELLS]
            left[k : k + CELLS] = (self.network.mixture()[codes] * fresh(hours)).sum(-1)
        return left * torch.from_numpy(cut).to(left.dtype)[self.codes]

    def pieces(self) -> Iterator[Ints]:
        """Touched journeys, those of like length together, the shortest first."""
        order = np.argsort(self.lengths, kind="stable")
        order = order[np.searchsorted(self.lengths[order], 1) :]
        while len(order):
            some = max(1, CELLS // int(self.lengths[order[min(len(order), 4096) - 1]]))
            yield order[: min(some, 4096)]
            order = order[min(some, 4096) :]

    def inputs(self, at: Ints) -> Tensor:
        """What the LSTM sees of touches that follow each other, (rows, steps) → (rows, steps, inputs)."""
        codes, none = self.codes[at], torch.empty(0)
        return self.network.reader.inputs(
            Batch(codes, self.hours[at], none, self.labels[at], none, none, none, np.empty(0), np.empty(0), self.stayed(at))
        )

    def look(self, at: Ints) -> list[Tensor]:
        """What `parts` needs of touches beside their states; each (…), but of `Joint` the bends (…, hidden)."""
        if not self.adds:
            return [self.late[at]]
        codes = self.codes[at]
        return [self.late[at], self.network.level[codes], self.network.bends.weight[codes]]

    def parts(self, states: Tensor, look: list[Tensor]) -> Tensor:
        """What each touch brings into the sums, (…, 1 or 2); of `Joint` its `value`, looked up once and not again and again."""
        if self.adds:
            late, level, bends = look
            return (functional.softplus(level + (bends * states).sum(-1)) * late).unsqueeze(-1)
        seen = torch.cat([states, look[0].unsqueeze(-1)], -1)
        weight = torch.exp(self.network.query(seen).double())
        return torch.cat([weight, weight * functional.linear(seen, self.network.out.weight)], -1)

    def sums(self, at: Ints) -> Tensor:
        """Of journeys that have the touches `at` alone, (rows, steps) → (rows, 1 or 2)."""
        if at.shape[1] == 0:
            return torch.zeros(len(at), self.width, dtype=torch.float64)
        return self.parts(self.network.reader.lstm(self.inputs(at))[0], self.look(at)).sum(1, dtype=torch.float64)

    def chance(self, rows: Ints, sums: Tensor) -> Floats:
        """Probability of buying, (rows,)."""
        if self.adds:
            added = sums[:, 0]
        else:
            some = sums[:, 0] > 0
            added = torch.where(some, sums[:, 1] / sums[:, 0].clamp(min=1e-300) + self.network.out.bias, 0.0)
        return expit(self.base[rows] + added.numpy() + self.offset)

    def whole(self, rows: Ints) -> Floats:
        """With all touches; `rows` of one length."""
        return self.chance(rows, self.sums(_span(self, rows)))


def _span(game: _Game, rows: Ints) -> Ints:
    """All touches of journeys of one length, (rows, length)."""
    return game.first[rows][:, None] + np.arange(int(game.lengths[rows[0]]))


def _one_by_one(game: _Game, rows: Ints, out: Floats) -> None:
    """Leave-one-out of `rows`, the shortest first, into `out`.

    Journeys stand side by side with their last touches in one line: what comes after a line is a block, without a gap.
    """
    lengths = game.lengths[rows]
    most = int(lengths[-1])
    back = np.minimum(np.arange(most)[::-1][:, None], lengths - 1)  # before the first touch, the first: nobody looks there
    at = game.first[rows] + lengths - 1 - back
    starts = np.searchsorted(lengths, most - np.arange(most))  # journeys that are under way at each line
    inputs, closer = _inputs(game, at, most - lengths)
    state, memory = _walk(game.network.reader.lstm, inputs, starts)
    look = game.look(at)
    under = torch.from_numpy(np.arange(most)[:, None] >= most - lengths)
    before = torch.zeros(most + 1, len(rows), game.width, dtype=torch.float64)
    before[1:] = (game.parts(state[1:], look) * under.unsqueeze(-1)).cumsum(0, dtype=torch.float64)
    whole = game.chance(rows, before[-1])
    for line, k in enumerate(starts):
        sums = before[line, k:]
        if line + 1 < most:
            again = inputs[line + 1 :, k:].clone()
            again[0] = closer[line + 1, k:]
            states = _run(game.network.reader.lstm, again, state[line, k:], memory[line, k:])[0]
            sums = sums + game.parts(states, [part[line + 1 :, k:] for part in look]).sum(0, dtype=torch.float64)
        out[at[line, k:]] = whole[k:] - game.chance(rows[k:], sums)


def _inputs(game: _Game, at: Ints, begin: Ints) -> tuple[Tensor, Tensor]:
    """What the LSTM sees of touches `at` (lines, rows), as they are and with the one before each gone: (lines, rows, inputs).

    A journey begins at line `begin` (rows,). Every other touch read as a journey tells what each sees of the last but one.
    """
    inputs = game.inputs(at.T).transpose(0, 1).contiguous()
    closer = torch.empty_like(inputs)
    for k in range(min(2, len(at))):
        closer[k::2] = game.inputs(at[k::2].T).transpose(0, 1)
    rows = np.arange(at.shape[1])
    inputs[begin, rows] = game.inputs(at[begin, rows][:, None])[:, 0]
    rows, second = rows[begin + 1 < len(at)], begin[begin + 1 < len(at)] + 1
    closer[second, rows] = game.inputs(at[second, rows][:, None])[:, 0]  # the first is gone, so it leads
    return inputs, closer


def _run(lstm: torch.nn.LSTM, inputs: Tensor, state: Tensor, memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """States (lines, rows, hidden) of `inputs` from `state` and `memory` (rows, hidden) on, and the last of both."""
    states, (last, kept) = lstm(inputs.transpose(0, 1), (state.unsqueeze(0), memory.unsqueeze(0)))
    return states.transpose(0, 1), last[0], kept[0]


def _walk(lstm: torch.nn.LSTM, inputs: Tensor, starts: Ints) -> tuple[Tensor, Tensor]:
    """State and memory before the first line and after each, (lines + 1, rows, hidden): `nn.LSTM` tells only the last memory.

    At a line the rows from `starts` on are under way; the others are still at 0.
    """
    state, memory = inputs.new_zeros(2, len(starts) + 1, inputs.shape[1], lstm.hidden_size)
    for line, k in enumerate(starts):
        _, state[line + 1, k:], memory[line + 1, k:] = _run(lstm, inputs[line : line + 1, k:], state[line, k:], memory[line, k:])
    return state, memory


def _join(game: _Game, rows: Ints, keys: Floats, out: Floats) -> None:
    """Adds to `out` what each touch of `rows` brings when touches join in the order of their `keys`."""
    for length in np.unique(game.lengths[rows]):
        same = rows[game.lengths[rows] == length]
        every = _span(game, same)
        order = np.take_along_axis(every, np.argsort(keys[every], axis=1), axis=1)
        last = game.chance(same, game.sums(every[:, :0]))
        for size in range(1, int(length) + 1):
            now = game.chance(same, game.sums(np.sort(order[:, :size], axis=1)))
            out[order[:, size - 1]] += now - last
            last = now
