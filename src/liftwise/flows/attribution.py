"""Attribution: every rule on the journeys, and the sequence model on moments, held against the tests there are."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from liftwise.core.errors import CannotTell
from liftwise.core.uncertainty import normal_quantile
from liftwise.flows.outline import Flow
from liftwise.governance.cells import Cells
from liftwise.store.workspace import Workspace

if TYPE_CHECKING:
    from liftwise.models.attribution import Journeys, Shapley, SurvivalAttribution
    from liftwise.models.attribution.joint import LSTMAttribution

WRITES = ("credits", "channel_credits", "label_credits", "channel_effects", "fading", "pair_effects", "influence")
LABELS = ("content_type", "platform", "influencer_id")
LEARNED, PAIRS, STAGES = 150_000, 400_000, 60_000  # moments that are learned from; that pairs, and stages, are read from
PARTS = 4096  # of moments, by the first three letters of their ids


def step(flow: Flow, ws: Workspace) -> None:
    """The step of `measure`."""
    flow.step(
        "attribution", lambda: attribution(ws), needs=["journeys"], writes=WRITES,
        reads=["journeys", "moments", "journey_facts", "answer_moments", "lift_tests", "sales", "touchpoints", "embeddings"],
        parameters={"order": ws.settings.measure.markov_order, "level": ws.settings.measure.level, "seed": ws.settings.seed},
    )  # fmt: skip


def attribution(ws: Workspace) -> dict[str, Any]:
    """Tables `credits`, `channel_credits` and those of the sequence model; returns what the record keeps.

    What the sequence model cannot tell is left out with its reason; the rules stand without it.
    """
    credits, channels, cut = rules(ws)
    told: dict[str, Any] = {}
    notes = list[str]()
    try:
        model, others, notes = learned(ws)
    except CannotTell as reason:
        told["left_out"] = str(reason)
        for table in WRITES[2:]:
            ws.warehouse.drop(table)
    else:
        won = moments(ws, model.channels_, "converted")
        counted, cut = bounded(won, people(ws, won.ids, "converted"))  # of all purchases; the rules know those of journeys alone
        for member in (*others[:1], model, *others[1:]):  # pictures take the first with intervals for ours
            credits.append(member.credit(won))
            channels.append(member.channel_credit(counted))
        readings(ws, model, counted)
        told |= {"calibrated": model.calibrated_, "summary": model.summary(), "survival": others[1].summary()}
        told |= {"next_test": next_test(model)}
    told["mind"] = [*notes, *([cut] if cut else [])]  # the command says each of these after "Mind:"
    ws.progress("attribution", 0.97, "writing credits")
    ws.warehouse.write("credits", pd.concat(credits, ignore_index=True))
    ws.warehouse.write("channel_credits", pd.concat(channels, ignore_index=True))
    return {"methods": len(channels), **told}


def rules(ws: Workspace) -> tuple[list[pd.DataFrame], list[pd.DataFrame], str]:
    """Tables `credits` and `channel_credits` of every rule, and whom `bounded` cut."""
    from liftwise.models.attribution import FirstTouch, Journeys, LastTouch, Linear, Markov, Position, TimeDecay

    frame = ws.warehouse.table("journeys")
    journeys = Journeys.of(frame)
    whose = frame.drop_duplicates("journey_id").set_index("journey_id")["person_id"]
    counted, cut = bounded(journeys, pd.factorize(whose.reindex(journeys.ids))[0])
    members = (LastTouch(), FirstTouch(), Linear(), TimeDecay(), Position(), Markov(order=ws.settings.measure.markov_order))
    credits, channels = list[pd.DataFrame](), list[pd.DataFrame]()
    for k, member in enumerate(members):
        ws.progress("attribution", 0.3 * k / len(members), type(member).__name__)
        member.fit(journeys)
        credits.append(member.credit(journeys))
        channels.append(member.channel_credit(counted))
    return credits, channels, cut


def learned(ws: Workspace) -> tuple[LSTMAttribution, tuple[Shapley, SurvivalAttribution], list[str]]:
    """What learns from moments: the sequence model, the game of channel sets, the hazard; and why tests were not used.

    The game needs moments too: of journeys that did not convert, the table `journeys` has none without a touch. So does the hazard:
    moments are drawn evenly from all time at risk.

    Raises
    ------
    CannotTell
        When there are no moments, or they do not carry an answer.
    """
    from liftwise.models.attribution import LSTMAttribution, Shapley, SurvivalAttribution

    if not ws.warehouse.has("moments"):
        raise CannotTell("no moments to learn from", fix="run: liftwise refresh")
    names = ws.warehouse.sql("SELECT DISTINCT channel FROM moments WHERE channel IS NOT NULL ORDER BY channel")["channel"]
    channels = tuple(map(str, names))
    lift, notes = shares(ws, channels)
    model = LSTMAttribution(labels=LABELS, most=LEARNED, level=ws.settings.measure.level, seed=ws.settings.seed)
    sample = moments(ws, channels, _part(ws, LEARNED))
    places = ws.warehouse.table("embeddings") if ws.warehouse.has("embeddings") else None
    model.fit(
        sample, lift=lift, progress=lambda done: ws.progress("attribution", 0.3 + 0.5 * done, "sequence model"), places=places
    )
    game = Shapley(seed=ws.settings.seed).fit(replace(sample, nulls=sample.nulls / sample.kept))
    return model, (game, SurvivalAttribution(level=ws.settings.measure.level, seed=ws.settings.seed).fit(sample)), notes


def next_test(model: LSTMAttribution) -> dict[str, Any]:
    """The channel whose test would narrow credits the most, were all tests to cost the same, and what it would do."""
    from liftwise.models.attribution.next_test import next_tests

    try:
        found = next_tests(model)
    except CannotTell as reason:
        return {"says": str(reason)}
    best = found.frame.iloc[0]
    return {
        "says": found.summary(),
        "channel": str(best["channel"]),
        "sd": float(best["sd"]),
        "sd_after": float(best["sd_after"]),
    }


def bounded(journeys: Journeys, person: np.ndarray) -> tuple[Journeys, str]:
    """The same journeys with what one person adds to sums bounded, and a line on whom that cut ("" for nobody).

    A person counts for no more than the smallest cell that may be shown: `Cells.people` times the purchases, and the revenue, of the
    median buyer (and `Cells.most` purchases in any case). Nobody who buys as people do comes near it, however unlike they are, and no
    channel or influencer is made by one account that resells. All of such a person's journeys are scaled alike, so credits still add
    up, and no cell is preferred to another.
    """
    rule, won = Cells(), journeys.conversions > 0
    spent, bought = (_median_buyer(amount[won], person[won]) for amount in (np.abs(journeys.value), journeys.conversions))
    most = max(rule.most, rule.people * bought)
    conversions = rule.clamp(journeys.conversions, person, most)
    value = rule.clamp(journeys.value, person, rule.people * spent) if spent > 0 else journeys.value
    cut = len(np.unique(person[(conversions < journeys.conversions) | (np.abs(value) < np.abs(journeys.value))]))
    if not cut:
        return journeys, ""
    who = "1 person buys" if cut == 1 else f"{cut} people buy"
    line = f"{who} far more than others and count{'s' if cut == 1 else ''} for at most {rule.people} times the median buyer in sums of credit"
    return replace(journeys, conversions=conversions, value=value), line


def _median_buyer(amount: np.ndarray, person: np.ndarray) -> float:
    """Sum of the median person of those who bought; 0 where nobody did."""
    return float(np.median(np.bincount(np.unique(person, return_inverse=True)[1], amount))) if len(amount) else 0.0


def people(ws: Workspace, ids: np.ndarray, where: str) -> np.ndarray:
    """(journeys,) whose each moment is, as codes."""
    person = ws.warehouse.sql(f"SELECT DISTINCT journey_id, person_id FROM moments WHERE {where}")
    return pd.factorize(person.set_index("journey_id")["person_id"].reindex(ids))[0]


def moments(ws: Workspace, channels: tuple[str, ...], where: str) -> Journeys:
    """The moments that a condition names, with what was known of each person."""
    from liftwise.models.attribution import Journeys

    columns = "journey_id, position, touch_id, hours_before_end, channel, content_type, platform, influencer_id, kind, converted, revenue, kept"
    frame = ws.warehouse.sql(f"SELECT {columns} FROM moments WHERE {where}")
    facts = ws.warehouse.sql(
        f"SELECT f.* FROM journey_facts f SEMI JOIN (SELECT journey_id FROM moments WHERE {where}) USING (journey_id)"
    )
    return Journeys.of(frame, channels, facts, (*LABELS, "kind"))


def _part(ws: Workspace, wanted: int) -> str:
    """A condition that takes about `wanted` moments, or all: ids are hashes, so their beginning is a fair draw."""
    number = int(ws.warehouse.sql("SELECT count(*) AS n FROM moments WHERE position <= 1")["n"].iloc[0])
    parts = int(np.ceil(PARTS * wanted / max(number, 1)))
    return "true" if parts >= PARTS else f"left(journey_id, 3) < '{parts:03x}'"


def shares(ws: Workspace, channels: tuple[str, ...]) -> tuple[pd.DataFrame, list[str]]:
    """What tests of whole channels say, as shares of all revenue; and why others are not used.

    A test says what the channel brought where and while it ran. Per touch, that holds elsewhere too: so its share of what was sold
    there is multiplied by how many touches there are for the sales of all regions and weeks, over how many there were in the test.
    """
    notes, rows = list[str](), list[dict[str, Any]]()
    sales = ws.warehouse.table("sales", ["week", "region", "revenue"]).rename(columns={"revenue": "amount"})
    touches = _touches(ws)
    for test in ws.warehouse.table("lift_tests").to_dict("records"):
        metric = test["metric"] if isinstance(test["metric"], str) else "revenue"
        regions = [name.strip() for name in test["regions"].split(";")] if isinstance(test["regions"], str) else []
        sold, seen = (_within(frame, test, regions) for frame in (sales, touches[touches["channel"] == test["channel"]]))
        if any(isinstance(test[part], str) and test[part] for part in ("influencer_id", "content_type", "campaign_id")):
            notes.append(f"test {test['test_id']} is of a part of its channel: not used")
        elif test["channel"] not in channels:
            notes.append(f"test {test['test_id']} is of {test['channel']}, which no journey has: not used")
        elif not test["standard_error"] > 0:
            notes.append(f"test {test['test_id']} has no standard error: not used")
        elif metric in ("conversion_rate", "buyers"):
            rows.append({name: test[name] for name in ("channel", "effect", "standard_error")} | {"metric": metric})
        elif metric != "revenue":
            notes.append(f"test {test['test_id']} counts {metric}, which cannot be set against sales: not used")
        elif min(sold[0], seen[0]) <= 0:
            notes.append(f"test {test['test_id']} ran where and when no sales or no touches are known: not used")
        else:
            scale = seen[1] / seen[0] / sold[1]
            rows.append({"channel": test["channel"], "effect": test["effect"] * scale, "standard_error": test["standard_error"] * scale,
                         "metric": "share"})  # fmt: skip
    told, said = _of_one_kind(pd.DataFrame(rows, columns=["channel", "effect", "standard_error", "metric"]))
    return told, notes + said


def _of_one_kind(told: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Tests that count people give way where others count purchases."""
    people = told["metric"] == "buyers"
    if not people.any() or people.all():
        return told, []
    return told[~people], [
        f"{people.sum()} tests count people and {(~people).sum()} count purchases, which do not mix: those are used"
    ]


