"""How a peer's script answers: one line of JSON with its seconds and what it found."""

from __future__ import annotations

import json
from typing import Any

from stopwatch import Spent


def tell(spent: Spent, **found: Any) -> None:
    """The last line of output, whatever the peer printed before."""
    print(json.dumps({"cpu": spent.cpu, "wall": spent.wall, **found}))
