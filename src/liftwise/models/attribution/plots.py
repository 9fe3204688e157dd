"""Pictures of credit, made from frames: one journey, what fades, who earned what, what every rule says, what moves a stage."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from liftwise.core.colours import LIGHT, PALETTE, QUIET

if TYPE_CHECKING:
    import plotly.graph_objects as go

INK = "#1d2733"
MOST = 20  # names in a picture
PAIRS = 24  # pairs in a picture
FEWER = 8  # names in a panel of several
UNCALIBRATED = "uncalibrated: no experiment holds these numbers"
PARTLY = "partly calibrated: some of these numbers are held by no experiment"
DAYS = (0.25, 0.5, 1, 2, 3, 7, 14, 30, 60, 90, 180, 365)
SIGNS = ("circle-open", "square-open", "diamond-open", "triangle-up-open", "triangle-down-open", "x-thin", "cross-thin", "star-open",
         "hexagon-open", "asterisk")  # fmt: skip


def colours(names: Iterable[str]) -> dict[str, str]:
    """One colour a name, the same in every picture."""
    return {name: PALETTE[k % len(PALETTE)] for k, name in enumerate(sorted({str(x) for x in names}))}


def journey_strip(frame: pd.DataFrame) -> go.Figure:
    """One journey: its touches by time, the area of each its credit, and what was organic at the end.

    Parameters
    ----------
    frame : hours_before_end, channel, credit, low, high; credits sum to 1 with the row of channel ``organic`` (its hours count as
        0; without the row it is what is left to 1).
    """
    organic = frame["channel"] == "organic"
    touches = frame[~organic].sort_values("hours_before_end", ascending=False)
    rest = (
        frame[organic].iloc[0]
        if organic.any()
        else pd.Series({"credit": 1 - touches["credit"].sum(), "low": np.nan, "high": np.nan})
    )
    days, unit = touches["hours_before_end"] / 24, "days"
    if days.max() < 2:
        days, unit = touches["hours_before_end"], "hours"
    lanes = list(dict.fromkeys(touches["channel"].astype(str)))
    colour, span = colours(lanes), max(float(days.max()) if len(days) else 0.0, 1e-9)
    figure = _figure(f"One journey: credit of each touch, by {unit} before its end", height=46 * len(lanes) + 236)
    for name in lanes:
        mine = touches["channel"].astype(str) == name
        close = days[mine].diff().abs() < 0.035 * span
        below = close & (close.groupby((~close).cumsum()).cumcount() % 2 == 1)  # figures of neighbours do not cover each other
        figure.add_scatter(x=[-span * 1.06, 0], y=[name, name], mode="lines", line={"width": 1, "color": LIGHT}, hoverinfo="skip")
        figure.add_scatter(
            x=-days[mine], y=[name] * int(mine.sum()), name=name, **_bubble(touches.loc[mine, "credit"], colour[name]),
            textposition=np.where(below, "bottom center", "top center"),
            customdata=[_said(*row) for row in touches.loc[mine, ["credit", "low", "high"]].itertuples(index=False)],
            hovertemplate=f"{name}, %{{x:.1f}} {unit}: %{{customdata}}<extra></extra>",
        )  # fmt: skip
    figure.add_scatter(x=[-span * 1.06, 0], y=["organic"] * 2, mode="lines", line={"width": 1, "color": LIGHT}, hoverinfo="skip")
    figure.add_vline(x=0, line={"width": 1.5, "color": INK}, layer="below")
    figure.add_scatter(
        x=[0], y=["organic"], name="organic", textposition="middle left", **_bubble([rest["credit"]], QUIET),
        hovertemplate=f"organic: {_said(rest['credit'], rest['low'], rest['high'])}<extra></extra>",
    )  # fmt: skip
    ticks = [t for t in _round_steps(span) if t <= span * 1.02]
    figure.update_xaxes(range=[-span * 1.06, span * 0.06], tickvals=[-t for t in ticks], ticktext=[f"{t:g}" if t else "end" for t in ticks],
                        title={"text": f"{unit} before the end", "font": {"size": 12}}, zeroline=False)  # fmt: skip
    _names(figure, [*lanes, "organic"])
    figure.update_yaxes(showgrid=False, range=[-0.5, len(lanes) + 0.7])
    return _note(figure.update_layout(showlegend=False, margin={"l": 10, "r": 10, "t": 70, "b": 46}), frame)


def decay_curves(frame: pd.DataFrame) -> go.Figure:
    """What is left of a touch's effect by the time since it (channel, hours, fresh, low, high); days on a logarithmic axis."""
    told = frame[frame["hours"] > 0].sort_values(["channel", "hours"])
    figure, colour = (
        _figure("What is left of a touch's effect, by days since it (bands: 90 %)", height=430),
        colours(told["channel"]),
    )
    figure.add_hline(y=0.5, line={"width": 1, "dash": "dot", "color": QUIET})
    for name, mine in told.groupby("channel", sort=True):
        days, shade = mine["hours"] / 24, colour[str(name)]
        figure.add_scatter(x=[*days, *days[::-1]], y=[*mine["low"], *mine["high"][::-1]], fill="toself", fillcolor=_pale(shade),
                           line={"width": 0}, mode="lines", hoverinfo="skip", showlegend=False, legendgroup=str(name))  # fmt: skip
        figure.add_scatter(x=days, y=mine["fresh"], mode="lines", name=str(name), line={"color": shade, "width": 2}, legendgroup=str(name),
                           hovertemplate="after %{x:.2g} days: %{y:.0%}")  # fmt: skip
    first, last = float(told["hours"].min()) / 24, float(told["hours"].max()) / 24
    ticks = [t for t in DAYS if first * 0.99 <= t <= last * 1.01]
    figure.update_xaxes(type="log", range=[np.log10(first), np.log10(last)], tickvals=ticks, ticktext=[_time(t) for t in ticks])
    figure.update_yaxes(tickformat=".0%", rangemode="tozero")
    return _note(figure, frame)


