"""The tables of liftwise, declared once. `docs/tables.md` is generated from here; every layer meets the next in one of them.

To add a table or a column, add a line here; nothing else decides what a table looks like.
"""

from __future__ import annotations

from liftwise.core.contract import Column, Kind, Personal, Table


def need(name: str, kind: Kind = "text", unit: str = "", *, personal: Personal = "", choices: str = "", note: str = "") -> Column:
    """A required column; `choices` is a list of words."""
    return Column(name, kind, True, unit, personal, tuple(choices.split()), note=note)


def may(
    name: str, kind: Kind = "text", unit: str = "", *, personal: Personal = "", choices: str = "",
    low: float | None = None, note: str = "",
) -> Column:  # fmt: skip
    """An optional column; missing values are null (in a key: ``all``)."""
    return Column(name, kind, False, unit, personal, tuple(choices.split()), low, note=note)


def cost(name: str, *, required: bool = False, note: str = "") -> Column:
    """Money that cannot be negative."""
    return Column(name, "money", required, "currency", low=0, note=note)


PERSON = need("person_id", "id", personal="pseudonym")
INFLUENCER = need("influencer_id", "id")
KINDS = "view click engage search visit add_to_cart"
RELATIONS = "collaboration cross_promotion audience_overlap content_similarity competition"
SURVEY_METRICS = "awareness consideration preference purchase_intent nps"

