"""A workspace: one folder with its settings, files, warehouse and ledger.

::

    my-brand/
      liftwise.toml        settings (see core.settings)
      data/                files as they come: orders.csv, sales.parquet, influencers.xlsx …
      warehouse.duckdb     every table, rebuildable from data/
      ledger.sqlite        plans: the record
      keys/privacy.key     the key of the pseudonyms (0600)
      reports/             what `liftwise report` writes
      truth/               a simulated market's truth (simulated workspaces only)
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import tomlkit

from liftwise.core.errors import WorkspaceError
from liftwise.core.settings import FILE, Settings, SimulatorSettings, read
from liftwise.store.ledger import Ledger
from liftwise.store.runs import Progress, Steps, silent
from liftwise.store.warehouse import Warehouse

SAMPLES = ("fmcg",)
_HEADER = """\
# Settings of this liftwise workspace; LIFTWISE_* in the environment wins over this file.
#
# A table is found by its name: data/orders.csv, data/sales.parquet … For files of another shape:
#   [tables.orders]
#   files = "export_*.csv"
#   [tables.orders.columns]
#   revenue = "Total"
# or make the table with one DuckDB select over the folder's files, each a view named by its stem:
#   [tables.spend]
#   select = "select week, 'tv' as channel, tv_cost as spend from media_plan"
"""


class Workspace:
    """Opens all of it. Use as a context manager, or call `close`.

    >>> import tempfile
    >>> with Workspace.create(Path(tempfile.mkdtemp()) / "my-brand") as ws:
    ...     ws.settings.time.grid
    'week'
    """

    def __init__(self, folder: Path, settings: Settings, mode: Literal["read", "write"] = "write") -> None:
        self.folder, self.settings = folder, settings
        self.mode: Literal["read", "write"] = mode
        self.progress: Progress = silent

    @classmethod
    def create(cls, folder: str | Path, sample: str | None = None, *, name: str = "", scale: float = 1.0, seed: int = 7) -> Self:
        """Make a workspace in `folder`, which may already hold `data/`; `sample` simulates a market instead of files.

        Only settings are written; `flows.refresh` does the work.
        """
        folder = Path(folder)
        if (folder / FILE).exists():
            raise WorkspaceError("there is a workspace already", where=str(folder), fix="open it, or choose another folder")
        if sample is not None and sample not in SAMPLES:
            raise WorkspaceError(f"there is no sample {sample!r}", fix=f"use one of {', '.join(SAMPLES)}")
        document = tomlkit.parse(_HEADER)
        document.add("name", tomlkit.item(name or folder.resolve().name))
        document.add("currency", tomlkit.item("EUR"))
        document.add("seed", tomlkit.item(7))
        if sample:
            market = SimulatorSettings(seed=seed, scale=scale)
            document.add(tomlkit.nl())
            document["sources"] = {"simulator": market.model_dump()}
        (folder / "data").mkdir(parents=True, exist_ok=True)
        (folder / FILE).write_text(tomlkit.dumps(document), encoding="utf-8")
        return cls.open(folder)

    @classmethod
    def open(cls, folder: str | Path = ".", mode: Literal["read", "write"] = "write") -> Self:
        """Open the workspace in `folder`; ``mode="read"`` looks at what was last published, also while another writes."""
        return cls(Path(folder), read(Path(folder)), mode)

    @property
    def data(self) -> Path:
        """The folder of files as they come."""
        return self.folder / "data"

    @property
    def truth(self) -> Path:
        """Where a simulated market keeps its truth."""
        return self.folder / "truth"

    @cached_property
    def warehouse(self) -> Warehouse:
        """The analytic tables."""
        key = self.settings.key.get_secret_value() if self.settings.key else None
        return Warehouse(self.folder / "warehouse.duckdb", key, self.mode, self.settings.grid)

    @cached_property
    def ledger(self) -> Ledger:
        """The record."""
        url = self.settings.ledger_url
        return Ledger(url) if url else Ledger.at(self.folder / "ledger.sqlite")

    @cached_property
    def steps(self) -> Steps:
        """The runner of steps."""
        return Steps(self.warehouse, lambda step, done, note="": self.progress(step, done, note))

    def close(self) -> None:
        """Publish what was written, and let go."""
        for part in ("warehouse", "ledger"):
            if part in self.__dict__:
                self.__dict__.pop(part).close()
        self.__dict__.pop("steps", None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
