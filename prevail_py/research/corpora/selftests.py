"""The kernel's selftests, compiled from a Debian kernel source package as their Makefile does it.

The source archive is unpacked into the cache (only what is needed of it), ``vmlinux.h`` is written from the running
kernel's type information, ``bpf_helper_defs.h`` by the script of the kernel tree.  Objects are kept by content: the
source, all headers, the flags and the compiler decide their name.  A test may name types that it is to be loaded for in
place of the kernel's (``__btf_path``): they are compiled, too, and lie beside its object.  Paths in debug information
are relative, so that the same inputs give the same object wherever the cache is.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from prevail_py.research.corpora.cache import CorpusError, digest, new_directory, write_whole
from prevail_py.research.corpora.packages import package_files
from prevail_py.research.corpora.registry import KernelSelftests

__all__ = ["TYPES", "Compiled", "compile_all", "find_clang", "prepare"]

_WANTED: Final = (
    "tools/testing/selftests/bpf/",
    "tools/lib/bpf/",
    "tools/include/",
    "scripts/bpf_doc.py",
)
_TESTS: Final = "tools/testing/selftests/bpf"
_COMPILERS: Final = ("clang-19", "clang-20", "clang-18", "clang-17", "clang")
_FLAGS: Final = ("-g", "-w", "-O2", "--target=bpf", "-mlittle-endian", "-D__TARGET_ARCH_x86", "-DENABLE_ATOMICS_TESTS")
_NO_INLINE: Final = frozenset({"test_l4lb_noinline", "test_xdp_noinline"})
_TIMEOUT: Final = 300
_BTF: Final = Path("/sys/kernel/btf/vmlinux")
_BTF_PATH: Final = re.compile(rb"comment:test_btf_path=(\w+)\.bpf\.o\0")

TYPES: Final = ".btf"
"""The suffix of a file beside an object that holds the kernel types it is for."""


@dataclass(frozen=True, slots=True)
class Tree:
    """What compiling needs: the unpacked tree, the generated headers, and a digest of all headers."""

    version: str
    tests: Path
    generated: Path
    headers: str


@dataclass(frozen=True, slots=True)
class Compiled:
    """Objects by the name of their source, and why others could not be compiled, one line each."""

    objects: dict[str, Path]
    failures: dict[str, str]
    provenance: str


def find_clang() -> str:
    """A clang that compiles for eBPF.  Raises :class:`CorpusError`."""
    for name in _COMPILERS:
        path = shutil.which(name)
        if path is not None:
            probe = [path, "--target=bpf", "-c", "-x", "c", "-o", "/dev/null", "/dev/null"]
            if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
                return path
    raise CorpusError("clang: none on PATH compiles for eBPF (Debian: clang-19)")


def prepare(package: str, cache: Path) -> Tree:
    """Unpack the sources and write the generated headers, once.  Raises :class:`CorpusError`."""
    unpacked = package_files(package, cache)
    archives = unpacked.matching(("usr/src/*.tar.xz",))
    if not archives:
        raise CorpusError(f"package {package}: no usr/src/*.tar.xz in it")
    archive = next(iter(archives.values()))
    tree = cache / "sources" / f"{package}_{unpacked.version}"
    if not tree.is_dir():
        with new_directory(tree) as folder:
            _unpack(archive, folder)
    tests = tree / _TESTS
    if not (tests / "progs").is_dir():
        raise CorpusError(f"package {package}: no {_TESTS}/progs in {archive.name}")
    generated = cache / "sources" / f"{package}_{unpacked.version}_generated-{_kernel_release()}"
    if not generated.is_dir():
        with new_directory(generated) as folder:
            _generate(tree, folder)
    headers = sorted([*tests.rglob("*.h"), *(tree / "tools/include").rglob("*.h"), *generated.rglob("*.h")])
    base = tree.parent
    sources = [*headers, *sorted((tests / "progs").glob("*.inc.c"))]
    summary = digest(*(part for path in sources for part in (str(path.relative_to(base)), path.read_bytes())))
    return Tree(unpacked.version, tests, generated, summary)


def _kernel_release() -> str:
    import platform

    return platform.release()


def _unpack(archive: Path, folder: Path) -> None:
    """The wanted part of the archive, without its first directory."""
    try:
        with tarfile.open(archive, "r|xz") as tar:
            for member in tar:
                _, _, name = member.name.partition("/")
                if member.isfile() and name.startswith(_WANTED):
                    member.name = name
                    tar.extract(member, folder, filter="data")
    except (OSError, tarfile.TarError, EOFError) as error:
        raise CorpusError(f"{archive}: {error}") from error


def _generate(tree: Path, folder: Path) -> None:
    if shutil.which("bpftool") is None:
        raise CorpusError("bpftool: not on PATH; it writes vmlinux.h (Debian: bpftool)")
    if not _BTF.exists():
        raise CorpusError(f"{_BTF}: missing; vmlinux.h is written from it")
    types = _output(["bpftool", "btf", "dump", "file", str(_BTF), "format", "c"])
    (folder / "vmlinux.h").write_bytes(types)
    api = tree / "tools/include/uapi/linux/bpf.h"
    helpers = _output([sys.executable, str(tree / "scripts/bpf_doc.py"), "--header", "--file", str(api)])
    headers = folder / "bpf"
    headers.mkdir()
    for header in (tree / "tools/lib/bpf").glob("*.h"):
        shutil.copy(header, headers)
    (headers / "bpf_helper_defs.h").write_bytes(helpers)


def _output(command: Sequence[str]) -> bytes:
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=_TIMEOUT, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise CorpusError(f"{command[0]}: did not end within {_TIMEOUT} s") from None
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise CorpusError(f"{' '.join(command[:3])}: {lines[-1] if lines else f'exit status {done.returncode}'}")
    return done.stdout


def compile_all(
    source: KernelSelftests,
    cache: Path,
    jobs: int = 1,
    progress: Callable[[Sequence[Path]], Iterable[Path]] = lambda sources: sources,
) -> Compiled:
    """Compile what is not compiled yet.  ``progress`` passes on the sources it is given.

    A source that does not compile is no error of the corpus: it is listed with the compiler's first error, and the
    file that remembers this is kept beside the objects.  Raises :class:`CorpusError`.
    """
    clang = find_clang()
    tree = prepare(source.package, cache)
    version = _output([clang, "--version"]).decode(errors="replace").splitlines()[0]
    system = _system_includes(clang)
    sources = [
        path
        for path in sorted((tree.tests / "progs").glob("*.c"))
        if any(fnmatchcase(path.name, pattern) for pattern in source.sources)
    ]
    store = cache / "objects"

    def one(path: Path) -> Path:
        flags = (*_FLAGS, f"-mcpu={source.cpu}", *(("-fno-inline",) if path.stem in _NO_INLINE else ()))
        key = digest(path.read_bytes(), tree.headers, *flags, *system, version)
        result = store / key[:2] / f"{key}.o"
        if not result.exists() and not result.with_suffix(".err").exists():
            _compile(clang, tree, path, (*flags, *system), result)
        return result

    with ThreadPoolExecutor(max(jobs, 1)) as pool:
        futures = {path: pool.submit(one, path) for path in sources}
        results = {path.stem: futures[path].result() for path in progress(sources)}
    for path in results.values():
        wanted = _BTF_PATH.search(path.read_bytes()) if path.exists() else None
        types = tree.tests / "progs" / f"{wanted[1].decode()}.c" if wanted is not None else None
        if types is not None and types.is_file() and (compiled := one(types)).exists():
            write_whole(path.with_suffix(TYPES), compiled.read_bytes())
    failures = {
        name: path.with_suffix(".err").read_text(encoding="utf-8")
        for name, path in results.items()
        if not path.exists()
    }
    return Compiled(
        {name: path for name, path in results.items() if path.exists()},
        failures,
        f"{source.package} {tree.version}, {version}, -mcpu={source.cpu}, vmlinux.h of Linux {_kernel_release()}",
    )


def _system_includes(clang: str) -> tuple[str, ...]:
    """The host's include directories, to be searched last, as the selftests' Makefile finds them."""
    done = subprocess.run([clang, "-v", "-E", "-"], capture_output=True, check=False, text=True, input="")
    lines = done.stderr.splitlines()
    flags: list[str] = []
    inside = False
    for line in lines:
        if line.startswith("#include <...>"):
            inside = True
        elif line.startswith("End of search list"):
            break
        elif inside:
            flags += ["-idirafter", line.strip()]
    return tuple(flags)


def _compile(clang: str, tree: Tree, path: Path, flags: Sequence[str], result: Path) -> None:
    scratch = result.with_suffix(".tmp")
    result.parent.mkdir(parents=True, exist_ok=True)
    includes = (f"-I{tree.generated}", "-I.", "-I../../../include/uapi", "-I../../../include")
    command = [
        clang, *flags, *includes, "-fdebug-compilation-dir=.", "-c", f"progs/{path.name}",
        "-o", str(scratch.absolute()),
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command, cwd=tree.tests, capture_output=True, check=False, timeout=_TIMEOUT, stdin=subprocess.DEVNULL
        )
        reason = "" if done.returncode == 0 else _first_error(done.stderr.decode(errors="replace"))
    except subprocess.TimeoutExpired:
        reason = f"the compiler did not end within {_TIMEOUT} s"
    if reason:
        scratch.unlink(missing_ok=True)
        write_whole(result.with_suffix(".err"), reason.encode())
    else:
        scratch.replace(result)


def _first_error(text: str) -> str:
    lines = text.strip().splitlines()
    return next((line for line in lines if "error:" in line), lines[0] if lines else "the compiler failed")