def credit_by(frame: pd.DataFrame) -> go.Figure:
    """Credit by name with its interval, beside the last-touch figure (name, credit, low, high, last_touch); the 20 largest."""
    told = frame.sort_values("credit", ascending=False).head(MOST)
    left = len(frame) - len(told)
    figure = _figure("Credit with its 90 % interval, beside what the last touch would get", height=max(260, 26 * len(told) + 140))
    names = told["name"].astype(str)
    figure.add_bar(x=told["credit"], y=names, orientation="h", name="credit", marker={"color": PALETTE[0], "opacity": 0.8},
                   error_x=_whisker(told["credit"], told["low"], told["high"]), hovertemplate="%{y}: %{x:,.1f}")  # fmt: skip
    figure.add_scatter(x=told["last_touch"], y=names, mode="markers", name="last touch", hovertemplate="%{y}, last touch: %{x:,.1f}",
                       marker={"symbol": "diamond", "size": 9, "color": PALETTE[1], "line": {"width": 1, "color": "white"}})  # fmt: skip
    _names(figure, names)
    figure.update_xaxes(rangemode="tozero", zeroline=True, zerolinecolor=QUIET)
    figure.update_layout(bargap=0.35)
    return _note(figure, frame, f"and {left} more with less" if left else "")


def channels(frame: pd.DataFrame) -> go.Figure:
    """Each channel's share by our credit with its interval, and by every rule as a quiet sign (channel, method, share, low, high).

    Ours is the method that has an interval; where several do, the first one.
    """
    ours = frame.loc[frame["low"].notna(), "method"]
    own = str(ours.iloc[0]) if len(ours) else str(frame["method"].iloc[0])
    mine = frame[frame["method"] == own].sort_values("share", ascending=False)
    order = [
        *mine["channel"].astype(str),
        *(c for c in dict.fromkeys(frame["channel"].astype(str)) if c not in set(mine["channel"].astype(str))),
    ]
    figure = _figure(
        f"Share of conversions: {own} with its 90 % interval, and what rules say", height=max(300, 34 * len(order) + 170)
    )
    for k, (method, rule) in enumerate(frame[frame["method"] != own].groupby("method", sort=True)):
        figure.add_scatter(
            x=rule["share"], y=rule["channel"].astype(str), mode="markers", name=str(method),
            marker={"symbol": SIGNS[k % len(SIGNS)], "size": 8, "color": QUIET, "line": {"width": 1.4, "color": QUIET}},
            hovertemplate=f"{method}: %{{x:.1%}}<extra>%{{y}}</extra>",
        )  # fmt: skip
    figure.add_scatter(
        x=mine["share"], y=mine["channel"].astype(str), mode="markers", name=own, marker={"size": 11, "color": PALETTE[0]},
        error_x=_whisker(mine["share"], mine["low"], mine["high"], PALETTE[0]), hovertemplate="%{y}: %{x:.1%}<extra></extra>",
    )  # fmt: skip
    _names(figure, order)
    figure.update_xaxes(tickformat=".0%", rangemode="tozero")
    return _note(figure, frame[frame["method"] == own])


