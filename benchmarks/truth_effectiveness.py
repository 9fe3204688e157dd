"""Effectiveness against the truth of simulated panels of creators, and on the views of videos nobody had seen.

    python truth_effectiveness.py --seeds 8 --first 100                      # the default on unseen panels
    python truth_effectiveness.py --seeds 2 --first 100 --members all        # every member on the same panels
    python truth_effectiveness.py --selection --seeds 3 --first 200          # good matches tried more often: bias over all matches
    python truth_effectiveness.py --youtube                                  # youtube_trending_2017, log views, later days
    python truth_effectiveness.py --youtube --inner 3                        # the same within its training days, for choosing
    python truth_effectiveness.py --youtube --sentences vectors.npz          # with sentence vectors, made by peers/sentences.py

Columns: r2 of outcomes since week 88 per follower (log), its share of the true f's r2, the same for creators seen and never seen, correlation
with the true f, coverage of 90 % intervals overall, cold and by tercile of the true noise, their mean width, seconds of processor of the fit.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd

from liftwise.core.uncertainty import spawn
from liftwise.models.effectiveness import BoostedEffectiveness, Effectiveness, FactoredNet
from liftwise.models.effectiveness.choose import MEMBERS
from liftwise.models.effectiveness.family import EffectivenessModel
from liftwise.sources.simulator.creator_worlds import CLOSES, PERIOD, START, TEST, WEEKS, CreatorWorld

REFERENCE = Path(os.environ.get("LIFTWISE_REFERENCE_DATA", Path(__file__).parents[2] / "shared" / "data"))
INNER = (15, 19, 22, 25, 29)  # training days at which inner parts begin; the last is where they end
SMALLER = {"rows": 30_000, "creators": 1_500, "contents": 20, "events": 12}


def score(model: EffectivenessModel, world: CreatorWorld) -> dict[str, float]:
    """Fit on what lies before week 88 and foretell the rest."""
    tables = world.tables()
    past = tables.pop("assignments")
    later = np.flatnonzero(world.week >= TEST)
    began = time.process_time()
    model.fit(past[world.week < TEST], **tables)
    seconds = time.process_time() - began
    asked = past.iloc[later].assign(decided_on=past["posted_at"].iloc[later])
    log, table = model.log_f(asked), model.predict(asked)
    found, y, f, sd, cold = log["median"].to_numpy(), world.y[later], world.f[later], world.sd[later], world.cold[later]
    low, high = model.interval(table)
    outcome = past["engagements"].to_numpy()[later]
    inside = (low <= outcome) & (outcome <= high)
    third = np.digitize(sd, np.quantile(sd, [1 / 3, 2 / 3]))

    def explained(rows: np.ndarray) -> float:
        return float(1 - np.mean((y[rows] - found[rows]) ** 2) / np.var(y[rows]))

    everything = np.ones(len(y), bool)
    return {
        "r2": explained(everything), "oracle": world.oracle(later), "of_oracle": explained(everything) / world.oracle(later),
        "warm": explained(~cold), "cold": explained(cold), "corr_f": float(np.corrcoef(found, f)[0, 1]), "cover": float(inside.mean()),
        "cover_cold": float(inside[cold].mean()), **{f"cover_{name}": float(inside[third == k].mean()) for k, name in enumerate(("quiet", "middle", "noisy"))},
        "width": float(2 * 1.645 * log["sd"].mean()), "corr_noise": float(np.corrcoef(log["sd"], sd)[0, 1]),
        "sum": float(outcome.sum() / table["predicted"].sum()), "out_of_time_r2": model.scores_["r2_per_follower"], "cpu": seconds,
    }  # fmt: skip


def everywhere(
    model: EffectivenessModel, world: CreatorWorld, tables: dict[str, pd.DataFrame], n: int = 20_000
) -> dict[str, float]:
    """Against the true f of matches drawn at random, whoever was tried with what; creators that were seen."""
    rng = spawn(world.seed, "everywhere")
    i, c, e = (rng.integers(0, size, n) for size in (world.creators, world.contents, world.events))
    day = rng.integers(TEST * 7, WEEKS * 7, n)
    edition = (day - CLOSES - 7 * (e % 4) + PERIOD - 1) // PERIOD
    t = day - (edition * PERIOD + 7 * (e % 4))
    rows = pd.DataFrame({
        "influencer_id": world.ids[i], "content_type": world.types[c], "event_id": [f"event-{a:02d}-{b:02d}" for a, b in zip(e, edition, strict=True)],
        "days_from_event": t.astype(float), "price": world.prices[i, c], "decided_on": START + pd.to_timedelta(day, unit="D"),
    })  # fmt: skip
    f, off = world.truth(i, c, e, day, t), model.log_f(rows)["median"].to_numpy()
    off = off - f
    poor = f < np.quantile(f, 1 / 3)
    return {"bias": float(off.mean()), "bias_poor": float(off[poor].mean()), "r2_f": float(1 - np.mean(off**2) / f.var()),
            "effective": model.selection_.effective / len(model.selection_.weight)}  # fmt: skip


def videos(
    folder: Path, inner: int | None = None, sentences: Path | None = None
) -> tuple[dict[str, pd.DataFrame], pd.DataFrame, pd.DataFrame]:
    """youtube_trending_2017 as our tables: channels are creators, every video is a content with its text as its embedding.

    `inner` leaves the test days out altogether and foretells that part (0–3) of the later training days from what came before it.
    `sentences` is a file of sentence vectors (see `peers/sentences.py`); 32 principal components of them join the text.
    """
    from sklearn.decomposition import PCA, TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    listed = pd.read_parquet(folder / "youtube_trending_us_gb.parquet").sort_values(["trending_date", "region"], kind="stable")
    first = listed[listed["views"] > 0].drop_duplicates("video_id").reset_index(drop=True)
    day = pd.to_datetime(first["trending_date"])
    cut = np.sort(day.unique())[int(0.75 * (day.nunique() - 1))]
    if inner is not None:
        cut, end = (day.min() + pd.Timedelta(days=INNER[inner + k]) for k in (0, 1))
        first, day = first[day < end].reset_index(drop=True), day[day < end].reset_index(drop=True)
    train = (day < cut).to_numpy()
    text = first["title"].fillna("") + " " + first["tags"].fillna("").str.replace("|", " ")
    words = TfidfVectorizer(min_df=3, sublinear_tf=True, ngram_range=(1, 2)).fit(text[train])
    topics = TruncatedSVD(32, random_state=0).fit(words.transform(text[train])).transform(words.transform(text))
    numbers = np.column_stack([np.array([_text(*row) for row in zip(first["title"].fillna(""), first["tags"].fillna(""), strict=True)]),
                               first["category_id"].to_numpy(dtype=float)[:, None] == np.unique(first["category_id"].dropna()), topics])  # fmt: skip
    if sentences is not None:
        with np.load(sentences) as held:
            vectors = held["vectors"][pd.Index(held["video_id"]).get_indexer_for(first["video_id"])]
        numbers = np.column_stack([numbers, PCA(32, random_state=0).fit(vectors[train]).transform(vectors)])
    channels = first.drop_duplicates("channel_title")
    start = day.min()
    # a day's list is an edition of its region's; the first holds what had been trending for long
    lists = pd.DataFrame({"event_id": first["region"] + day.dt.strftime(" %Y-%m-%d"), "name": first["region"], "location": first["region"], "date": day,
                          "kind": np.where(day == start, "first list", "list")})  # fmt: skip
    tables = {
        "influencers": pd.DataFrame({"influencer_id": channels["channel_title"], "platform": "youtube", "handle": channels["channel_title"],
                                     "genre": channels["category_id"].astype("str"), "location": channels["region"], "followers": 1_000}),
        "rates": pd.DataFrame({"influencer_id": first["channel_title"], "content_type": first["video_id"], "price": 0.0}),
        "events": lists.drop_duplicates("event_id").assign(genre="any", scale=1.0, opens_days=0, closes_days=0),
        "embeddings": pd.DataFrame({"entity": "content_type", "entity_id": first["video_id"], "as_of": start, "vector": list(numbers)}),
    }  # fmt: skip
    rows = pd.DataFrame({
        "assignment_id": first["video_id"], "influencer_id": first["channel_title"], "content_type": first["video_id"], "event_id": lists["event_id"],
        "days_from_event": 0.0, "price": 0.0, "posted_at": day, "observed_at": day, "impressions": first["views"].astype(float),
    })  # fmt: skip
    return tables, rows[train], rows[~train]


def _text(title: str, tags: str) -> list[float]:
    """Twelve numbers of a title and its tags."""
    words = title.split()
    letters = max(1, sum(letter.isalpha() for letter in title))
    return [len(title), len(words), sum(letter.isupper() for letter in title) / letters, title.count("!"), title.count("?"), title.count("|"),
            float(bool(re.search(r"\d", title))), float("official" in title.lower()), float("ft" in title.lower()), float("(" in title or "[" in title),
            tags.count("|"), len(tags)]  # fmt: skip


def youtube(seeds: int, sentences: Path | None, inner: int | None) -> None:
    """R² and rank correlation of log views on later days, predictions averaged over seeds, as the data set's page does."""
    tables, train, test = videos(REFERENCE / "youtube_trending_2017", inner, sentences)
    y, known = np.log(test["impressions"].to_numpy()), test["influencer_id"].isin(train["influencer_id"]).to_numpy()
    print(
        f"{len(train)} videos to learn from, {len(test)} to foretell, {1 - known.mean():.0%} of channels never seen", flush=True
    )
    for name, kind in (("blend", Effectiveness), ("net", FactoredNet), ("boosted", BoostedEffectiveness)):
        each = []
        for seed in range(seeds):
            model = kind(metric="impressions", seed=seed, selection="none").fit(train, **tables)
            each.append(model.log_f(test.assign(decided_on=test["posted_at"]))["median"].to_numpy())
        for what, found in (("mean of seeds", np.mean(each, axis=0)), *((f"seed {k}", one) for k, one in enumerate(each))):
            level = found + np.log1p(1_000)
            rank = np.corrcoef(pd.Series(level).rank(), pd.Series(y).rank())[0, 1]
            parts = [1 - np.mean((y[m] - level[m]) ** 2) / np.var(y[m]) for m in (np.ones(len(y), bool), known, ~known)]
            print(
                f"{name}, {what}: R² {parts[0]:.3f} (known channels {parts[1]:.3f}, new {parts[2]:.3f}), rank {rank:.3f}",
                flush=True,
            )


