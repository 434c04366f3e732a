"""The files of Debian packages: where a package is installed its own, otherwise unpacked into the cache.

Neither way needs rights: ``apt-get download`` fetches a package, ``dpkg-deb -x`` unpacks it, and nothing is installed.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from prevail_py.research.corpora.cache import CorpusError, new_directory

__all__ = ["Unpacked", "package_files"]

_TIMEOUT: Final = 900


@dataclass(frozen=True, slots=True)
class Unpacked:
    """The files of a package by their path in the file system, without the leading slash."""

    package: str
    version: str
    files: dict[str, Path]

    def matching(self, patterns: Sequence[str]) -> dict[str, Path]:
        """Those whose path matches one of the patterns, sorted; links are left out."""
        return {
            name: path
            for name, path in sorted(self.files.items())
            if any(fnmatchcase(name, pattern) for pattern in patterns) and path.is_file() and not path.is_symlink()
        }


def package_files(package: str, cache: Path) -> Unpacked:
    """The files of ``package``.  Raises :class:`CorpusError` with what is missing."""
    return _installed(package) or _downloaded(package, cache)


def _installed(package: str) -> Unpacked | None:
    if shutil.which("dpkg-query") is None:
        return None
    query = ["dpkg-query", "--show", "--showformat", "${db:Status-Abbrev} ${Version}", package]
    found = subprocess.run(query, capture_output=True, text=True, check=False)
    if found.returncode or not found.stdout.startswith("ii"):
        return None
    listed = subprocess.run(["dpkg-query", "--listfiles", package], capture_output=True, text=True, check=False)
    if listed.returncode:
        return None
    files = {line.lstrip("/"): Path(line) for line in listed.stdout.splitlines() if line.startswith("/")}
    return Unpacked(package, found.stdout.split()[1], files)


def _downloaded(package: str, cache: Path) -> Unpacked:
    folder = cache / "packages"
    kept = sorted(folder.glob(f"{package}_*")) if folder.is_dir() else []
    if not kept:
        for command in ("apt-get", "dpkg-deb"):
            if shutil.which(command) is None:
                raise CorpusError(f"package {package}: not installed, and there is no {command} to fetch it with")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            _do(package, ["apt-get", "-qq", "download", package], scratch)
            archives = sorted(Path(scratch).glob("*.deb"))
            if not archives:
                raise CorpusError(f"package {package}: apt-get download brought no package")
            archive = archives[0]
            version = _do(package, ["dpkg-deb", "--field", str(archive), "Version"], scratch).strip()
            with new_directory(folder / f"{package}_{version}") as unpacked:
                _do(package, ["dpkg-deb", "-x", str(archive), str(unpacked)], scratch)
        kept = [folder / f"{package}_{version}"]
    root = kept[-1]
    files = {str(path.relative_to(root)): path for path in root.rglob("*") if not path.is_dir()}
    return Unpacked(package, root.name.removeprefix(f"{package}_"), files)


def _do(package: str, command: Sequence[str], folder: str) -> str:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=_TIMEOUT, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise CorpusError(f"package {package}: {command[0]} did not end within {_TIMEOUT} s") from None
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise CorpusError(f"package {package}: {' '.join(command[:3])}: {lines[-1] if lines else 'failed'}")
    return done.stdout
