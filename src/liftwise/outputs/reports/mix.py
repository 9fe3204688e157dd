"""The marketing mix in words, tables and pictures: what each channel brings, how surely, what changed, what to doubt and do next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from liftwise.outputs.reports.words import listing, short
from liftwise.store.workspace import Workspace

if TYPE_CHECKING:
    import plotly.graph_objects as go

BRIEF = ["channel", "spent", "brought", "for each 1", "90 %", "the next 1", "half-life"]  # what a terminal shows of `mix_table`
WIDE = 1.0  # an interval as wide as its value: too little is known to move money by it


def mix_table(mix_roi: pd.DataFrame, currency: str = "") -> pd.DataFrame:
    """Table `mix_roi` for a reader: a row a channel, the largest first; half-life in periods."""
    told = mix_roi.sort_values("revenue", ascending=False)
    return pd.DataFrame({
        "channel": told["channel"], "spent": [short(x, currency) for x in told["spend"]],
        "brought": [short(x, currency) for x in told["revenue"]], "for each 1": [f"{x:.2f}" for x in told["roi"]],
        "90 %": [f"{low:.2f} to {high:.2f}" for low, high in zip(told["low"], told["high"], strict=True)],
        "the next 1": [f"{x:.2f}" for x in told["marginal_roi"]], "spent a week": [short(x, currency) for x in told["recent"]],
        "half saturated at": [short(x, currency) for x in told["half_saturation"]],
        "half-life": [f"{x:.1f}" for x in told["half_life"]],
    })  # fmt: skip


def mix_words(metrics: Mapping[str, Any], mix_roi: pd.DataFrame) -> list[str]:
    """The result of step `mix` in lines: the choice, what changed, doubts, and what to do next."""
    lines = [_chosen(metrics)]
    for head, what in (("Changed", "changed"), ("Mind", "data"), ("Not fitted", "not fitted")):
        told = [
            f"{name.partition(', ')[2]}: {line}" if what == "not fitted" else str(line)
            for name, line in metrics.items()
            if name.startswith(what)
        ]
        lines += [f"{head}: {line}." if not line.endswith(".") else f"{head}: {line}" for line in told]
    return [*lines, f"Next: {_next(mix_roi)}"]


def _chosen(metrics: Mapping[str, Any]) -> str:
    said = str(metrics["why"])
    if not said.startswith(f"{metrics['model']} "):
        said += f" Shown is {metrics['model']}, as asked."
    return f"{said} On the last weeks, which took no part in the choice, {metrics['model']} was {metrics['rmse_pct']:.1f} % off."


def _next(mix_roi: pd.DataFrame) -> str:
    """What to do with it."""
    told = mix_roi.sort_values("marginal_roi", ascending=False)
    best, worst = told.iloc[0], told.iloc[-1]
    unsure = told[(told["high"] - told["low"]) > WIDE * told["roi"].clip(lower=1e-9)].sort_values("spend", ascending=False)
    said = f"the next 1 brings most in {best['channel']} ({best['marginal_roi']:.2f})"
    said += f" and least in {worst['channel']} ({worst['marginal_roi']:.2f})" if len(told) > 1 else ""
    said += f"; liftwise what-if {best['channel']}=1.2 tries a change, liftwise plan splits the money."
    if len(unsure):
        said += f" Least is known of {listing(unsure['channel'].head(2).tolist())}: liftwise design-test plans a test by region."
    return said


def sentence(ws: Workspace) -> str:
    """What the mix says, for a manager."""
    told, currency = ws.warehouse.table("mix_roi").sort_values("revenue", ascending=False), ws.settings.currency
    fits = ws.warehouse.table("fits").query("chosen").set_index("metric")["value"]
    error = f" On weeks it had not seen, its error was {fits['rmse_pct']:.1f} % of a mean week." if "rmse_pct" in fits else ""
    first, best = told.iloc[0], told.sort_values("marginal_roi").iloc[-1]
    return (
        f"{first['channel']} adds the most: {short(first['revenue'], currency)} over all weeks, {first['roi']:.2f} for each 1 spent "
        f"(90 %: {first['low']:.2f} to {first['high']:.2f}). The next 1 brings most in {best['channel']}: {best['marginal_roi']:.2f}.{error}"
    )


def cards(ws: Workspace) -> tuple[tuple[str, str, str], ...]:
    """The figures one looks for first."""
    told, parts, currency = ws.warehouse.table("mix_roi"), ws.warehouse.table("contributions"), ws.settings.currency
    media = parts[parts["part"].isin(["immediate", "carried", "synergy"])]["contribution"].sum()
    carried = parts[parts["part"] == "carried"]["contribution"].sum()
    out = [("Caused by media", short(media, currency), f"{media / parts['contribution'].sum():.0%} of revenue over all weeks"),
           ("For each 1 spent", f"{media / told['spend'].sum():.2f}", f"on {short(told['spend'].sum(), currency)} of media"),
           ("Arrives later", f"{carried / media:.0%}" if media > 0 else "–", "of the effect falls after the week of the spend")]  # fmt: skip
    best = told.sort_values("marginal_roi").iloc[-1]
    return (*out, ("Best next 1", f"{best['marginal_roi']:.2f}", f"in {best['channel']}, at today's spend"))


def figures(ws: Workspace) -> tuple[go.Figure, ...]:
    """From what happened to what would."""
    from liftwise.models.mix import plots

    table = {name: ws.warehouse.table(name) for name in ("contributions", "mix_roi", "responses", "carryover", "partial_dependence",
                                                         "mix_forecasts", "mix_tests", "mix_changes")}  # fmt: skip
    changed, tested = table["mix_changes"], table["mix_tests"]
    return (
        plots.returns(table["mix_roi"]), plots.over_time(table["contributions"]), plots.curves(table["responses"], table["mix_roi"]),
        plots.carry(table["carryover"]), plots.dependence(table["partial_dependence"]), plots.foretold(table["mix_forecasts"]),
        *((plots.tested(tested),) if len(tested) else ()), *((plots.changed(changed),) if changed["amount"].abs().max() > 0.005 else ()),
    )  # fmt: skip


def tables(ws: Workspace) -> tuple[tuple[str, pd.DataFrame], ...]:
    """Channel by channel; what changed; what to doubt; every model's error."""
    from liftwise.models.mix.changes import lines

    out = [("Channel by channel, half-life in periods", mix_table(ws.warehouse.table("mix_roi"), ws.settings.currency))]
    told = lines(ws.warehouse.table("mix_changes"))
    if told:
        out.append(("What changed since the last fit", pd.DataFrame({"change": told})))
    doubts = [line for name, line in ws.steps.reported("mix").items() if name.startswith("data")]
    if doubts:
        out.append(("Doubts, and what to do", pd.DataFrame({"doubt": doubts})))
    fits = ws.warehouse.table("fits")
    wide = fits.pivot_table(index=["model", "chosen"], columns="metric", values="value").reset_index()
    shown = {
        "rolling_rmse_pct": "error after origins, %",
        "rolling_coverage": "90 % interval covers",
        "rmse_pct": "error on last weeks, %",
    }
    wide = wide.assign(model=wide["model"].where(~wide["chosen"], wide["model"] + " (shown)"))
    wide = wide[["model", *(name for name in shown if name in wide)]].rename(columns=shown)
    out.append(("All models", wide.sort_values(shown["rolling_rmse_pct"]) if shown["rolling_rmse_pct"] in wide else wide))
    return tuple(out)
