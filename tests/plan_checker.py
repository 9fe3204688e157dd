"""An independent check of a plan: every rule by plain loops over its lines, nothing of the engine used."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pandas as pd

from liftwise.decisions.selection import rules as of
from liftwise.decisions.selection.candidates import TIERS
from liftwise.decisions.selection.choose import Selection
from liftwise.decisions.selection.reach import Reach

EASE = 1e-6


def violations(
    plan: Selection, effectiveness: pd.DataFrame, budget: float, rules: list[Any], *, risk_aversion: float = 0.5,
    influencers: pd.DataFrame | None = None, events: pd.DataFrame | None = None, audiences: pd.DataFrame | None = None,
) -> list[str]:  # fmt: skip
    """What is wrong with a plan; empty when nothing is."""
    told: list[str] = []
    mine = effectiveness[effectiveness["metric"].astype("str") == plan.metric]
    keys = zip(
        mine["influencer_id"].astype("str"),
        mine["content_type"].astype("str"),
        mine["event_id"].astype("str"),
        mine["days_from_event"],
        strict=True,
    )
    places: dict[tuple[str, str, str, float], list[int]] = defaultdict(list)
    for place, key in enumerate(keys):
        places[key].append(place)
    lines = [_line(row, mine, places, told) for row in plan.assignments.itertuples()]
    who = {} if influencers is None else influencers.astype({"influencer_id": "str"}).set_index("influencer_id").to_dict("index")
    what = {} if events is None else events.astype({"event_id": "str"}).set_index("event_id").to_dict("index")
    for line in lines:
        line["who"], line["what"] = who.get(line["influencer"], {}), what.get(line["event"], {})
        if events is not None:
            day = line["what"]["date"] + pd.Timedelta(days=line["day"])
            monday = day - pd.Timedelta(days=day.weekday())
            if monday != line["week"]:
                told.append(f"{line['influencer']} posts in week {monday}, not {line['week']}")
    keys = [(x["influencer"], x["content"], x["event"], x["day"]) for x in lines]
    if len(set(keys)) < len(keys):
        told.append("a line appears twice")
    cost, value = sum(x["paid"] for x in lines), sum(x["predicted"] - risk_aversion * x["uncertainty"] for x in lines)
    if cost > budget * (1 + EASE):
        told.append(f"costs {cost} of {budget}")
    if abs(cost - plan.cost) > EASE * (1 + abs(cost)) or abs(value - plan.value) > EASE * (1 + abs(value)):
        told.append(f"says cost {plan.cost}, value {plan.value}; they are {cost}, {value}")
    if plan.bound < plan.value - EASE * (1 + abs(plan.value)):
        told.append(f"bound {plan.bound} below value {plan.value}")
    for rule in rules:
        told += _broken(rule, lines, who, what, audiences, effectiveness)
    return told


def _line(row: Any, frame: pd.DataFrame, places: dict[tuple[str, str, str, float], list[int]], told: list[str]) -> dict[str, Any]:
    mine = frame.iloc[places.get((row.influencer_id, row.content_type, row.event_id, row.days_from_event), [])]
    if len(mine) != 1:
        told.append(f"{row.influencer_id}, {row.content_type}, {row.event_id}, {row.days_from_event} is no way to post")
    source = mine.iloc[0]
    return {"influencer": row.influencer_id, "content": row.content_type, "event": row.event_id, "day": row.days_from_event, "week": row.week,
            "paid": row.budget, "predicted": row.predicted, "uncertainty": row.uncertainty, "source": source}  # fmt: skip


def _group(line: dict[str, Any], name: str, first: str) -> str | None:
    own = {
        "influencer": line["influencer"],
        "event": line["event"],
        "content": line["content"],
        "week": str(line["week"]),
        "all": "all",
    }
    if name in own:
        return own[name]
    if name == "influencer-week":
        return f"{line['influencer']} {line['week']}"
    if "." in name:
        owner, name = name.split(".")
        return line["who" if owner == "influencer" else "what"].get(name)
    if name == "tier" and "tier" not in line["who"]:
        return next(tier for tier, edge in TIERS if line["who"]["followers"] < edge)
    both = (line["who"], line["what"]) if first == "influencer" else (line["what"], line["who"])
    return both[0].get(name, both[1].get(name))


def _sum(lines: list[dict[str, Any]], of_what: Any) -> float:
    return float(sum(of_what(line) for line in lines))


def _counted(name: str) -> Any:
    return {"spend": lambda x: x["paid"], "price": lambda x: x["paid"], "posts": lambda x: 1.0, "reach": lambda x: x["who"].get("followers", 0.0)}.get(
        name, lambda x: x["source"][name])  # fmt: skip


def _broken(rule: Any, lines: list, who: dict, what: dict, audiences: pd.DataFrame | None, frame: pd.DataFrame) -> list[str]:
    found: list[str] = []
    sums: dict[Any, float] = defaultdict(float)

    def limit(given: Any, label: Any, otherwise: float) -> float:
        return float(given.get(str(label), otherwise)) if isinstance(given, dict) else float(given)

    if isinstance(rule, of.Budget):
        for x in lines:
            sums[_group(x, rule.per, "influencer")] += _counted(rule.of)(x)
        found += [f"budget {k}: {v}" for k, v in sums.items() if v > limit(rule.total, k, np.inf) * (1 + EASE)]
    elif isinstance(rule, of.Frequency):
        for x in lines:
            sums[_group(x, rule.per, "influencer")] += 1
        found += [f"{v} posts of {k}" for k, v in sums.items() if v > rule.max_posts]
    elif isinstance(rule, of.Coverage) and rule.segment is None:
        names = (
            set(frame["event_id"].astype("str"))
            if rule.by == "event"
            else {what[e].get(rule.by) for e in set(frame["event_id"].astype("str"))}
        )
        for x in lines:
            sums[_group(x, rule.by, "event")] += _counted(rule.of)(x)
        found += [
            f"{sums[k]} for {k}" for k in names if k is not None and sums[k] < limit(rule.at_least, k, -np.inf) * (1 - EASE)
        ]
    elif isinstance(rule, of.Coverage):
        assert audiences is not None
        shares = (
            audiences[audiences["dimension"] == rule.segment]
            .sort_values("observed_on")
            .groupby(["influencer_id", "value"])["share"]
            .last()
        )
        for value in shares.index.get_level_values("value").unique():
            reached = _sum(lines, lambda x, v=value: x["who"]["followers"] * shares.get((x["influencer"], v), 0.0))
            if reached < limit(rule.at_least, value, -np.inf) * (1 - EASE):
                found.append(f"{reached} reached in {value}")
    elif isinstance(rule, of.Diversity):
        total = _sum(lines, _counted(rule.of))
        for x in lines:
            sums[_group(x, rule.by, "influencer")] += _counted(rule.of)(x)
        found += [
            f"{k} takes {v / total:.3f}" for k, v in sums.items() if v > limit(rule.at_most, k, 1.0) * total + EASE * (1 + total)
        ]
        everyone = {
            _group({"who": f, "influencer": i, "event": "", "content": "", "week": "", "what": {}}, rule.by, "influencer")
            for i, f in who.items()
        }
        found += [
            f"{k} takes only {sums[k]}"
            for k in everyone
            if k is not None and sums[k] < limit(rule.at_least, k, 0.0) * total - EASE * (1 + total)
        ]
    elif isinstance(rule, of.RiskLimit):
        risk = _sum(lines, lambda x: x["who"][rule.risk] * x["paid"])
        spent = _sum(lines, _counted("spend"))
        found += [f"risk {risk / max(spent, 1e-9)}"] if risk > rule.at_most * spent + EASE * (1 + spent) else []
    elif isinstance(rule, of.CVaR):
        spent = _sum(lines, _counted("spend"))
        lost = np.array(
            [
                _sum(lines, lambda x, s=s: rule.losses.iloc[s][_group(x, rule.by, "influencer")] * x["paid"])
                for s in range(len(rule.losses))
            ]
        )
        worst = max(1, round((1 - rule.level) * len(lost)))
        tail = float(np.sort(lost)[-worst:].mean())
        found += [f"CVaR {tail / max(spent, 1e-9)}"] if tail > rule.at_most * spent + EASE * (1 + spent) else []
    elif isinstance(rule, of.Exclusive):
        used = {x["influencer"] for x in lines}
        found += [f"both of {group}" for group in rule.groups if len(used & set(group)) > 1]
    elif isinstance(rule, of.Include):
        found += [f"{name} is not in" for name in rule.influencers if sum(x["influencer"] == name for x in lines) < rule.at_least]
        have = {(x["influencer"], x["content"], x["event"], x["day"]) for x in lines}
        found += [f"{line} is not in" for line in rule.lines if tuple(line) not in have]
    elif isinstance(rule, of.Exclude):
        found += [
            f"{x} is in"
            for x in lines
            if x["influencer"] in rule.influencers or x["content"] in rule.contents or x["event"] in rule.events
        ]
    elif isinstance(rule, of.BrandRule):
        for x in lines:
            facts = x["who"]
            fits = (rule.alignment is None or facts["brand_alignment"] >= rule.alignment) and facts["genre"] not in rule.banned
            fits = (
                fits
                and (not rule.topics or facts["genre"] in rule.topics)
                and (rule.disclosure is None or facts["disclosure_rate"] >= rule.disclosure)
            )
            found += [] if fits else [f"{x['influencer']} does not fit the brand"]
    elif isinstance(rule, of.Fairness):
        declared = {
            i: f.get(rule.group)
            for i, f in who.items()
            if f.get(rule.group) is not None and i in set(frame["influencer_id"].astype("str"))
        }
        total = _sum(lines, _counted(rule.of))
        for group in set(declared.values()):
            share = sum(g == group for g in declared.values()) / len(declared)
            got = _sum([x for x in lines if declared.get(x["influencer"]) == group], _counted(rule.of))
            found += [f"{group} gets {got} of {total}"] if got < rule.floor * share * total - EASE * (1 + total) else []
    elif isinstance(rule, Reach):
        a, reached = rule.audiences, set[int]()
        share = min(a.seen)  # of samples, people whom all could hold: each stands for 1 / share
        for x in lines:
            if x["influencer"] in a.names:
                k = a.names.index(x["influencer"])
                for person in a.people[a.starts[k] : a.starts[k + 1]].tolist():
                    if share == max(a.seen) or a.position[person] < share:
                        reached.add(person)
        found += [f"{len(reached) / share} different people"] if len(reached) / share < rule.at_least * (1 - 1e-9) else []
    else:
        raise AssertionError(f"no check of {rule!r}")
    return [f"{type(rule).__name__}: {words}" for words in found]