SOURCES = (
    Table("influencers", "Who can be hired.", "sources", (
        INFLUENCER, need("platform"), need("handle"), need("genre"), need("location"), may("language"), may("timezone"),
        need("followers", "count", "people"), may("engagement_rate", "share", "engagements per impression"),
        may("posts_per_week", "number", low=0), may("best_hour", "number", "hour of day", low=0),
        may("brand_alignment", "share"), may("risk_score", "share"), may("joined_on", "date"),
        may("declared_group", note="self-declared, for fairness only"),
    ), ("influencer_id",)),
    Table("audiences", "Whom an influencer reaches.", "sources", (
        INFLUENCER, need("observed_on", "date"), need("dimension", choices="age gender country region interest"), need("value"),
        need("share", "share", "of the audience"), may("platform"),
    ), ("influencer_id", "observed_on", "dimension", "value", "platform")),
    Table("affinities", "How well an influencer fits a genre or a place.", "sources", (
        INFLUENCER, need("dimension", choices="genre location"), need("value"), need("score", "number"),
    ), ("influencer_id", "dimension", "value")),
    Table("rates", "What an influencer asks for a post of a type.", "sources", (
        INFLUENCER, need("content_type"), cost("price", required=True), cost("minimum_fee"), may("currency"),
    ), ("influencer_id", "content_type")),
    Table("links", "Ties between influencers.", "sources", (
        INFLUENCER, need("other_id", "id"), need("relation", choices=RELATIONS), may("weight", "number", low=0),
    ), ("influencer_id", "other_id", "relation")),
    Table("events", "What posts can be tied to; feasible days are relative to the date.", "sources", (
        need("event_id", "id"), need("name"), need("date", "date"), need("location"), need("genre"), need("scale", "number"),
        need("kind"), may("opens_days", "number", "days from the date"), may("closes_days", "number", "days from the date"),
    ), ("event_id",)),
    Table("campaigns", "What was run, when and where.", "sources", (
        need("campaign_id", "id"), need("name"), may("brand"), need("starts_on", "date"), need("ends_on", "date"), cost("budget"),
        may("objective", choices="awareness consideration conversion"),
        may("regions", note="names joined by ';'; empty = everywhere"), may("audience"), may("channel"),
    ), ("campaign_id",)),
    Table("posts", "What influencers published.", "sources", (
        need("post_id", "id"), INFLUENCER, need("platform"), need("content_type"), need("posted_at", "time"), may("campaign_id"),
        may("event_id"), may("caption"), may("media_path"), may("is_paid", "flag"), cost("cost"),
        may("duration_s", "number", "seconds", low=0),
    ), ("post_id",)),
    Table("post_metrics", "What a platform reported of a post, as it stood then.", "sources", (
        need("post_id", "id"), need("observed_at", "time"), may("impressions", "count"), may("reach", "count", "people"),
        may("likes", "count"), may("comments", "count"), may("shares", "count"), may("saves", "count"), may("clicks", "count"),
        may("video_views", "count"), may("watch_seconds", "number", "seconds", low=0),
    ), ("post_id", "observed_at")),
    Table("comments", "What people wrote below a post.", "sources", (
        need("comment_id", "id"), need("post_id", "id"), need("posted_at", "time"), need("text", personal="free text"),
    ), ("comment_id",)),
    Table("touchpoints", "Contacts of a person with the brand's marketing.", "sources", (
        need("touch_id", "id"), PERSON, need("occurred_at", "time"), need("channel"), may("platform"), may("region"),
        may("kind", choices=KINDS), may("content_type"), may("influencer_id"), may("post_id"), may("campaign_id"),
        may("dwell_s", "number", "seconds", low=0), cost("cost"),
    ), ("touch_id",)),
    Table("orders", "What people bought; one row per product of an order.", "sources", (
        need("order_id", "id"), PERSON, need("ordered_at", "time"), need("revenue", "money", "currency"), may("product_id"),
        may("units", "number", low=0), may("region"), may("margin", "money", "currency"), cost("discount"), may("coupon"),
    ), ("order_id", "product_id")),
    Table("products", "What is sold.", "sources", (
        need("product_id", "id"), may("brand"), may("category"), may("margin", "share", "of revenue"),
        may("repurchase_days", "number", "days", low=0), may("image_path", note="pack-shot"),
    ), ("product_id",)),
    Table("identifiers", "What links a person's records; only pseudonyms and tokens are kept.", "sources", (
        need("record_id", "id"), need("source"), may("person_id", "id", personal="pseudonym"), may("email", personal="linkable"),
        may("phone", personal="linkable"), may("first_name", personal="linkable"), may("last_name", personal="linkable"),
        may("gender"), may("postcode", personal="linkable"), may("birth_year", "number", "year", low=1850),
        may("device_id", personal="pseudonym"), may("consent", "flag"), may("seen_at", "time"),
    ), ("record_id",)),
    Table("covariates", "What was known of a person, and when: the confounders of journeys.", "sources", (
        PERSON, need("as_of", "date"), need("name"), need("value", "number"),
    ), ("person_id", "as_of", "name")),
    Table("surveys", "Brand perception by wave.", "sources", (
        need("wave_on", "date"), need("region"), need("metric", choices=SURVEY_METRICS), need("score", "score", "0 to 100"),
        may("brand"), may("segment"), may("respondents", "count", "people"),
    ), ("wave_on", "region", "brand", "segment", "metric")),
    Table("panel_answers", "What people answered whose touches are known, too: a survey panel linked to them.", "sources", (
        PERSON, need("answered_at", "time"), need("metric", choices=SURVEY_METRICS),
        need("score", "score", "0 to 100", note="yes = 100, no = 0; from 50 on it counts as a yes"),
        may("brand", note="answers about brands that are neither the products' nor the campaigns' are not read"),
    ), ("person_id", "answered_at", "metric", "brand")),
    Table("regions", "The map.", "sources", (
        need("region", "id"), may("population", "count", "people"), may("neighbours", note="names joined by ';'"),
        may("currency"), may("timezone"),
    ), ("region",)),
    Table("sales", "The baseline KPI.", "sources", (
        need("week", "week"), need("region", "id"), need("revenue", "money", "currency"), may("product_id"), may("segment"),
        may("units", "number"), may("price", "money", "currency", low=0), may("discount", "share"), may("promotion", "share"),
    ), ("week", "region", "product_id", "segment")),
    Table("spend", "Media: money and delivery.", "sources", (
        need("week", "week"), need("channel", "id"), cost("spend", required=True), may("region"), may("impressions", "number", low=0),
        may("reach", "number", "people", low=0), may("frequency", "number", low=0), may("platform_revenue", "money", "currency"),
    ), ("week", "region", "channel")),
    Table("factors", "What else moved sales.", "sources", (
        need("week", "week"), need("name", "id"), need("value", "number"), may("region"),
        may("published_on", "date", note="the figure counts from here"),
    ), ("week", "region", "name")),
    Table("competitors", "What competitors did.", "sources", (
        need("week", "week"), need("competitor", "id"), need("metric", choices="spend price promotion share_of_voice"),
        need("value", "number"), may("region"),
    ), ("week", "region", "competitor", "metric")),
    Table("trends", "What is popular.", "sources", (
        need("week", "week"), need("genre", "id"), need("popularity", "number"), may("location"), may("platform"),
        may("seasonal_index", "number"),
    ), ("week", "location", "genre", "platform")),
    Table("assignments", "Past tuples (i, c, e, t) with what came of them.", "sources", (
        need("assignment_id", "id"), INFLUENCER, need("content_type"), need("event_id", "id"),
        need("days_from_event", "number", "days"), cost("price", required=True), may("campaign_id"), may("posted_at", "time"),
        may("observed_at", "time"), may("impressions", "number", low=0), may("engagements", "number", low=0),
        may("conversions", "number"), may("revenue", "money", "currency"), may("brand_equity", "number"),
        may("propensity", "share"),
    ), ("assignment_id",)),
    Table("lift_tests", "Experiments already run; the effect is the total over the test.", "sources", (
        need("test_id", "id"), need("channel"), need("starts_on", "date"), need("ends_on", "date"), need("effect", "number"),
        Column("standard_error", "number", True, low=0), may("metric", choices="revenue conversions conversion_rate buyers", note="buyers: share of those who bought at all during the test"),
        may("campaign_id"), may("influencer_id"), may("content_type"), may("regions", note="names joined by ';'"), cost("spend"),
    ), ("test_id",)),
    Table("lift_test_weeks", "Experiments, week by week.", "sources", (
        need("test_id", "id"), need("week", "week"), need("effect", "number"), Column("standard_error", "number", True, low=0),
        may("region"),
    ), ("test_id", "week", "region")),
    Table("exchange_rates", "Workspace currency per unit.", "sources", (
        need("date", "date"), need("currency", "id"), Column("rate", "number", True, low=0),
    ), ("date", "currency")),
)  # fmt: skip

