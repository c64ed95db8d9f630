"""Standard output and standard error, closed or full: the work is done, its exit code is right, no traceback."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from cli_cases import TINY

FULL = "/dev/full"
UNWRITABLE = "error: cannot write to standard output: no space left on device\n"

pytestmark = pytest.mark.skipif(os.name == "nt", reason="closes streams with a POSIX shell")
needs_full = pytest.mark.skipif(not Path(FULL).exists(), reason=f"this system has no {FULL}")


def shell(command: str, folder: Path) -> tuple[int, str, str]:
    """Exit code, output and errors of a line of shell in which `dlc` stands for the command line."""
    dlc = shlex.join([sys.executable, "-c", "import sys; from dlc.runtime.cli import main; sys.exit(main())"])
    environment = {**os.environ, "DLC_CACHE": str(folder / "cache")}
    line = command.replace("dlc", dlc, 1)
    done = subprocess.run(["sh", "-c", line], cwd=folder, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def folder(tmp_path: Path, tiny: Path) -> Path:
    """Holds tiny.net, the same with an end in ends.net, and its data."""
    (tmp_path / "ends.net").write_text(TINY.replace("batch = 2", "batch = 2\n  epochs = 2"))
    rows = [f"0.{number},0.2,0.3,0.{number}" for number in range(1, 9)]
    (tmp_path / "houses.csv").write_text("\n".join(["a,b,c,price", *rows]) + "\n")
    return tmp_path


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("dlc check tiny.net >&-", 0, ""),
        ("dlc check tiny.net --json >&-", 0, ""),
        ("dlc --help >&-", 0, ""),
        ("dlc check none.net >&-", 1, "error: there is no file none.net\n"),
        ("dlc check none.net --json >&-", 1, ""),
        ("dlc check none.net >&- 2>&-", 1, ""),
        ("dlc fmt - <&-", 0, ""),
    ],
)
def test_closed_streams_are_the_null_device(command: str, code: int, said: str, folder: Path) -> None:
    assert shell(command, folder) == (code, "", said)


@needs_full
@pytest.mark.parametrize("command", ["check tiny.net", "ops", "ops --json", "--help", "--version", "fmt - <tiny.net"])
def test_a_full_standard_output(command: str, folder: Path) -> None:
    assert shell(f"dlc {command} >{FULL}", folder) == (3, "", UNWRITABLE)


@needs_full
@pytest.mark.parametrize("stderr", ["2>&-", f"2>{FULL}"])
def test_a_full_standard_output_and_nowhere_to_say_it(stderr: str, folder: Path) -> None:
    assert shell(f"dlc check tiny.net >{FULL} {stderr}", folder) == (3, "", "")


@needs_full
def test_a_full_standard_error_is_left(folder: Path) -> None:
    code, out, _ = shell(f"dlc check tiny.net 2>{FULL}", folder)
    assert (code, "no mistakes" in out) == (0, True)
    assert shell(f"dlc check none.net 2>{FULL}", folder) == (1, "", "")


@needs_full
def test_a_failure_in_json_is_told_as_text_where_it_cannot_be_written(folder: Path) -> None:
    code, _, err = shell(f"dlc check none.net --json >{FULL}", folder)
    assert (code, err) == (1, f"error: there is no file none.net\n{UNWRITABLE}")


def test_a_standard_output_that_is_open_for_reading(folder: Path) -> None:
    code, _, err = shell("dlc check tiny.net 1<tiny.net", folder)
    assert (code, err) == (3, "error: cannot write to standard output: bad file descriptor\n")


def test_a_run_that_nobody_hears_of(folder: Path) -> None:
    code, out, err = shell("dlc train ends.net -o run >&-", folder)
    assert (code, out, "Traceback" in err) == (0, "", False)
    assert (folder / "run" / "last.safetensors").is_file()


@needs_full
def test_a_run_whose_end_cannot_be_written_is_saved(folder: Path) -> None:
    code, _, err = shell(f"dlc train ends.net -o run >{FULL}", folder)
    assert code == 3
    assert err.endswith(f"{UNWRITABLE}  help: the run has ended and is saved in run\n")
    assert (folder / "run" / "last.safetensors").is_file()
