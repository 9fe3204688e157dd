"""Audiences without double counting: how many people two influencers share, from a coordinated sample.

Each person has one keyed position in [0, 1); an influencer's sample keeps the people with the smallest positions
(bottom-k, the KMV sketch of Bar-Yossef et al. 2002; coordinated as in Cohen 1997). Samples of different influencers
then hold the *same* people where audiences overlap, so unions and intersections can be estimated with an error that
is known: exact while an audience is smaller than `SAMPLE`.
"""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

from liftwise.store.warehouse import Warehouse

SAMPLE = 4096  # people per influencer


def sample(warehouse: Warehouse) -> dict[str, float]:
    """Make tables `audience_samples` and `audience_overlap` from the people each influencer's posts reached."""
    if not warehouse.has("touchpoints"):
        warehouse.empty("audience_samples")
        warehouse.empty("audience_overlap")
        return {"influencers": 0, "pairs": 0}
    warehouse.replace(
        "audience_samples",
        f"""
        SELECT influencer_id, position AS hash FROM (
            SELECT DISTINCT t.influencer_id, hash(p.person_id) / 18446744073709551616.0::DOUBLE AS position
            FROM touchpoints t JOIN person_of p ON t.person_id = p.account WHERE t.influencer_id IS NOT NULL
        ) QUALIFY row_number() OVER (PARTITION BY influencer_id ORDER BY position) <= {SAMPLE}
        ORDER BY influencer_id, hash
        """,
    )
    samples = warehouse.table("audience_samples")
    warehouse.write("audience_overlap", overlap(samples))
    return {"influencers": int(samples["influencer_id"].nunique()), "pairs": warehouse.rows("audience_overlap")}


def overlap(samples: pd.DataFrame, size: int = SAMPLE) -> pd.DataFrame:
    """Table `audience_overlap` of every pair that shares anyone, from bottom-k samples.

    Parameters
    ----------
    samples : influencer_id, hash in [0, 1); at most `size` smallest hashes of each.

    Notes
    -----
    With threshold τ = the smaller of the two samples' largest hash (1 where a sample is complete), the people below τ
    are a simple random share τ of both audiences: ``shared = n∩ / τ`` with standard error ``√(n∩ (1-τ)) / τ``.
    """
    members = {str(name): np.sort(group["hash"].to_numpy()) for name, group in samples.groupby("influencer_id")}
    limits = {name: float(hashes[-1]) if len(hashes) >= size else 1.0 for name, hashes in members.items()}
    totals = {name: _total(hashes, limits[name]) for name, hashes in members.items()}
    together = _pairs_that_meet(samples)
    rows: list[tuple[str, str, float, float, float]] = []
    for one, other in together:
        limit = min(limits[one], limits[other])
        both = int(np.intersect1d(members[one], members[other], assume_unique=True).searchsorted(limit, side="right"))
        shared = both / limit
        smaller = max(min(totals[one], totals[other]), 1.0)
        rows.append((one, other, shared, min(1.0, shared / smaller), float(np.sqrt(both * (1 - limit)) / limit)))
    return pd.DataFrame(rows, columns=["influencer_id", "other_id", "shared", "share", "standard_error"])


def _total(hashes: np.ndarray, limit: float) -> float:
    """People in an audience: exact when the sample is complete, else the KMV estimate (k-1)/τ."""
    return float(len(hashes)) if limit == 1.0 else (len(hashes) - 1) / limit


def _pairs_that_meet(samples: pd.DataFrame) -> list[tuple[str, str]]:
    """Pairs of influencers whose samples share at least one person."""
    if samples.empty:
        return []
    names, codes = np.unique(samples["influencer_id"].to_numpy(dtype=object), return_inverse=True)
    from scipy.sparse import csr_array

    people = pd.factorize(samples["hash"])[0]
    incidence = csr_array((np.ones(len(codes), np.int32), (codes, people)))
    meet = (incidence @ incidence.T).tocoo()
    keep = meet.row < meet.col
    order = np.lexsort((meet.col[keep], meet.row[keep]))
    pairs = itertools.zip_longest(meet.row[keep][order], meet.col[keep][order])
    return [(str(names[i]), str(names[j])) for i, j in pairs]
