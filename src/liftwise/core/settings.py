"""Settings: `liftwise.toml` and the environment (`LIFTWISE_*`), read once when a workspace opens; then a value.

The environment wins over the file. Nested names are joined by two underscores: ``LIFTWISE_TIME__GRID=month``.
Secrets (`LIFTWISE_KEY`, `LIFTWISE_PRIVACY_KEY`) are taken from the environment only.
"""

from __future__ import annotations

import tomllib
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from liftwise.core.catalogue import TABLES
from liftwise.core.errors import SettingsError
from liftwise.core.timegrid import Grid, TimeGrid

FILE = "liftwise.toml"
_SECRETS = ("key", "privacy_key")


def _words(value: object) -> object:
    return (value,) if isinstance(value, str) else value


class Section(BaseModel):
    """A section of the file: unknown names are refused, values cannot be changed later."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TimeSection(Section):
    """The time grid of the workspace."""

    grid: Grid = "week"
    week_start: str = "monday"
    timezone: str = "UTC"
    fiscal_start: int = 1


class TableSettings(Section):
    """Where a table comes from and what its columns are called there."""

    files: Annotated[tuple[str, ...], BeforeValidator(_words)] = ()
    columns: dict[str, str] = Field(default_factory=dict)
    select: str | None = None
    timezone: str = "UTC"
    decimal: Literal["", ".", ","] = ""
    encoding: str = ""


class SimulatorSettings(Section):
    """A simulated market instead of real files."""

    seed: int = 7
    influencers: int = Field(default=300, ge=20)
    people: int = Field(default=20_000, ge=200)
    regions: int = Field(default=24, ge=6)
    weeks: int = Field(default=156, ge=60)
    scale: float = Field(default=1.0, gt=0)


class SourcesSection(Section):
    """Sources other than the folder of files."""

    simulator: SimulatorSettings | None = None


class JourneysSection(Section):
    """How touches become journeys and moments; "auto" looks back as far as table `habits` says."""

    lookback_days: Annotated[int, Field(ge=1, le=365)] | Literal["auto"] = 30
    moments_per_purchase: float = Field(default=4.0, gt=0, le=100)


class MeasureSection(Section):
    """What the models are told."""

    markov_order: int = Field(default=2, ge=1, le=4)
    holdout: int = Field(default=26, ge=4)
    level: float = Field(default=0.90, gt=0.5, lt=1)


class PlanSection(Section):
    """Defaults of a plan."""

    metric: str = "revenue"
    risk_aversion: float = Field(default=0.5, ge=0)
    max_posts: int = Field(default=3, ge=1)
    horizon_days: int = Field(default=91, ge=1)
    max_shift: float = Field(default=0.5, gt=0)


class Settings(BaseSettings):
    """Everything a workspace can be told."""

    model_config = SettingsConfigDict(env_prefix="LIFTWISE_", env_nested_delimiter="__", frozen=True, extra="forbid")

    name: str = "workspace"
    currency: str = Field(default="EUR", pattern=r"^[A-Z]{3}$")
    seed: int = 7
    time: TimeSection = TimeSection()
    tables: dict[str, TableSettings] = Field(default_factory=dict)
    sources: SourcesSection = SourcesSection()
    journeys: JourneysSection = JourneysSection()
    measure: MeasureSection = MeasureSection()
    plan: PlanSection = PlanSection()
    ledger_url: str = ""
    key: SecretStr | None = None
    privacy_key: SecretStr | None = None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment first, then the file."""
        return env_settings, init_settings

    @cached_property
    def grid(self) -> TimeGrid:
        """The workspace's time grid."""
        return TimeGrid(self.time.grid, self.time.week_start, self.time.timezone, self.time.fiscal_start)


def read(folder: Path) -> Settings:
    """The settings of the workspace in `folder`.

    Raises
    ------
    SettingsError
        When the file is not TOML, names something unknown, or a value has the wrong type; one line that says where.
    """
    path = folder / FILE
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"no {FILE} in {folder}", fix=f"make a workspace with: liftwise init {folder}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"not valid TOML: {error}", where=FILE, fix="correct that line") from None
    for secret in _SECRETS:
        if secret in given:
            raise SettingsError(f"{secret!r} is a secret", where=FILE, fix=f"give it as LIFTWISE_{secret.upper()} instead")
    for name in given.get("tables", {}):
        if name not in TABLES or not TABLES[name].is_source:
            sources = ", ".join(table.name for table in TABLES.values() if table.is_source)
            raise SettingsError(f"there is no source table {name!r}", where=f"[tables.{name}]", fix=f"use one of {sources}")
    try:
        settings = Settings(**given)
        _ = settings.grid
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or FILE
        raise SettingsError(str(first["msg"]).lower(), where=f"{FILE} [{where}]", fix="correct or remove it") from None
    return settings
