"""Pairs of touches as columns: for each journey the fresh touches of `second` by the gap since the latest `first`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from scipy.sparse import csc_array, csr_array

from liftwise.core.errors import InputError
from liftwise.models.attribution.journeys import Floats
from liftwise.models.attribution.pair_baseline import Data


def edges_of(gaps: Sequence[float]) -> Floats:
    edges = np.asarray(gaps, float)
    if edges.ndim != 1 or not len(edges) or not np.isfinite(edges).all() or edges[0] <= 0 or (np.diff(edges) <= 0).any():
        raise InputError("gaps between touches", fix="give rising hours above 0, such as (6, 24, 48, 96, 168)")
    return edges


def cells_of(data: Data, edges: Floats) -> csc_array:
    """(n, first × second × gap) fresh touches of second by the gap since the latest first."""
    k, lengths = len(data.names), np.diff(data.offsets)
    width = k * k * len(edges)
    room = int(np.minimum(lengths * np.minimum(lengths, k), width).sum())
    starts, columns, values = _walk(data.offsets, data.codes, data.hours, data.fresh, edges, k, room)
    return csr_array((values, columns, starts), shape=(len(lengths), width)).tocsc()


@njit(cache=True)
def _walk(offsets, codes, hours, fresh, edges, k, room):  # pragma: no cover - compiled
    """Rows of the features, one pass: for each touch the channels seen before it, not the touches."""
    bins = len(edges)
    starts = np.zeros(len(offsets), np.int64)
    columns, values = np.empty(room, np.int64), np.empty(room)
    slot = np.full(k * k * bins, -1)
    latest, seen, inside = np.zeros(k), np.zeros(k, np.int64), np.zeros(k, np.bool_)
    at = 0
    for j in range(len(offsets) - 1):
        begin, many = at, 0
        for i in range(offsets[j], offsets[j + 1]):
            second = codes[i]
            if fresh[i] > 0:
                for s in range(many):
                    first = seen[s]
                    gap = latest[first] - hours[i]
                    if gap > edges[bins - 1]:
                        continue
                    g = 0
                    while gap > edges[g]:
                        g += 1
                    cell = (first * k + second) * bins + g
                    if slot[cell] < begin:
                        slot[cell] = at
                        columns[at], values[at] = cell, 0.0
                        at += 1
                    values[slot[cell]] += fresh[i]
            if not inside[second]:
                inside[second] = True
                seen[many] = second
                many += 1
            latest[second] = hours[i]
        for s in range(many):
            inside[seen[s]] = False
        starts[j + 1] = at
    return starts, columns[:at], values[:at]
