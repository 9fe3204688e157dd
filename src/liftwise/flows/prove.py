"""prove: every method against the truth of simulated markets, beside what is usually done. A claim is a row of this table.

To add a method, add a function to `PROOFS`: it gets a measured workspace with its truth and yields rows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from liftwise.core.errors import InputError
from liftwise.flows.measure import measure
from liftwise.flows.panels import COLUMNS, prove_panels
from liftwise.flows.plan import RECENT, current_spend, plan
from liftwise.flows.refresh import refresh
from liftwise.sources.simulator.truth import Truth
from liftwise.store.runs import Progress, silent
from liftwise.store.workspace import Workspace

Row = tuple[str, str, float, str, float]  # method, quantity, its error, usual alternative, the alternative's error
BUDGET = 250_000.0
PAID = ["influencer", "paid_social", "search", "display", "email", "retargeting"]


def prove(seeds: Sequence[int], *, scale: float = 1.0, panels: int = 0, progress: Progress = silent) -> pd.DataFrame:
    """The scoreboard: method, quantity, error (median over seeds), worst, usual, usual_error, mc_error, seeds.

    panels : panels of regions with a known effect, in each of the cells of `flows.panels` (0: none).
    """
    if not seeds:
        raise InputError("no seeds", fix="give at least one")
    rows: list[pd.DataFrame] = []
    for k, seed in enumerate(seeds):
        progress("prove", k / len(seeds), f"market {seed}")
        with tempfile.TemporaryDirectory() as folder:
            found = market(Path(folder) / "market", seed, scale)
        rows.append(found.assign(seed=seed))
    progress("prove", 1.0)
    every = pd.concat(rows, ignore_index=True)
    board = every.groupby(["method", "quantity", "usual"], sort=False).agg(
        error=("error", "median"), worst=("error", "max"), usual_error=("usual_error", "median"), seeds=("seed", "count")
    )  # fmt: skip
    board = board.reset_index().assign(mc_error=np.nan)[COLUMNS]
    if panels:
        board = pd.concat([board, prove_panels(panels, first=1000 * seeds[0], progress=progress)], ignore_index=True)
    return board


def market(folder: Path, seed: int, scale: float) -> pd.DataFrame:
    """The rows of one market: simulate it, run every flow as a user would, compare."""
    with Workspace.create(folder, sample="fmcg", scale=scale, seed=seed) as ws:
        refresh(ws)
        measure(ws)
        truth = Truth(ws.truth)
        rows = [row for proof in PROOFS for row in proof(ws, truth)]
    return pd.DataFrame(rows, columns=["method", "quantity", "error", "usual", "usual_error"])


def intake(ws: Workspace, truth: Truth) -> Iterator[Row]:
    """Rows broken on purpose that are not in quarantine, and good ones that are."""
    broken = set(truth.frame("dirt")[["table", "line"]].itertuples(index=False, name=None))
    caught = set(
        ws.warehouse.table("quarantine", ["table", "line"]).dropna().astype({"line": int}).itertuples(index=False, name=None)
    )
    yield "intake", "broken rows missed or good rows refused", float(len(broken ^ caught)), "read as they are", float(len(broken))


def identity(ws: Workspace, truth: Truth) -> Iterator[Row]:
    """Pairs of records that are one person: 1 − F1."""
    known = truth.frame("identity").set_index("record_id")["cluster"]
    ours = ws.warehouse.table("people").set_index("record_id")["person_id"]
    mail = ws.warehouse.table("identifiers", ["record_id", "email"]).set_index("record_id")["email"]
    alone = mail.where(mail.notna(), mail.index.to_series())
    yield "identity, deterministic", "pairs of records, 1 − F1", 1 - _f1(ours, known), "equal e-mail", 1 - _f1(alone, known)


def _f1(guess: pd.Series, known: pd.Series) -> float:
    frame = pd.DataFrame({"guess": guess, "known": known}).dropna()

    def pairs(by: list[str]) -> float:
        size = frame.groupby(by).size()
        return float((size * (size - 1) / 2).sum())

    both = pairs(["guess", "known"])
    return 2 * both / max(pairs(["guess"]) + pairs(["known"]), 1.0)


def attribution(ws: Workspace, truth: Truth) -> Iterator[Row]:
    """Shares of channels (total variation), and how much is credited to marketing at all."""
    true = truth.frame("channels").set_index("channel").loc[PAID, "tracked_revenue"]
    credits = ws.warehouse.table("channel_credits").pivot_table(index="channel", columns="method", values="revenue")
    mine = credits.reindex(PAID).fillna(0.0)
    distance = (mine / mine.sum() - (true / true.sum()).to_numpy()[:, None]).abs().sum() / 2
    total = (mine.sum() / true.sum() - 1).abs()
    for method in mine.columns:
        if method != "last_touch":
            yield (
                f"attribution, {method}",
                "channel shares, total variation",
                float(distance[method]),
                "last touch",
                float(distance["last_touch"]),
            )
    for method in ("markov", "lstm"):
        yield (
            f"attribution, {method}",
            "revenue credited to marketing, relative",
            float(total.filter(like=method).iloc[0]),
            "last touch",
            float(total["last_touch"]),
        )
    effects = ws.warehouse.table("channel_effects").set_index("channel")
    orders = ws.warehouse.sql("SELECT sum(revenue) AS sold FROM moments WHERE converted AND position <= 1")["sold"].iloc[0]
    share = true / float(orders)
    missed = ~((effects["low"] <= share[effects.index]) & (share[effects.index] <= effects["high"]))
    yield "attribution, lstm", "90 % interval of a channel misses the truth", float(missed.mean()), "last touch", 1.0


def lift(ws: Workspace, truth: Truth) -> Iterator[Row]:
    """What the regional launch and the national campaigns caused while they ran; the usual alternative compares with the weeks before."""
    sales = ws.warehouse.table("sales").groupby(["week", "region"], as_index=False)["revenue"].sum()
    true, results = truth.frame("campaigns"), ws.warehouse.table("lift_results")
    for campaign in ws.warehouse.table("campaigns").fillna({"regions": ""}).itertuples():
        mine = true[true["campaign_id"] == campaign.campaign_id]
        during = mine[(mine["week"] >= campaign.starts_on) & (mine["week"] <= campaign.ends_on)]["incremental_revenue"].sum()
        if not during > 0:  # it began where sales end: there is nothing to be relative to
            continue
        usual = abs(_before_and_after(sales, campaign) / during - 1)
        where = "a regional launch" if campaign.regions else "national campaigns"
        for row in results[results["test_id"] == campaign.campaign_id].itertuples():
            yield (
                str(row.method),
                f"incremental revenue of {where}, relative",
                float(abs(row.effect / during - 1)),
                "before and after",
                float(usual),
            )
            missed = float(not row.low <= during <= row.high)
            yield str(row.method), f"90 % interval misses the truth, {where}", missed, "before and after", 1.0


def _before_and_after(sales: pd.DataFrame, campaign) -> float:
    """Sales while it ran less sales in as many weeks before."""
    mine = sales[sales["region"].isin(campaign.regions.split(";"))] if campaign.regions else sales
    weeks = (campaign.ends_on - campaign.starts_on).days // 7 + 1
    after = mine[(mine["week"] >= campaign.starts_on) & (mine["week"] <= campaign.ends_on)]["revenue"].sum()
    before = mine[(mine["week"] < campaign.starts_on) & (mine["week"] >= campaign.starts_on - pd.Timedelta(weeks=weeks))][
        "revenue"
    ].sum()
    return float(after - before)


def mix(ws: Workspace, truth: Truth) -> Iterator[Row]:
    """Revenue caused by channel, and the error on weeks not seen."""
    true = truth.frame("channels").set_index("channel")["incremental_revenue"]
    parts = ws.warehouse.table("contributions")
    media = (
        parts[parts["part"].isin(["immediate", "carried", "synergy"])]
        .groupby("channel")["contribution"]
        .sum()
        .reindex(true.index)
        .fillna(0.0)
    )
    claims = ws.warehouse.sql("SELECT channel, sum(platform_revenue) AS claimed FROM spend GROUP BY channel").set_index(
        "channel"
    )["claimed"]
    claimed = claims.dropna()
    claimed = claimed[claimed > 0]
    fits = ws.warehouse.table("fits").query("chosen").set_index("metric")["value"]
    ours, usual = (media / true - 1).abs(), (claimed / true[claimed.index] - 1).abs()
    yield (
        "mix, chosen by the rule",
        "revenue caused by channel, mean relative error",
        float(ours.mean()),
        "platforms' own claims",
        float(usual.mean()),
    )
    all_ours, all_claimed = abs(media.sum() / true.sum() - 1), abs(claimed.sum() / true.sum() - 1)
    yield (
        "mix, chosen by the rule",
        "revenue caused by all media, relative",
        float(all_ours),
        "platforms' own claims",
        float(all_claimed),
    )
    yield (
        "mix, chosen by the rule",
        "hold-out error, share of a mean week",
        float(fits["rmse_pct"]) / 100,
        "a year before",
        float(fits["naive_rmse_pct"]) / 100,
    )


def decisions(ws: Workspace, truth: Truth) -> Iterator[Row]:
    """Predicted f against true f; the plan's true worth against the best plan and against ranking by followers."""
    made = plan(ws, BUDGET, metric="revenue", risk_aversion=0.5)
    keys = ["influencer_id", "content_type", "event_id", "days_from_event"]
    table = ws.warehouse.table("effectiveness").merge(truth.frame("f").drop(columns=["impressions", "conversions"]), on=keys)
    followers = table["influencer_id"].map(ws.warehouse.table("influencers").set_index("influencer_id")["followers"])
    rank = table[["predicted", "revenue"]].rank().corr().iloc[0, 1]
    usual_rank = float(np.corrcoef(followers.rank(), table["revenue"].rank())[0, 1])
    yield (
        "effectiveness, default",
        "rank of f over all tuples, 1 − correlation",
        1 - float(rank),
        "rank by followers",
        1 - usual_rank,
    )
    from scipy.stats import norm

    from liftwise.models.effectiveness import interval

    noise = np.log1p((table["revenue_sd"] / table["revenue"]) ** 2) ** 0.5
    incremental = _incremental(ws, truth)
    tested = bool(
        made.flow.metrics("effectiveness")["levels"]["revenue"]["tests"]
    )  # then f is in incremental units, else as counted
    unit = incremental if tested else 1.0
    middle = np.log(table["revenue"] * unit) - noise**2 / 2
    low, high = interval(table, 0.90)
    covered = norm.cdf((np.log(high) - middle) / noise) - norm.cdf((np.log(low) - middle) / noise)
    yield (
        "effectiveness, default",
        "90 % interval, |coverage − 0.9| over all tuples",
        float(abs(covered.mean() - 0.9)),
        "no interval",
        0.9,
    )
    best = _select(ws, table.assign(predicted=table["revenue"], uncertainty=0.0))
    ranked = _select(ws, table.assign(predicted=followers.to_numpy(dtype=float), uncertainty=0.0))
    worth = {
        name: _true_worth(chosen, table, keys) for name, chosen in (("ours", made.selection), ("best", best), ("usual", ranked))
    }
    yield "selection", "true revenue of the plan, short of the best plan", 1 - worth["ours"] / worth["best"], "most followers for the money", (
        1 - worth["usual"] / worth["best"])  # fmt: skip
    promised = float(made.selection.assignments["predicted"].sum()) / (incremental * worth["ours"])
    yield "selection", "promised revenue of the plan over what it causes, |log|", abs(float(np.log(promised))), "as counted", (
        abs(float(np.log(incremental))))  # fmt: skip
    yield "selection", "proven gap", made.selection.gap, "no proof", float("nan")
    yield from _allocation(ws, truth, made.allocation)


