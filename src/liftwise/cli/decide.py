"""Commands that decide without a plan: whom to hire for reach, and policies that choose one at a time, judged from a log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from liftwise.cli.talk import HERE, AsJson, Where, opened, print_json, records, say, show

policy = typer.Typer(
    no_args_is_help=True, help="Choosing one at a time: what another policy would have earned, from a log; whom to choose next."
)
LogFile = Annotated[
    Path, typer.Argument(help="CSV or Parquet with a row a decision: arm, reward, propensity, features; with --budget cost.")
]
Features = Annotated[str, typer.Option(help="Columns that describe the context, joined by commas.")]
Level = Annotated[float, typer.Option(min=0.5, max=0.999, help="Of the interval.")]
Money = Annotated[float | None, typer.Option(help="What may be spent; needs column cost, one amount an arm.")]
Seed = Annotated[int, typer.Option(help="Another seed, other luck.")]


def reach(
    budget: Annotated[float, typer.Option(help="What one post of each may cost together, in the workspace's currency.")],
    max_influencers: Annotated[int | None, typer.Option(min=1, help="How many may be hired.")] = None,
    content: Annotated[str | None, typer.Option(help="The type of post paid for; default: everybody's cheapest.")] = None,
    workspace: Where = HERE,
    as_json: AsJson = False,
) -> None:
    """Whom to hire to reach the most different people, each counted once; with a bound.

    Example: `liftwise reach --budget 50000 --max-influencers 20`
    """
    from liftwise.flows.reach import reach as run

    with opened(workspace, "read") as ws:
        hired = run(ws, budget, at_most=max_influencers, content=content)
    found = hired.found
    if as_json:
        facts = {
            name: getattr(found, name) for name in ("budget", "cost", "reach", "standard_error", "bound", "gap", "flattered")
        }
        print_json({**facts, "summary": hired.summary(), "unpriced": hired.unpriced, "lines": records(hired.lines)})
        return
    shown = hired.lines.head(20).round({"price": 2, "audience": 0, "adds": 0, "lost_without": 0})
    show(shown.rename(columns={"lost_without": "lost without"}), f"The first {len(shown)} of {len(hired.lines)} to hire")
    say(hired.summary())


@policy.command()
def evaluate(
    log: LogFile,
    target: Annotated[
        str, typer.Option(help="uniform, always=ARM, or columns=PREFIX (a probability of each arm in PREFIX + arm).")
    ],
    features: Features = "",
    cluster: Annotated[str | None, typer.Option(help="Column of rows that hang together, such as a person's.")] = None,
    clip: Annotated[
        float | None, typer.Option(min=1.0, help="Largest weight kept; what it takes away widens the interval.")
    ] = None,
    level: Level = 0.95,
    seed: Seed = 7,
    as_json: AsJson = False,
) -> None:
    """What another policy would have earned on a log of decisions; or that the log cannot tell.

    Example: `liftwise policy evaluate log.csv --target always=video --features age,hour --json`
    """
    from liftwise.flows.policy import evaluate as run

    made = run(log, target, features=_names(features), cluster=cluster, clip=clip, level=level, seed=seed)
    if as_json:
        print_json({"target": made.target, "method": made.method, "summary": made.told, "estimates": records(made.estimates)})
        return
    columns = ["method", "value", "low", "high", "effective_rows", "tail", "refused"]
    show(
        made.estimates[columns].round({"value": 6, "low": 6, "high": 6, "effective_rows": 0, "tail": 2}),
        f"A decision of {made.target} earns",
    )
    say(f"{made.told} ({made.method})")


@policy.command()
def replay(
    log: LogFile,
    features: Features = "",
    budget: Money = None,
    decisions: Annotated[
        int | None, typer.Option(min=1, help="For how many the budget is; default: as many as the log has.")
    ] = None,
    level: Level = 0.95,
    seed: Seed = 7,
    as_json: AsJson = False,
) -> None:
    """What a policy that learns and paces its money would have earned on a log, before it is switched on.

    Example: `liftwise policy replay log.csv --features age,hour --budget 50000`
    """
    from liftwise.flows.policy import replay as run

    told = run(log, _names(features), budget=budget, decisions=decisions, level=level, seed=seed)
    if as_json:
        print_json({**vars(told), "summary": told.summary()})
        return
    say(told.summary())
    for share in told.spent.values():
        say(f"It spends {share:.0%} of the money that so many decisions have.")


@policy.command("next")
def choose_next(
    log: LogFile,
    context: Annotated[str, typer.Option(help="FEATURE=NUMBER, joined by commas: where the choice is to be made.")] = "",
    budget: Money = None,
    decisions: Annotated[
        int | None, typer.Option(min=1, help="For how many the budget is in all, those of the log included.")
    ] = None,
    seed: Seed = 7,
    as_json: AsJson = False,
) -> None:
    """Whom a policy that learned from the log chooses now, and with which probability: log both.

    Example: `liftwise policy next log.csv --context age=0.2,hour=-1 --budget 50000 --decisions 10000`
    """
    from liftwise.flows.policy import choose_next as run

    try:
        told = {name.strip(): float(number) for name, _, number in (word.partition("=") for word in _names(context))}
    except ValueError:
        raise typer.BadParameter("--context takes FEATURE=NUMBER joined by commas, such as age=0.2,hour=-1") from None
    choice, left, why = run(log, told, budget=budget, decisions=decisions, seed=seed)
    if as_json:
        print_json(
            {
                "arm": choice.arm,
                "propensity": choice.propensity,
                "error": choice.error,
                "costs": dict(choice.costs),
                "left": dict(left),
                "why": why,
            }
        )
        return
    say(
        f"Choose {choice.arm or 'nobody'}, with probability {choice.propensity:.4g} (± {choice.error:.1g}): log it with the reward."
    )
    if why:
        say(f"Why: {why}.")
    for amount in left.values():
        say(f"Before this choice {amount:,.2f} is left.")


def _names(joined: str) -> list[str]:
    return [word.strip() for word in joined.split(",") if word.strip()]