PIPELINE = (
    Table("quarantine", "Rows that broke a rule, with their place and reason; personal fields masked.", "pipeline.intake", (
        need("source", note="file"), may("table"), may("line", "count", note="first line of the file is 1"),
        may("column"), need("reason"), may("record", note="the row as it came, as JSON"), may("loaded_at", "time"),
    )),
    Table("loads", "What each file gave: rows in = kept + quarantined.", "pipeline.intake", (
        need("source"), need("table"), need("rows_in", "count"), need("kept", "count"), need("quarantined", "count"),
        may("unknown_columns"), may("fingerprint"), may("loaded_at", "time"),
    ), ("source", "table")),
    Table("health", "What is missing, late or odd, and what it would spoil.", "pipeline.health", (
        need("table"), need("check"), need("subject"), need("severity", choices="info warning error"), need("rows", "count"),
        need("detail"), need("spoils"),
    )),
    Table("people", "Which records are one person.", "pipeline.identity", (
        need("person_id", "id", note="stable for the cluster"), need("record_id", "id"), need("match_probability", "share"),
    ), ("record_id",)),
    Table("journeys", "Touches before each purchase, and of those who did not buy; people without a touch have one row.",
          "pipeline.journeys", (
        need("journey_id", "id"), need("person_id", "id"), need("position", "count", "from 1; 0 = no touch"), may("touch_id"),
        may("occurred_at", "time"), may("hours_before_end", "number", "hours", low=0), may("channel"), may("platform"),
        may("kind"), may("content_type"), may("influencer_id"), may("campaign_id"), may("dwell_s", "number", "seconds"),
        need("converted", "flag"), need("revenue", "money", "currency"), need("ended_at", "time"),
    ), ("journey_id", "position")),
    Table("moments", "Purchases, and moments drawn evenly from all person-time, each with the touches in its look-back, earlier "
          "purchases or not; people without a touch have one row.", "pipeline.moments", (
        need("journey_id", "id", note="of a purchase as in journeys"), need("person_id", "id"),
        need("position", "count", "from 1; 0 = no touch"), may("touch_id"),
        may("occurred_at", "time"), may("hours_before_end", "number", "hours", low=0), may("channel"), may("platform"),
        may("kind"), may("content_type"), may("influencer_id"), may("campaign_id"), may("dwell_s", "number", "seconds"),
        need("converted", "flag"), need("revenue", "money", "currency"), need("ended_at", "time"),
        need("kept", "share", "drawn moments per person-day", note="purchases a day = odds of converting × kept"),
    ), ("journey_id", "position")),
    Table("answer_moments", "Answers of linked panels, each with the touches in its look-back; an answer without one has one row. "
          "Nothing is trained on them.", "pipeline.moments", (
        need("journey_id", "id", note="one person, moment and metric"), need("person_id", "id"),
        need("position", "count", "from 1; 0 = no touch"), may("touch_id"), may("occurred_at", "time"),
        may("hours_before_end", "number", "hours", low=0), may("channel"), may("platform"), may("kind"), may("content_type"),
        may("influencer_id"), may("campaign_id"), may("dwell_s", "number", "seconds"), need("metric", choices=SURVEY_METRICS),
        need("score", "score", "0 to 100", note="of several answers at one moment the mean"), need("ended_at", "time"),
    ), ("journey_id", "position")),
    Table("journey_facts", "What was known just before each of the moments: covariates, habit, season.", "pipeline.moments", (
        need("journey_id", "id"), need("name", "id"), need("value", "number"),
    ), ("journey_id", "name")),
    Table("habits", "How often a product is bought again by the same person.", "pipeline.habits", (
        need("product_id", "id"), need("people", "count", "people"), need("repeat_buyers", "count", "people"),
        may("gap_days_median", "number", "days", low=0), may("gap_days_p90", "number", "days", low=0),
        need("lookback_days", "count", "days", note="the median gap, 7 to 90"),
        need("source", choices="measured declared overall", note="overall = of all products together"),
    ), ("product_id",)),
    Table("audience_samples", "Coordinated sample of each influencer's audience.", "pipeline.audiences", (
        INFLUENCER, need("hash", "number"),
    ), ("influencer_id", "hash")),
    Table("audience_overlap", "People two influencers share.", "pipeline.audiences", (
        INFLUENCER, need("other_id", "id"), need("shared", "number", "people"), need("share", "share", "of the smaller audience"),
        need("standard_error", "number"),
    ), ("influencer_id", "other_id")),
    Table("features", "Point-in-time facts: nothing later than as_of is used.", "pipeline.features", (
        need("entity"), need("entity_id", "id"), need("as_of", "date"), need("name"), may("value", "number"),
    ), ("entity", "entity_id", "as_of", "name")),
    Table("weekly", "The mix's design: target, channels (spend) and controls by week and region.", "pipeline.features", (
        need("week", "week"), need("region", "id"), need("role", choices="target channel control"), need("name"),
        need("value", "number"),
    ), ("week", "region", "role", "name")),
)  # fmt: skip