def _touches(ws: Workspace) -> pd.DataFrame:
    """Touches by period, region and channel."""
    period = ws.settings.grid.sql("occurred_at", timestamp=True)
    return ws.warehouse.sql(f"""
        SELECT {period}::TIMESTAMP AS week, region, channel, count(*)::DOUBLE AS amount FROM touchpoints GROUP BY ALL
    """)


def _within(frame: pd.DataFrame, test: dict[str, Any], regions: list[str]) -> tuple[float, float]:
    """Sum where and while a test ran, and sum of all; where no region is known, all regions count on both sides."""
    during = (frame["week"] > test["starts_on"] - pd.Timedelta(days=7)) & (frame["week"] <= test["ends_on"])
    here = frame["region"].isin(regions) if regions and frame["region"].notna().any() else True
    return float(frame.loc[during & here, "amount"].sum()), float(frame["amount"].sum())


def readings(ws: Workspace, model: LSTMAttribution, won: Journeys) -> None:
    """Tables `channel_effects`, `fading`, `label_credits`, `pair_effects`, `influence`."""
    ws.warehouse.write("channel_effects", model.effects_.assign(method=model.method))
    ws.warehouse.write("fading", model.fading_)
    ws.progress("attribution", 0.85, "credit by influencer, content, platform")
    _write_or_drop(ws, "label_credits", lambda: _by_label(ws, model, won))
    ws.progress("attribution", 0.9, "what works together, and when")
    # one touch is no pair: leaving those out changes nothing but the time it takes
    several = moments(
        ws, model.channels_, f"{_part(ws, 3 * PAIRS)} AND journey_id IN (SELECT journey_id FROM moments WHERE position = 2)"
    )
    _write_or_drop(ws, "pair_effects", lambda: _pairs(model, several))
    ws.progress("attribution", 0.94, "what touches do at each stage")
    sample = moments(ws, model.channels_, _part(ws, STAGES))
    _write_or_drop(ws, "influence", lambda: _stages(ws, model, sample))


