"""The README is true: its programs pass, its commands print what it shows, its table is the command line.

`python tests/test_readme.py` writes into the README what its commands print now (shortened blocks are left alone) and
the table.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dlc.dsl.formatter import format_text

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8")
NETS = re.findall(r"^```net( bad)?\n(# (\w+\.net)\b.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
CONSOLE = re.compile(r"^```console\n\$ dlc (.*)\n((?:.*\n)*?)```$", re.MULTILINE)
TABLE = re.compile(r"^<!-- commands: begin -->\n((?:.*\n)*?)<!-- commands: end -->$", re.MULTILINE)
FLAG = re.compile(r"^  (?:-\w, )?(--[a-z-]+)((?: \S+)*)", re.MULTILINE)
SHORTENED = "..."
PIPE = r"\|"


def dlc(arguments: str, folder: Path) -> tuple[int, list[str]]:
    """The exit code of a command in `folder`, and the lines that it prints."""
    code = "import sys; from dlc.runtime.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, *arguments.split()]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout.rstrip().splitlines()


def write_nets(folder: Path) -> Path:
    """The programs of the README under their names, and the specs."""
    for _, text, name in NETS:
        (folder / name).write_text(text, encoding="utf-8")
    shutil.copytree(ROOT / "specs", folder / "specs")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_nets(tmp_path_factory.mktemp("readme"))


def test_every_program_is_named() -> None:
    assert len(NETS) == len(re.findall(r"^```net", TEXT, re.MULTILINE)) >= 3


@pytest.mark.parametrize(("bad", "name"), [(each[0], each[2]) for each in NETS])
def test_programs(folder: Path, bad: str, name: str) -> None:
    code, printed = dlc(f"check {name}", folder)
    assert code == (1 if bad else 0), "\n".join(printed)


@pytest.mark.parametrize(("text", "name"), [each[1:] for each in NETS], ids=[each[2] for each in NETS])
def test_programs_are_formatted(text: str, name: str) -> None:
    assert format_text(text, name) == text


def test_what_looks_at_a_metric(folder: Path) -> None:
    """The keys that the text shows, put into its first program."""
    prose = " ".join(TEXT.split())
    keys = [re.search(rf"`({each}[^`]*)`", prose) for each in ("early_stop = ", "keep = ", r"Adam\(lr=plateau")]
    stop, keep, optimizer = (found[1] for found in keys if found is not None)
    wine = (folder / "wine.net").read_text(encoding="utf-8")
    changed = re.sub(r"optimizer = .*", f"optimizer = {optimizer}\n  {stop}\n  {keep}", wine)
    (folder / "metrics.net").write_text(changed, encoding="utf-8")
    code, printed = dlc("check metrics.net", folder)
    assert code == 0, "\n".join(printed)


@pytest.mark.parametrize(("arguments", "shown"), CONSOLE.findall(TEXT))
def test_commands_print_what_is_shown(folder: Path, arguments: str, shown: str) -> None:
    _, printed = dlc(arguments, folder)
    assert matches(shown.splitlines(), printed), "run `python tests/test_readme.py`; it prints\n" + "\n".join(printed)


def matches(shown: list[str], printed: list[str]) -> bool:
    """Whether `printed` is `shown`, where a line `...` stands for any lines."""
    parts = [re.escape(line) if line != SHORTENED else r".*(?:\n.*)*" for line in shown]
    return re.fullmatch(r"\n".join(parts), "\n".join(printed)) is not None


def test_the_table_is_the_command_line(folder: Path) -> None:
    found = TABLE.search(TEXT)
    assert found is not None
    assert found[1].splitlines() == table(folder), "run `python tests/test_readme.py`"


def table(folder: Path) -> list[str]:
    """The command line as a table: each command of `dlc --help`, and those below it, with its flags."""
    rows = ["| command | what | flags |", "|---|---|---|"]
    names = commands(dlc("--help", folder)[1])
    assert "check" in names
    while names:
        name = names.pop(0)
        printed = dlc(f"{name} --help", folder)[1]
        if below := commands(printed):
            names = [f"{name} {each}" for each in below] + names
            continue
        usage = re.sub(r"Usage: |\[OPTIONS\] |[{}]", "", printed[0])
        summary = " ".join(line.strip() for line in printed[2 : printed.index("", 2)])
        options = "\n".join(printed[printed.index("Options:") :])
        flags = [f"`{flag}{value}`" for flag, value in FLAG.findall(options) if flag != "--help"]
        cells = [f"`{usage}`", summary, ", ".join(flags).replace("<int range>", "N")]
        rows.append(f"| {' | '.join(cell.replace('|', PIPE) for cell in cells)} |")
    return rows


def commands(help_lines: list[str]) -> list[str]:
    """The commands that a page of `--help` lists."""
    if "Commands:" not in help_lines:
        return []
    listed = help_lines[help_lines.index("Commands:") + 1 :]
    return [line.split()[0] for line in listed[: listed.index("") if "" in listed else None] if line[2] != " "]


def refresh() -> None:
    import tempfile

    def current(match: re.Match[str]) -> str:
        if SHORTENED in match[2].splitlines():
            return match[0]
        _, printed = dlc(match[1], folder)
        return "\n".join([f"```console\n$ dlc {match[1]}", *printed, "```"])

    with tempfile.TemporaryDirectory() as temporary:
        folder = write_nets(Path(temporary))
        rows = "\n".join(["<!-- commands: begin -->", *table(folder), "<!-- commands: end -->"])
        README.write_text(TABLE.sub(lambda _: rows, CONSOLE.sub(current, TEXT)), encoding="utf-8")


if __name__ == "__main__":
    refresh()
