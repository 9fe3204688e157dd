"""Audiences as compressed rows of person codes: complete, or coordinated samples of them.

A sample keeps the people of smallest hash, the same hash for a person in every audience (bottom-k, the KMV sketch of Bar-Yossef et al. 2002;
coordinated as in Cohen and Kaplan 2007), so that samples of audiences that overlap hold the same people.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (pandas' frames are typed in part)
from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from liftwise.core.errors import InputError
from liftwise.decisions.reach.bound import Floats, Ints, Rows


@dataclass(frozen=True)
class Audiences:
    """Who follows whom.

    names : influencers. starts, people : compressed rows of person codes below `size`.
    seen : share of an influencer's audience that the rows can hold: 1, or the largest hash of a bottom-k sample.
    position : hash of each person code in [0, 1), where `seen` differs between influencers.
    """

    names: tuple[str, ...]
    starts: Ints
    people: NDArray[np.int32]
    size: int
    seen: Floats
    position: Floats | None = None

    @classmethod
    def of_pairs(cls, pairs: pd.DataFrame) -> Audiences:
        """From complete audiences: columns influencer_id, person_id; pairs may repeat."""
        return cls._of(pairs["influencer_id"].to_numpy(dtype=object), pairs["person_id"].to_numpy())

    @classmethod
    def of_samples(cls, samples: pd.DataFrame, *, size: int | None = None, share: float | None = None) -> Audiences:
        """From table `audience_samples` (influencer_id, hash in [0, 1)).

        Parameters
        ----------
        size : k of a bottom-k sample; audiences with fewer hashes are complete.
        share : instead, each sample holds all people whose hash is below `share`.

        Notes
        -----
        Of a full bottom-k sample the largest hash is the threshold and is itself left out (Cohen and Kaplan 2007): given it, the others are
        a sample in which each person is seen with that probability.
        """
        if (size is None) == (share is None):
            raise InputError("say how people were sampled", fix="give size= (bottom-k) or share= (all hashes below it)")
        hashes = samples["hash"].to_numpy(dtype=np.float64)
        if not ((hashes >= 0) & (hashes < (share or 1.0))).all():
            raise InputError(f"a hash lies outside [0, {share or 1.0:g})", where="audience_samples")
        whole = cls._of(samples["influencer_id"].to_numpy(dtype=object), hashes)
        position = np.unique(hashes)
        if share is not None:
            return cls(whole.names, whole.starts, whole.people, whole.size, np.full(len(whole.names), share), position)
        return _below_threshold(whole, position, int(size or 0))

    @classmethod
    def _of(cls, influencers: NDArray[np.object_], people: NDArray[np.generic]) -> Audiences:
        if pd.isna(influencers).any() or pd.isna(people).any():
            raise InputError("an influencer or a person is missing", where="audiences")
        names, rows = np.unique(influencers.astype(str), return_inverse=True)
        known, codes = np.unique(people, return_inverse=True)
        both = np.unique(rows.astype(np.int64) * len(known) + codes)
        starts = np.searchsorted(both, np.arange(len(names) + 1, dtype=np.int64) * len(known))
        return cls(
            tuple(map(str, names)),
            starts.astype(np.int64),
            (both % max(len(known), 1)).astype(np.int32),
            len(known),
            np.ones(len(names)),
        )

    @property
    def rows(self) -> Rows:
        """The compressed rows alone."""
        return Rows(self.starts, self.people, self.size)

    @property
    def audience(self) -> Floats:
        """People of each influencer (estimated, where sampled)."""
        return np.diff(self.starts) / self.seen

    @property
    def sampled(self) -> bool:
        """Whether not all people were seen."""
        return bool((self.seen < 1).any())

    @property
    def even(self) -> bool:
        """Whether the same share was seen of all."""
        return bool((self.seen == self.seen[0]).all()) if len(self.seen) else True

    def codes(self, names: Collection[str], what: str) -> Ints:
        """Codes of `names`; InputError names those unknown."""
        at = {name: code for code, name in enumerate(self.names)}
        unknown = [name for name in names if name not in at]
        if unknown:
            raise InputError(f"no audience of {', '.join(unknown[:5])}", where=what)
        return np.array([at[name] for name in names], dtype=np.int64)

    def only(self, keep: NDArray[np.bool_], share: float = 1.0) -> Audiences:
        """Of the people `keep` (size,) alone, which are `share` of those below each threshold."""
        codes = np.where(keep, np.cumsum(keep) - 1, -1).astype(np.int32)
        rows = self.rows.of(codes)
        return Audiences(self.names, rows.starts, rows.people, rows.size, self.seen * share,
                         None if self.position is None else self.position[keep])  # fmt: skip


def _below_threshold(whole: Audiences, position: Floats, size: int) -> Audiences:
    count = np.diff(whole.starts)
    if size < 2 or (count > size).any():
        raise InputError(f"a sample holds more than size={size} people or size is below 2", where="audience_samples")
    full = count == size
    last = np.maximum(whole.starts[1:] - 1, 0)  # codes are sorted by hash in each row
    seen = np.where(full, position[whole.people[last]], 1.0)
    keep = np.ones(len(whole.people), np.bool_)
    keep[last[full]] = False
    starts = np.concatenate([[0], np.cumsum(count - full)]).astype(np.int64)
    return Audiences(whole.names, starts, whole.people[keep], whole.size, seen, position)
