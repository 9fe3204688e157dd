"""Seconds of processor and of clock. Needs nothing but Python: our side reads it, and so do the peers in their own environments."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

LEAST = 0.3  # seconds of processor; what is quicker is repeated until it has taken as much


@dataclass(frozen=True)
class Spent:
    """Seconds of processor (this process and the children it waited for, all threads) and of clock."""

    cpu: float
    wall: float


def measure(call: Callable[[], Any]) -> tuple[Spent, Any]:
    """Mean seconds of one `call`, and the last answer."""
    cpu, wall, times = _cpu(), time.perf_counter(), 0
    while True:
        answer, times = call(), times + 1
        spent = Spent(_cpu() - cpu, time.perf_counter() - wall)
        if spent.cpu >= LEAST or times == 100:
            return Spent(spent.cpu / times, spent.wall / times), answer


def _cpu() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
