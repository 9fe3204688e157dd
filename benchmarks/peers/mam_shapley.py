"""marketing_attribution_models' Shapley: paths.parquet (path, converted, times), the largest set, channels or touches → each channel's credit."""

from __future__ import annotations

import contextlib
import io
import os
import sys

os.environ.setdefault("POLARS_MAX_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))  # before polars is imported

with contextlib.redirect_stdout(io.StringIO()):
    import pandas as pd
    from mam import MAM
    from mam.models.shapley import ShapleyModel
    from stopwatch import measure
    from tell import tell

frame, largest, what = pd.read_parquet(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
whole = MAM(frame, "grouped_journey", channels_colname="path", journey_with_conv_colname="converted", occurrences_colname="times")


def credit():
    """Of channels alone, or of each touch as well, from paths that are split already."""
    if what == "channels":
        return ShapleyModel(max_size=largest).get_aggregated_results(whole.unified_df)
    return whole.run_shapley(max_size=largest).to_polars()


spent, found = measure(credit)
tell(spent, credit=dict(zip(found["channels"].to_list(), found["attribution"].to_list(), strict=True)))
