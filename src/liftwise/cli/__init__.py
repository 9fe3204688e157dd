"""The command line: one thin function a command. Heavy libraries are loaded inside the command that needs them."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from liftwise.cli import decide
from liftwise.cli.talk import HERE, Again, AsJson, Where, left_out, opened, print_json, progress, records, say, show
from liftwise.core.errors import LiftwiseError

if TYPE_CHECKING:
    import pandas as pd

    from liftwise.store.workspace import Workspace

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="What influencer marketing really caused, and what to do next.",
)


def main() -> None:
    """Run a command; an error is one line on stderr and exit code 1 (2 when the command itself is wrong)."""
    debug = "--debug" in sys.argv
    sys.argv = [word for word in sys.argv if word != "--debug"]
    try:
        app()
    except LiftwiseError as error:
        if debug:
            raise
        _fail(str(error))
    except KeyboardInterrupt:
        _fail("stopped; what was finished is kept")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        if debug:
            raise
        _fail(f"unexpected {type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}; "
              "run it again with --debug and report what it prints")  # fmt: skip


def _fail(line: str) -> None:
    print(f"liftwise: {line}", file=sys.stderr)
    sys.exit(1)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    if version:
        from liftwise import __version__

        print(__version__)
        raise typer.Exit


# -- commands --------------------------------------------------------------------------------------------------------


@app.command()
def demo(
    workspace: Where = Path("demo"),
    budget: Annotated[float, typer.Option(help="What the plan may cost.")] = 250_000,
    scale: Annotated[float, typer.Option(help="Size of the simulated market; 1 = 20 000 people.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Another seed, another market.")] = 7,
) -> None:
    """A simulated market with known truth → everything → a report.

    Example: `liftwise demo`
    """
    from liftwise.core.settings import FILE
    from liftwise.flows.measure import measure as run_measure
    from liftwise.flows.plan import plan as run_plan
    from liftwise.flows.refresh import refresh as run_refresh
    from liftwise.outputs.reports import write_html
    from liftwise.store.workspace import Workspace

    if not (workspace / FILE).exists():
        Workspace.create(workspace, sample="fmcg", name="demo", scale=scale, seed=seed).close()
    with opened(workspace) as ws:
        run_refresh(ws)
        run_measure(ws)
        made = run_plan(ws, budget)
        path = write_html(ws)
    say(made.summary())
    say(f"Report: {path}")


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="The workspace to make; it may already hold data/.")],
    sample: Annotated[str | None, typer.Option(help="'fmcg' simulates a market instead of files.")] = None,
) -> None:
    """Make a workspace: settings, and a folder for your files.

    Example: `liftwise init my-brand`
    """
    from liftwise.store.workspace import Workspace

    with Workspace.create(folder, sample=sample) as ws:
        found = sorted(path.name for path in ws.data.iterdir())
    say(f"Made {folder}/liftwise.toml.")
    if sample is None and not found:
        say(f"Put your files into {folder}/data, one per table (orders.csv, sales.xlsx, influencers.parquet …: docs/tables.md).")
    say(f"Next: liftwise refresh --workspace {folder}")


@app.command()
def refresh(workspace: Where = HERE, again: Again = False, as_json: AsJson = False) -> None:
    """Read the files into tables; then identity, journeys, audiences, features.

    Example: `liftwise refresh --workspace my-brand`
    """
    from liftwise.flows.refresh import refresh as run

    with opened(workspace) as ws:
        flow = run(ws, again=again)
        loads = ws.warehouse.table("loads")
    if as_json:
        print_json({**flow.as_dict(), "loads": records(loads)})
        return
    show(loads[["table", "source", "rows_in", "kept", "quarantined"]], "Files")
    left_out(flow)
    if loads["quarantined"].sum():
        say("Some rows broke a rule and wait in quarantine: liftwise check shows why, liftwise export quarantine shows them.")


@app.command()
def measure(
    what: Annotated[str | None, typer.Argument(help="attribution, lift or mix; all of them when left out.")] = None,
    campaign: Annotated[str | None, typer.Option(help="Show the lift of this campaign.")] = None,
    parts: Annotated[bool, typer.Option(help="With --campaign: its lift in each of its regions, too.")] = False,
    model: Annotated[str | None, typer.Option(help="With mix: the model whose readings are wanted, such as lasso.")] = None,
    workspace: Where = HERE,
    again: Again = False,
    as_json: AsJson = False,
) -> None:
    """What the marketing caused: attribution, lift of campaigns, marketing mix.

    Example: `liftwise measure lift --campaign geo-launch --json`
    """
    from liftwise.flows.lift import lift_of
    from liftwise.flows.measure import measure as run
    from liftwise.flows.parts import parts_of

    if campaign is not None and what not in (None, "lift"):
        raise typer.BadParameter("--campaign goes with: measure lift")
    if parts and campaign is None:
        raise typer.BadParameter("--parts goes with --campaign")
    if model is not None and what != "mix":
        raise typer.BadParameter("--model goes with: measure mix")
    with opened(workspace) as ws:
        flow = run(ws, "lift" if campaign is not None else what, again=again, model=model)
        answer = lift_of(ws, campaign) if campaign is not None else None
        regions = parts_of(ws, campaign).to_frame(ws.settings.measure.level) if campaign is not None and parts else None
        results, evidence = ws.warehouse.table("lift_results"), ws.warehouse.table("evidence")
        channels, mix = ws.warehouse.table("channel_credits"), _mix_tables(ws)
        credited, words = _attribution_tables(ws)
        currency = ws.settings.currency
    if answer is not None and regions is not None:
        answer = {**answer, "parts": records(regions)}
    if as_json:
        tables = {"lift": results, "evidence": evidence, "channel_credits": channels, **credited, **mix}
        print_json(
            answer if answer is not None else {**flow.as_dict(), **{name: records(table) for name, table in tables.items()}}
        )
        return
    if answer is not None:
        from liftwise.outputs.reports import lift_sentence

        say(lift_sentence(answer))
        if regions is not None:
            show(regions[["part", "effect", "low", "high", "p_value", "p_adjusted"]].round(3), f"Lift of {campaign} by region")
        return
    if not channels.empty and what in (None, "attribution"):
        from liftwise.outputs.reports import attribution_table

        wide = channels.pivot_table(index="channel", columns="method", values="conversions").round(0).reset_index()
        show(attribution_table(channels) if credited else wide, "Conversions credited")
        told = flow.metrics("attribution")
        for line in (*words, *(f"Mind: {line}." for line in told.get("mind", ()))):
            say(line)
        if why := told.get("left_out"):
            say(f"The sequence model is left out: {why}.")
    if not results.empty and what in (None, "lift"):
        show(results[["test_id", "method", "effect", "low", "high", "p_value"]].round(3), "Lift of campaigns")
    if what in (None, "mix") and flow.metrics("mix"):
        from liftwise.outputs.reports import BRIEF, mix_table, mix_words

        show(mix_table(mix["mix_roi"])[BRIEF], f"Marketing mix ({currency}; half-life in periods)")
        for line in mix_words(flow.metrics("mix"), mix["mix_roi"]):
            say(line)
    left_out(flow)


@app.command()
def plan(
    budget: Annotated[float, typer.Option(help="What the posts may cost together, in the workspace's currency.")],
    metric: Annotated[str | None, typer.Option(help="impressions, engagements, conversions, revenue or brand_equity.")] = None,
    risk_aversion: Annotated[float | None, typer.Option(help="ρ: value counts as f − ρσ.")] = None,
    coverage: Annotated[int, typer.Option(help="At least so many posts for every event.")] = 0,
    at_most: Annotated[
        list[str] | None, typer.Option(help="GROUP=SHARE of spend, such as platform=0.5 or influencer=0.1.")
    ] = None,
    max_risk: Annotated[float | None, typer.Option(help="Highest mean risk of the money spent, 0 to 1.")] = None,
    min_reach: Annotated[float, typer.Option(help="At least so many different people, each counted once.")] = 0,
    include: Annotated[list[str] | None, typer.Option(help="An influencer who must post.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="An influencer who must not.")] = None,
    frontier: Annotated[str | None, typer.Option(help="Also the front of plans over these objectives: roi,brand_equity.")] = None,
    target_roi: Annotated[
        float | None, typer.Option(help="Channels: the largest budget whose next euro earns that much.")
    ] = None,
    scenario: Annotated[
        bool, typer.Option("--scenario", help="Compare channel budgets: same, a tenth more or less, moved.")
    ] = False,
    explain: Annotated[bool, typer.Option("--explain", help="What binds and its price, and what more money would buy.")] = False,
    seconds: Annotated[float, typer.Option(help="How long to search.")] = 60.0,
    calendar: Annotated[Path | None, typer.Option(help="Also write the plan's lines to this .xlsx or .csv.")] = None,
    workspace: Where = HERE,
    as_json: AsJson = False,
) -> None:
    """Who should post what, for which event and when; with a proven bound. And how to split the channels' money.

    Example: `liftwise plan --budget 250000 --metric engagements`
    """
    from liftwise.flows.plan import default_rules
    from liftwise.flows.plan import plan as run
    from liftwise.flows.reach import reach_rule
    from liftwise.outputs.reports import write_frame

    with opened(workspace) as ws:
        rules = [*default_rules(ws), *_rules(coverage, at_most or [], max_risk, include or [], exclude or [])]
        rules += [reach_rule(ws, min_reach)] if min_reach else []
        objectives = [name.strip() for name in frontier.split(",")] if frontier else None
        made = run(ws, budget, metric=metric, risk_aversion=risk_aversion, rules=rules, frontier=objectives, target_roi=target_roi,
                   seconds=seconds)  # fmt: skip
    chosen = made.selection
    if calendar is not None:
        write_frame(chosen.assignments, calendar)
    more = chosen.next_money() if explain and len(chosen.assignments) else None
    if as_json:
        facts = {name: getattr(chosen, name) for name in ("cost", "value", "bound", "gap", "next_best", "reached", "rules")}
        split = records(made.allocation.to_frame()) if made.allocation else []
        beside = {
            "scenarios": records(made.scenarios.compare()) if made.scenarios else [],
            "frontier": records(made.frontier.points) if made.frontier else [],
            "binding": records(chosen.binding), "next_money": records(more) if more is not None else [],
        }  # fmt: skip
        print_json({"plan_id": made.plan_id, "metric": made.metric, "budget": budget, **facts,
                     "assignments": records(chosen.assignments), "allocation": split, **beside, **made.flow.as_dict()})  # fmt: skip
        return
    shown = chosen.assignments.head(20)[["influencer_id", "content_type", "event_id", "week", "budget", "predicted", "why"]]
    show(shown.round(1), f"{made.plan_id}: the first {len(shown)} of {len(chosen.assignments)} posts")
    say(made.summary())
    if explain:
        say(chosen.next_best)
        show(chosen.binding.round(3), "Rules at their limit; price: what one more unit would be worth")
        if more is not None and len(more):
            gain = f"at most {more['gain'].iloc[0]:,.0f} more {chosen.metric.replace('_', ' ')} after risk"
            show(more.head(10).drop(columns=["gain", "uncertainty"]).round(1), f"What a tenth more money would buy: {gain}")
    if scenario and made.scenarios is not None:
        show(made.scenarios.compare().round(0), "Channel budgets of the coming weeks, beside today's")
        say(made.scenarios.summary())
    if made.frontier is not None:
        front = made.frontier.points
        named = front[front["point"].isin(list(made.frontier.named.values()))].drop(columns="plan_id").round(3)
        show(named, f"Of {len(front)} plans that none beats in every objective; all: liftwise export frontier")
    if calendar is not None:
        say(f"{len(chosen.assignments)} lines → {calendar}")
    left_out(made.flow)


def _rules(coverage: int, shares: list[str], risk: float | None, include: list[str], exclude: list[str]) -> list[Any]:
    """Rules as a person types them."""
    from liftwise.core.errors import InputError
    from liftwise.decisions.selection.rules import Coverage, Diversity, Exclude, Include, RiskLimit

    found: list[Any] = [Coverage(by="event", at_least=coverage)] if coverage else []
    for word in shares:
        group, _, share = word.partition("=")
        try:
            found.append(Diversity(group.strip(), float(share)))
        except ValueError:
            raise InputError(
                f"{word!r} is no share of a group", where="--at-most", fix="write for example platform=0.5"
            ) from None
    found += [RiskLimit(risk)] if risk is not None else []
    found += [Include(include)] if include else []
    return found + ([Exclude(exclude)] if exclude else [])


app.command()(decide.reach)
app.add_typer(decide.policy, name="policy")


@app.command("what-if")
def what_if(
    changes: Annotated[list[str], typer.Argument(help="CHANNEL=FACTOR, as often as wanted; 2 is double, 0 is nothing.")],
    workspace: Where = HERE,
    as_json: AsJson = False,
) -> None:
    """What the last mix says revenue would have been, had channels got more or less money over the weeks it knows.

    Example: `liftwise what-if paid_social=2 search=0.8`
    """
    from liftwise.flows.mix import what_if as run

    factors: dict[str, float] = {}
    for word in changes:
        channel, _, factor = word.partition("=")
        try:
            factors[channel.strip()] = float(factor)
        except ValueError:
            raise typer.BadParameter(f"{word!r} is not CHANNEL=FACTOR, such as search=0.8") from None
    with opened(workspace, "read") as ws:
        found, last = run(ws, factors)
    if as_json:
        print_json({"model": last.model, "until": last.until, "periods": found.periods, "summary": found.summary(),
                     "changes": records(found.to_frame())})  # fmt: skip
        return
    told = found.moved.assign(beyond=found.moved["beyond"].map("{:.0%}".format)).drop(columns="extrapolated")
    show(told.round({"spend": 0, "change": 0, "low": 0, "high": 0}), f"What if ({last.model}, to {last.until.date()})")
    say(found.summary())


@app.command("design-test")
def design_test(
    lift: Annotated[float, typer.Option(help="What the campaign is hoped to add, as a share of sales: 0.05 is 5 %.")],
    markets: Annotated[str, typer.Option(help="How many regions to treat, joined by commas.")] = "2,3,4",
    periods: Annotated[str, typer.Option(help="How long to run, in periods, joined by commas.")] = "4,8",
    start: Annotated[str | None, typer.Option(help="First day; default: right after the data end.")] = None,
    include: Annotated[str, typer.Option(help="Regions that must be treated, joined by ';'.")] = "",
    exclude: Annotated[str, typer.Option(help="Regions that take no part, joined by ';'.")] = "",
    control: Annotated[str, typer.Option(help="Regions that must stay untreated, joined by ';'.")] = "",
    cost_per_unit: Annotated[float | None, typer.Option(help="What one more unit of revenue costs to cause.")] = None,
    budget: Annotated[float | None, typer.Option(help="The most the test may cost; needs --cost-per-unit.")] = None,
    freeze: Annotated[bool, typer.Option("--freeze", help="Record the best plan with its hash, before it starts.")] = False,
    workspace: Where = HERE,
    as_json: AsJson = False,
) -> None:
    """Where and how long to test, whether that could show the hoped-for lift, and a plan that cannot be bent afterwards.

    Example: `liftwise design-test --lift 0.05 --markets 2,3 --periods 4,8 --freeze`
    """
    import datetime

    from liftwise.flows.experiment import design_test as run

    try:
        sizes, durations = ([int(word) for word in words.split(",")] for words in (markets, periods))
        first = datetime.date.fromisoformat(start) if start else None
    except ValueError:
        raise typer.BadParameter(
            "--markets and --periods take whole numbers joined by commas, --start a day such as 2026-03-02"
        ) from None
    named = {name: [word.strip() for word in words.split(";") if word.strip()]
             for name, words in (("include", include), ("exclude", exclude), ("control", control))}  # fmt: skip
    with opened(workspace, "write" if freeze else "read") as ws:
        made = run(
            ws,
            lift,
            sizes=sizes,
            durations=durations,
            start=first,
            cost_per_unit=cost_per_unit,
            budget=budget,
            freeze=freeze,
            **named,
        )
    if as_json:
        print_json({"verdict": made.plan.verdict, "test_id": made.test_id, "plan": json.loads(made.plan.to_json()),
                     "designs": records(made.designs.to_frame())})  # fmt: skip
        return
    shown = made.designs.to_frame().head(8)[["rank", "markets", "duration", "mde", "power", "cost", "imbalance", "holdout"]]
    show(shown.round(3), "Designs, best first")
    say(made.plan.summary())
    if made.test_id:
        say(f"Frozen as {made.test_id}, SHA-256 {made.plan.sha256}. Afterwards: liftwise read-test {made.test_id}")


@app.command("read-test")
def read_test(
    test: Annotated[str, typer.Argument(help="The id that design-test --freeze gave.")],
    workspace: Where = HERE,
    as_json: AsJson = False,
) -> None:
    """What a frozen test caused, and every way in which it was not run as planned.

    Example: `liftwise read-test test-1a2b3c4d5e`
    """
    from liftwise.flows.experiment import read_test as run

    with opened(workspace, "read") as ws:
        lift, deviations, row = run(ws, test)
    if as_json:
        print_json(
            {
                "test_id": test,
                "sha256": row["sha256"],
                "summary": lift.summary(),
                **lift.result_row(test),
                "deviations": deviations,
            }
        )
        return
    say(lift.summary())
    for deviation in deviations or ["Run as planned."]:
        say(deviation)


@app.command()
def report(
    file: Annotated[Path | None, typer.Argument(help="Where to write it; default: reports/ in the workspace.")] = None,
    xlsx: Annotated[bool, typer.Option("--xlsx", help="A workbook of the same tables instead of a page.")] = False,
    workspace: Where = HERE,
) -> None:
    """One page with everything: a single HTML file that needs no network.

    Example: `liftwise report --workspace my-brand`
    """
    from liftwise.outputs.reports import write_html, write_xlsx

    with opened(workspace, "read") as ws:
        path = write_xlsx(ws, file) if xlsx else write_html(ws, file)
    say(f"Report: {path}")


@app.command()
def check(workspace: Where = HERE, as_json: AsJson = False) -> None:
    """Data health: what is missing, late or odd, and what it would spoil. Exit code 1 when something is an error.

    Example: `liftwise check --workspace my-brand`
    """
    with opened(workspace, "read") as ws:
        loads, health = ws.warehouse.table("loads"), ws.warehouse.table("health")
        reasons = ws.warehouse.table("quarantine", ["table", "column", "reason", "source", "line"])
    counted = reasons.groupby(["table", "column", "reason"], dropna=False).agg(
        rows=("line", "size"), first_source=("source", "first"), first_line=("line", "first")
    ).reset_index()  # fmt: skip
    if as_json:
        print_json({"loads": records(loads), "quarantine": records(counted), "health": records(health)})
    else:
        show(loads[["table", "source", "rows_in", "kept", "quarantined"]], "Files")
        show(counted, "Quarantine")
        show(health[["severity", "table", "subject", "detail", "spoils"]], "Health")
    if (health["severity"] == "error").any():
        raise typer.Exit(1)


@app.command()
def prove(
    seeds: Annotated[str, typer.Option(help="Markets to prove on, joined by commas.")] = "101,102,103",
    scale: Annotated[float, typer.Option(help="Size of each market.")] = 1.0,
    panels: Annotated[
        int, typer.Option(help="Panels with a known effect in each of 28 cells, for coverage (20 take minutes).")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Every method against the truth of simulated markets: one scoreboard.

    Example: `liftwise prove --seeds 11,12,13 --json`
    """
    from liftwise.flows.prove import prove as run

    try:
        numbers = [int(word) for word in seeds.split(",")]
    except ValueError:
        raise typer.BadParameter("--seeds takes whole numbers joined by commas") from None
    with progress() as heard:
        board = run(numbers, scale=scale, panels=panels, progress=heard)
    if as_json:
        print_json(records(board))
        return
    show(board.round(3), f"Scoreboard: median over seeds {seeds}")


@app.command()
def export(
    table: Annotated[str, typer.Argument(help="A table of docs/tables.md.")],
    file: Annotated[Path | None, typer.Argument(help="Its ending says how: .csv, .parquet or .xlsx; default TABLE.csv.")] = None,
    workspace: Where = HERE,
) -> None:
    """Any table as CSV, Parquet or XLSX.

    Example: `liftwise export plans plans.xlsx`
    """
    from liftwise.outputs.reports import write_table

    with opened(workspace, "read") as ws:
        path, rows = write_table(ws, table, file or Path(f"{table}.csv"))
    say(f"{rows:,} rows → {path}")


def _attribution_tables(ws: Workspace) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Tables of the sequence model, none if it could tell nothing, and what there is to say."""
    from liftwise.outputs.reports import attribution_words

    names = ("channel_effects", "label_credits", "fading", "pair_effects", "influence")
    return {name: ws.warehouse.table(name) for name in names if ws.warehouse.has(name)}, attribution_words(ws)


def _mix_tables(ws: Workspace) -> dict[str, pd.DataFrame]:
    """What a reader of the mix wants beside its metrics."""
    return {name: ws.warehouse.table(name) for name in ("mix_roi", "mix_changes")}
