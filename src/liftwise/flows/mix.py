"""measure mix: every member fitted, one of them shown; which tests it hears, what changed since the last fit, what to doubt; and what if."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from liftwise.core.errors import CannotTell
from liftwise.flows.lift import MAIN
from liftwise.flows.outline import Flow
from liftwise.store.runs import code_version
from liftwise.store.workspace import Workspace

if TYPE_CHECKING:
    from liftwise.models.mix import Findings, Mix
    from liftwise.models.mix.changes import Asked, Changes, Fit
    from liftwise.models.mix.what_if import WhatIf

READS = ("weekly", "lift_tests", "lift_test_weeks", "lift_results", "campaigns")
WRITES = (
    "contributions",
    "responses",
    "carryover",
    "fits",
    "mix_roi",
    "mix_forecasts",
    "partial_dependence",
    "mix_tests",
    "mix_changes",
    "mix_facts",
)


def step(flow: Flow, ws: Workspace, model: str | None) -> None:
    """Step `mix` of a flow."""
    flow.step("mix", lambda: mix(ws, model), needs=["weekly", "spend"], reads=["spend", *READS], writes=WRITES,
              parameters={**_settings(ws), "model": model or ""})  # fmt: skip


def mix(ws: Workspace, model: str | None) -> dict[str, Any]:
    """Choose a mix (or take `model`) and write its readings."""
    from liftwise.models.mix import adequacy, choose, examine, members
    from liftwise.models.mix.lift_tests import tested
    from liftwise.models.mix.search import search_demand

    told, weekly, tests = _settings(ws), ws.warehouse.table("weekly"), tests_of(ws)
    found = adequacy(weekly, holdout=told["holdout"], per_year=told["per_year"])
    made = choose(
        members(weekly, also=model, **told),
        weekly,
        tests.whole,
        tests.weeks,
        heard=lambda done, name: ws.progress("mix", 0.9 * done, name),
    )
    shown = made.chosen if model is None else made.member(model)
    ws.progress("mix", 0.9, "readings")
    changes = _changed(ws, shown, weekly, tests)
    _write(ws, shown, changes)
    ws.warehouse.write("fits", made.to_frame().assign(chosen=lambda table: table["model"] == shown.name))
    scores = {str(name): float(value) for name, value in shown.scores_.items()}
    doubts = [
        *found.findings,
        *(note for note in shown.notes_ if note not in found.findings),
        *search_demand(weekly),
        *tests.notes(shown),
        *_doubts(examine(shown, weekly), found.findings),
        found.worth_testing(tested(shown)),
    ]
    doubts += [
        f"{part} cannot be told apart from what follows it: {why}" for part, why in (changes.left_out if changes else {}).items()
    ]
    return {"model": shown.name, "why": made.why, **scores, **_numbered("data", doubts), **_numbered("changed", changes.lines() if changes else []),
            **{f"not fitted, {name}": reason for name, reason in made.failed.items()}}  # fmt: skip


def _doubts(found: Findings, said: Sequence[str]) -> list[str]:
    """What speaks against the fit, beyond what the data alone already said."""
    told = found.to_frame()
    return [line for line in told.loc[told["severity"] == "warning", "said"] if line not in said]


def _numbered(what: str, lines: list[str]) -> dict[str, str]:
    return {f"{what} {k}": line for k, line in enumerate(dict.fromkeys(filter(None, lines)), 1)}


def _settings(ws: Workspace) -> dict[str, Any]:
    """What every member is told."""
    return {"seed": ws.settings.seed, "holdout": ws.settings.measure.holdout, "per_year": ws.settings.grid.per_year}


def _write(ws: Workspace, shown: Mix, changes: Changes | None) -> None:
    for table, frame in (
        ("contributions", shown.contributions()),
        ("responses", shown.responses()),
        ("carryover", shown.carryover()),
        ("mix_roi", shown.roi().assign(model=shown.name)),
        ("mix_forecasts", shown.forecasts()),
        ("partial_dependence", shown.partial_dependence()),
    ):
        ws.warehouse.write(table, frame)
    tests = getattr(shown, "tests_", pd.DataFrame())
    if tests.empty:
        ws.warehouse.empty("mix_tests")
    else:
        ws.warehouse.write("mix_tests", tests.assign(model=shown.name))
    if changes is None:
        ws.warehouse.empty("mix_changes")
    else:
        ws.warehouse.write("mix_changes", changes.to_frame())


# -- lift tests ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tests:
    """What is known of lift: table `lift_tests` with the campaigns judged here, `lift_test_weeks`, and what was left aside and why."""

    table: pd.DataFrame
    weeks: pd.DataFrame
    aside: tuple[str, ...]

    @property
    def whole(self) -> pd.DataFrame | None:
        """The tests; None where there is none."""
        return None if self.table.empty else self.table

    @property
    def heard(self) -> pd.DataFrame | None:
        """The tests with a digest of their weeks, for telling whether one of them changed."""
        from liftwise.models.mix.changes import digest

        weeks = {str(name): digest(mine.sort_values("week").to_csv(index=False)) for name, mine in self.weeks.groupby("test_id")}
        return None if self.table.empty else self.table.assign(weeks=self.table["test_id"].map(weeks))

    def only(self, names: frozenset[str]) -> Tests:
        """Some of them."""
        return Tests(self.table[self.table["test_id"].isin(names)], self.weeks, self.aside)

    def notes(self, shown: Mix) -> list[str]:
        """What a reader should know of how the shown mix used them."""
        if self.table.empty:
            return list(self.aside)
        if hears(shown):
            return [f"{len(self.table)} lift tests are part of the fit: {', '.join(self.table['test_id'])}", *self.aside]
        return [
            f"{len(self.table)} lift tests are known, but {shown.name} does not use them: liftwise measure mix --model structural does"
        ]


def hears(member: Mix) -> bool:
    """Does it learn from lift tests?"""
    return bool(getattr(member, "hears", False))


def tests_of(ws: Workspace) -> Tests:
    """Tests already run, and regional campaigns judged here: each campaign once, as the test where there is one.

    The pooled table `evidence` is no third source: it says the same tests again, so it is not told to the mix.
    """
    table, aside = ws.warehouse.table("lift_tests"), list[str]()
    part = table[["influencer_id", "content_type", "campaign_id"]].replace("", None).notna().any(axis=1) & table["spend"].isna()
    aside += [
        f"test {name} is of a part of its channel and does not say that part's spend: not used"
        for name in table.loc[part, "test_id"]
    ]
    campaigns, left = _campaigns_as_tests(ws)
    known = [frame for frame in (table[~part], campaigns) if not frame.empty]
    both = pd.concat(known, ignore_index=True) if known else table.iloc[:0]
    return Tests(both, ws.warehouse.table("lift_test_weeks"), (*aside, *left))


def _campaigns_as_tests(ws: Workspace) -> tuple[pd.DataFrame, list[str]]:
    """Campaigns that other regions judged, as rows of `lift_tests`; and why others are not among them.

    Those judged against their own past are too doubtful to count as tests.
    """
    results, known = ws.warehouse.table("lift_results"), ws.warehouse.table("lift_tests")
    usable = (
        results["method"].str.startswith(MAIN[0])
        & (results["standard_error"] > 0)
        & ~results["test_id"].isin(known["campaign_id"])
    )
    joined = results[usable].merge(ws.warehouse.table("campaigns"), left_on="test_id", right_on="campaign_id")
    weekly = ws.warehouse.table("weekly").query("role == 'channel'")
    weeks = pd.DatetimeIndex(sorted(weekly["week"].unique()))
    rows, aside = list[dict[str, Any]](), list[str]()
    for row in joined.to_dict("records"):
        regions = [name.strip() for name in str(row["regions"] or "").split(";") if name.strip()]
        mine = weekly[(weekly["name"] == row["channel"]) & weekly["region"].isin(regions)]
        first, after = (int(weeks.searchsorted(row[end], side="right")) for end in ("starts_on", "ends_on"))
        spent = mine.loc[mine["week"].isin(weeks[max(first - 1, 0) : after]), "value"].sum()
        same = _meanwhile(known, row, set(regions))
        if pd.isna(row["channel"]) or not row["channel"]:
            aside.append(f"campaign {row['test_id']} was judged but names no channel: its lift is not used")
        elif same:
            aside.append(f"campaign {row['test_id']} was measured by test {same[0]} too: it counts once, as the test")
        elif mine.empty:
            aside.append(
                f"campaign {row['test_id']} was judged, but its channel's spend by region is not known: its lift is not used"
            )
        elif not 0 < row["budget"] <= 1.001 * spent:
            told = (
                "no budget"
                if pd.isna(row["budget"])
                else f"a budget of {row['budget']:,.0f}, but {spent:,.0f} was spent in its weeks and regions"
            )
            aside.append(f"campaign {row['test_id']} has {told}: its lift is not used")
        else:
            rows.append({"test_id": row["test_id"], "channel": row["channel"], "starts_on": row["starts_on"], "ends_on": row["ends_on"],
                         "effect": row["effect"], "standard_error": row["standard_error"], "metric": "revenue",
                         "campaign_id": row["test_id"], "regions": ";".join(regions), "spend": row["budget"]})  # fmt: skip
    return pd.DataFrame(rows), aside


def _meanwhile(tests: pd.DataFrame, campaign: Mapping[str, Any], regions: set[str]) -> list[str]:
    """Tests of the campaign's channel in some of its weeks and regions: they have measured it as well."""
    rival = tests[
        (tests["channel"] == campaign["channel"])
        & (tests["starts_on"] <= campaign["ends_on"])
        & (tests["ends_on"] >= campaign["starts_on"])
    ]
    places = rival["regions"].fillna("").map(lambda told: {name.strip() for name in str(told).split(";") if name.strip()})
    return rival.loc[[not told or bool(told & regions) for told in places], "test_id"].tolist()


