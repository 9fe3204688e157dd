# pyright: basic
"""Journeys as tensors: random batches, each cut into groups of like length, so that little is padding.

A batch of one length only would be biased, since length goes with buying; a random batch in which the gradient is gathered over
groups of like length is not, and takes a third of the time of one padded to its longest journey.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from liftwise.models.attribution.journeys import Journeys
from liftwise.models.attribution.network import Batch, marks
from liftwise.models.attribution.places import Places
from liftwise.models.attribution.scale import Dwell, Scale

GROUPS = 4  # of like length in a batch
READ = 4096  # journeys read at a time when nothing is learned
LONGEST = 256  # touches of a journey that are read: the newest


class Tensors:
    """Journeys ready to be cut into batches; `labels` fixes the codes of labels, `dwell` the scale of looks."""

    def __init__(self, journeys: Journeys, scale: Scale, labels: dict[str, Places], dwell: Dwell | None = None) -> None:
        self.journeys = journeys
        self.first = np.maximum(journeys.offsets[:-1], journeys.offsets[1:] - LONGEST)
        self.lengths = journeys.offsets[1:] - self.first
        self.facts, self.marks = torch.from_numpy(scale.inputs(journeys)), torch.from_numpy(marks(journeys))
        self.bought = torch.from_numpy((journeys.conversions > 0).astype(np.float32))
        self.hours, self.codes = journeys.hours.astype(np.float32), journeys.codes
        self.labels = np.stack([_coded(journeys, name, places) for name, places in labels.items()], -1) if labels else None
        self.dwell = None if dwell is None else dwell.inputs(journeys)

    def batch(self, rows: np.ndarray) -> Batch:
        """The journeys at `rows`, padded to the longest of them."""
        lengths = self.lengths[rows]
        steps = np.arange(max(1, int(lengths.max(initial=1))))
        mask = steps < lengths[:, None]
        at = np.where(mask, self.first[rows][:, None] + steps, 0)
        some = len(self.codes) > 0
        codes = self.codes[at] * mask if some else np.zeros(at.shape, np.int64)
        hours = self.hours[at] * mask if some else np.zeros(at.shape, np.float32)
        labels = self.labels[at] * mask[..., None] if self.labels is not None and some else np.zeros((*at.shape, 0), np.int64)
        if self.labels is not None and not some:
            labels = np.zeros((*at.shape, self.labels.shape[-1]), np.int64)
        return Batch(
            torch.from_numpy(codes), torch.from_numpy(hours), torch.from_numpy(mask.astype(np.float32)), torch.from_numpy(labels),
            self.facts[rows], self.marks[rows], self.bought[rows], rows, at[mask], self.stayed(at, mask),
        )  # fmt: skip

    def stayed(self, at: np.ndarray, mask: np.ndarray | bool = True) -> torch.Tensor | None:
        """How long people looked at touches `at`, (…) and scaled; None where it is not read."""
        if self.dwell is None:
            return None
        return torch.from_numpy(self.dwell[at] * mask if len(self.dwell) else np.zeros(at.shape, np.float32))

    def grouped(self, rows: np.ndarray, groups: int = GROUPS) -> Iterator[Batch]:
        """`rows` in groups of like length."""
        order = rows[np.argsort(self.lengths[rows], kind="stable")]
        for part in np.array_split(order, groups):
            if len(part):
                yield self.batch(part)

    def all(self) -> Iterator[Batch]:
        """Every journey, those of like length together."""
        order = np.argsort(self.lengths, kind="stable")
        for start in range(0, len(order), READ):
            yield self.batch(order[start : start + READ])


def _coded(journeys: Journeys, name: str, places: Places) -> np.ndarray:
    """The code of each touch's value; 0 where it has none."""
    label = journeys.labels.get(name)
    if label is None:
        return np.zeros(len(journeys.codes), np.int64)
    return np.append(places.codes(label.names), 0)[label.codes]