def _write_or_drop(ws: Workspace, name: str, work: Any) -> None:
    """A table that cannot be told is left out, so that none speaks of data that are gone."""
    try:
        ws.warehouse.write(name, work())
    except CannotTell:
        ws.warehouse.drop(name)


def _by_label(ws: Workspace, model: LSTMAttribution, won: Journeys) -> pd.DataFrame:
    """Credit by value of each label beside last touch; rows about too few people are folded into `other`."""
    from liftwise.models.attribution import LastTouch

    owner = won.owner
    who, counts = people(ws, won.ids, "converted")[owner], won.conversions[owner]
    share = model.shares(won)
    ours, last = share * counts, LastTouch().shares(won) * counts
    effects = model.effects_
    spread = (effects["sd"] / effects["share"].where(effects["share"] > 0)).to_numpy()[won.codes]
    frames = list[pd.DataFrame]()
    for by in LABELS:
        label = won.labels.get(by)
        if label is None or not label.names:
            continue
        touches = pd.DataFrame({
            "name": np.array([*label.names, None], object)[label.codes], "person": who, "conversions": ours,
            "revenue": share * won.value[owner], "sd": np.nan_to_num(ours * spread), "last_touch": last,
            "calibrated": effects["tested"].to_numpy()[won.codes],
        }).dropna(subset=["name"])  # fmt: skip
        found = touches.groupby("name").agg(conversions=("conversions", "sum"), revenue=("revenue", "sum"), sd=("sd", "sum"),
                                            last_touch=("last_touch", "sum"), people=("person", "nunique"), calibrated=("calibrated", "all")).reset_index()  # fmt: skip
        frames.append(found.assign(by=by))
    if not frames:
        raise CannotTell("touches have no labels")
    shown = Cells().suppress(
        pd.concat(frames, ignore_index=True), "people", names=["name"], group=["by"],
        fold=["conversions", "revenue", "sd", "last_touch"],
    )  # fmt: skip
    z = normal_quantile(model.level)
    return shown.assign(
        low=(shown["conversions"] - z * shown["sd"]).clip(lower=0), high=shown["conversions"] + z * shown["sd"],
        method=model.method, calibrated=shown["calibrated"].eq(True),
    ).drop(columns=["sd", "withheld"])  # fmt: skip


