"""Attribution against the truth of simulated journeys: which credit rule recovers what touches did?

    python truth_attribution.py --seeds 10 --first 100 --cells observed,tested

A row a cell and method, means over seeds: rank (Spearman of channels' credit with the truth), distance (total variation of their
shares), error (Σ|credit − truth| / truth), touch (correlation over touches), within (rank within journeys of three touches and
more), AUC on people not seen, coverage of the 90 % intervals.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
from lightgbm import LGBMClassifier
from scipy.special import expit
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from liftwise.models.attribution import (
    AttentionAttribution,
    FirstTouch,
    Journeys,
    LastTouch,
    Linear,
    LSTMAttribution,
    Markov,
    Position,
    Shapley,
    SurvivalAttribution,
    TimeDecay,
)
from liftwise.models.attribution.network import marks
from liftwise.sources.simulator.journey_worlds import CHANNELS, JourneySample, JourneyWorld

MIXED = ("influencer_micro", "paid_social", "brand_search", "retargeting")
DEMAND = ("email", "generic_search", "brand_search", "retargeting")
CELLS: dict[str, tuple[dict, tuple[str, ...]]] = {
    "random": ({"targeting": "random"}, ()),
    "observed": ({"targeting": "observed"}, ()),
    "observed, mixed laws": ({"targeting": "observed", "law": "mixed"}, ()),
    "hidden, no test": ({}, ()),
    "tested": ({}, CHANNELS),
    "tested, mixed laws": ({"law": "mixed"}, CHANNELS),
    "tested, truncated": ({"clock": "truncated"}, CHANNELS),
    "tested, truncated, mixed laws": ({"clock": "truncated", "law": "mixed"}, CHANNELS),
    "tested, induced": ({"induced": 0.3}, CHANNELS),
    "4 tests": ({}, MIXED),
    "4 tests of demand": ({}, DEMAND),
    "4 tests, mixed laws": ({"law": "mixed"}, MIXED),
    "no effect, tested": ({"strength": 0.0}, CHANNELS),
    "no effect, random": ({"strength": 0.0, "targeting": "random"}, ()),
    "ordered": ({"targeting": "random", "ordered": 4.0}, ()),
    "wary": ({"targeting": "random", "wary": True, "lends": 0.0}, ()),
}
RULES = (LastTouch, FirstTouch, Linear, TimeDecay, Position, Markov, Shapley)


def arrays(sample: JourneySample) -> Journeys:
    """As the models take them."""
    n, touches = len(sample.bought), len(sample.codes)
    return Journeys(
        np.arange(n).astype(str).astype(object), sample.offsets.astype(np.int64), sample.codes.astype(np.int64),
        np.arange(touches).astype(str).astype(object), sample.hours, sample.bought, 10 * sample.bought, 1 - sample.bought, CHANNELS,
        sample.covariates, ("known", "noise"), sample.kept,
    )  # fmt: skip


def tests(sample: JourneySample, channels: tuple[str, ...]) -> pd.DataFrame:
    """Tests as shares: of purchases, or where a purchase ends the journey, of people who bought within the month."""
    lift = sample.lift[sample.lift["channel"].isin(channels)].copy()
    lift[["effect", "standard_error"]] /= sample.rate
    return lift.assign(metric="share" if sample.kept == 1 else "buyers")


def market(cell: str, seed: int, people: int, rules: bool) -> list[dict]:
    """The rows of one market."""
    told, tested = CELLS[cell]
    sample = JourneyWorld(seed=seed, people=people, **told).draw()
    fresh = JourneyWorld(seed=seed, people=20_000, **told).draw("fresh")
    lift = tests(sample, tested)
    journeys, unseen = arrays(sample), arrays(fresh)
    began = time.process_time()
    model = LSTMAttribution(seed=seed).fit(journeys, lift=lift if tested else None)
    seconds = time.process_time() - began
    rows = [
        _joint(model, sample, fresh, journeys, unseen) | {"method": "lstm", "cpu": seconds, "compare_auc": _others(sample, fresh)}
    ]
    if rules:
        rows += [_rule(rule(), sample, journeys) for rule in RULES]
        rows += [
            _foretold(other, sample, fresh, journeys, unseen)
            for other in (SurvivalAttribution(window_days=1), AttentionAttribution(seed=seed))
        ]
    return [{"cell": cell, "seed": seed, **row} for row in rows]


def _truth(sample: JourneySample) -> np.ndarray:
    """Share of conversions that would be missing without each channel."""
    weight = np.where(sample.bought > 0, 1.0, 1.0 / sample.kept)
    return (weight[:, None] * (sample.probability[:, None] - sample.without)).sum(0) / (weight * sample.probability).sum()


def _joint(model: LSTMAttribution, sample: JourneySample, fresh: JourneySample, journeys: Journeys, unseen: Journeys) -> dict:
    truth, share = _truth(sample), model.effects_["share"].to_numpy()
    reading = model.read(unseen)
    added = reading.added * model.cut_[unseen.codes]
    log_odds = reading.base + np.bincount(unseen.owner, added, minlength=len(unseen.ids)) + model.offset
    effect = expit(log_odds)[unseen.owner] - expit(log_odds[unseen.owner] - added)
    covered = _covered(model.effects_, truth)
    credits = model.channel_credit(journeys)
    organic = credits["conversions"].iloc[-1] / credits["conversions"].sum()
    total = float(np.sqrt((model.effects_["sd"] ** 2).sum()))
    return {
        **_channels(share, truth), "credit_distance": _channels(credits["conversions"].to_numpy()[:-1], truth)["distance"],
        **_touches(added, effect, fresh), "auc": roc_auc_score(fresh.bought, log_odds),
        "cover": float(covered.mean()), "cover_tested": float(covered[model.effects_["tested"]].mean()),
        "claimed": 1 - organic, "claimed_se": total, "keeps": model.keeps_,
        "organic_true": float(1 - (sample.organic[sample.bought > 0] / sample.probability[sample.bought > 0]).mean()),
    }  # fmt: skip


def _rule(rule, sample: JourneySample, journeys: Journeys) -> dict:
    conversions = journeys.conversions.sum()
    share = rule.fit(journeys).channel_credit(journeys)["conversions"].to_numpy()[:-1] / conversions
    out = {"method": rule.method, **_channels(share, _truth(sample))}
    if isinstance(rule, (LastTouch, FirstTouch, Linear, TimeDecay, Position)):
        given = rule.shares(journeys)
        out |= _touches(given, given, sample)
    return out


def _foretold(
    model: SurvivalAttribution | AttentionAttribution,
    sample: JourneySample,
    fresh: JourneySample,
    journeys: Journeys,
    unseen: Journeys,
) -> dict:
    """Of a model that hears no test; where everybody is watched, a row is the moment at which they bought or did not."""
    out = _rule(model, sample, journeys)
    chance, given = model.predict(unseen)["probability"].to_numpy(), model.shares(unseen)
    out |= _touches(given, given * chance[unseen.owner], fresh) | {"auc": roc_auc_score(fresh.bought, chance)}
    return out | (
        {"cover": float(_covered(model.effects_, _truth(sample)).mean())} if isinstance(model, SurvivalAttribution) else {}
    )


def _covered(effects: pd.DataFrame, truth: np.ndarray) -> np.ndarray:
    """Whether each channel's interval holds the truth."""
    return ((effects["low"] <= truth) & (truth <= effects["high"])).to_numpy()


