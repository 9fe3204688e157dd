"""Effectiveness: the default. Factored net, trees and mixed effects averaged, with weights learned on outcomes none had seen.

Creators with posts and without have weights of their own: trees lean on history, the net on what creators have in common. With few posts
mixed effects take most of the weight, with many the net does; a member without weight is not learned in the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from liftwise.core.uncertainty import Floats
from liftwise.models.effectiveness.design import Design
from liftwise.models.effectiveness.factored import FactoredMember
from liftwise.models.effectiveness.facts import Facts
from liftwise.models.effectiveness.family import EffectivenessModel
from liftwise.models.effectiveness.member import Learned, Member, Task, Terms
from liftwise.models.effectiveness.mixed import MixedMember
from liftwise.models.effectiveness.stages import BoostedMember

LEAST = 0.05  # weight below which a member is left out, and not computed
FEWEST = 40  # outcomes that a group's own weights need


@dataclass
class BlendMember:
    """Members and their weights: `weights[warm]` is (members,) and sums to 1."""

    members: tuple[Any, ...]
    name: str = "blend"
    weights: dict[bool, Floats] = field(default_factory=dict)

    def choose(self, task: Task, rows: np.ndarray, later: np.ndarray) -> dict[str, Any]:
        """Let each choose its sizes."""
        return {name: value for member in self.members for name, value in member.choose(task, rows, later).items()}

    def learn(self, task: Task, rows: np.ndarray) -> Blended:
        """Let each learn that has weight."""
        known = np.bincount(
            task.design.i[rows] % (len(task.facts.influencer_ids) + 1), minlength=len(task.facts.influencer_ids) + 1
        )
        used = tuple(k for k in range(len(self.members)) if not self.weights or max(w[k] for w in self.weights.values()) > 0)
        if not any(
            self.members[k].screens for k in used
        ):  # grids are screened by a member that is a sum of small arrays, whatever its weight
            used += tuple(k for k, member in enumerate(self.members) if member.screens)[-1:]
        return Blended(tuple(self.members[k].learn(task, rows) for k in used), self, known, used)

    def tune(self, found: list[Floats], target: Floats, warm: np.ndarray) -> dict[str, float]:
        """Set the weights from forecasts `found` (n, members) of outcomes nobody had seen; says what they are."""
        each = np.concatenate(found)
        for kind in (True, False):
            mine = warm == kind
            self.weights[kind] = _simplex(each[mine], target[mine]) if mine.sum() >= FEWEST else _simplex(each, target)
        return {
            f"weight of {member.name}, {'warm' if kind else 'cold'}": float(self.weights[kind][k])
            for k, member in enumerate(self.members) for kind in (True, False)
        }  # fmt: skip


@dataclass(frozen=True)
class Blended:
    """Members that have learned (`used` says which), and how many posts stand behind each creator."""

    learned: tuple[Learned, ...]
    member: BlendMember
    known: np.ndarray
    used: tuple[int, ...]

    def each(self, facts: Facts, design: Design) -> Floats:
        """(n, members) logs of f."""
        return np.column_stack([one.terms(facts, design).total for one in self.learned])

    def share(self, design: Design) -> Floats:
        """(n, members) weights of each row."""
        return np.where(self.known[design.i, None] > 0, self.weight(warm=True), self.weight(warm=False))

    def weight(self, *, warm: bool) -> Floats:
        """(members,) of creators with posts, or without."""
        return self.member.weights[warm][list(self.used)]

    def terms(self, facts: Facts, design: Design) -> Terms:
        """See `member.Learned`."""
        return self._joined(facts, design, "terms")

    def detail(self, facts: Facts, design: Design) -> Terms:
        """Terms of the net beside those of each feature of the trees."""
        return self._joined(facts, design, "detail")

    def _joined(self, facts: Facts, design: Design, how: str) -> Terms:
        share = self.share(design)
        parts = [_where(getattr(one, how, one.terms), facts, design, share[:, k] > 0) for k, one in enumerate(self.learned)]
        total = np.column_stack([part.total for part in parts])
        base = np.array([part.base for part in parts])
        amounts = [part.amounts * share[:, [k]] for k, part in enumerate(parts)]
        level = (share @ base - base[0])[:, None]
        names = [
            f"{self.member.members[k].name}: {name}" for k, part in zip(self.used, parts, strict=True) for name in part.names
        ]
        own = sum((share[:, k] * part.spread) ** 2 for k, part in enumerate(parts))
        apart = (share * (total - (share * total).sum(axis=1, keepdims=True)) ** 2).sum(axis=1)
        noise = np.column_stack([part.noise for part in parts])
        guess = share * noise.any(axis=0)  # some members have none
        noise = (guess * noise).sum(axis=1) / np.maximum(guess.sum(axis=1), 1e-9)
        of = [name for part in parts for name in part.databases]
        return Terms(
            (*names, "level"), (*of, "history"), np.column_stack([*amounts, level]), float(base[0]), np.sqrt(own + apart), noise
        )


class MixedEffects(EffectivenessModel):
    """f by mixed effects alone: a line and creators' own levels (see `mixed`).

    Parameters
    ----------
    metric, seed, threads, selection : see `EffectivenessModel`.
    """

    def member(self) -> Member:
        """What learns."""
        return MixedMember()


class Effectiveness(EffectivenessModel):
    """f by the average of the factored net and boosted trees.

    Parameters
    ----------
    metric, seed, threads, selection : see `EffectivenessModel`.
    networks : how many networks are averaged.
    """

    def __init__(
        self, *, metric: str = "revenue", seed: int = 7, threads: int = 1, selection: str = "auto", networks: int = 3
    ) -> None:
        super().__init__(metric=metric, seed=seed, threads=threads, selection=selection)
        self.networks = networks

    def member(self) -> Member:
        """What learns."""
        return BlendMember((FactoredMember(self.networks, name="net"), BoostedMember(name="trees"), MixedMember()))


def _where(read: Callable[[Facts, Design], Terms], facts: Facts, design: Design, mine: np.ndarray) -> Terms:
    """Terms of the rows in `mine`; nothing elsewhere."""
    if mine.all() or len(design) == 0:
        return read(facts, design)
    found = read(facts, design.take(np.flatnonzero(mine) if mine.any() else np.zeros(1, int)))
    amounts, spread, noise = np.zeros((len(design), len(found.names))), np.zeros(len(design)), np.zeros(len(design))
    if mine.any():
        amounts[mine], spread[mine], noise[mine] = found.amounts, found.spread, found.noise
    return Terms(found.names, found.databases, amounts, found.base, spread, noise)


def _simplex(each: Floats, target: Floats) -> Floats:
    """Weights of at least 0 that sum to 1 with the least squared error."""
    from scipy.optimize import nnls

    heavy = 1e3 * np.sqrt(len(target)) * max(float(np.std(target)), 1e-6)
    centred = each - target[:, None]  # with weights that sum to 1, the error is Σ w (forecast − target)
    found, _ = nnls(np.vstack([centred, np.full((1, each.shape[1]), heavy)]), np.append(np.zeros(len(target)), heavy))
    if found.sum() <= 0:
        return np.full(each.shape[1], 1 / each.shape[1])
    found = np.where(found < LEAST * found.sum(), 0.0, found)
    return found / found.sum()
