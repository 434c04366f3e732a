"""The wheel and the source distribution: complete, and importable in environments that have nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("setuptools", minversion="77", reason="the package is built with setuptools 77 or later")

BUILD = "import sys; from setuptools import build_meta as b; print(getattr(b, 'build_' + sys.argv[1])(sys.argv[2]))"

WALK = """
import pkgutil, importlib, prevail_py
for module in pkgutil.walk_packages(prevail_py.__path__, "prevail_py."):
    importlib.import_module(module.name)
    print(module.name)
"""


@dataclass(frozen=True, slots=True)
class Distributions:
    """What was built: ``from_sdist`` is a wheel made of the unpacked source distribution."""

    sdist: Path
    wheel: Path
    from_sdist: Path


def _build(kind: str, source: Path, target: Path) -> Path:
    target.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", BUILD, kind, str(target)], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return target / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    root = Path(__file__).resolve().parents[2]
    directory = tmp_path_factory.mktemp("distributions")
    tree = directory / "tree"
    unwanted = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "out", "*.egg-info")
    shutil.copytree(root, tree, symlinks=True, ignore=unwanted)
    sdist = _build("sdist", tree, directory / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(directory / "unpacked", filter="data")
    (unpacked,) = (directory / "unpacked").iterdir()
    return Distributions(
        sdist=sdist,
        wheel=_build("wheel", tree, directory / "wheel"),
        from_sdist=_build("wheel", unpacked, directory / "from_sdist"),
    )


@pytest.fixture(scope="module", params=["wheel", "from_sdist"])
def python(request: pytest.FixtureRequest, built: Distributions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment into which one distribution is installed.

    Nothing is downloaded: the dependencies are those of the environment under test, found through a path file.  A path
    file does not read the path files of the directories that it adds, so that an editable install there stays out.
    """
    directory = tmp_path_factory.mktemp(request.param)
    venv.create(directory, with_pip=False, symlinks=True)
    interpreter = directory / "bin" / "python"
    wheel = getattr(built, request.param)
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "--python",
            str(interpreter),
            "install",
            "--quiet",
            "--no-index",
            "--no-deps",
            wheel,
        ],
        check=True,
    )
    (site,) = directory.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")
    return interpreter


def _source_files(root: Path) -> set[str]:
    """The files of the package in the work tree, as paths that begin with ``prevail_py/``."""
    files = (path for path in (root / "prevail_py").rglob("*") if path.is_file())
    relative = (path.relative_to(root) for path in files)
    return {str(path) for path in relative if "__pycache__" not in path.parts and not path.name.startswith(".")}


def _wheel_files(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if name.startswith("prevail_py/")}


def test_wheel_holds_every_file_of_the_package(root: Path, built: Distributions) -> None:
    assert _wheel_files(built.wheel) == _source_files(root)


def test_wheel_from_sdist_is_the_same(built: Distributions) -> None:
    assert _wheel_files(built.from_sdist) == _wheel_files(built.wheel)


def test_wheel_installs_one_top_level_package(built: Distributions) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"prevail_py"}


def test_sdist_holds_tests_and_documents(built: Distributions) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    wanted = {"LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "tests/conftest.py", "docs/cli.md"}
    assert wanted <= names


def test_every_module_imports_in_a_fresh_environment(root: Path, python: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [python, "-I", "-W", "error", "-c", WALK], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    modules = {name for name in _source_files(root) if name.endswith(".py")}
    expected = {name[:-3].replace("/", ".").removesuffix(".__init__") for name in modules} - {"prevail_py"}
    assert set(done.stdout.split()) == expected


def test_package_is_that_of_the_environment(python: Path, tmp_path: Path) -> None:
    command = [str(python), "-I", "-c", "import prevail_py; print(prevail_py.__file__)"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).is_relative_to(python.parents[1])


def test_console_script_runs(python: Path, tmp_path: Path) -> None:
    script = python.with_name("prevail-py")
    done = subprocess.run([script, "--version"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("prevail-py ")