def _channels(share: np.ndarray, truth: np.ndarray) -> dict:
    if truth.sum() <= 0 or truth.min() < 0:  # nothing to share out, or channels that do harm, which no credit says
        return {"rank": np.nan, "distance": np.nan, "error": np.nan}
    given = share / max(share.sum(), 1e-12)
    return {
        "rank": float(np.corrcoef(rankdata(share), rankdata(truth))[0, 1]), "distance": float(np.abs(given - truth / truth.sum()).sum() / 2),
        "error": float(np.abs(share - truth).sum() / truth.sum()),
    }  # fmt: skip


def _touches(within: np.ndarray, effect: np.ndarray, sample: JourneySample) -> dict:
    if np.ptp(sample.effect) == 0:
        return {"touch": np.nan, "within": np.nan}
    ranks = []
    for j in np.flatnonzero(np.diff(sample.offsets) >= 3)[:5000]:
        a, b = sample.offsets[j], sample.offsets[j + 1]
        if np.ptp(within[a:b]) > 0:
            ranks.append(np.corrcoef(rankdata(within[a:b]), rankdata(sample.effect[a:b]))[0, 1])
    return {"touch": float(np.corrcoef(effect, sample.effect)[0, 1]), "within": float(np.mean(ranks)) if ranks else np.nan}


def _others(sample: JourneySample, fresh: JourneySample) -> float:
    """The better AUC of a logistic regression and LightGBM on counts, how late, and what is known of people."""
    design = [np.column_stack([marks(arrays(part)), part.covariates]) for part in (sample, fresh)]
    scaled = StandardScaler().fit(design[0])
    line = LogisticRegression(max_iter=500).fit(scaled.transform(design[0]), sample.bought)
    trees = LGBMClassifier(n_estimators=300, learning_rate=0.03, num_leaves=31, min_child_samples=100, n_jobs=1, verbose=-1)
    trees.fit(design[0], sample.bought)
    guesses = (line.predict_proba(scaled.transform(design[1])), trees.predict_proba(design[1]))
    return max(roc_auc_score(fresh.bought, guess[:, 1]) for guess in guesses)


def main() -> None:
    """Run the cells and print means with standard errors."""
    told = argparse.ArgumentParser()
    told.add_argument("--seeds", type=int, default=10)
    told.add_argument("--first", type=int, default=100)
    told.add_argument("--people", type=int, default=80_000)
    told.add_argument("--cells", default=";".join(CELLS), help="names joined by ';'")
    told.add_argument("--rules", action="store_true")
    told.add_argument("--rows", help="a file for every row, as JSON lines")
    options = told.parse_args()
    warnings.filterwarnings("ignore")
    for cell in options.cells.split(";"):
        found = defaultdict(lambda: defaultdict(list))
        for seed in range(options.first, options.first + options.seeds):
            for row in market(cell, seed, options.people, options.rules):
                if options.rows:
                    with Path(options.rows).open("a", encoding="utf-8") as stream:
                        stream.write(json.dumps(row) + "\n")
                for name, value in row.items():
                    if isinstance(value, (int, float)) and name != "seed":
                        found[row["method"]][name].append(value)
        for method, columns in found.items():
            means = {name: f"{np.mean(v):.3f}±{np.std(v) / np.sqrt(len(v)):.3f}" for name, v in columns.items()}
            print(f"{cell} | {method} | {means}", flush=True)


if __name__ == "__main__":
    main()
