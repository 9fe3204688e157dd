"""What every flow is made of: named steps that read tables and write tables, in an order one can read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from liftwise.core.errors import CannotTell
from liftwise.store.runs import Ran
from liftwise.store.workspace import Workspace


@dataclass
class Flow:
    """A flow as it goes: what ran, and what was left out and why.

    A step without its tables is left out, and so is one that cannot tell; the flow goes on, and what such a step wrote
    before is removed, so that no table speaks of data that are gone.
    """

    ws: Workspace
    name: str
    again: bool = False
    ran: list[Ran] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def step(
        self,
        name: str,
        work: Callable[[], Mapping[str, Any] | None],
        *,
        reads: Sequence[str] = (),
        needs: Sequence[str] = (),
        writes: Sequence[str] = (),
        parameters: Mapping[str, Any] | None = None,
        files: Sequence[Path] = (),
        again: bool = False,
    ) -> None:
        """Run a step, or say why not. `needs` are the tables it cannot do without; `reads` all it looks at."""
        missing = [table for table in needs if not self.ws.warehouse.has(table)]
        if missing:
            self._leave_out(name, f"no {', '.join(missing)}", writes)
            return
        try:
            ran = self.ws.steps.run(
                name, work, reads=reads or needs, writes=writes, parameters=parameters, files=files, again=again or self.again
            )
        except CannotTell as reason:
            self._leave_out(name, str(reason), writes)
        else:
            self.ran.append(ran)

    def _leave_out(self, name: str, why: str, writes: Sequence[str]) -> None:
        self.left_out[name] = why
        self.ws.progress(name, 1.0, f"left out: {why}")
        for table in writes:
            self.ws.warehouse.drop(table)

    def metrics(self, step: str) -> Mapping[str, Any]:
        """What a step reported of itself; empty when it was left out."""
        return next((ran.metrics for ran in self.ran if ran.step == step), {})

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return {
            "flow": self.name,
            "steps": [
                {"step": r.step, "skipped": r.skipped, "seconds": round(r.seconds, 3), "metrics": dict(r.metrics)}
                for r in self.ran
            ],
            "left_out": self.left_out,
        }
