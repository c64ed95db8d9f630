"""Every command with files that are not what it wants, and with run folders in which one file is spoilt.

Whatever it is, a command ends with a code of its own and one message that names the file; never with our own failure.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from cli_cases import TINY, Dlc

from dlc.runtime.cli import main

ROWS = "a,b,c,price\n" + "".join(f"{i},{i % 3},{i % 5},{i * 0.5}\n" for i in range(12))


def _folder(path: Path) -> None:
    path.mkdir()


def _link_to_nothing(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


def _link_to_itself(path: Path) -> None:
    path.symlink_to(path)


def _of(content: bytes) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.write_bytes(content)

    return make


SPOILT: dict[str, Callable[[Path], None]] = {
    "nothing": lambda path: None,
    "empty": _of(b""),
    "zeros": _of(b"\0" * 4096),
    "bytes": _of(bytes(range(256)) * 8),
    "latin-1": _of("größe = 1\n".encode("latin-1")),
    "text": _of(b"this is not what is wanted\n"),
    "JSON": _of(b"{}"),
    "a list in JSON": _of(b"[1, 2, 3]"),
    "deep JSON": _of(b"[" * 100_000),
    "a zip": _of(b"PK\x03\x04" + b"\0" * 64),
    "a length of 2^63": _of(b"\xff" * 7 + b"\x7f" + b"{}"),
    "a folder": _folder,
    "a link to nothing": _link_to_nothing,
    "a link to itself": _link_to_itself,
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a program, its data, a finished run, and the net exported from it."""
    home = tmp_path_factory.mktemp("trained")
    (home / "houses.csv").write_text(ROWS)
    (home / "tiny.net").write_text(TINY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DLC_CACHE", str(home / "cache"))
        train = ["train", str(home / "tiny.net"), "-o", str(home / "run"), "--epochs", "2", "--device", "cpu", "-q"]
        assert main(train) == 0
        assert main(["export", str(home / "run"), "-o", str(home / "tiny.onnx")]) == 0
    return home


@pytest.fixture
def home(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "home", symlinks=True))


def told(dlc: Dlc, *args: object) -> int:
    """The exit code of a command that says what is wrong in one message, or has nothing to say."""
    done = dlc(*args)
    assert done.code in (0, 1, 2, 3), done
    assert "Traceback" not in done.err and "mistake in dlc" not in done.err, done.err
    if done.code:
        assert done.err.count("error") >= 1 and (done.out == "" or "--resume" in args), done
        assert len(done.err) < 10_000, len(done.err)
    return done.code


COMMANDS: dict[str, list[str]] = {
    "check": ["check", "{bad}.net"],
    "fmt": ["fmt", "{bad}.net"],
    "compile": ["compile", "{bad}.net", "-o", "{home}/build"],
    "train": ["train", "{bad}.net", "-o", "{home}/new", "--device", "cpu"],
    "gradcheck": ["gradcheck", "{bad}.net"],
    "data": ["data", "{bad}.net"],
    "ir": ["ir", "{bad}.net"],
    "show": ["show", "{bad}.net"],
    "draw": ["show", "{bad}.net", "--graph", "-o", "{home}/a.svg"],
    "show a model": ["show", "{bad}.onnx"],
    "values of a model": ["show", "{bad}.onnx", "--values"],
    "grad": ["grad", "{bad}.onnx", "--wrt", "w", "-o", "{home}/grad.onnx"],
    "run": ["run", "{bad}.onnx", "-i", "x=1"],
    "run on NumPy's": ["run", "{home}/tiny.onnx", "-i", "x={bad}.npy"],
    "run on an archive": ["run", "{home}/tiny.onnx", "-i", "x={bad}.npz"],
    "run on a picture": ["run", "{home}/tiny.onnx", "-i", "x={bad}.png"],
    "run on a table": ["run", "{home}/tiny.onnx", "-i", "x={bad}.csv"],
    "eval": ["eval", "{bad}"],
    "export": ["export", "{bad}", "-o", "{home}/out.onnx"],
    "resume": ["train", "--resume", "{bad}"],
    "weights": ["weights", "list", "{bad}.safetensors"],
    "weights of NumPy": ["weights", "list", "{bad}.npz"],
    "weights of a run": ["weights", "list", "{bad}"],
    "rename": ["weights", "rename", "{bad}.safetensors", "a=b"],
    "eval of weights": ["eval", "{home}/run", "--weights", "{bad}.safetensors"],
    "export of weights": ["export", "{home}/run", "-o", "{home}/out.onnx", "--weights", "{bad}.safetensors"],
}
MAY_BE_EMPTY = {"check", "fmt", "show"}
"""Commands for which a file without declarations is a file."""


@pytest.mark.parametrize("how", SPOILT)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_that_is_not_what_is_wanted(dlc: Dlc, home: Path, command: str, how: str) -> None:
    words = COMMANDS[command]
    place = next(word for word in words if "{bad}" in word).format(bad=home / "bad", home=home).removeprefix("x=")
    SPOILT[how](Path(place))
    code = told(dlc, *(word.format(bad=home / "bad", home=home) for word in words))
    assert code or (how == "empty" and command in MAY_BE_EMPTY)


def contents(run: Path) -> dict[Path, bytes]:
    """What is in the files of a run, but for the lock."""
    return {path: (run / path).read_bytes() for path in _files(run) if path.name != "lock"}


def _files(run: Path) -> Iterator[Path]:
    return (path.relative_to(run) for path in sorted(run.rglob("*")) if path.is_file())


