"""Moments: each purchase, and moments drawn evenly from the time in which people could have bought (case–base sampling).

A journey that converts ends when the last touch is fresh, one that does not ends a whole look-back after it: a model that
reads ages would learn that from table `journeys`. Here every row looks back from a moment that no touch has chosen: the
purchases, and moments drawn uniformly from all person-time at risk, one for each person and slot of time. A logistic
regression on both estimates the purchase intensity itself (Hanley & Miettinen 2009, Int. J. Biostatistics 5:1):
``purchases per person and day = odds × kept``, with `kept` the drawn moments per person-day.

A moment has all touches of its look-back, whether or not a purchase lies between: a touch acts on the next purchase too.
The look-back is one for all, since a base moment has no product to take it from, and cases and base must be seen alike.
Time at risk runs from a look-back after both orders and touches began, so that each window is full, to the last order.
The draw is by MD5 of person and slot: the same data give the same rows, in whatever order they came.

Answers of a linked survey panel look back in the same way, in a table of their own (`answer_moments`): an answer is no purchase
and no moment at risk, so what learns who buys never sees them.
"""

from __future__ import annotations

import math

from liftwise.core.errors import CannotTell
from liftwise.pipeline import habits, identity, journeys
from liftwise.store.warehouse import Warehouse

MOST = 2_000_000  # base moments, whatever is asked
BRANDED = ("products", "campaigns")  # tables that say which brands are ours

_KNOWN = "CREATE OR REPLACE TEMP TABLE known AS SELECT person_id FROM person_of UNION SELECT person_id FROM people"

_AT_RISK = """
WITH span AS (
    SELECT greatest(min(ended_at), (SELECT min(occurred_at) FROM touchpoints)) + to_days({days}) AS opens, max(ended_at) AS closes
    FROM purchases
)
SELECT opens, closes, (SELECT count(*) FROM known) AS people, epoch(closes - opens) / 86400.0 AS days,
       (SELECT count(*) FROM purchases WHERE ended_at > opens) AS cases
FROM span
"""

# A slot's moment comes from one half of the hash, whether the slot is drawn at all from the other.
_BASE = """
CREATE OR REPLACE TEMP TABLE base AS
SELECT person_id, $opens::TIMESTAMP + to_microseconds(
           ((slot + md5_number_lower(person_id || '|' || slot) / 18446744073709551616.0::DOUBLE) * $length)::BIGINT) AS ended_at
FROM known CROSS JOIN range($slots) AS slots(slot)
ORDER BY md5_number_upper(person_id || '|' || slot), person_id, slot LIMIT $count
"""

_MOMENT = """
CREATE OR REPLACE TEMP TABLE moment AS
WITH all_of_them AS (
    SELECT person_id, ended_at, true AS converted, revenue, 'true' AS mark FROM purchases WHERE ended_at > $opens
    UNION ALL SELECT person_id, ended_at, false, 0.0, 'base' FROM base
)
SELECT left(md5(person_id || '|' || ended_at::VARCHAR || '|' || mark), 16) AS journey_id, * EXCLUDE (mark) FROM all_of_them
"""

# An answer of a person no other table knows is left out: that no touch is known of them does not mean that there was none.
_ANSWER = """
CREATE OR REPLACE TEMP TABLE answer AS
WITH ours AS (SELECT DISTINCT lower(brand) AS brand FROM ({ours}) WHERE brand IS NOT NULL), told AS (
    SELECT p.person_id, a.answered_at AS ended_at, a.metric, avg(a.score) AS score
    FROM panel_answers a JOIN person_of p ON a.person_id = p.account
    WHERE (a.brand = 'all' OR lower(a.brand) IN (FROM ours) OR NOT EXISTS (FROM ours))
        AND a.answered_at BETWEEN (SELECT min(occurred_at) FROM touchpoints) + to_days({days})
            AND (SELECT max(occurred_at) FROM touchpoints)
    GROUP BY ALL
)
SELECT left(md5(person_id || '|' || ended_at::VARCHAR || '|' || metric), 16) AS journey_id, * FROM told
"""

