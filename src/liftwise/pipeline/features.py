"""Features that know what time it is, and the weekly design of the mix.

`as_of` is the one way to ask "what was known on that day": it reads nothing that happened, was observed or was
published later. Training and serving call the same function, so they cannot differ.
"""

from __future__ import annotations

from datetime import date

import pandas as pd

from liftwise.core.errors import CannotTell
from liftwise.core.timegrid import TimeGrid
from liftwise.store.warehouse import Warehouse

# For each entity: the SQL that gives (entity_id, name, value) from what was known before the end of :day.
# Every source row is filtered by the moment it became known, not by the moment it is about.
_INFLUENCER = {
    "posts": """
        SELECT influencer_id, unnest(['posts_90d', 'days_since_post']) AS name,
               unnest([count(*) FILTER (posted_at >= $day - INTERVAL 90 DAY)::DOUBLE, date_diff('day', max(posted_at), $day)::DOUBLE]) AS value
        FROM posts WHERE posted_at < $day GROUP BY influencer_id
    """,
    "post_metrics": """
        WITH latest AS (
            SELECT p.influencer_id, arg_max(m.impressions, m.observed_at) AS impressions,
                   arg_max(coalesce(m.likes, 0) + coalesce(m.comments, 0) + coalesce(m.shares, 0) + coalesce(m.saves, 0), m.observed_at) AS engaged
            FROM post_metrics m JOIN posts p USING (post_id) WHERE m.observed_at < $day GROUP BY p.influencer_id, post_id
        )
        SELECT influencer_id, unnest(['impressions_per_post', 'engagement_per_impression']) AS name,
               unnest([avg(impressions), sum(engaged) / nullif(sum(impressions), 0)]) AS value
        FROM latest GROUP BY influencer_id
    """,
    "assignments": """
        SELECT influencer_id, unnest(['assignments', 'revenue_per_euro', 'engagements_per_euro']) AS name,
               unnest([count(*)::DOUBLE, sum(revenue) / nullif(sum(price), 0), sum(engagements) / nullif(sum(price), 0)]) AS value
        FROM assignments WHERE observed_at < $day GROUP BY influencer_id
    """,
    "audiences": """
        SELECT influencer_id, 'audience_' || dimension || '_' || value AS name, arg_max(share, observed_on) AS value
        FROM audiences WHERE observed_on < $day GROUP BY influencer_id, dimension, audiences.value
    """,
}  # fmt: skip


def as_of(warehouse: Warehouse, day: date) -> pd.DataFrame:
    """Table `features` of all influencers at the start of `day`: nothing known only later is used.

    Returns
    -------
    frame with entity, entity_id, as_of, name, value; missing sources give no rows.
    """
    parts = [
        f"SELECT influencer_id, name, value FROM ({query.replace('$day', _timestamp(day))})"
        for source, query in _INFLUENCER.items()
        if source in warehouse.names() and (source != "post_metrics" or "posts" in warehouse.names())
    ]
    if not parts:
        return warehouse.table("features").iloc[:0]
    return warehouse.sql(f"""
        SELECT 'influencer' AS entity, influencer_id AS entity_id, DATE '{day.isoformat()}' AS as_of, name, value::DOUBLE AS value
        FROM ({" UNION ALL ".join(parts)}) WHERE value IS NOT NULL ORDER BY entity_id, name
    """)


def build(warehouse: Warehouse, day: date | None = None) -> dict[str, float]:
    """Make table `features` as of `day` (default: the day after the last thing known)."""
    day = day or horizon(warehouse)
    frame = as_of(warehouse, day) if day else warehouse.table("features").iloc[:0]
    warehouse.write("features", frame)
    return {"features": len(frame)}


def horizon(warehouse: Warehouse) -> date | None:
    """The day after the last recorded sale, order, touch or post: "today" for a workspace."""
    columns = {"orders": "ordered_at", "touchpoints": "occurred_at", "posts": "posted_at", "assignments": "observed_at",
               "sales": "week"}  # fmt: skip
    moments = [
        f"SELECT max({column})::TIMESTAMP AS moment FROM {name}" for name, column in columns.items() if name in warehouse.names()
    ]
    if not moments:
        return None
    last = warehouse.sql(f"SELECT max(moment) AS moment FROM ({' UNION ALL '.join(moments)})")["moment"].iloc[0]
    return None if pd.isna(last) else (last + pd.Timedelta(days=1)).date()


