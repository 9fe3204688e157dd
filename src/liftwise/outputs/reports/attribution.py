"""Attribution in words and pictures: what touches earned, how surely, what works together, and what the rules make of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from liftwise.outputs.reports.words import listing
from liftwise.store.workspace import Workspace

if TYPE_CHECKING:
    import plotly.graph_objects as go

LABELS = {"influencer_id": "influencers", "content_type": "content types", "platform": "platforms"}
ASKED = {
    "most": "Panel answers go with content: {}. That says who answers what; it is no effect.",
    "level": "Answers on {} go with no content type more than with others.",
    "unclear": "Answers on {} cannot be foretold from touches.",
    "few": "Too few people answered to say what content does to {}.",
}


def attribution_table(channels: pd.DataFrame, method: str = "lstm") -> pd.DataFrame:
    """Table `channel_credits` for a reader: the sequence model's credit with its interval, beside what last touch and the chain say."""
    mine = channels[channels["method"] == method].set_index("channel")
    wide = channels.pivot_table(index="channel", columns="method", values="conversions")
    others = [name for name in wide.columns if name == "last_touch" or str(name).startswith("markov")]
    mine = mine.loc[mine["conversions"].sort_values(ascending=False).index]
    last = mine.index == "organic"
    mine = pd.concat([mine[~last], mine[last]])
    return pd.DataFrame({
        "channel": mine.index, "conversions": [f"{x:,.0f}" for x in mine["conversions"]],
        "90 %": ["" if pd.isna(low) else f"{low:,.0f} to {high:,.0f}" for low, high in zip(mine["low"], mine["high"], strict=True)],
        "tested": ["yes" if tested else "no" for tested in mine["calibrated"]],
        **{str(name).replace("_", " "): [f"{x:,.0f}" for x in wide[name].reindex(mine.index).fillna(0)] for name in others},
    })  # fmt: skip


def attribution_words(ws: Workspace) -> list[str]:
    """What there is to say, a line each."""
    effects, pairs = ws.warehouse.table("channel_effects"), ws.warehouse.table("pair_effects")
    if effects.empty:
        return [
            "The rules share out conversions, they do not prove cause: none is held by an experiment, so none may move money by itself."
        ]
    told, tested = effects[effects["tells"]].sort_values("share", ascending=False), effects["tested"]
    lines = [
        f"Touches brought about {effects['share'].clip(lower=0).sum():.0%} of conversions; the rest would have come without them."
        if len(told) else "Touches cannot be told to bring about conversions beyond what is known of people.",
    ]  # fmt: skip
    if len(told):
        best = [f"{row.channel} {row.share:.1%} ({max(row.low, 0):.1%} to {row.high:.1%})" for row in told.head(3).itertuples()]
        lines.append(f"Without them would be missing: {listing(best)}.")
    if not effects["tells"].all():
        lines.append(f"Cannot be ranked: {listing(list(effects.loc[~effects['tells'], 'channel']))}.")
    if tested.all():
        lines.append("Every channel is held against an experiment.")
    else:
        lines.append(
            f"No experiment stands behind {listing(list(effects.loc[~tested, 'channel']))}: do not move money by these; test them next."
        )
    return [*lines, *_together(pairs), *_asked(ws)]


def _together(pairs: pd.DataFrame) -> list[str]:
    """The clearest pair, in words."""
    found = pairs[pairs["found"] & (pairs["multiplier_low"] > 1)] if not pairs.empty else pairs
    if found.empty:
        return []
    best = found.sort_values("p_value").iloc[0]
    mine = found[(found["by"] == best["by"]) & (found["first"] == best["first"]) & (found["second"] == best["second"])]
    until = int(mine["gap_to"].max())
    return [
        f"A {best['second']} within {until} hours of a {best['first']} is worth {best['multiplier']:.1f} times as much as otherwise "
        f"({best['multiplier_low']:.1f} to {best['multiplier_high']:.1f}); no such gain was found later. "
        "Touches that crowd before a purchase can look like this: try it in a test before paying for it."
    ]