def _incremental(ws: Workspace, truth: Truth) -> float:
    """What influencer money really brought for what assignments count, each per unit of money."""
    of = truth.frame("channels").set_index("channel").loc["influencer"]
    past = ws.warehouse.table("assignments")
    return float(of["incremental_revenue"] / of["spend"] / (past["revenue"].sum() / past["price"].sum()))


def _select(ws: Workspace, table: pd.DataFrame):
    from liftwise.decisions.selection.choose import select
    from liftwise.decisions.selection.rules import Frequency

    rules = [Frequency(ws.settings.plan.max_posts), Frequency(1, "influencer-week")]
    return select(
        table,
        metric="revenue",
        budget=BUDGET,
        events=ws.warehouse.table("events"),
        rules=rules,
        risk_aversion=0.0,
        grid=ws.settings.grid,
    )


def _true_worth(chosen, table: pd.DataFrame, keys: list[str]) -> float:
    return float(chosen.assignments[keys].merge(table, on=keys)["revenue"].sum())


def _allocation(ws: Workspace, truth: Truth, ours) -> Iterator[Row]:
    """The true weekly gain of the recommended split, as a share of what the best split would gain; and what was promised."""
    from liftwise.decisions.allocation.allocate import allocate

    if ours is None:
        return
    curves = truth.frame("responses")
    current, shift = current_spend(ws, RECENT), ws.settings.plan.max_shift
    total = float(current.sum())
    drawn = pd.concat([curves.assign(draw=draw) for draw in range(4)])
    limits = {"floors": ((1 - shift) * current / total).to_dict(), "ceilings": ((1 + shift) * current / total).to_dict()}
    oracle = allocate(drawn, current=current, total=total, **limits)

    def gain(split: pd.Series) -> float:
        return sum(
            float(
                np.interp(split[name], group["spend"], group["revenue"])
                - np.interp(current[name], group["spend"], group["revenue"])
            )
            for name, group in curves.sort_values("spend").groupby("channel")
        )

    claims = ws.warehouse.sql("SELECT channel, sum(platform_revenue) / sum(spend) AS roi FROM spend GROUP BY channel").set_index(
        "channel"
    )["roi"]
    by_claim = current * np.where(claims.reindex(current.index).fillna(0) > claims.median(), 1 + shift, 1 - shift)
    by_claim *= total / by_claim.sum()
    best = gain(oracle.recommended)
    yield (
        "allocation",
        "true gain, short of the best split",
        1 - gain(ours.recommended) / best,
        "more to whom platforms praise",
        1 - gain(by_claim) / best,
    )
    yield "allocation", "promised gain over true gain, |log|", float(
        abs(np.log(max(ours.gain.mean, 1.0) / max(gain(ours.recommended), 1.0)))), "no promise", float("nan")  # fmt: skip


PROOFS: tuple[Callable[[Workspace, Truth], Iterator[Row]], ...] = (intake, identity, attribution, lift, mix, decisions)
