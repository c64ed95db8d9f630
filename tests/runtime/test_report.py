"""What people see of a run: the log without duplicates, lines without control characters, readable curves."""

from __future__ import annotations

import errno
import io
import json
import math
import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from dlc.runtime.errors import InputError, RunError, UsageError
from dlc.runtime.report.curves import draw_curves
from dlc.runtime.report.display import Display
from dlc.runtime.report.log import MetricsLog, Record, read_log

# --- the log ---


def write_steps(path: Path, steps: range, **options: Any) -> None:
    with MetricsLog(path, **options) as log:
        for step in steps:
            log.write(step, step // 5, "train", {"loss": 1 / step})
            if step % 5 == 0:
                log.write(step, step // 5, "dev", {"loss": 2 / step, "acc": 0.5})


def seen(path: Path) -> list[tuple[int, str]]:
    return [(record.step, record.split) for record in read_log(path)]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    values = {"loss": 0.1, "nan": math.nan, "up": math.inf, "down": -math.inf, "numpy": np.float32(0.1)}
    with MetricsLog(tmp_path / "m") as log:
        log.write(3, 1, "train", values)
        # Visible at once, to whoever follows the file.
        (record,) = read_log(tmp_path / "m")
    assert (record.step, record.epoch, record.split) == (3, 1, "train")
    assert abs(record.time - time.time()) < 60
    assert {name: repr(value) for name, value in record.values.items()} == {
        n: repr(float(v)) for n, v in values.items()
    }


def test_every_line_is_strict_json(tmp_path: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    with MetricsLog(tmp_path / "m") as log:
        log.write(1, 0, "train", {"loss": math.nan, "lr": math.inf})
        log.write(2, 0, "train", {"loss": 1.0})
    lines = (tmp_path / "m").read_text().splitlines()
    assert [json.loads(line, parse_constant=refuse)["step"] for line in lines] == [1, 2]


def test_resuming_cuts_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    path, straight = tmp_path / "m", tmp_path / "straight"
    write_steps(straight, range(1, 21))
    write_steps(path, range(1, 14))
    write_steps(path, range(11, 21), resume_step=10)
    assert seen(path) == seen(straight)


def test_an_evaluation_repeated_after_resuming_is_written_once(tmp_path: Path) -> None:
    write_steps(tmp_path / "m", range(1, 11))
    with MetricsLog(tmp_path / "m", resume_step=10) as log:
        log.write(10, 2, "dev", {"loss": 0.2})
        log.write(10, 2, "test", {"loss": 0.2})
        log.write(11, 2, "train", {"loss": 0.2})
    assert seen(tmp_path / "m")[-4:] == [(10, "train"), (10, "dev"), (10, "test"), (11, "train")]


@pytest.mark.parametrize("half", [b"{", b'{"step":11,"epoch":2,"split":"tr', b'{"step":11}', b"\xff"])
def test_a_half_written_last_line_is_tolerated(tmp_path: Path, half: bytes) -> None:
    path = tmp_path / "m"
    write_steps(path, range(1, 11))
    before = seen(path)
    path.write_bytes(path.read_bytes() + half)
    assert seen(path) == before
    write_steps(path, range(11, 12), resume_step=10)
    assert seen(path) == [*before, (11, "train")]


def test_a_new_run_starts_with_an_empty_log(tmp_path: Path) -> None:
    write_steps(tmp_path / "m", range(1, 11))
    MetricsLog(tmp_path / "m").close()
    assert read_log(tmp_path / "m") == []


def test_a_log_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_log(tmp_path / "m")
    write_steps(tmp_path / "m", range(1, 2), resume_step=0)
    assert seen(tmp_path / "m") == [(1, "train")]


@pytest.mark.parametrize(
    "line", ["", "{}", "[]", "null", '{"step":1,"epoch":0,"split":"a","time":0,"values":{"a":true}}']
)
def test_another_bad_line_is_told(tmp_path: Path, line: str) -> None:
    write_steps(tmp_path / "m", range(1, 3))
    with open(tmp_path / "m", "a") as file:
        file.write(line + "\n")
    with pytest.raises(InputError, match=r"m:3: not a line of metrics"):
        read_log(tmp_path / "m")


def test_damaged_files_do_not_take_each_others_place(tmp_path: Path) -> None:
    path, notes = tmp_path / "m.jsonl", list[str]()
    for damage in (b"one\ntwo\n", b"three\n"):
        write_steps(path, range(1, 3))
        path.write_bytes(damage + path.read_bytes())
        MetricsLog(path, 2, notes.append).close()
        assert seen(path) == [(1, "train"), (2, "train")]
    assert [(tmp_path / f"m.damaged{n}.jsonl").read_bytes()[:3] for n in (1, 2)] == [b"one", b"thr"]
    assert "; left out" in notes[1] and ", and 1 more; left out" in notes[0]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_is_told(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "m")
    log._file.close()
    log._file = open("/dev/full", "ab", buffering=0)  # noqa: SIM115
    with pytest.raises(RunError, match="the disk is full"):
        log.write(1, 0, "train", {"loss": 1.0})
    log.close()


# --- the display ---


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def plain(total: int | None = 100, **options: Any) -> tuple[Display, io.StringIO, Clock]:
    output, clock = io.StringIO(), Clock()
    console = Console(file=output, force_terminal=False)
    return Display("lenet", total, 20, console, clock=clock, **options), output, clock


def test_plain_output_is_lines_without_control_characters() -> None:
    display, output, clock = plain(batch=64)
    with display:
        for step in range(100):
            clock.now += 0.9
            display.step(step, step // 20, {"loss": 1 / (step + 1), "acc": 0.5, "lr": 1e-3})
            if step % 20 == 19:
                display.best("dev.acc", 0.9, step + 1)
                display.epoch(step // 20, {"loss": 0.1, "dev.acc": 0.9})
        display.note("done")
    text = output.getvalue()
    assert all(character.isprintable() or character == "\n" for character in text)
    assert text.isascii()
    lines = text.splitlines()
    # One for each of five epochs, one within each (ten seconds after the line before), and the note.
    assert len(lines) == 11
    assert lines[0] == "lenet  epoch 1/5  step 12/100  loss 0.08333  acc 0.5  lr 0.001  71 examples/s  ETA 1:19"
    assert lines[1] == "lenet  epoch 1/5  loss 0.1  dev.acc 0.9  best dev.acc 0.9 (step 20)"
    assert "71 examples/s" in lines[2]
    assert lines[-1] == "done"


def test_plain_output_has_at_most_a_line_each_ten_seconds() -> None:
    display, output, clock = plain()
    with display:
        for step in range(1000):
            clock.now += 0.1
            display.step(step, 0, {})
    assert 9 <= len(output.getvalue().splitlines()) <= 10


def test_a_long_line_is_not_broken() -> None:
    display, output, _ = plain()
    display.epoch(0, {f"metric{i}": i for i in range(40)})
    assert output.getvalue().count("\n") == 1


def test_no_total_no_eta() -> None:
    display, output, clock = plain(total=None)
    with display:
        display.step(0, 0, {})
        clock.now += 20
        display.step(1, 0, {})
    assert output.getvalue() == "lenet  epoch 1  step 2  0.05 steps/s\n"


def test_time_between_epochs_is_not_counted_as_speed() -> None:
    display, output, clock = plain()
    with display:
        for step in range(40):
            clock.now += 0.9
            display.step(step, step // 20, {})
            if step == 19:
                display.epoch(0, {})
                clock.now += 1000  # an evaluation
    last = output.getvalue().splitlines()[-1]
    assert last.startswith("lenet  epoch 2/5  step 33/100  1.11 steps/s")


def test_a_resumed_run_counts_on_but_its_speed_is_that_of_now() -> None:
    display, output, clock = plain(start_step=50)
    with display:
        display.step(50, 2, {})
        clock.now += 10
        display.step(51, 2, {})
    assert output.getvalue() == "lenet  epoch 3/5  step 52/100  0.1 steps/s  ETA 8:00\n"


def test_markup_and_control_characters_in_text_do_nothing() -> None:
    output = io.StringIO()
    display = Display("[red]x[/red]", 10, 5, Console(file=output, force_terminal=False))
    display.note("[bold]\x1b[31m\x07\r/path[1]")
    display.epoch(0, {"a[b]": 1})
    assert output.getvalue() == "[bold]\\x1b[31m\\x07\\r/path[1]\n[red]x[/red]  epoch 1/2  a[b] 1\n"


def test_quiet_shows_notes_only() -> None:
    display, output, clock = plain(quiet=True)
    with display:
        clock.now += 100
        display.step(0, 0, {"loss": 1.0})
        display.epoch(0, {"loss": 1.0})
        display.note("damaged")
    assert output.getvalue() == "damaged\n"


def test_a_terminal_shows_bars_values_and_best() -> None:
    output, clock = io.StringIO(), Clock()
    console = Console(file=output, force_terminal=True, width=80, height=20, _environ={"TERM": "xterm"})
    with Display("lenet", 100, 20, console, batch=10, clock=clock) as display:
        for step in range(30):
            clock.now += 1
            display.step(step, step // 20, {"loss": 0.25, "lr": 1e-3})
            display._render()
        display.best("dev.acc", 0.75, 20)
    text = output.getvalue()
    for part in ("epoch 2/5", "step 30/100", "50%", "30%", "loss 0.25", "lr 0.001", "best dev.acc 0.75 (step 20)"):
        assert part in text
    assert "10 examples/s" in text
    assert "ETA 1:10" in text
    assert text.rstrip().endswith("\x1b[?25h"), "the cursor is shown again"


def test_a_narrow_terminal_breaks_lines_between_words() -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=40, height=20, _environ={"TERM": "xterm"})
    with Display("lenet", 100, 20, console) as display:
        display.epoch(0, {"loss": 0.123456, "acc": 0.98765, "dev.loss": 0.23456, "dev.acc": 0.87654})
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.getvalue()).splitlines()
    told = [line for line in lines if "acc" in line or "loss" in line]
    assert len(told) > 1 and all(len(line) <= 40 for line in told)
    assert " ".join(told).split() == (
        ["lenet", "epoch", "1/5", "loss", "0.1235", "acc", "0.9877", "dev.loss", "0.2346", "dev.acc", "0.8765"]
    ), "no number is broken"


def test_a_dumb_terminal_gets_lines() -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, _environ={"TERM": "dumb"})
    with Display("lenet", 10, 5, console) as display:
        display.epoch(0, {"loss": 1.0})
    assert output.getvalue() == "lenet  epoch 1/2  loss 1\n"


def test_values_that_are_not_finite_are_shown() -> None:
    display, output, _ = plain()
    display.epoch(0, {"loss": math.nan, "dev.loss": math.inf})
    assert output.getvalue() == "lenet  epoch 1/5  loss nan  dev.loss inf\n"


def test_a_closed_pipe_does_not_end_the_run() -> None:
    code = """
import sys, time
from dlc.runtime.report.display import Display
with Display("lenet", 10, 5, plain=len(sys.argv) == 1) as display:
    for epoch in range(2000):
        display.epoch(epoch, {"loss": 1.0})
        display.step(epoch, 0, {})
print("still there", file=sys.stderr)
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.readline()
    child.stdout.close()
    assert child.stderr.read() == "still there\n"
    assert child.wait() == 0
    child.stderr.close()


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(errno.EIO, "the terminal is gone")


@pytest.mark.parametrize("terminal", [False, True])
def test_a_terminal_that_goes_does_not_end_the_run(terminal: bool) -> None:
    console = Console(file=Broken(), force_terminal=terminal, _environ={"TERM": "xterm"})
    with Display("lenet", 10, 5, console) as display:
        display.step(0, 0, {})
        display.epoch(0, {})
        display.note("x")


# --- the curves ---


def records(steps: int = 40, **more: float) -> list[Record]:
    found = []
    for step in range(1, steps + 1):
        values = {"loss": 3 / step, "acc": 1 - 1 / step, "lr": 0.1 / step, **more}
        found.append(Record(step, step // 10, "train", values, 0.0))
        if step % 10 == 0:
            found.append(Record(step, step // 10, "dev", {"loss": 4 / step, "acc": 1 - 2 / step}, 0.0))
    return found


def svg_text(path: Path) -> list[str]:
    tree = ElementTree.parse(path)
    return [element.text or "" for element in tree.iter("{http://www.w3.org/2000/svg}text")]


def test_an_svg_names_what_it_shows(tmp_path: Path) -> None:
    draw_curves(records(), tmp_path / "c.svg", "lenet on digits", best_step=30)
    words = svg_text(tmp_path / "c.svg")
    titles = [word for word in words if word in ("loss", "acc", "learning rate", "lenet on digits")]
    assert sorted(titles) == ["acc", "learning rate", "lenet on digits", "loss"]
    assert words.count("train") == words.count("dev") == words.count("best") == 2


def test_a_png_has_lines_of_both_splits(tmp_path: Path) -> None:
    draw_curves(records(1000), tmp_path / "c.png")
    with Image.open(tmp_path / "c.png") as image:
        colors = {color for _, color in image.convert("RGB").getcolors(1 << 24) or []}
    assert {(0x48, 0x78, 0xA8), (0xD9, 0x72, 0x2E)} <= colors


def test_equal_records_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("1.svg", "2.svg"):
        draw_curves(records(), tmp_path / name)
    assert (tmp_path / "1.svg").read_bytes() == (tmp_path / "2.svg").read_bytes()


def test_a_long_run_stays_a_small_picture(tmp_path: Path) -> None:
    draw_curves(records(50_000), tmp_path / "c.svg")
    assert (tmp_path / "c.svg").stat().st_size < 400_000


def test_values_that_are_not_finite_are_marked(tmp_path: Path) -> None:
    lost = Record(41, 4, "train", {"loss": math.nan, "acc": math.inf, "gone": math.nan}, 0.0)
    draw_curves([*records(), lost], tmp_path / "c.svg")
    words = svg_text(tmp_path / "c.svg")
    assert words.count("not finite") == 2
    assert "no finite value" in words


def test_names_are_not_formulas(tmp_path: Path) -> None:
    draw_curves(records(), tmp_path / "c.svg", r"a $x^2$ \frac")
    assert r"a $x^2$ \frac" in svg_text(tmp_path / "c.svg")


def test_one_point_will_do(tmp_path: Path) -> None:
    draw_curves(records(1), tmp_path / "c.svg")
    assert "loss" in svg_text(tmp_path / "c.svg")


def test_drawing_leaves_no_state(tmp_path: Path) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    had_pyplot = "matplotlib.pyplot" in sys.modules
    draw_curves(records(), tmp_path / "c.svg")
    assert dict(matplotlib.rcParams) == before
    assert ("matplotlib.pyplot" in sys.modules) == had_pyplot


def test_what_cannot_be_drawn_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ends in \.svg or \.png"):
        draw_curves(records(), tmp_path / "c.gif")
    with pytest.raises(InputError, match="nothing to draw"):
        draw_curves([], tmp_path / "c.svg")
    with pytest.raises(RunError, match="cannot write"):
        draw_curves(records(), tmp_path / "none" / "c.svg")
