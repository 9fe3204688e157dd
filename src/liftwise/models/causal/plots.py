"""The figure of a lift: actual and counterfactual above, the gap among its placebos below."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

if TYPE_CHECKING:
    from liftwise.models.causal.lift import Lift

INK, BLUE, BAND, FAINT = "#1f2933", "#2f6f9f", "rgba(47, 111, 159, 0.18)", "rgba(130, 140, 150, 0.25)"
FAN = 60  # placebos drawn, evenly chosen when there are more


def lift_figure(lift: Lift, level: float) -> go.Figure:
    """Two rows that share their time axis; the band is the placebo interval of each period."""
    when = lift.actual.index
    figure = make_subplots(rows=2, shared_xaxes=True, vertical_spacing=0.06, subplot_titles=("What was, and what would have been",
                           "The difference, among places where nothing happened"))  # fmt: skip
    low, high = lift.band(level)
    told = ~np.isnan(low) & ~np.isnan(high)
    would = lift.counterfactual.to_numpy()
    _band(
        figure, when[told], (would + low - lift.gap.to_numpy())[told], (would + high - lift.gap.to_numpy())[told], f"{level:.0%}"
    )
    figure.add_scatter(x=when, y=lift.actual, name="actual", line={"color": INK, "width": 2}, row=1, col=1)
    figure.add_scatter(x=when, y=would, name="without the campaign", line={"color": BLUE, "dash": "dash"}, row=1, col=1)
    x, y = _fan(lift)
    figure.add_scatter(x=x, y=y, name="placebos", mode="lines", line={"color": FAINT, "width": 1}, hoverinfo="skip", row=2, col=1)
    figure.add_scatter(x=when, y=lift.gap, name="difference", line={"color": INK, "width": 2}, row=2, col=1)
    figure.add_vline(x=lift.start, line={"color": INK, "dash": "dot", "width": 1})
    figure.add_hline(y=0, line={"color": INK, "width": 1}, row=2, col=1)  # pyright: ignore[reportArgumentType]
    figure.update_yaxes(title_text=lift.outcome)
    figure.update_layout(template="plotly_white", hovermode="x unified", title=" + ".join(lift.treated), height=620)
    return figure


def _band(figure: go.Figure, when: Any, low: np.ndarray, high: np.ndarray, name: str) -> None:
    """The range in which the counterfactual lies."""
    figure.add_scatter(
        x=np.concatenate([when, when[::-1]]), y=np.concatenate([high, low[::-1]]), name=name, fill="toself", fillcolor=BAND,
        line={"width": 0}, hoverinfo="skip", row=1, col=1,
    )  # fmt: skip


def _fan(lift: Lift) -> tuple[list[Any], list[float | None]]:
    """Placebo gaps at the treated units' scale, as one broken line."""
    of = lift.placebos
    if of is None:
        return [], []
    chosen = np.unique(np.linspace(0, len(of.placebo) - 1, min(FAN, len(of.placebo))).astype(int))
    x: list[Any] = []
    y: list[float | None] = []
    for row in chosen:
        x += [*lift.actual.index, None]
        y += [*(of.size * of.scale * of.placebo[row] / of.scales[row]), None]
    return x, y