MODELS = (
    Table("content_features", "What is in a post.", "models.content", (
        need("post_id", "id"), need("name"), may("value", "number"),
    ), ("post_id", "name")),
    Table("embeddings", "Where an entity lies.", "models.influencers", (
        need("entity"), need("entity_id", "id"), need("as_of", "date"), need("vector", "vector"),
    ), ("entity", "entity_id", "as_of")),
    Table("credits", "Who earned a conversion; sums to 1 in each converting journey, `organic` is the remainder.",
          "models.attribution", (
        need("journey_id", "id"), need("touch_id", "id"), need("method"), need("credit", "share"), may("low", "number"),
        may("high", "number"), need("revenue", "money", "currency"), need("calibrated", "flag"),
    ), ("method", "journey_id", "touch_id")),
    Table("channel_credits", "Credit by channel for methods that speak of channels, not touches.", "models.attribution", (
        need("method"), need("channel"), need("conversions", "number"), need("revenue", "money", "currency"),
        may("low", "number"), may("high", "number"), need("calibrated", "flag"),
    ), ("method", "channel")),
    Table("channel_effects", "Share of all conversions that would be missing without a channel, by the sequence model.", "models.attribution", (
        need("method"), need("channel"), need("share", "number", "of conversions"), need("sd", "number"), need("low", "number"),
        need("high", "number"), need("tested", "flag", note="an experiment stands behind it"),
        need("tells", "flag", note="the interval leaves out nothing at all"),
    ), ("method", "channel")),
    Table("label_credits", "Credit by influencer, content type and platform, beside last touch; rows about too few people are folded.",
          "flows.measure", (
        need("method"), need("by", choices="content_type platform influencer_id"), need("name"), need("people", "number", "at least"),
        need("conversions", "number"), need("revenue", "money", "currency"), may("low", "number"), may("high", "number"),
        need("last_touch", "number", "conversions"), need("calibrated", "flag"),
    ), ("method", "by", "name")),
    Table("fading", "What is left of a touch by time.", "models.attribution", (
        need("channel"), need("hours", "number", "hours"), need("fresh", "share"), may("low", "share"), may("high", "share"),
    ), ("channel", "hours")),
    Table("pair_effects", "What a touch is worth when another came before it within a gap.", "models.attribution", (
        need("by", choices="channel content_type"), need("first"), need("second"), need("gap_from", "number", "hours"),
        need("gap_to", "number", "hours"), need("effect", "number", "log-odds of a fresh touch"), may("low", "number"),
        may("high", "number"), may("multiplier", "number", note="times what the second is worth alone"), may("multiplier_low", "number"),
        may("multiplier_high", "number"), may("p_value", "share"), may("order", "number", note="effect less that of the reverse order"), may("order_low", "number"),
        may("order_high", "number"), need("found", "flag"), need("journeys", "number"),
    ), ("by", "first", "second", "gap_from")),
    Table("influence", "What touches do to the chance of reaching a stage.", "models.attribution", (
        need("stage", note="(asked): what panels answered, others what people did"), need("by"), need("name"), may("change", "number", "probability"), may("low", "number"), may("high", "number"),
        may("touches", "number"), need("people", "number"), may("auc", "share", note="how well the stage can be read at all"),
        may("auc_low", "share"), may("tells", "flag"),
    ), ("stage", "by", "name")),
    Table("lift", "Actual against counterfactual.", "models.causal", (
        need("test_id", "id"), need("unit"), need("week", "week"), need("actual", "number"), need("counterfactual", "number"),
        need("effect", "number"), may("low", "number"), may("high", "number"),
    ), ("test_id", "unit", "week")),
    Table("lift_results", "What a campaign caused.", "models.causal", (
        need("test_id", "id"), need("method"), need("effect", "number"), may("standard_error", "number"), may("low", "number"),
        may("high", "number"), may("p_value", "share"), may("checks", note="JSON"),
    ), ("test_id", "method")),
    Table("overlaps", "Campaigns in the same regions and weeks: what each brought, what only together; parts + shared = total.", "flows.measure", (
        need("campaigns", note="campaign_ids joined by ';'"), need("part", "id", note="campaign_id, shared or total"), may("effect", "number"),
        may("low", "number"), may("high", "number"), may("p_value", "share"), may("reason", note="why it cannot be told apart"),
    ), ("campaigns", "part")),
    Table("components", "Trend, season, event, campaign and the rest.", "models.causal", (
        need("week", "week"), need("region"), need("trend", "number"), need("seasonal", "number"), need("event", "number"),
        need("campaign", "number"), need("residual", "number"),
    ), ("week", "region")),
    Table("evidence", "One currency of evidence: what experiments say of a subject.", "flows.measure", (
        need("subject_kind", choices="channel influencer content cluster campaign"), need("subject"), may("region"),
        need("metric"), need("as_of", "date"), need("mean", "number"), need("sd", "number"), need("low", "number"),
        need("high", "number"), need("sources"),
    ), ("subject_kind", "subject", "region", "metric", "as_of")),
    Table("contributions", "Revenue by week and part; the parts sum to the fit.", "models.mix", (
        need("model"), need("week", "week"), may("region"), need("channel"),
        need("part", choices="baseline immediate carried synergy outside"), need("contribution", "money", "currency"),
        may("low", "number"), may("high", "number"),
    ), ("model", "week", "region", "channel", "part")),
    Table("responses", "Weekly revenue a channel gives at a weekly spend, by draw.", "models.mix", (
        need("model"), need("channel"), may("region"), need("draw", "count"), cost("spend", required=True),
        need("revenue", "money", "currency"), need("marginal_roi", "number"),
    ), ("model", "channel", "region", "draw", "spend")),
    Table("carryover", "Share of an effect that falls in each later period, by draw.", "models.mix", (
        need("model"), need("channel"), need("draw", "count"), need("lag", "count", "periods"), need("weight", "share"),
    ), ("model", "channel", "draw", "lag")),
    Table("mix_roi", "What each channel returned, returns now, and where its curve and its carry-over stand.", "models.mix", (
        need("model"), need("channel"), cost("spend", required=True, note="over all weeks"),
        need("revenue", "money", "currency", note="own effect over all weeks"), need("roi", "number", "revenue per 1 spent"),
        may("low", "number"), may("high", "number"), need("marginal_roi", "number", "revenue per next 1 at recent spend"),
        cost("recent", required=True, note="a week, over the last year"), may("half_saturation", "money", "currency", low=0),
        may("saturation", "money", "currency", low=0, note="a week's spend that gives 90 % of the most"),
        may("extrapolated", "flag", note="saturation lies above all spend seen"), may("half_life", "number", "periods", low=0),
    ), ("model", "channel")),
    Table("mix_forecasts", "Weeks a mix had not seen when it foretold them.", "models.mix", (
        need("model"), need("week", "week"), need("part", choices="origin holdout"), need("actual", "money", "currency"),
        need("predicted", "money", "currency"), may("low", "money", "currency"), may("high", "money", "currency"),
    ), ("model", "week", "part")),
    Table("partial_dependence", "Revenue over all weeks had one channel got a multiple of its spend, the others as they were.", "models.mix", (
        need("model"), need("channel"), need("factor", "number"), cost("spend", required=True), need("revenue", "money", "currency"),
        need("change", "money", "currency"), may("low", "money", "currency"), may("high", "money", "currency"),
        may("beyond", "share", "of weeks beyond all spend seen"),
    ), ("model", "channel", "factor")),
    Table("mix_tests", "Lift tests beside what the mix that heard them expects, and what the weeks alone would have.", "models.mix", (
        need("model"), need("test_id", "id"), need("channel"), need("effect", "money", "currency"),
        Column("standard_error", "money", True, "currency", low=0), need("expected", "money", "currency"),
        Column("expected_sd", "money", True, "currency", low=0), need("without", "money", "currency"),
        Column("without_sd", "money", True, "currency", low=0), need("gap", "number", "of effect and without, in standard deviations"),
    ), ("model", "test_id")),
    Table("mix_changes", "What changed since the last fit and why; amounts of a channel sum to now − before (null counts as 0).", "flows.measure", (
        need("channel"), may("before", "number", "revenue per 1 spent"), may("now", "number", "revenue per 1 spent"),
        need("part", choices="history software settings weeks model tests"), need("amount", "number"),
    ), ("channel", "part")),
    Table("mix_facts", "What the last fit was of, for comparing the next with it.", "flows.measure", (
        need("name", "id"), need("value", note="JSON"),
    ), ("name",)),
    Table("fits", "How well each candidate model did, and which was chosen.", "flows.measure", (
        need("family"), need("model"), need("metric"), need("value", "number"), need("chosen", "flag"),
    ), ("family", "model", "metric")),
    Table("segments", "What an influencer is best for.", "models.influencers", (
        INFLUENCER, may("product"), may("audience"), may("cluster"), need("segment", choices="awareness consideration conversion value"),
        may("yardstick"), may("tactic"), may("why"),
    ), ("influencer_id", "product", "audience")),
    Table("effectiveness", "Predicted f ± σ of each feasible tuple; f = g_influencer + g_history + g_market.",
          "models.effectiveness", (
        INFLUENCER, need("content_type"), need("event_id", "id"), need("days_from_event", "number", "days"), need("metric"),
        need("predicted", "number"), need("g_influencer", "number"), need("g_history", "number"), need("g_market", "number"),
        Column("uncertainty", "number", True, low=0), cost("price", required=True),
    ), ("influencer_id", "content_type", "event_id", "days_from_event", "metric")),
)  # fmt: skip

