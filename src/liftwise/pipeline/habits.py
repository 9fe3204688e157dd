"""How often people buy: the repurchase interval of each product, and how far a person is in their own rhythm.

A product bought every week has forgotten its advertising long before one bought every quarter: `lookback_days` follows
the product's own interval. A gap is the time between two purchases of one product by one person. Only closed gaps are
seen, so a product younger than its interval looks faster than it is; `source` says where a figure is not measured.
"""

from __future__ import annotations

from typing import Literal

from liftwise.core.errors import CannotTell
from liftwise.pipeline import identity
from liftwise.store.warehouse import Warehouse

Lookback = int | Literal["auto"]

ENOUGH_GAPS = 20  # closed gaps from which a product's own median is trusted
SHORTEST, LONGEST = 7, 90  # days a look-back may have
UNKNOWN = 30  # days, where nobody bought anything twice and nothing was declared

_GAPS = """
CREATE OR REPLACE TEMP TABLE product_gaps AS
SELECT product_id, person_id, ordered_at, epoch(ordered_at - lag(ordered_at) OVER (
    PARTITION BY product_id, person_id ORDER BY ordered_at)) / 86400.0 AS gap
FROM (
    SELECT o.product_id, p.person_id, o.ordered_at FROM orders o JOIN person_of p ON o.person_id = p.account
    GROUP BY ALL HAVING sum(o.revenue) > 0
)
"""

_HABITS = f"""
WITH seen AS (
    SELECT product_id, count(DISTINCT person_id) AS people, count(DISTINCT person_id) FILTER (gap IS NOT NULL) AS repeat_buyers,
           count(gap) AS gaps, median(gap) AS middle, quantile_cont(gap, 0.9) AS slow FROM product_gaps GROUP BY product_id
), overall AS (
    SELECT median(gap) AS middle, quantile_cont(gap, 0.9) AS slow FROM product_gaps
), chosen AS (
    SELECT s.*, o.middle AS overall_middle, o.slow AS overall_slow, d.days,
           CASE WHEN s.gaps >= {ENOUGH_GAPS} THEN 'measured' WHEN d.days > 0 THEN 'declared' ELSE 'overall' END AS source
    FROM seen s CROSS JOIN overall o LEFT JOIN ({{declared}}) d USING (product_id)
), told AS (
    SELECT *, CASE source WHEN 'measured' THEN middle WHEN 'declared' THEN days ELSE overall_middle END AS gap_days_median,
           CASE source WHEN 'measured' THEN slow WHEN 'overall' THEN overall_slow END AS gap_days_p90 FROM chosen
)
SELECT product_id, people, repeat_buyers, gap_days_median, gap_days_p90,
       round(least(greatest(coalesce(gap_days_median, {UNKNOWN}), {SHORTEST}), {LONGEST}))::BIGINT AS lookback_days, source
FROM told ORDER BY product_id
"""

_RHYTHM = """
CREATE OR REPLACE TEMP TABLE rhythm AS
WITH gaps AS (
    SELECT person_id, ended_at, row_number() OVER person AS bought, epoch(ended_at - lag(ended_at) OVER person) / 86400.0 AS gap
    FROM purchases WINDOW person AS (PARTITION BY person_id ORDER BY ended_at)
)
SELECT *, CASE WHEN bought > 2 THEN median(gap) OVER (PARTITION BY person_id ORDER BY ended_at) END AS own_gap FROM gaps
"""

_PACE = """
CREATE OR REPLACE TEMP TABLE pace AS
SELECT DISTINCT ended_at, median(gap) OVER (ORDER BY ended_at) AS gap FROM rhythm WHERE gap IS NOT NULL
"""


def build(warehouse: Warehouse) -> dict[str, float]:
    """Make table `habits` from orders, and from what `products` declares; returns counts for the record.

    Raises
    ------
    CannotTell
        When there are no orders.
    """
    if not warehouse.has("orders"):
        raise CannotTell("habits need orders", fix="deliver an orders table")
    identity.accounts(warehouse)
    warehouse.connection.execute(_GAPS)
    source = "products" if "products" in warehouse.names() else "(SELECT NULL AS product_id, NULL AS repurchase_days WHERE false)"
    warehouse.replace("habits", _HABITS.format(declared=f"SELECT product_id, repurchase_days AS days FROM {source}"))
    counts = warehouse.sql("SELECT count(*) AS products, count(*) FILTER (source = 'measured') AS measured FROM habits").iloc[0]
    usual = float(lookback(warehouse)) if counts["products"] else float(UNKNOWN)
    return {"products": float(counts["products"]), "measured": float(counts["measured"]), "lookback_days": usual}


def lookback(warehouse: Warehouse, told: Lookback = "auto") -> int:
    """Days to look back where no product is in sight: as told, else the products' look-backs weighted by their orders.

    Raises
    ------
    CannotTell
        When it is left to the data and table `habits` has not been made.
    """
    if told != "auto":
        return int(told)
    if not warehouse.has("habits"):
        raise CannotTell(
            "the look-back is left to the habits, and there are none", fix="set [journeys] lookback_days to a number"
        )
    days = warehouse.sql("SELECT round(avg(h.lookback_days)) AS days FROM orders o JOIN habits h USING (product_id)")["days"]
    return int(days.iloc[0])


def rhythm(warehouse: Warehouse) -> None:
    """TEMP tables of what was known of habits after each row of TEMP table ``purchases``.

    ``rhythm`` has a person's purchases so far and their median gap (from two gaps on); ``pace`` everybody's median gap so
    far, for those who have no gap of their own. Both grow with time, so that a fact read from them knows nothing later.
    """
    warehouse.connection.execute(_RHYTHM)
    warehouse.connection.execute(_PACE)
