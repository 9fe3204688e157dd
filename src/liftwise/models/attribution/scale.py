"""What is known of people, and how long they looked, as inputs of a model: centred, scaled; of people marked where it is missing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from liftwise.models.attribution.journeys import Floats, Journeys


@dataclass(frozen=True)
class Scale:
    """How facts become inputs: centre and spread of each, and where one is missing (then it counts as average, and is marked)."""

    names: tuple[str, ...]
    centre: Floats
    spread: Floats
    missing: np.ndarray

    @classmethod
    def of(cls, journeys: Journeys) -> Scale:
        """Learned from the journeys that are fitted."""
        facts = journeys.facts
        if not facts.size:
            return cls((), np.empty(0), np.empty(0), np.empty(0, bool))
        hole = np.isnan(facts)
        some = np.where(hole.all(axis=0), 0.0, facts)
        centre, spread = np.nanmean(some, axis=0), np.nanstd(some, axis=0)
        return cls(journeys.fact_names, centre, np.where(spread > 0, spread, 1.0), np.asarray(hole.any(axis=0)))

    @property
    def width(self) -> int:
        """Inputs."""
        return max(1, len(self.names) + int(self.missing.sum()))

    def inputs(self, journeys: Journeys) -> np.ndarray:
        """(n, width), those that are missing at 0; a constant without facts."""
        if not self.names:
            return np.zeros((len(journeys.ids), 1), np.float32)
        facts = np.full((len(journeys.ids), len(self.names)), np.nan)
        for k, name in enumerate(self.names):
            if name in journeys.fact_names and len(journeys.facts):
                facts[:, k] = journeys.facts[:, journeys.fact_names.index(name)]
        hole = np.isnan(facts)
        scaled = np.where(hole, 0.0, (facts - self.centre) / self.spread).clip(-6, 6)
        return np.column_stack([scaled, hole[:, self.missing]]).astype(np.float32)


@dataclass(frozen=True)
class Dwell:
    """How seconds of looking become an input: centre and spread of their log."""

    centre: float
    spread: float

    @classmethod
    def of(cls, journeys: Journeys) -> Dwell | None:
        """Learned from the journeys that are fitted; None where nobody knows how long anybody looked."""
        log = np.log1p(journeys.dwell[~np.isnan(journeys.dwell)])
        return cls(float(log.mean()), float(log.std()) or 1.0) if len(log) else None

    def inputs(self, journeys: Journeys) -> np.ndarray:
        """(touches,), those that are missing at 0."""
        if not len(journeys.dwell):
            return np.zeros(len(journeys.codes), np.float32)
        scaled = (np.log1p(journeys.dwell) - self.centre) / self.spread
        return np.where(np.isnan(scaled), 0.0, scaled).clip(-6, 6).astype(np.float32)