DECISIONS = (
    Table("plan_runs", "Plans made, with their bound.", "decisions.selection", (
        need("plan_id", "id"), need("made_at", "time"), need("metric"), cost("budget", required=True), cost("cost", required=True),
        need("value", "number"), need("bound", "number"), need("gap", "number"), need("rules", note="JSON"), need("state"),
    ), ("plan_id",), "ledger"),
    Table("plans", "The lines of a plan.", "decisions.selection", (
        need("plan_id", "id"), INFLUENCER, need("content_type"), need("event_id", "id"),
        need("days_from_event", "number", "days"), need("week", "week"), cost("budget", required=True), need("predicted", "number"),
        need("uncertainty", "number"), need("why"),
    ), ("plan_id", "influencer_id", "content_type", "event_id", "days_from_event"), "ledger"),
    Table("frontier", "Points of a Pareto front.", "decisions.frontier", (
        need("frontier_id", "id"), need("plan_id", "id"), need("objective"), need("value", "number"),
    ), ("frontier_id", "plan_id", "objective")),
    Table("allocations", "What each channel should get.", "decisions.allocation", (
        need("plan_id", "id"), need("scenario"), may("week", "week"), may("region"), need("channel"),
        cost("current", required=True), cost("recommended", required=True), need("gain", "money", "currency"), may("low", "number"), may("high", "number"),
    ), ("plan_id", "scenario", "week", "region", "channel")),
    Table("scores", "How live activity does.", "decisions.scoring", (
        need("campaign_id", "id"), may("influencer_id"), may("content_type"), need("as_of", "time"), cost("spend"),
        may("attributed_revenue", "money", "currency"), may("incremental_revenue", "money", "currency"), may("low", "number"),
        may("high", "number"), may("roi", "number"), may("pace", "number"), may("state"),
    ), ("campaign_id", "influencer_id", "content_type", "as_of")),
    Table("recommendations", "Advice with its gain.", "decisions.recommend", (
        need("subject"), need("advice"), need("gain", "number"), need("low", "number"), need("high", "number"), need("evidence"),
    ), ("subject", "advice")),
    Table("alerts", "What wants attention.", "decisions.alerts", (
        need("alert_id", "id"), need("raised_at", "time"), need("severity"), need("kind"), need("subject"), need("reason"),
        may("money_at_stake", "money", "currency"), may("evidence"), need("state"),
    ), ("alert_id",), "ledger"),
)  # fmt: skip