def _pairs(model: LSTMAttribution, sample: Journeys) -> pd.DataFrame:
    """Pairs of channels, and of content types."""
    from liftwise.models.attribution.interactions import pairs

    reading = model.read(sample)
    frames = [pairs(sample, reading.left, reading.base, level=model.level).to_frame().assign(by="channel")]
    label = sample.labels.get("content_type")
    if label is not None and len(label.names) > 1:
        # what has no content type keeps its channel: it belongs to the baseline all the same
        names = (*label.names, *(name for name in sample.channels if name not in label.names))
        plain = np.array([names.index(name) for name in sample.channels])[sample.codes]
        typed = replace(sample, channels=names, codes=np.where(label.codes >= 0, label.codes, plain))
        frames.append(pairs(typed, reading.left, reading.base, level=model.level).to_frame().assign(by="content_type"))
    return pd.concat(frames, ignore_index=True)


def _stages(ws: Workspace, model: LSTMAttribution, sample: Journeys) -> pd.DataFrame:
    """What each content type, influencer and platform does to awareness, consideration and conversion."""
    who, answers = people(ws, sample.ids, _part(ws, STAGES)), _answers(ws, model.channels_)
    found = model.influence(sample, person=who, answers=answers, level=model.level, seed=model.seed)
    shown = Cells().suppress(
        found.frame, "people", names=["name"], group=["stage", "by"],
        columns=["change", "low", "high", "touches", "auc", "auc_low", "tells"],
    )  # fmt: skip
    return shown[shown["withheld"] == ""].drop(columns="withheld")


def _answers(ws: Workspace, channels: tuple[str, ...]) -> pd.DataFrame | None:
    """What a linked panel answered, at most `STAGES` answers of a metric: ids are hashes, so the first are a fair draw.

    Answers after a touch of a channel that the model never saw are left out: it does not know what to make of it.
    """
    if not ws.warehouse.has("answer_moments"):
        return None
    answers = ws.warehouse.sql(f"""
        SELECT journey_id, person_id, position, touch_id, hours_before_end, channel, {", ".join(LABELS)}, metric, score
        FROM answer_moments
        QUALIFY dense_rank() OVER (PARTITION BY metric ORDER BY journey_id) <= {STAGES} ORDER BY journey_id, position
    """)
    strange = answers.loc[answers["channel"].notna() & ~answers["channel"].isin(channels), "journey_id"]
    return answers[~answers["journey_id"].isin(strange)]
