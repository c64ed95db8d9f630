"""Plans and small files for the data tests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dlc.runtime.data import DataError, Records, read

Plan = dict[str, Any]


def _plan(reader: str, *args: Any, records: dict[str, Any] | None = None, **named: Any) -> Plan:
    return {
        "splits": [{"name": "train", "reader": reader, "args": list(args), "named": named}],
        "records": records or {},
    }


@pytest.fixture
def plan() -> Callable[..., Plan]:
    """plan("csv", "a.csv", records={...}, header=False): a plan of one split, `train`."""
    return _plan


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Records]:
    """Reads the split `train` of such a plan; paths are relative to tmp_path."""
    return lambda *args, **named: read(_plan(*args, **named), tmp_path, cache=tmp_path / "cache")["train"]


@pytest.fixture
def refused(load: Callable[..., Records]) -> Callable[..., str]:
    """The message with which that reading is refused."""

    def message(*args: Any, **named: Any) -> str:
        with pytest.raises(DataError) as caught:
            load(*args, **named)
        return str(caught.value)

    return message