def main() -> None:
    """Run and print means with standard errors over seeds."""
    told = argparse.ArgumentParser()
    told.add_argument("--seeds", type=int, default=4)
    told.add_argument("--first", type=int, default=100)
    told.add_argument("--members", default="blend", help="names joined by ';', or all")
    told.add_argument("--selection", action="store_true")
    told.add_argument("--youtube", action="store_true")
    told.add_argument("--sentences", type=Path, help="sentence vectors of the videos (peers/sentences.py)")
    told.add_argument("--inner", type=int, choices=range(len(INNER) - 1), help="choose: foretell that part of the training days")
    told.add_argument("--rows", help="a file for every row, as JSON lines")
    options = told.parse_args()
    warnings.filterwarnings("ignore")
    if options.youtube:
        youtube(options.seeds, options.sentences, options.inner)
        return
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for seed in range(options.first, options.first + options.seeds):
        for name, row in _selected(seed) if options.selection else _members(seed, options.members):
            if options.rows:
                with Path(options.rows).open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps({"seed": seed, "member": name, **row}) + "\n")
            for column, value in row.items():
                found[name][column].append(value)
            print(f"{seed} | {name} | {' '.join(f'{column} {value:.3f}' for column, value in row.items())}", flush=True)
    for name, columns in found.items():
        means = " ".join(f"{column} {np.mean(v):.3f}±{np.std(v) / np.sqrt(len(v)):.3f}" for column, v in columns.items())
        print(f"mean of {options.seeds} | {name} | {means}", flush=True)


def _members(seed: int, asked: str):
    world = CreatorWorld(seed=seed)
    for name in tuple(MEMBERS)[:6] if asked == "all" else asked.split(";"):
        kind, told = MEMBERS[name]
        yield name, score(kind(metric="engagements", **told), world)


def _selected(seed: int):
    for targeting in (1.0, 2.0):
        world = CreatorWorld(seed=seed, targeting=targeting, **SMALLER)
        tables = world.tables()
        past = tables.pop("assignments")[world.week < TEST]
        for way in ("none", "logged", "estimated"):
            for kind in (Effectiveness, BoostedEffectiveness):
                model = kind(metric="engagements", selection=way).fit(past, **tables)
                yield f"targeting {targeting:g}, {kind.__name__}, {way}", everywhere(model, world, tables)


if __name__ == "__main__":
    main()
