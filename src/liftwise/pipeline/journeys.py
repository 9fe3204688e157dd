"""Journeys: the touches of a person in the days before each purchase, and of those who did not buy.

A purchase closes a journey: its touches are those since the person's previous purchase and within the look-back before
it; a purchase without a touch is a journey too. The look-back is a number of days, or follows the products in the order
(the longest of theirs in table `habits`). Touches that no purchase followed in time make journeys that did
not convert: they are split where nothing happened for the look-back, and end that long after their last touch (or where
the data end). Every known person with neither touch nor purchase is one row without a touch: without them no model can
learn what happens on its own.
"""

from __future__ import annotations

from liftwise.core.errors import CannotTell
from liftwise.pipeline import habits, identity
from liftwise.store.warehouse import Warehouse

_PURCHASES = """
CREATE OR REPLACE TEMP TABLE purchases AS
SELECT p.person_id, o.ordered_at AS ended_at, sum(o.revenue) AS revenue, to_days({days}) AS lookback
FROM orders o JOIN person_of p ON o.person_id = p.account {joined}
GROUP BY p.person_id, o.ordered_at HAVING sum(o.revenue) > 0
"""

_TOUCHED = """
CREATE OR REPLACE TEMP TABLE touched AS
WITH horizon AS (
    SELECT greatest((SELECT max(ended_at) FROM purchases), (SELECT max(occurred_at) FROM touchpoints)) AS last
), followed AS (
    SELECT p.person_id, t.* EXCLUDE (person_id), b.ended_at AS bought_at, b.revenue,
           coalesce(t.occurred_at >= b.ended_at - b.lookback, false) AS converted
    FROM touchpoints t JOIN person_of p ON t.person_id = p.account
    ASOF LEFT JOIN purchases b ON p.person_id = b.person_id AND t.occurred_at <= b.ended_at
), breaks AS (
    SELECT *, converted OR coalesce(occurred_at - lag(occurred_at) OVER cycle > {lookback}, true) AS breaks
    FROM followed WINDOW cycle AS (PARTITION BY person_id, bought_at, converted ORDER BY occurred_at, touch_id)
), sessions AS (
    SELECT *, CASE WHEN converted THEN 0 ELSE count(*) FILTER (breaks) OVER (
        PARTITION BY person_id, bought_at, converted ORDER BY occurred_at, touch_id) END AS session FROM breaks
)
SELECT * EXCLUDE (breaks, session, bought_at, revenue), CASE WHEN converted THEN revenue ELSE 0.0 END AS revenue,
       CASE WHEN converted THEN bought_at ELSE least(
           max(occurred_at) OVER (PARTITION BY person_id, bought_at, converted, session) + {lookback}, (SELECT last FROM horizon)
       ) END AS ended_at
FROM sessions
"""

_JOURNEYS = """
WITH untouched AS (
    SELECT person_id, true AS converted, revenue, ended_at FROM purchases ANTI JOIN (SELECT * FROM touched WHERE converted)
        USING (person_id, ended_at)
    UNION ALL
    SELECT DISTINCT person_id, false, 0.0, (SELECT max(ended_at) FROM purchases) FROM (
        SELECT person_id FROM person_of UNION SELECT person_id FROM people
    ) ANTI JOIN purchases USING (person_id) ANTI JOIN touched USING (person_id)
), steps AS (
    SELECT person_id, touch_id, occurred_at, channel, platform, kind, content_type, influencer_id, campaign_id, dwell_s,
           converted, revenue, ended_at FROM touched
    UNION ALL BY NAME SELECT * FROM untouched
)
SELECT left(md5(person_id || '|' || ended_at::VARCHAR || '|' || converted::VARCHAR), 16) AS journey_id, person_id,
       CASE WHEN touch_id IS NULL THEN 0 ELSE row_number() OVER journey END AS position, touch_id, occurred_at,
       epoch(ended_at - occurred_at) / 3600.0 AS hours_before_end, channel, platform, kind, content_type, influencer_id,
       campaign_id, dwell_s, converted, revenue, ended_at
FROM steps WINDOW journey AS (PARTITION BY person_id, ended_at, converted ORDER BY occurred_at, touch_id)
ORDER BY journey_id, position
"""


def purchases(warehouse: Warehouse, lookback_days: habits.Lookback) -> None:
    """A TEMP table ``purchases`` (person_id, ended_at, revenue, lookback): what a person bought at one moment is one purchase.

    It reads TEMP table ``person_of``; money given back, on the whole, is no purchase.
    """
    usual = habits.lookback(warehouse, lookback_days)
    days, joined = str(usual), ""
    if lookback_days == "auto":
        days, joined = f"coalesce(max(h.lookback_days), {usual})::INTEGER", "LEFT JOIN habits h USING (product_id)"
    warehouse.connection.execute(_PURCHASES.format(days=days, joined=joined))


def build(warehouse: Warehouse, lookback_days: habits.Lookback = 30) -> dict[str, float]:
    """Make table `journeys` from touchpoints, orders and people; returns counts for the record.

    Parameters
    ----------
    lookback_days : days, or ``"auto"``: a purchase looks back as far as `habits` says of its products.

    Raises
    ------
    CannotTell
        When there are no orders: without an outcome there is no journey. When left to `habits` and there are none.
    """
    if not warehouse.has("orders"):
        raise CannotTell("journeys need orders", fix="deliver an orders table")
    if "touchpoints" not in warehouse.names():
        warehouse.empty("touchpoints")
    identity.accounts(warehouse)
    purchases(warehouse, lookback_days)
    warehouse.connection.execute(_TOUCHED.format(lookback=f"to_days({habits.lookback(warehouse, lookback_days)})"))
    warehouse.replace("journeys", _JOURNEYS)
    counts = warehouse.sql("""
        SELECT count(DISTINCT journey_id) AS journeys, count(DISTINCT journey_id) FILTER (converted) AS conversions,
               count(touch_id) AS touches, count(*) FILTER (position = 0) AS without_touch FROM journeys
    """)
    return {str(name): float(value) for name, value in counts.iloc[0].items()}
