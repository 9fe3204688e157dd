"""What the report says: each section reads tables and gives a title, one sentence, and a chart or tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from liftwise.core.colours import PALETTE, QUIET
from liftwise.core.uncertainty import at_most
from liftwise.flows.lift import MAIN
from liftwise.flows.overlaps import joint_result
from liftwise.flows.plan import level_of
from liftwise.outputs.reports import attribution as of_attribution
from liftwise.outputs.reports import mix as of_mix
from liftwise.outputs.reports.words import between, lift_sentence, listing, short
from liftwise.store.workspace import Workspace

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Section:
    """One part of the page."""

    key: str
    title: str
    sentence: str
    figures: tuple[go.Figure, ...] = ()
    tables: tuple[tuple[str, pd.DataFrame], ...] = ()
    cards: tuple[tuple[str, str, str], ...] = field(default=())


def sections(ws: Workspace) -> list[Section]:
    """All sections that have something to say, in reading order."""
    makers: tuple[Callable[[Workspace], Section | None], ...] = (
        overview,
        plan,
        channels,
        mix,
        lift,
        attribution,
        health,
        lineage,
    )
    return [section for maker in makers if (section := maker(ws)) is not None]


def overview(ws: Workspace) -> Section | None:
    """The figures one looks for first."""
    currency, cards = ws.settings.currency, []
    sales = ws.warehouse.table("sales", ["week", "revenue"])
    if not sales.empty:
        recent = sales[sales["week"] > sales["week"].max() - pd.Timedelta(weeks=52)]["revenue"].sum()
        cards.append(("Revenue, last 52 weeks", short(recent, currency), f"to {sales['week'].max():%d %b %Y}"))
    parts = ws.warehouse.table("contributions", ["channel", "part", "contribution", "low", "high"])
    media = parts[parts["part"].isin(["immediate", "carried", "synergy"])]
    if not media.empty:
        share = media["contribution"].sum() / parts["contribution"].sum()
        cards.append(("Caused by media (mix)", f"{share:.0%}", "of revenue; the rest is baseline and outside factors"))
    runs = _plan_runs(ws)
    if not runs.empty:
        last = runs.iloc[-1]
        money = currency if last["metric"] == "revenue" else ""
        cards.append(
            (
                "Plan: predicted " + last["metric"].replace("_", " "),
                short(_lines(ws, last["plan_id"])["predicted"].sum(), money),
                f"for {short(last['cost'], currency)}",
            )
        )
        cards.append(("Plan: proven gap", at_most(last["gap"]), "no plan under these rules can be better by more"))
    loads = ws.warehouse.table("loads", ["rows_in", "quarantined"])
    if not loads.empty:
        bad = int(loads["quarantined"].sum())
        cards.append(("Rows read", short(float(loads["rows_in"].sum())), f"{bad:,} in quarantine"))
    if not cards:
        return None
    return Section("overview", "At a glance", "What came in, what it caused, and what to do next.", cards=tuple(cards))


def _lines(ws: Workspace, plan_id: str) -> pd.DataFrame:
    """Who posts what in a plan."""
    plans = ws.ledger.table("plans")
    return plans[plans["plan_id"] == plan_id]


def plan(ws: Workspace) -> Section | None:
    """The latest plan, line by line, each with its reason."""
    runs = _plan_runs(ws)
    if runs.empty:
        return None
    run = runs.iloc[-1]
    lines = _lines(ws, run["plan_id"]).sort_values(["week", "event_id", "influencer_id"])
    currency = ws.settings.currency
    events = ws.warehouse.table("events", ["event_id", "name"]).set_index("event_id")["name"]
    sentence = (
        f"{len(lines)} posts by {lines['influencer_id'].nunique()} influencers for {short(run['cost'], currency)} of "
        f"{short(run['budget'], currency)}; no plan under the same rules can be worth more than {at_most(run['gap'])} above this one. "
        + level_of(ws.steps.reported("effectiveness"), str(run["metric"]))
    ).rstrip()
    shown = lines.assign(event=lines["event_id"].map(events).fillna(lines["event_id"]), week=lines["week"].dt.date)
    shown = shown[
        ["week", "influencer_id", "content_type", "event", "days_from_event", "budget", "predicted", "uncertainty", "why"]
    ]
    shown = shown.rename(columns={"days_from_event": "days", "predicted": f"predicted {run['metric']}", "uncertainty": "± (σ)"})
    figures = (_calendar(lines, str(run["metric"])), *_front(ws))
    return Section("plan", "The plan", sentence, figures, ((f"Plan {run['plan_id']}", shown),))


def _front(ws: Workspace) -> tuple[go.Figure, ...]:
    """Plans that none beats in every objective, where a front was asked for."""
    table = ws.warehouse.table("frontier")
    if table.empty:
        return ()
    import plotly.graph_objects as go

    wide = table.pivot_table(index="plan_id", columns="objective", values="value")
    one, two = (wide.columns[0], wide.columns[-1]) if "roi" not in wide else ("roi", next(c for c in wide.columns if c != "roi"))
    wide = wide.sort_values(one)
    dots = go.Scatter(x=wide[one], y=wide[two], mode="markers+lines", marker_color=PALETTE[0], line={"width": 0.6}, name="plans")
    figure = _styled(go.Figure(dots), "Plans that none beats in every objective")
    return (figure.update_layout(xaxis_title=one.replace("_", " "), yaxis_title=two.replace("_", " ")),)


def _plan_runs(ws: Workspace) -> pd.DataFrame:
    return ws.ledger.table("plan_runs").sort_values("made_at")


def _calendar(lines: pd.DataFrame, metric: str) -> go.Figure:
    import plotly.graph_objects as go

    weekly = lines.groupby(["week", "content_type"], as_index=False)["budget"].sum()
    figure = go.Figure()
    for k, (kind, group) in enumerate(weekly.groupby("content_type")):
        figure.add_bar(x=group["week"], y=group["budget"], name=str(kind), marker_color=PALETTE[k % len(PALETTE)])
    return _styled(figure, "Money by week of posting", barmode="stack")


def channels(ws: Workspace) -> Section | None:
    """Where the channels' money should go."""
    table = ws.warehouse.table("allocations")
    if table.empty:
        return None
    import plotly.graph_objects as go

    currency, scheduled = ws.settings.currency, table["week"].notna()
    schedule, table = table[scheduled], table[~scheduled]
    gain = table.iloc[0]
    moved = table.assign(change=table["recommended"] - table["current"]).sort_values("change")
    up, down = moved[moved["change"] > 1]["channel"].tolist(), moved[moved["change"] < -1]["channel"].tolist()
    if not up and not down:
        sentence = "The money stays where it is: no shift within the same total is sure enough to earn more."
    else:
        sentence = (
            f"Same money, moved from {listing(down)} to {listing(up)}: {short(gain['gain'], currency)} more a week expected "
            f"(90 %: {between(gain['low'], gain['high'], currency)}), if the mix model is right."
        )
    figure = go.Figure()
    figure.add_bar(y=moved["channel"], x=moved["current"], name="today", orientation="h", marker_color=QUIET)
    figure.add_bar(y=moved["channel"], x=moved["recommended"], name="recommended", orientation="h", marker_color=PALETTE[0])
    figures = [_styled(figure, "Spend a week", barmode="group")]
    for scenario, group in schedule.groupby("scenario", sort=False):
        brings = group.iloc[0]
        if (group["recommended"] - group["current"]).abs().max() < 1:
            sentence += f" {scenario}: as today, no other schedule is sure enough to earn more."
        else:
            sentence += f" {scenario}: {short(brings['gain'], currency)} beyond today's plan (90 %: {between(brings['low'], brings['high'], currency)})."
        weekly = go.Figure()
        for k, (name, mine) in enumerate(group.groupby("channel")):
            weekly.add_bar(x=mine["week"], y=mine["recommended"], name=str(name), marker_color=PALETTE[k % len(PALETTE)])
        usual = group.groupby("week")["current"].sum()
        weekly.add_scatter(x=usual.index, y=usual, name="today, all channels", mode="lines", line={"dash": "dot", "color": QUIET})
        figures.append(_styled(weekly, f"Money by week, {scenario}", barmode="stack"))
    return Section("channels", "Channel budgets", sentence, tuple(figures))


