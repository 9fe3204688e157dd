"""Where the values of a label (influencer, content type, platform) lie before anything is learned: which code each has, and its vector.

- The `LABELS` most frequent values have a learned place of their own.
- Rarer ones share up to `HASHES` learned places by a hash of their name, the same on every machine and in every run.
- A vector of table `embeddings` is a place, too: a learned line of it is added to the value's own. Who has a vector and is not among
  the most frequent, or was never seen when fitting, is read by the vector alone: as those are who lie near in the graph.
- What is left is unknown and has code 0, which lies at 0 and stays there: in the middle of all vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
import pandas as pd

from liftwise.core.errors import InputError
from liftwise.models.attribution.journeys import Floats, Ints, Journeys

LABELS = 500  # values of a label that get a place of their own: the most frequent
HASHES = 32  # places that rarer ones share
ENTITIES = {"influencer_id": ("influencer", "creator")}  # whose vectors speak of a label


@dataclass(frozen=True)
class Places:
    """Codes of a label's values: 0 unknown, then `names`, `shared`, `others`.

    Attributes
    ----------
    names : values with a learned place of their own.
    shared : hashes into which a rare value fell when fitting; a value of another hash is unknown, since nothing was learned of it.
    others : values that have a vector alone.
    vectors : (codes, k) centred and scaled, about 1 long; 0 where a value has none. No columns where nobody has any.
    """

    names: tuple[str, ...] = ()
    shared: tuple[int, ...] = ()
    others: tuple[str, ...] = ()
    vectors: Floats | None = None

    @classmethod
    def of(cls, journeys: Journeys, name: str, embeddings: pd.DataFrame | None = None) -> Places:
        """Of the values that are seen when fitting, and of all that have a vector.

        Raises
        ------
        InputError
            When vectors are of different lengths, or hold what is not a number.
        """
        label = journeys.labels.get(name)
        seen = label.names if label is not None else ()
        count = np.bincount(label.codes[label.codes >= 0], minlength=len(seen)) if label is not None else np.empty(0, int)
        order = [seen[k] for k in np.argsort(-count, kind="stable") if count[k] > 0]
        names, vectors = tuple(sorted(order[:LABELS])), _vectors(embeddings, ENTITIES.get(name, ()))
        shared = tuple(sorted({_hash(value) for value in order[LABELS:] if value not in vectors}))
        if not vectors:
            return cls(names, shared)
        others = tuple(sorted(set(vectors) - set(names)))
        rows = [None, *names, *(None for _ in shared), *others]
        return cls(names, shared, others, _laid_out(rows, vectors))

    @property
    def learned(self) -> int:
        """Codes with a learned place, 0 among them: the first ones."""
        return 1 + len(self.names) + len(self.shared)

    @property
    def size(self) -> int:
        """Codes."""
        return self.learned + len(self.others)

    def codes(self, values: Sequence[str]) -> Ints:
        """(values,) the code of each."""
        own = {value: k for k, value in enumerate(self.names, 1)}
        own.update((value, k) for k, value in enumerate(self.others, self.learned))
        shared = {number: k for k, number in enumerate(self.shared, 1 + len(self.names))}
        return np.array([own[value] if value in own else shared.get(_hash(value), 0) for value in values], np.int64)


def _hash(value: str) -> int:
    return crc32(value.encode()) % HASHES


def _vectors(embeddings: pd.DataFrame | None, entities: tuple[str, ...]) -> dict[str, Floats]:
    """The newest vector of each of `entities`."""
    if embeddings is None or not entities:
        return {}
    mine = embeddings[embeddings["entity"].isin(entities)]
    if "as_of" in mine:
        mine = mine.sort_values("as_of", kind="stable", na_position="first")
    mine = mine.drop_duplicates("entity_id", keep="last")
    found = {
        str(who): np.atleast_1d(np.asarray(vector, float)) for who, vector in zip(mine["entity_id"], mine["vector"], strict=True)
    }
    lengths = sorted({len(vector) for vector in found.values()})
    if len(lengths) > 1:
        raise InputError(
            f"vectors of {' and of '.join(map(str, lengths))} numbers for one kind of entity ({entities[0]})", where="embeddings",
            fix="give all of them the same length",
        )  # fmt: skip
    broken = [who for who, vector in found.items() if not np.isfinite(vector).all()]
    if broken:
        raise InputError(
            f"the vector of {entities[0]} {broken[0]!r} holds what is not a number", where="embeddings", fix="leave it out"
        )
    return found


def _laid_out(rows: Sequence[str | None], vectors: dict[str, Floats]) -> Floats:
    """(rows, k) every column centred and scaled over all vectors, and the whole divided by √k, so that lengths are about 1."""
    told = np.array([vectors[who] for who in sorted(vectors)])
    centre, spread = told.mean(axis=0), told.std(axis=0)
    size = np.where(spread > 1e-12 * np.abs(told).max(initial=1e-300), spread, np.inf) * np.sqrt(told.shape[1])
    return np.array([(vectors[who] - centre) / size if who in vectors else np.zeros(len(centre)) for who in rows])