def _asked(ws: Workspace) -> list[str]:
    """What content does to what a linked panel answers, in words."""
    if not ws.warehouse.has("answer_moments"):
        return []
    stages, said = ws.warehouse.table("influence"), {verdict: list[str]() for verdict in ASKED}
    for metric in ws.warehouse.sql("SELECT DISTINCT metric FROM answer_moments ORDER BY metric")["metric"]:
        name = str(metric).replace("_", " ")
        mine = stages[stages["stage"] == f"{name} (asked)"] if len(stages) else stages
        typed = mine[mine["by"] == "content_type"] if len(mine) else mine
        if mine.empty or not mine["tells"].all():
            said["few" if mine.empty else "unclear"].append(name)
            continue
        best = typed.loc[typed["change"].idxmax()] if len(typed) else None
        if best is not None and best["low"] > (typed["change"] * typed["touches"]).sum() / typed["touches"].sum():
            change, low, high = (100 * best[x] for x in ("change", "low", "high"))
            said["most"].append(f"{name} most with {best['name']} ({change:+.0f} points, {low:.0f} to {high:.0f})")
        else:
            said["level"].append(name)
    return [ASKED[verdict].format(listing(names)) for verdict, names in said.items() if names]


def attribution_figures(ws: Workspace) -> tuple[go.Figure, ...]:
    """The pictures, as far as there is something to show."""
    from liftwise.models.attribution import plots

    credits = ws.warehouse.table("channel_credits")
    shares = credits.assign(
        **{name: credits[name] / credits.groupby("method")["conversions"].transform("sum") for name in ("low", "high")},
        share=credits["conversions"] / credits.groupby("method")["conversions"].transform("sum"),
    )
    figures = [plots.channels(shares[shares["channel"] != "organic"])]
    labels, fading = ws.warehouse.table("label_credits"), ws.warehouse.table("fading")
    for by in ("influencer_id", "content_type"):
        mine = labels[(labels["by"] == by) & (labels["name"] != "other")] if not labels.empty else labels
        if len(mine) > 1:
            figure = plots.credit_by(mine.rename(columns={"conversions": "credit"}))
            title = str(figure.layout.title.text)  # type: ignore[union-attr]
            figures.append(figure.update_layout(title_text=f"{LABELS[by].capitalize()}: {title[0].lower()}{title[1:]}"))
    if not fading.empty:
        figures.append(plots.decay_curves(fading))
    pairs = ws.warehouse.table("pair_effects")
    for by in ("content_type", "channel"):
        mine = pairs[pairs["by"] == by] if not pairs.empty else pairs
        if len(mine) and mine["found"].any():
            figures.append(plots.pair_map(mine))
    stages = ws.warehouse.table("influence")
    if not stages.empty and stages["tells"].any():
        figures.append(plots.influence(stages[stages["by"] != "influencer_id"]))
    return tuple(figures)


def attribution_strip(ws: Workspace) -> go.Figure | None:
    """One journey with the credit on each touch: the longest of those with at most ten touches, the first by its id."""
    from liftwise.models.attribution import plots

    found = ws.warehouse.sql("""
        WITH mine AS (SELECT journey_id, max(position) AS n FROM moments WHERE converted GROUP BY ALL HAVING max(position) <= 10),
        one AS (SELECT journey_id FROM mine ORDER BY n DESC, journey_id LIMIT 1)
        SELECT m.hours_before_end, c.touch_id, coalesce(m.channel, 'organic') AS channel, c.credit, c.low, c.high
        FROM credits c JOIN one USING (journey_id) LEFT JOIN moments m ON m.journey_id = c.journey_id AND m.touch_id = c.touch_id
        WHERE c.method = 'lstm' ORDER BY m.hours_before_end DESC NULLS LAST
    """)
    return plots.journey_strip(found) if len(found) > 1 else None