def mix(ws: Workspace) -> Section | None:
    """What each channel brings and would bring, how surely, and what to doubt."""
    if ws.warehouse.table("mix_roi").empty:
        return None
    return Section("mix", "Marketing mix", of_mix.sentence(ws), of_mix.figures(ws), of_mix.tables(ws), of_mix.cards(ws))


def lift(ws: Workspace) -> Section | None:
    """Campaigns judged by regions that did not see them."""
    results, weeks = ws.warehouse.table("lift_results"), ws.warehouse.table("lift")
    if results.empty:
        return None
    main = results[results["method"].str.startswith(MAIN)]
    regional = main["method"].str.startswith(MAIN[0])  # judged by other regions: these can be relied on, so they come first
    main = pd.concat([main[regional], main[~regional]])
    said = {
        row["test_id"]: lift_sentence(joint_result(ws, {**row, "campaign": row["test_id"]}), ws.settings.currency)
        for row in main.to_dict("records")
    }
    sentence = " ".join(said[name] for name in main.loc[regional, "test_id"]) or next(
        iter(said.values()), "No campaign could be judged."
    )
    judged = ["other regions" if by else "its own past" for by in regional.reindex(main.index)]
    words = pd.DataFrame({"campaign": list(said), "judged against": judged, "reading": list(said.values())})
    shown = {str(name): group for name, group in weeks.groupby("test_id")}
    figures = tuple(_against(shown[name], name) for name in said if name in shown)
    table = results[["test_id", "method", "effect", "low", "high", "p_value"]].round({"p_value": 4})
    return Section("lift", "What campaigns caused", sentence, figures, (("In words", words), ("All estimates", table)))


