"""Pictures of a mix, made from its tables, so that a report needs no model: contributions, returns, curves, carry-over, what if, hold-out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from liftwise.core.colours import LIGHT, PALETTE, QUIET
from liftwise.models.mix.learned import FEW

if TYPE_CHECKING:
    import plotly.graph_objects as go

TWO_SIDED = 1.645  # standard deviations of a 90 % interval
MEDIA = ("immediate", "carried", "synergy")


def colours(channels: Iterable[str]) -> dict[str, str]:
    """One colour a channel, the same in every picture."""
    return {name: PALETTE[k % len(PALETTE)] for k, name in enumerate(sorted(set(channels)))}


def over_time(contributions: pd.DataFrame) -> go.Figure:
    """Baseline, outside effects and channels, stacked, week by week (table `contributions`)."""
    group = contributions["channel"].where(contributions["part"].isin(MEDIA), "baseline and outside")
    wide = contributions.assign(group=group).pivot_table(
        index="week", columns="group", values="contribution", aggfunc="sum", fill_value=0.0
    )
    media = wide.drop(columns="baseline and outside").sum().sort_values(ascending=False).index
    figure, colour = _figure("Revenue by week: without media, and what each channel adds"), colours(media)
    for name in ["baseline and outside", *media]:
        figure.add_scatter(x=wide.index, y=wide[name], name=name, stackgroup="all", mode="lines", line={"width": 0},
                           fillcolor=colour.get(name, LIGHT), hovertemplate="%{y:,.0f}")  # fmt: skip
    return figure.update_layout(hovermode="x unified")


def returns(mix_roi: pd.DataFrame) -> go.Figure:
    """Revenue back for each 1 spent, with its interval, and for the next 1 (table `mix_roi`)."""
    told = mix_roi.sort_values("roi")
    figure = _figure("Revenue for each 1 spent: so far (90 % interval), and the next 1")
    figure.add_vline(x=1.0, line={"width": 1, "dash": "dot", "color": QUIET})
    _whiskers(figure, told["channel"], told["roi"], told["low"], told["high"], "so far")
    figure.add_scatter(x=told["marginal_roi"], y=told["channel"], mode="markers", name="the next 1, at today's spend",
                       marker={"symbol": "diamond", "size": 10, "color": PALETTE[1]})  # fmt: skip
    return figure.update_xaxes(rangemode="tozero")


def bars(names: pd.Series, values: pd.Series, low: pd.Series, high: pd.Series, title: str) -> go.Figure:
    """Values with intervals, one line a name."""
    return _whiskers(_figure(title), names, values, low, high, "").update_yaxes(autorange="reversed")


def curves(responses: pd.DataFrame, today: pd.DataFrame) -> go.Figure:
    """A panel a channel: weekly revenue by weekly spend with a 90 % band, and today's point (tables `responses`, `mix_roi`)."""
    bands = responses.groupby(["channel", "spend"])["revenue"].quantile([0.05, 0.5, 0.95]).unstack()
    recent = today.set_index("channel")["recent"]
    figure, panels = _panels(
        sorted(responses["channel"].unique()), "Weekly revenue by weekly spend; the dot is today, the band 90 %"
    )
    for name, colour, place in panels:
        band = bands.loc[name]
        _band(figure, band.index, band[0.05], band[0.95], colour, **place)
        figure.add_scatter(x=band.index, y=band[0.5], mode="lines", line={"color": colour}, name=name,
                           hovertemplate="%{x:,.0f} → %{y:,.0f}", **place)  # fmt: skip
        if name in recent.index:
            at = float(recent[name])
            _dot(figure, at, float(np.interp(at, band.index, band[0.5])), "today: %{x:,.0f} → %{y:,.0f}", **place)
    return figure


def carry(carryover: pd.DataFrame) -> go.Figure:
    """Share of an effect that has arrived by each later week (table `carryover`)."""
    mean = carryover.groupby(["channel", "lag"])["weight"].mean().unstack(level="channel").cumsum()
    figure, colour = _figure("Share of an effect that has arrived, by weeks after the spend"), colours(mean.columns)
    for name in mean.columns:
        figure.add_scatter(
            x=mean.index, y=mean[name], name=name, mode="lines", line={"color": colour[name]}, hovertemplate="%{y:.0%}"
        )
    return figure.update_yaxes(tickformat=".0%", range=[0, 1.02]).update_layout(hovermode="x unified")


def dependence(partial: pd.DataFrame) -> go.Figure:
    """A panel a channel: change of revenue had it got a multiple of its spend; dotted where many weeks lie beyond all seen (table
    `partial_dependence`).
    """
    title = "Change of revenue had a channel got a multiple of its spend (90 % bands; dotted: beyond what was seen)"
    figure, panels = _panels(sorted(partial["channel"].unique()), title)
    for name, colour, place in panels:
        mine = partial[partial["channel"] == name].sort_values("factor")
        _band(figure, mine["factor"], mine["low"], mine["high"], colour, **place)
        seen = mine["beyond"] <= FEW
        for part, dash in (
            (mine[seen], "solid"),
            (mine[~seen | ~seen.shift(-1, fill_value=True)], "dot"),
        ):  # the two meet in a point
            figure.add_scatter(x=part["factor"], y=part["change"], mode="lines", name=name, line={"color": colour, "dash": dash},
                               hovertemplate="%{x:g} times: %{y:,.0f}", **place)  # fmt: skip
        _dot(figure, 1.0, 0.0, "as it was", **place)
    return figure.update_xaxes(ticksuffix="×")


