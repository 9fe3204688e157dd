"""Who is one person: records that share a keyed pseudonym of an account, e-mail, phone or device are joined.

Deterministic and exact: equal after normalisation, or not linked. A pseudonym shared by very many records (a shop's
counter phone, ``test@…``) links nobody; such values are left out by a stated limit. The result is table `people`,
and every later table uses its `person_id`: the smallest account pseudonym of the cluster, so it stays stable while
the same accounts are seen.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from liftwise.core.tables import check
from liftwise.store.warehouse import Warehouse

KEYS = ("person_id", "email", "phone", "device_id")
SHARED_BY_AT_MOST = 10  # records; a value seen in more is not a person's own


def resolve(warehouse: Warehouse) -> dict[str, float]:
    """Make table `people` from `identifiers`; returns counts for the record."""
    links = _links(warehouse)
    records = warehouse.sql("SELECT record_id, person_id FROM identifiers ORDER BY record_id") if _has(warehouse) else _none()
    cluster = components(records["record_id"], links)
    frame = pd.DataFrame({"record_id": records["record_id"], "cluster": cluster, "account": records["person_id"]})
    name = frame["account"].fillna("r:" + frame["record_id"]).groupby(frame["cluster"]).transform("min")
    people = pd.DataFrame({"person_id": name, "record_id": frame["record_id"], "match_probability": 1.0})
    warehouse.write("people", people)
    return {"records": len(people), "people": int(people["person_id"].nunique())}


def accounts(warehouse: Warehouse) -> None:
    """A TEMP table ``person_of`` (account → person_id) for every account in identifiers, touchpoints and orders."""
    seen = [f"SELECT DISTINCT person_id AS account FROM {name}" for name in ("touchpoints", "orders", "covariates")
            if name in warehouse.names()]  # fmt: skip
    known = "SELECT i.person_id AS account, p.person_id FROM identifiers i JOIN people p USING (record_id)" if _has(warehouse) else (
        "SELECT NULL::VARCHAR AS account, NULL::VARCHAR AS person_id WHERE false"
    )  # fmt: skip
    union = " UNION ".join(seen) or "SELECT NULL::VARCHAR AS account WHERE false"
    warehouse.connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE person_of AS
        WITH known AS (SELECT account, min(person_id) AS person_id FROM ({known}) WHERE account IS NOT NULL GROUP BY account),
             seen AS ({union})
        SELECT account, coalesce(person_id, account) AS person_id FROM seen FULL JOIN known USING (account)
    """)


def components(records: pd.Series, links: pd.DataFrame) -> np.ndarray:
    """Connected components of records under `links` (record_id, value), as a code per record, shape (len(records),).

    >>> components(pd.Series(["a", "b", "c"]), pd.DataFrame({"record_id": ["a", "c"], "value": ["x", "x"]})).tolist()
    [0, 1, 0]
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(records)
    rows = pd.Index(records).get_indexer(pd.Index(links["record_id"]))
    values, names = pd.factorize(links["value"])
    graph = coo_array((np.ones(len(rows), np.int8), (rows, values + count)), shape=(count + len(names),) * 2)
    _, label = connected_components(graph, directed=False)
    return pd.factorize(label[:count])[0]


def _links(warehouse: Warehouse) -> pd.DataFrame:
    """(record_id, value) for each identifying value that few enough records share."""
    if not _has(warehouse):
        return pd.DataFrame({"record_id": pd.Series(dtype="str"), "value": pd.Series(dtype="str")})
    each = " UNION ALL ".join(
        f"SELECT record_id, '{key}:' || {key} AS value FROM identifiers WHERE {key} IS NOT NULL" for key in KEYS
    )
    return warehouse.sql(f"""
        SELECT DISTINCT record_id, value FROM ({each})
        QUALIFY count(*) OVER (PARTITION BY value) BETWEEN 2 AND {SHARED_BY_AT_MOST} ORDER BY 1, 2
    """)


def _has(warehouse: Warehouse) -> bool:
    return warehouse.has("identifiers")


def _none() -> pd.DataFrame:
    return check("identifiers", pd.DataFrame(columns=["record_id", "source", "person_id"])).clean[["record_id", "person_id"]]