def influence(frame: pd.DataFrame) -> go.Figure:
    """Change of each stage's probability at a touch, a row of panels a label, a column a stage (the frame of `Influence`).

    Of each label the values with most touches. Grey: the stage cannot be told from the states.
    """
    from plotly.subplots import make_subplots

    stages, labels = list(dict.fromkeys(frame["stage"])), list(dict.fromkeys(frame["by"]))
    shown = {
        by: list(mine.groupby("name")["touches"].max().sort_values(ascending=False).index[:FEWER])
        for by, mine in frame.groupby("by", sort=False)
    }
    told = frame.groupby("stage")["tells"].all()
    heads = [stage.replace(" ", "<br>") + ("" if told[stage] else "<br>(cannot tell)") for stage in stages]
    top = 80 + 16 * max(1, *(head.count("<br>") for head in heads))
    lengths = [len(shown[by]) + 1 for by in labels]
    tall = 26 * sum(lengths) + 34 + top + 30 * len(labels)
    figure = make_subplots(
        rows=len(labels), cols=len(stages), shared_yaxes=True, shared_xaxes="columns", column_titles=heads, row_heights=lengths,
        horizontal_spacing=0.03, vertical_spacing=min(0.05, 0.9 / len(labels)),
    )  # fmt: skip
    figure.update_annotations(font={"size": 12})
    _dressed(figure, "How far a touch moves the reading of each stage, in points of probability (90 %)", showlegend=False, height=tall,
             margin={"l": 10, "r": 10, "t": top, "b": 30})  # fmt: skip
    for r, by in enumerate(labels, 1):
        order = frame[(frame["by"] == by) & frame["name"].isin(shown[by])].groupby("name")["change"].mean().sort_values().index
        for c, stage in enumerate(stages, 1):
            mine = frame[(frame["by"] == by) & (frame["stage"] == stage) & frame["name"].isin(shown[by])]
            shade = PALETTE[(r - 1) % len(PALETTE)] if mine["tells"].all() else QUIET
            change, low, high = (100 * mine[x] for x in ("change", "low", "high"))
            figure.add_scatter(
                x=change, y=mine["name"].astype(str), mode="markers", marker={"size": 8, "color": shade},
                error_x=_whisker(change, low, high, shade), hovertemplate="%{y}: %{x:+.1f} points<extra></extra>", row=r, col=c,
            )  # fmt: skip
            _names(figure, order[::-1], row=r, col=c)
        figure.update_yaxes(title={"text": by, "font": {"size": 12}}, row=r, col=1)
    return figure.update_xaxes(zeroline=True, zerolinecolor=QUIET)


def pair_map(cells: pd.DataFrame) -> go.Figure:
    """Pairs by gap (the frame of `PairEffects`): colour is the effect, a frame and a number mark what was found."""
    shown = cells.assign(pair=cells["first"] + " → " + cells["second"])
    rank = shown.groupby("pair", sort=True).agg(found=("found", "any"), p_value=("p_value", "min"))
    rows = list(rank.sort_values(["found", "p_value"], ascending=[False, True]).index[:PAIRS])[::-1]
    shown = shown[shown["pair"].isin(rows)]
    spans = sorted(set(zip(shown["gap_from"], shown["gap_to"], strict=True)))
    names = [_gap(start, end) for start, end in spans]
    marked = shown[shown["found"]]
    most = float((marked if len(marked) else shown)["effect"].abs().max()) if len(shown) else 1.0
    says = [f"{row.effect:+.2f} log-odds a fresh touch ({row.low:+.2f} to {row.high:+.2f})" for row in shown.itertuples()]
    title = "What a touch adds beyond its own, by the gap after another" + ("" if len(marked) else ": nothing found")
    title += f" (the {PAIRS} clearest pairs of {len(rank)})" if len(rank) > PAIRS else ""
    figure = _figure(title, height=150 + 26 * max(len(rows), 4), plot_bgcolor=LIGHT)
    figure.add_heatmap(
        x=[_gap(start, end) for start, end in zip(shown["gap_from"], shown["gap_to"], strict=True)], y=shown["pair"], z=shown["effect"],
        zmin=-most, zmax=most, xgap=3, ygap=3, text=says, hovertemplate="%{y}, %{x}: %{text}<extra></extra>",
        colorscale=[[0.0, PALETTE[1]], [0.5, "#ffffff"], [1.0, PALETTE[0]]],
        colorbar={"title": {"text": "log-odds<br>beyond parts", "font": {"size": 11}}, "thickness": 12, "outlinewidth": 0},
    )  # fmt: skip
    for row in marked.itertuples():
        _mark(figure, names.index(_gap(row.gap_from, row.gap_to)), rows.index(str(row.pair)), row, most)
    figure.update_xaxes(
        showgrid=False, type="category", categoryorder="array", categoryarray=names, range=[-0.5, len(names) - 0.5]
    )
    figure.update_yaxes(showgrid=False, type="category", categoryorder="array", categoryarray=rows)
    if not rows:
        figure.add_annotation(text="no pair was seen often enough", showarrow=False, font={"color": QUIET}, xref="paper",
                              yref="paper", x=0.5, y=0.5)  # fmt: skip
    return figure