# Touches and moments are joined by person and look-back-long stretch of time: a moment's window lies in its own and the last.
_MOMENTS = """
WITH sought AS (
    SELECT *, unnest([epoch_us(ended_at) // {length}, epoch_us(ended_at) // {length} - 1]) AS stretch FROM {moment}
), walked AS (
    SELECT t.* EXCLUDE (person_id), p.person_id, epoch_us(t.occurred_at) // {length} AS stretch
    FROM touchpoints t JOIN person_of p ON t.person_id = p.account
), touched AS (
    SELECT s.* EXCLUDE (stretch), t.touch_id, t.occurred_at, t.channel, t.platform, t.kind, t.content_type, t.influencer_id,
           t.campaign_id, t.dwell_s
    FROM sought s JOIN walked t ON s.person_id = t.person_id AND s.stretch = t.stretch
        AND t.occurred_at BETWEEN s.ended_at - to_days({days}) AND s.ended_at
), steps AS (
    SELECT * FROM touched UNION ALL BY NAME SELECT * FROM {moment} ANTI JOIN touched USING (journey_id)
)
SELECT journey_id, person_id, CASE WHEN touch_id IS NULL THEN 0 ELSE row_number() OVER journey END AS position, touch_id,
       occurred_at, epoch(ended_at - occurred_at) / 3600.0 AS hours_before_end, channel, platform, kind, content_type,
       influencer_id, campaign_id, dwell_s, {told}
FROM steps WINDOW journey AS (PARTITION BY journey_id ORDER BY occurred_at, touch_id)
ORDER BY journey_id, position
"""

_OWN = ["purchases_before", "days_since_purchase", "usual_gap_days", "due", "day_of_year_sin", "day_of_year_cos", "weekend"]
DUE_AT_MOST = 5.0

_FACTS = f"""
WITH moment AS (SELECT journey_id, person_id, ended_at FROM moments WHERE position <= 1), past AS (
    SELECT m.journey_id, m.ended_at, r.bought, epoch(m.ended_at - r.ended_at) / 86400.0 AS since,
           coalesce(r.own_gap, p.gap) AS gap, 2 * pi() * dayofyear(m.ended_at) / 365.25 AS angle
    FROM moment m ASOF LEFT JOIN rhythm r ON m.person_id = r.person_id AND m.ended_at > r.ended_at
    ASOF LEFT JOIN pace p ON m.ended_at > p.ended_at
), own AS (
    SELECT journey_id, unnest({_OWN}) AS name, unnest([
        coalesce(bought, 0), since, gap, CASE WHEN since / gap IS NOT NULL THEN least(since / gap, {DUE_AT_MOST}) END,
        sin(angle), cos(angle), (isodow(ended_at) > 5)::DOUBLE
    ]) AS value FROM past
), told AS (
    SELECT p.person_id, c.name, c.as_of + to_days(1) AS known_at, arg_min(c.value, c.person_id) AS value
    FROM {{covariates}} c JOIN person_of p ON c.person_id = p.account WHERE c.name NOT IN {tuple(_OWN)} GROUP BY ALL
), given AS (
    SELECT m.journey_id, m.name, t.value
    FROM (SELECT * FROM moment CROSS JOIN (SELECT DISTINCT name FROM told)) m
    ASOF JOIN told t ON m.person_id = t.person_id AND m.name = t.name AND m.ended_at >= t.known_at
)
SELECT journey_id, name, value::DOUBLE AS value FROM (SELECT * FROM own UNION ALL SELECT * FROM given) WHERE value IS NOT NULL
"""


def build(warehouse: Warehouse, lookback_days: habits.Lookback = 30, ratio: float = 4.0) -> dict[str, float]:
    """Make tables `moments`, `journey_facts` and `answer_moments` from touchpoints, orders, people, covariates and panel_answers;
    returns counts for the record.

    Parameters
    ----------
    lookback_days : days, or ``"auto"``: that of `habits`, its products weighted by their orders.
    ratio : base moments for each purchase; at most `MOST` and one a person and day are drawn.

    Raises
    ------
    CannotTell
        When there are no orders, or none later than a look-back after the start of the data.
    """
    if not warehouse.has("orders"):
        raise CannotTell("moments need orders", fix="deliver an orders table")
    if "touchpoints" not in warehouse.names():
        warehouse.empty("touchpoints")
    identity.accounts(warehouse)
    days = habits.lookback(warehouse, lookback_days)
    journeys.purchases(warehouse, days)
    warehouse.connection.execute(_KNOWN)
    kept = _draw(warehouse, days, ratio)
    _look_back(warehouse, "moments", "moment", days, f"converted, revenue, ended_at, {kept}::DOUBLE AS kept")
    counts = warehouse.sql("""
        SELECT count(*) FILTER (position <= 1) AS moments, count(*) FILTER (converted AND position <= 1) AS purchases,
               count(touch_id) AS touches, count(*) FILTER (position = 0) AS without_touch FROM moments
    """)
    told = {str(name): float(value) for name, value in counts.iloc[0].items()}
    return told | {"kept": kept, "lookback_days": float(days)} | facts(warehouse) | answers(warehouse, days)