def _against(weeks: pd.DataFrame, name: str) -> go.Figure:
    import plotly.graph_objects as go

    total = weeks.groupby("week")[["actual", "counterfactual", "low", "high"]].sum(min_count=1).reset_index()
    figure, told = go.Figure(), total.dropna(subset=["low", "high"])
    figure.add_scatter(
        x=[*told["week"], *told["week"][::-1]], y=[*(told["actual"] - told["low"]), *(told["actual"] - told["high"])[::-1]], fill="toself",
        mode="none", fillcolor="rgba(154, 165, 177, 0.25)", name="90 %", hoverinfo="skip",
    )  # fmt: skip
    figure.add_scatter(
        x=total["week"], y=total["counterfactual"], name="without the campaign", line={"color": QUIET, "dash": "dash"}
    )
    figure.add_scatter(x=total["week"], y=total["actual"], name="actual", line_color=PALETTE[0])
    return _styled(figure, f"{name}: actual against what would have been sold")


def attribution(ws: Workspace) -> Section | None:
    """What touches earned, beside what each rule says, because they disagree."""
    table = ws.warehouse.table("channel_credits")
    if table.empty:
        return None
    figures, tables = of_attribution.attribution_figures(ws), ()
    if not ws.warehouse.table("channel_effects").empty:
        tables = (("Conversions credited", of_attribution.attribution_table(table)),)
        strip = of_attribution.attribution_strip(ws)
        figures = (*figures, strip) if strip is not None else figures
    return Section("attribution", "Attribution", " ".join(of_attribution.attribution_words(ws)), figures, tables)


def health(ws: Workspace) -> Section | None:
    """What came in, what did not, and what it would spoil."""
    loads, findings = ws.warehouse.table("loads"), ws.warehouse.table("health")
    if loads.empty:
        return None
    rejected = ws.warehouse.table("quarantine", ["table", "column", "reason"])
    reasons = rejected.groupby(["table", "column", "reason"], dropna=False).size().reset_index(name="rows")
    bad, total = int(loads["quarantined"].sum()), int(loads["rows_in"].sum())
    sentence = f"{total:,} rows were read: {total - bad:,} kept, {bad:,} in quarantine with their reason; none were lost."
    tables = [("Files", loads[["table", "source", "rows_in", "kept", "quarantined"]])]
    tables += [("Quarantine, by reason", reasons)] if bad else []
    tables += [("Findings", findings[["severity", "table", "subject", "detail", "spoils"]])] if len(findings) else []
    return Section("health", "Data health", sentence, (), tuple(tables))


def lineage(ws: Workspace) -> Section | None:
    """What ran, on what, and how long it took."""
    runs = ws.warehouse.table("runs")
    if runs.empty:
        return None
    last = runs.sort_values("at").groupby("step", sort=False).tail(1)
    table = last.assign(seconds=last["seconds"].round(1), at=last["at"].dt.strftime("%Y-%m-%d %H:%M"))
    return Section("lineage", "How this was made", "Each number comes from the steps below; the same inputs give the same bytes.", (),
                   (("Steps", table[["step", "at", "seconds", "code", "run_id"]]),))  # fmt: skip


def _styled(figure: go.Figure, title: str, **layout: Any) -> go.Figure:
    figure.update_layout(
        title={"text": title, "x": 0, "font": {"size": 15}}, template="plotly_white", height=380, hovermode="closest",
        margin={"l": 10, "r": 10, "t": 48, "b": 10}, legend={"orientation": "h", "y": -0.18}, font={"family": "system-ui, sans-serif"},
        **layout,
    )  # fmt: skip
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(automargin=True)
    return figure