def _mark(figure: go.Figure, column: int, row: int, cell: Any, most: float) -> None:
    """A frame around what was found, and how many times it is worth."""
    figure.add_shape(
        type="rect", x0=column - 0.48, x1=column + 0.48, y0=row - 0.46, y1=row + 0.46, line={"width": 2, "color": INK}
    )
    text = f"{max(cell.multiplier, 0.0):.1f}×" if np.isfinite(cell.multiplier) else f"{cell.effect:+.2f}"
    colour = INK if abs(cell.effect) < 0.55 * most else "#ffffff"
    figure.add_annotation(x=column, y=row, text=text, showarrow=False, font={"size": 12, "color": colour})


def _gap(start: float, end: float) -> str:
    if start == 0:
        return f"within {end:g} hours"
    return f"{start:g}–{end:g} hours" if end <= 48 else f"{start / 24:g}–{end / 24:g} days"


def _names(figure: go.Figure, order: Iterable[Any], **place: int) -> None:
    """Names from the top down, never taken for numbers."""
    figure.update_yaxes(
        type="category", categoryorder="array", categoryarray=[str(x) for x in order][::-1], ticklabelstandoff=6, **place
    )


def _bubble(credit: Iterable[float], colour: str) -> dict[str, Any]:
    """Points whose areas are the credits, with the figure beside them."""
    return {
        "mode": "markers+text", "cliponaxis": False, "text": [_percent(c) for c in credit], "textfont": {"size": 11},
        "marker": {"size": _areas(credit), "color": colour, "opacity": 0.85, "line": {"width": 1, "color": "white"}},
    }  # fmt: skip


def _areas(credit: Iterable[float]) -> list[float]:
    """Diameters whose areas are the credits."""
    return [6 + 44 * float(np.sqrt(max(c, 0.0))) if np.isfinite(c) else 6.0 for c in credit]


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 or share <= 0 else "<1%"


def _said(credit: float, low: float, high: float) -> str:
    return f"{credit:.1%}" + (f" ({low:.1%} to {high:.1%})" if np.isfinite(low) and np.isfinite(high) else "")


def _time(days: float) -> str:
    if days < 1:
        return f"{24 * days:g} h"
    return f"{days:g} day" if days == 1 else f"{days:g} days"


def _round_steps(span: float) -> list[float]:
    """About six round values from 0 to `span`."""
    power = 10 ** np.floor(np.log10(span / 5))
    step = next(float(m * power) for m in (1, 2, 5, 10) if span / (m * power) <= 7)
    return [k * step for k in range(int(span / step) + 1)]


def _whisker(values: pd.Series, low: pd.Series, high: pd.Series, colour: str = INK) -> dict[str, Any]:
    return {
        "type": "data", "array": (high - values).fillna(0.0), "arrayminus": (values - low).fillna(0.0), "thickness": 1.6, "width": 4,
        "color": colour,
    }  # fmt: skip


def _pale(colour: str) -> str:
    red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.14)"


def _note(figure: go.Figure, frame: pd.DataFrame, said: str = "") -> go.Figure:
    """What a reader must know, above the picture on the right."""
    held = frame["calibrated"].astype(bool) if "calibrated" in frame.columns else pd.Series([True])
    loose = not held.all()
    text = "; ".join(part for part in ((PARTLY if held.any() else UNCALIBRATED) if loose else "", said) if part)
    if text:
        figure.update_layout(title_subtitle={"text": text, "font": {"size": 12, "color": PALETTE[4] if loose else QUIET}})
    return figure


def _figure(title: str, **layout: Any) -> go.Figure:
    import plotly.graph_objects as go

    return _dressed(go.Figure(), title, **layout)


def _dressed(figure: go.Figure, title: str, **layout: Any) -> go.Figure:
    """In the report's style."""
    told = {"height": 380, "hovermode": "closest", "margin": {"l": 10, "r": 10, "t": 70, "b": 10}, **layout}
    told.setdefault("legend", {"orientation": "h", "yanchor": "top", "y": -36 / (told["height"] - 130)})  # just below the axis
    figure.update_layout(title={"text": title, "x": 0, "font": {"size": 15}}, template="plotly_white",
                         font={"family": "system-ui, sans-serif"}, **told)  # fmt: skip
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(automargin=True)
    return figure