def weekly(warehouse: Warehouse, grid: TimeGrid) -> dict[str, float]:
    """Make table `weekly` from sales, spend, factors and competitors.

    The target is revenue, summed over products and segments. A channel is its spend. A figure of region ``all`` applies to
    every region: money is spread by mean revenue, other factors are the same everywhere; when sales are national, regional
    money is summed and factors are averaged. Periods in which a channel has no row had no spend. A factor counts from the
    period it was published in. Gaps in factors of at most one period are filled both ways; longer ones stay missing and
    leave the period out (mission row A8).
    """
    if not warehouse.has("sales"):
        raise CannotTell("the mix needs sales by period", fix="deliver a sales table")
    warehouse.connection.execute(_TARGET)
    national = warehouse.sql("SELECT count(DISTINCT region) = 1 AS one FROM target")["one"].iloc[0]
    parts = ["SELECT week, region, 'target' AS role, 'revenue' AS name, revenue AS value FROM target"]
    if "spend" in warehouse.names():
        parts.append(_NATIONAL_SPEND if national else _REGIONAL_SPEND)
    controls = _controls(warehouse, grid, bool(national))
    warehouse.connection.register("controls", controls)
    parts.append("SELECT week, region, 'control' AS role, name, value FROM controls")
    try:
        warehouse.replace("weekly", f"SELECT * FROM ({' UNION ALL '.join(parts)}) ORDER BY role, name, region, week")
    finally:
        warehouse.connection.unregister("controls")
    counts = warehouse.sql("SELECT count(DISTINCT week) AS weeks, count(DISTINCT region) AS regions FROM weekly")
    return {str(name): float(value) for name, value in counts.iloc[0].items()}


_TARGET = """
CREATE OR REPLACE TEMP TABLE target AS
SELECT week, region, sum(revenue) AS revenue, sum(price * units) / nullif(sum(CASE WHEN price IS NOT NULL THEN units END), 0) AS price,
       avg(promotion) AS promotion, avg(discount) AS discount
FROM sales GROUP BY week, region
"""

_NATIONAL_SPEND = """
SELECT week, t.region, 'channel', channel, coalesce(sum(s.spend), 0)
FROM (SELECT DISTINCT week, region FROM target) t CROSS JOIN (SELECT DISTINCT channel FROM spend) c
LEFT JOIN spend s USING (week, channel) GROUP BY week, t.region, channel
"""

_REGIONAL_SPEND = """
SELECT week, region, 'channel', channel, coalesce(sum(own), 0) + coalesce(sum(shared), 0)
FROM (
    SELECT t.week, t.region, c.channel, o.spend AS own, n.spend * size.share AS shared
    FROM (SELECT DISTINCT week, region FROM target) t CROSS JOIN (SELECT DISTINCT channel FROM spend) c
    JOIN (SELECT region, avg(revenue) / sum(avg(revenue)) OVER () AS share FROM target GROUP BY region) size ON size.region = t.region
    LEFT JOIN (SELECT week, region, channel, sum(spend) AS spend FROM spend GROUP BY ALL) o
        ON o.week = t.week AND o.region = t.region AND o.channel = c.channel
    LEFT JOIN (SELECT week, channel, sum(spend) AS spend FROM spend WHERE region IN ('all', '') GROUP BY ALL) n
        ON n.week = t.week AND n.channel = c.channel
) GROUP BY week, region, channel
"""


def _controls(warehouse: Warehouse, grid: TimeGrid, national: bool) -> pd.DataFrame:
    """week, region, name, value of everything that is neither target nor media, on the target's periods."""
    own = warehouse.sql("""
        UNPIVOT (SELECT week, region, price, promotion, discount FROM target) ON price, promotion, discount INTO NAME name VALUE value
    """)
    frames = [own]
    if warehouse.has("factors"):
        published = grid.sql("greatest(week, coalesce(published_on, week))")
        frames.append(warehouse.sql(f"SELECT {published} AS week, region, name, avg(value) AS value FROM factors GROUP BY ALL"))
    if warehouse.has("competitors"):
        frames.append(
            warehouse.sql("""
            SELECT week, region, 'competitor_' || metric AS name, avg(value) AS value FROM competitors GROUP BY ALL
        """)
        )
    long = pd.concat(frames, ignore_index=True)
    cells = warehouse.sql("SELECT DISTINCT week, region FROM target")
    return _on_cells(long, cells, national)


def _on_cells(long: pd.DataFrame, cells: pd.DataFrame, national: bool) -> pd.DataFrame:
    """Each control on every (week, region) of `cells`; short gaps filled, constant ones left out."""
    rows: list[pd.DataFrame] = []
    for name, group in long.groupby("name"):
        wide = group.pivot_table(index="week", columns="region", values="value", aggfunc="mean")
        everywhere = wide.mean(axis=1) if national else wide.get("all", None)
        for region, weeks in cells.groupby("region")["week"]:
            series = wide.get(region, everywhere)
            if series is None:
                continue
            series = series.reindex(pd.Index(weeks.sort_values()))
            filled = series.interpolate(limit=1, limit_direction="both", limit_area=None)
            gap = series.isna().groupby(series.notna().cumsum()).transform("sum")
            long_gap = series.isna() & (gap > 1)
            rows.append(
                pd.DataFrame({"week": series.index, "region": region, "name": name, "value": filled.where(~long_gap).to_numpy()})
            )
    if not rows:
        return pd.DataFrame({"week": cells["week"][:0], "region": cells["region"][:0], "name": cells["region"][:0], "value": 0.0})
    out = pd.concat(rows, ignore_index=True).dropna(subset=["value"])
    varies = out.groupby("name")["value"].transform("std") > 0
    return out[varies]


def _timestamp(day: date) -> str:
    return f"TIMESTAMP '{day.isoformat()}'"