RECORD = (
    Table("test_designs", "Experiments planned; frozen with a hash before their start.", "models.causal", (
        need("test_id", "id"), need("frozen_at", "time"), need("starts_on", "date"), need("ends_on", "date"),
        need("markets", note="names joined by ';'"), need("expected_lift", "number", "share"), need("power", "share"), need("verdict"),
        need("sha256"), need("design", note="the whole plan, canonical JSON"),
    ), ("test_id",), "ledger"),
    Table("actions", "What was proposed and done.", "outputs.actions", (
        need("action_id", "id"), need("kind"), need("subject"), need("proposed_at", "time"), need("expected_gain", "number"),
        need("low", "number"), need("high", "number"), need("state", choices="proposed approved done unknown failed undone"),
    ), ("action_id",), "ledger"),
    Table("outcomes", "What came of an action.", "outputs.actions", (
        need("action_id", "id"), need("measured_at", "time"), need("actual_gain", "number"), need("low", "number"),
        need("high", "number"),
    ), ("action_id", "measured_at"), "ledger"),
    Table("runs", "Every step: what went in, what ran, what came out.", "store", (
        need("run_id", "id"), need("step"), need("at", "time"), need("inputs", note="fingerprints, JSON"), need("code"),
        need("parameters", note="JSON"), need("metrics", note="JSON"), need("outputs", note="fingerprints, JSON"),
        need("seconds", "number", "seconds"),
    ), ("run_id",)),
    Table("audit", "The record of who did what.", "governance.audit", (
        need("sequence", "count"), need("at", "time"), need("who"), need("role"), need("what"), need("subject"), need("hash"),
        need("previous_hash"),
    ), ("sequence",), "ledger"),
)  # fmt: skip

TABLES: dict[str, Table] = {table.name: table for table in SOURCES + PIPELINE + MODELS + DECISIONS + RECORD}