# -- the last fit --------------------------------------------------------------------------------------------------------


def _changed(ws: Workspace, shown: Mix, weekly: pd.DataFrame, tests: Tests) -> Changes | None:
    """The change since the last fit, whose facts are replaced by this one's; None on the first."""
    from liftwise.models.mix.changes import Fit, explain

    before = Fit.from_frame(ws.warehouse.table("mix_facts"))
    now = Fit.of(shown.name, shown.returns(), weekly, tests.heard if hears(shown) else None, _settings(ws), code_version())
    ws.warehouse.write("mix_facts", now.to_frame())
    return None if before is None else explain(before, now, weekly, partial(_refitted, weekly, tests))


def _refitted(weekly: pd.DataFrame, tests: Tests, asked: Asked) -> pd.Series:
    """Channel → return of a fit that was asked for."""
    some = tests.only(asked.tests)
    return _fitted(asked.model, weekly[weekly["week"] <= asked.until], some, asked.settings).returns()


def _fitted(model: str, weekly: pd.DataFrame, tests: Tests, settings: Mapping[str, Any]) -> Mix:
    """One member, without its scores on weeks kept aside."""
    from liftwise.models.mix.choose import CANDIDATES

    member = CANDIDATES[model](**settings)
    member.scored = False
    return member.fit(weekly, tests.whole, tests.weeks)


def what_if(ws: Workspace, multipliers: dict[str, float]) -> tuple[WhatIf, Fit]:
    """What the last fitted mix says had spend been multiplied; it is fitted again on the same data, which gives the same mix.

    Raises
    ------
    CannotTell
        When there is no mix yet, or the data changed since.
    InputError
        With a channel that is not in the mix, or a factor below 0.
    """
    from liftwise.models.mix.changes import Fit, digests, history

    last, weekly, tests = Fit.from_frame(ws.warehouse.table("mix_facts")), ws.warehouse.table("weekly"), tests_of(ws)
    if last is None:
        raise CannotTell("there is no mix yet", fix="run: liftwise measure mix")
    known = tests.only(frozenset(last.tests))
    if history(weekly, pd.Timestamp(weekly["week"].max())) != last.history or digests(known.heard) != dict(last.tests):
        raise CannotTell("the data changed since the last mix", fix="run: liftwise measure mix")
    ws.progress("what-if", 0.0, last.model)
    mix = _fitted(last.model, weekly, known, last.settings)
    ws.progress("what-if", 0.7, "other spends")
    answer = mix.what_if(multipliers)
    ws.progress("what-if", 1.0)
    return answer, last