def foretold(forecasts: pd.DataFrame) -> go.Figure:
    """What was sold and what had been foretold (table `mix_forecasts`)."""
    figure, told = _figure("Weeks the model had not seen: sold, and foretold"), forecasts.sort_values("week")
    late = told[told["part"] == "holdout"]
    _band(figure, late["week"], late["low"], late["high"], PALETTE[0], name="90 %")
    figure.add_scatter(x=told["week"], y=told["actual"], name="sold", line={"color": "#1d2733", "width": 1.5})
    for part, name, dash in (("origin", "foretold, earlier origins", "dot"), ("holdout", "foretold, weeks kept aside", "solid")):
        mine = told[told["part"] == part]
        figure.add_scatter(x=mine["week"], y=mine["predicted"], name=name, line={"color": PALETTE[0], "dash": dash})
    return figure.update_layout(hovermode="x unified")


def tested(mix_tests: pd.DataFrame) -> go.Figure:
    """Each lift test with 90 % intervals: what it measured, what the mix that heard it expects, what the weeks alone would have (table `mix_tests`)."""
    told = mix_tests.sort_values("effect")
    figure = _figure("Lift tests: measured, expected by the mix that heard them, and by the weeks alone")
    for name, value, sd, colour in (("measured", "effect", "standard_error", "#1d2733"), ("the mix", "expected", "expected_sd", PALETTE[0]),
                                    ("the weeks alone", "without", "without_sd", QUIET)):  # fmt: skip
        figure.add_scatter(x=told[value], y=told["test_id"], mode="markers", name=name, marker={"size": 10, "color": colour}, orientation="h",
                           hovertemplate="%{y}: %{x:,.0f}", error_x={"array": TWO_SIDED * told[sd], "thickness": 2, "width": 4})  # fmt: skip
    return figure.update_layout(scattermode="group", scattergap=0.4, height=120 + 60 * len(told)).update_xaxes(zeroline=True)


def changed(changes: pd.DataFrame) -> go.Figure:
    """The parts of each channel's change of return (table `mix_changes`)."""
    from liftwise.models.mix.changes import WORDS

    figure = _figure("Change of revenue for each 1 spent since the last fit")
    for k, part in enumerate(part for part in WORDS if (changes["part"] == part).any()):
        mine = changes[changes["part"] == part]
        figure.add_bar(
            y=mine["channel"], x=mine["amount"], name=WORDS[part], orientation="h", marker_color=PALETTE[k % len(PALETTE)]
        )
    return figure.update_layout(barmode="relative")


def _panels(names: Sequence[str], title: str) -> tuple[go.Figure, list[tuple[str, str, dict[str, int]]]]:
    """A figure with a panel for each name, four in a row; name, colour and place of each."""
    from plotly.subplots import make_subplots

    rows, height = -(-len(names) // 4), 200
    tall = rows * height + (rows - 1) * 60 + 90
    figure = make_subplots(
        rows=rows,
        cols=min(4, len(names)),
        subplot_titles=list(names),
        vertical_spacing=60 / (tall - 90) if rows > 1 else 0.0,
        horizontal_spacing=0.06,
    )
    figure.update_annotations(font={"size": 12})
    figure = _dressed(figure, title, showlegend=False, height=tall, margin={"l": 10, "r": 10, "t": 80, "b": 10})
    colour = colours(names)
    return figure, [(name, colour[name], {"row": k // 4 + 1, "col": k % 4 + 1}) for k, name in enumerate(names)]


def _dot(figure: go.Figure, x: float, y: float, says: str, **place: Any) -> None:
    """A point one looks for."""
    figure.add_scatter(
        x=[x], y=[y], mode="markers", name="today", marker={"size": 9, "color": "#1d2733"}, hovertemplate=says, **place
    )


def _whiskers(figure: go.Figure, names: Any, values: pd.Series, low: pd.Series, high: pd.Series, name: str) -> go.Figure:
    return figure.add_scatter(
        x=values, y=names, mode="markers", name=name, marker={"size": 11, "color": PALETTE[0]}, hovertemplate="%{y}: %{x:,.2f}",
        error_x={"type": "data", "array": high - values, "arrayminus": values - low, "thickness": 2, "width": 5},
    )  # fmt: skip


def _band(
    figure: go.Figure, x: Sequence[Any] | pd.Index | pd.Series, low: pd.Series, high: pd.Series, colour: str, **place: Any
) -> None:
    """An interval as a light area."""
    at = list(x)
    red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    place = {"showlegend": "name" in place, **place}
    figure.add_scatter(x=[*at, *at[::-1]], y=[*low, *list(high)[::-1]], fill="toself", fillcolor=f"rgba({red},{green},{blue},0.14)",
                       line={"width": 0}, mode="lines", hoverinfo="skip", **place)  # fmt: skip


def _figure(title: str) -> go.Figure:
    import plotly.graph_objects as go

    return _dressed(go.Figure(), title)


def _dressed(figure: go.Figure, title: str, **layout: Any) -> go.Figure:
    """In the report's style."""
    told = {"height": 380, "hovermode": "closest", "legend": {"orientation": "h", "y": -0.18}, "margin": {"l": 10, "r": 10, "t": 56, "b": 10},
            **layout}  # fmt: skip
    figure.update_layout(title={"text": title, "x": 0, "font": {"size": 15}}, template="plotly_white",
                         font={"family": "system-ui, sans-serif"}, **told)  # fmt: skip
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(automargin=True)
    return figure