@pytest.mark.parametrize(
    "how", ["nothing", "empty", "bytes", "JSON", "a list in JSON", "deep JSON", "a folder", "half"]
)
def test_a_run_folder_in_which_a_file_is_spoilt(dlc: Dlc, home: Path, how: str) -> None:
    for name in list(_files(home / "run")):
        spoilt = home / "spoilt"
        for args in (
            ["eval", spoilt], ["export", spoilt, "-o", home / "o.onnx"], ["train", "--resume", spoilt, "--epochs", "3"],
            ["weights", "list", spoilt], ["weights", "rename", spoilt, "tiny.linear=tiny.first"],
        ):  # fmt: skip
            shutil.copytree(home / "run", spoilt)
            path = spoilt / name
            content = path.read_bytes()
            path.unlink()
            if how == "half":
                path.write_bytes(content[: len(content) // 2])
            else:
                SPOILT[how](path)
            try:
                told(dlc, *args)
            except AssertionError as error:
                raise AssertionError(f"{name}: {args[0]}") from error
            shutil.rmtree(spoilt)


@pytest.mark.parametrize("how", SPOILT)
def test_data_that_is_spoilt(dlc: Dlc, home: Path, how: str) -> None:
    (home / "houses.csv").unlink()
    SPOILT[how](home / "houses.csv")
    train = ["train", home / "tiny.net", "-o", home / "new", "--epochs", 1]
    for args in (["data", home / "tiny.net"], train, ["eval", home / "run"]):
        assert told(dlc, *args)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission(dlc: Dlc, home: Path) -> None:
    for name in ("tiny.net", "houses.csv", "tiny.onnx"):
        (home / name).chmod(0)
    assert told(dlc, "check", home / "tiny.net") == 1
    assert told(dlc, "show", home / "tiny.onnx") == 1
    (home / "tiny.net").chmod(0o600)
    assert told(dlc, "data", home / "tiny.net") == 1


def test_weights_of_another_net(dlc: Dlc, home: Path) -> None:
    other = home / "other.npz"
    np.savez(other, **{"tiny.linear.weight": np.zeros((3, 9), np.float32)})
    assert told(dlc, "eval", home / "run", "--weights", other) == 1
    assert told(dlc, "export", home / "run", "-o", home / "o.onnx", "--weights", other) == 1
    assert not (home / "o.onnx").exists()


FLAGS: dict[str, int] = {
    "train {net} -o {home}/new --epochs 0": 2,
    "train {net} -o {home}/new --epochs -1": 2,
    "train {net} -o {home}/new --epochs 1.5": 2,
    "train {net} -o {home}/new --epochs many": 2,
    "train {net} -o {home}/new --steps 0": 2,
    "train {net} -o {home}/new --steps 99999999999999999999": 2,
    "gradcheck {net} --seed 99999999999999999999": 2,
    "run {model} -i x": 2,
    "run {model} -i x=": 2,
    "run {model} -i x=some": 1,
    "run {model} -i y=1": 1,
    "train {net} -o {home}/new --threads -1": 2,
    "train {net} -o {home}/new --threads 99999999999999999999": 2,
    "train {net} -o {home}/new --seed 99999999999999999999": 2,
    "train {net} -o {home}/new --watch-every 0": 2,
    "train {net} -o {home}/new --after {home}/nowhere": 2,
    "train {net} -o {home}/run --epochs 1": 2,
    "train {net} -o {net} --epochs 1": 2,
    "train {net} -o": 2,
    "train {net} -o {home}/new --set lr=-1": 1,
    "train {net} -o {home}/new --set lr=nan": 1,
    "train {net} -o {home}/new --set lr=1e999": 1,
    "train {net} -o {home}/new --set width=0": 1,
    "train {net} -o {home}/new --set =1": 2,
    "train {net} -o {home}/new --set lr=": 2,
    "train {net} -o {home}/new --set lr==1": 1,
    "train {net} -o {home}/new --set lr=1;2": 1,
    "train --resume {home}/run --set nothing=1": 1,
    "train --resume {home}/run --seed 5": 1,
    "eval {home}/run --on nosuch": 1,
    "eval {home}/run --weights nosuch": 1,
    "eval {home}/run --weights {home}": 1,
    "eval {home}/run --threads 0": 2,
    "export {home}/run -o {home}": 2,
    "export {home}/run -o {home}/nowhere/a.onnx": 2,
    "run {model}": 1,
    "run {model} 1 2 3 4 5": 2,
    "run {model} {home}": 2,
    "grad {model} --wrt nosuch -o {home}/g.onnx": 1,
    "grad {model} --wrt , -o {home}/g.onnx": 1,
    "grad {model} --of nosuch --wrt a -o {home}/g.onnx": 1,
    "gradcheck {net} --examples 0": 2,
    "gradcheck {net} --directions 0": 2,
    "weights list {home}/run --nosuch": 2,
    "weights nosuch": 2,
    "explain E99": 2,
    "new 9lives": 2,
}


@pytest.mark.parametrize("line", FLAGS)
def test_wrong_flags(dlc: Dlc, home: Path, line: str) -> None:
    places = {"home": home, "net": home / "tiny.net", "model": home / "tiny.onnx"}
    before = contents(home / "run")
    assert told(dlc, *(word.format(**places) for word in line.split())) == FLAGS[line]
    assert not (home / "new").exists()
    assert contents(home / "run") == before
