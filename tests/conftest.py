"""What all tests share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

# the same examples in every run, on machines of any speed; `pytest --hypothesis-profile explore` looks for new ones
settings.register_profile("steady", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)
settings.load_profile("steady")

REFERENCE = Path(os.environ.get("LIFTWISE_REFERENCE_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Folder of a reference data set by name; the test is skipped where the data are not at hand."""

    def folder(name: str) -> Path:
        if not (REFERENCE / name).is_dir():
            pytest.skip(f"reference data {name!r} are not in {REFERENCE.name}/ (set LIFTWISE_REFERENCE_DATA)")
        return REFERENCE / name

    return folder


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the settings or keys of whoever runs it."""
    for name in [name for name in os.environ if name.startswith("LIFTWISE_") and name != "LIFTWISE_REFERENCE_DATA"]:
        monkeypatch.delenv(name)