def facts(warehouse: Warehouse) -> dict[str, float]:
    """Make table `journey_facts` of the rows of `moments`, each from what was known before its moment.

    Of orders, only earlier ones count; a covariate counts from the day after its own, since a day's figure may hold what
    happened later that day (of a person's accounts with figures of one day the first is taken; a covariate with the name of
    one of our own facts gives way to it). Times are UTC.

    purchases_before, days_since_purchase (no row before the first purchase), usual_gap_days (the median of the person's gaps
    from two gaps on, else everybody's so far; no row when there was none), due (how far into the usual gap, at most 5),
    day_of_year_sin, day_of_year_cos, weekend.
    """
    none = "(SELECT NULL::VARCHAR AS person_id, NULL::DATE AS as_of, NULL::VARCHAR AS name, NULL::DOUBLE AS value WHERE false)"
    identity.accounts(warehouse)
    journeys.purchases(warehouse, habits.UNKNOWN)
    habits.rhythm(warehouse)
    # a table made in the same transaction looks empty to the planner, which would then compare every pair of rows
    warehouse.connection.execute("SET asof_loop_join_threshold = 0")
    warehouse.replace("journey_facts", _FACTS.format(covariates="covariates" if "covariates" in warehouse.names() else none))
    warehouse.connection.execute("RESET asof_loop_join_threshold")
    return {"facts": float(warehouse.rows("journey_facts"))}


def answers(warehouse: Warehouse, days: int) -> dict[str, float]:
    """Make table `answer_moments` of panel_answers, each with the touches of the `days` before it; returns counts for the record.

    Read are answers about our brands (or about none in particular) of people whom another table knows, given while touches were
    recorded and a whole look-back after that began. Without panel_answers there is no table.
    """
    if not warehouse.has("panel_answers"):
        warehouse.drop("answer_moments")
        return {}
    identity.accounts(warehouse)
    ours = " UNION ".join(f"SELECT brand FROM {name}" for name in BRANDED if name in warehouse.names())
    warehouse.connection.execute(_ANSWER.format(days=days, ours=ours or "SELECT NULL::VARCHAR AS brand"))
    _look_back(warehouse, "answer_moments", "answer", days, "metric, score, ended_at")
    read = warehouse.sql("SELECT count(*) FILTER (position <= 1) AS answers FROM answer_moments")
    return {"answers": float(warehouse.rows("panel_answers")), "answers_read": float(read["answers"].iloc[0])}


def _look_back(warehouse: Warehouse, name: str, moment: str, days: int, told: str) -> None:
    """Make table `name` of the rows of TEMP table `moment`, each with its touches; `told` are the columns after those of the touch."""
    warehouse.replace(name, _MOMENTS.format(days=days, length=days * 86_400_000_000, moment=moment, told=told))


def _draw(warehouse: Warehouse, days: int, ratio: float) -> float:
    """Make TEMP table ``moment`` of purchases and base moments; returns how many were drawn per person-day."""
    risk = warehouse.sql(_AT_RISK.format(days=days)).iloc[0]
    if not risk["cases"]:
        raise CannotTell(
            f"no purchase is later than {days} days after the start of the data",
            fix="deliver a longer history, or shorten [journeys] lookback_days",
        )
    people, opens = int(risk["people"]), risk["opens"].to_pydatetime()
    most = max(1, math.floor(people * risk["days"]))
    count = min(math.ceil(ratio * risk["cases"]), MOST, most)
    slots = math.ceil(count / people)
    length = risk["days"] * 86_400e6 / slots
    warehouse.connection.execute(_BASE, {"opens": opens, "slots": slots, "length": length, "count": count})
    warehouse.connection.execute(_MOMENT, {"opens": opens})
    return min(1.0, float(count / (people * risk["days"])))
