"""A package of somebody else (``door_bell``): a program type, helpers, a map type and a hook, with no change in ours.

It is built and installed as such packages are; whoever verifies has only its document, in the store.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prevail_py.cli.main import main
from prevail_py.host.context.client import connect
from prevail_py.host.context.context import ExecutionContext
from prevail_py.host.context.model import HostError
from prevail_py.host.gate import GateError
from prevail_py.host.trust import Trust
from prevail_py.libbpf import Object
from prevail_py.objects.elf import load_object
from prevail_py.objects.program import Program
from prevail_py.platforms import extensions
from prevail_py.research.host_process import start_host
from prevail_py.verifier import verify
from prevail_py.vm.engines import engine
from prevail_py.vm.maps import create_maps
from prevail_py.vm.maps.array import ArrayMap
from prevail_py.vm.maps.hash import HashMap
from prevail_py.vm.maps.model import MapError
from prevail_py.vm.outcome import Returned, Trapped
from prevail_py.vm.packages import of_packages
from tests.host.context.conftest import HonestVerifier, honest

PACKAGE = Path(__file__).with_name("door_bell")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the package is installed: built by its own build system, and unpacked."""
    source = tmp_path_factory.mktemp("source") / "door_bell"
    shutil.copytree(PACKAGE, source)
    site = tmp_path_factory.mktemp("site")
    build = "import sys, setuptools.build_meta as b; b.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, site], cwd=source, check=True, capture_output=True)
    (wheel,) = site.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


@pytest.fixture(scope="module")
def bell(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.conftest import _clang

    clang = _clang()
    if clang is None:
        pytest.skip("clang: none that compiles for eBPF")
    out = tmp_path_factory.mktemp("bell") / "bell.o"
    headers = f"/usr/include/{os.uname().machine}-linux-gnu"
    command = [clang, "-target", "bpfel", "-mcpu=v3", "-O2", "-g", "-idirafter", headers]
    subprocess.run([*command, "-c", PACKAGE / "bell.c", "-o", out], check=True)
    return out


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty store of our own."""
    path = tmp_path / "extensions"
    monkeypatch.setenv("PREVAIL_PY_EXTENSIONS", os.fspath(path))
    extensions.use(None)
    yield path
    monkeypatch.undo()
    extensions.use(None)


@pytest.fixture
def package(installed: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package is installed for this process, too."""

    def forget() -> None:
        of_packages.cache_clear()
        for name in [name for name in sys.modules if name.partition(".")[0] == "door_bell"]:
            del sys.modules[name]

    forget()
    monkeypatch.syspath_prepend(installed)
    yield installed
    monkeypatch.undo()
    forget()


Command = Callable[..., str]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*words: str, code: int = 0) -> str:
        assert main(list(words)) == code, capsys.readouterr()
        out, err = capsys.readouterr()
        return out + err

    return run


def test_the_store(package: Path, bell: Path, store: Path, command: Command) -> None:
    """Installing the package changes nothing; adding its document does, removing it undoes that."""
    assert "unknown map type 65537" in command("verify", str(bell), code=2)
    assert "package: not added" in command("extension", "list")
    assert command("extension", "add", "door_bell").startswith("door_bell: program types doorbell; helpers bell_ring")
    assert "store, package" in command("extension", "list")
    assert json.loads(command("extension", "list", "--json"))["extensions"][0]["adds"].startswith("program types")
    assert json.loads(command("extension", "show", "door_bell"))["name"] == "door_bell"
    text = command("verify", str(bell))
    assert "1 SAFE" in text
    assert "assumed: what the extension door_bell says of doorbell" in text
    assert "assumed: what the extension door_bell says of visitors" in text
    assert "call 65537" in command("disasm", str(bell))
    certificate = store.with_name("certificate")
    command("verify", "--certificate", str(certificate), str(bell))
    assert "accepted" in command("check-certificate", str(bell), str(certificate))
    assert (store / "door_bell.json").stat().st_mode & 0o777 == 0o644
    command("extension", "remove", "door_bell")
    assert list(store.iterdir()) == []
    extensions.use(None)
    assert "unknown map type 65537" in command("verify", str(bell), code=2)


def test_verification_without_the_package(bell: Path, store: Path, command: Command) -> None:
    """Only the document is there, and what it does not allow is refused."""
    command("extension", "add", str(PACKAGE / "door_bell" / "door_bell.json"))
    program = load_object(bell).programs["bell"]
    assert (program.program_type, program.expected_attach_type) == ("doorbell", "doorbell")
    assert verify(program).is_safe
    for source, problem in (
        ("r0 = *(u32 *)(r1 + 4)\nexit", "may not read 4 bytes at offset 4"),
        ("r2 = 7\n*(u32 *)(r1 + 16) = r2\nr0 = 0\nexit", "may not write 4 bytes at offset 16"),
        ("r0 = 2\nexit", "return-range"),
        ("r1 = r10\nr1 += -8\nr2 = 16\ncall 65538\nr0 = 0\nexit", "helper-argument"),
        ("r2 = 1\nr1 = r10\ncall 65537\nr0 = 0\nexit", "helper-argument"),
        ("call 8\nr0 = 0\nexit", "not available to doorbell programs"),
        ("r3 = *(u64 *)(r1 + 0)\nr0 = *(u8 *)(r3 + 0)\nexit", "out-of-bounds"),
        ("call 65539\nr0 = 0\nexit", "there is no helper 65539"),
    ):
        verdict = verify(_assembled(source))
        found = " ".join(str(each) for each in verdict.failures)
        assert not verdict.is_safe
        assert problem in found, found
        assert isinstance(engine("interpreter").load(_assembled(source)).run(packet=b"").outcome, Trapped)
    assert not verify(_assembled("r1 = 3\nr2 = 1\ncall 65537\nr0 = 0\nexit", "xdp")).is_safe


def _assembled(text: str, program_type: str = "doorbell") -> Program:
    from prevail_py.objects.text import assemble

    return assemble(text, program_type=program_type, name="small")


@pytest.mark.parametrize("name", ["interpreter", "source", "jit"])
def test_engines(name: str, package: Path, bell: Path, command: Command) -> None:
    command("extension", "add", "door_bell")
    program = load_object(bell).programs["bell"]
    maps = create_maps(program.maps)
    assert type(maps[0]).__name__ == "Visitors"
    assert isinstance(maps[0], HashMap)
    loaded, answers = engine(name).load(program), []
    first: dict[bytes, Any] = {}
    for visitor in (b"Bob", b"Ada", b"Bob", b"", b"Cid"):
        execution = loaded.run(packet=visitor, context=bytes(16) + b"\7\0\0\0", maps=maps)
        assert isinstance(execution.outcome, Returned), execution.outcome
        answers.append((execution.outcome.value, execution.context[20] if execution.context else None))
        first = first or dict(maps[0].items())
    assert answers == [(0, 0), (1, 1), (1, 1), (0, 0), (0, 0)]
    assert first
    assert {key: maps[0][key] for key in first} == first
    import door_bell.helpers  # type: ignore[import-not-found]

    assert door_bell.helpers.RINGS[-4:] == [1, 2, 2, 1]


def test_without_its_code_a_helper_traps(bell: Path, store: Path, command: Command) -> None:
    command("extension", "add", str(PACKAGE / "door_bell" / "door_bell.json"))
    of_packages.cache_clear()
    outcome = engine("interpreter").load(_assembled("r2 = 1\ncall 65537\nr0 = 0\nexit")).run(packet=b"").outcome
    assert isinstance(outcome, Trapped)
    assert outcome.trap.message == "helper bell_ring is not implemented"
    with ExecutionContext(admissions=honest()) as context, context.session() as session:
        with pytest.raises(OSError, match="no map of type 65537 can be made here"):
            Object.open(bell, session)
        assert context.maps == {}


def test_a_package_that_makes_another_map(package: Path, bell: Path, command: Command) -> None:
    """The verifier was told that it is like a hash: nothing else is taken for it."""
    command("extension", "add", "door_bell")
    import door_bell.maps  # type: ignore[import-not-found]

    door_bell.maps.Visitors = lambda spec, cpus: ArrayMap(replace(spec, type=2))
    of_packages.cache_clear()
    spec = load_object(bell).programs["bell"].maps[0]
    with pytest.raises(MapError, match="the package makes no map of type visitors"):
        create_maps((spec,))


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (("program_types", 0, "return_range"), [0, 7], "context"),
        (("program_types", 0, "reads"), [[8, 0, 0, "PACKET"], [8, 8, 8, "PACKET_END"], [4, 16, 16]], "context"),
        (("helpers", 0, "args"), ["SCALAR", "SCALAR"], "prototypes"),
        (("program_types", 0, "helpers"), ["bpf_map_lookup_elem", "bpf_ktime_get_ns"], "prototypes"),
        (("map_types", 0, "like"), "array", "maps"),
    ],
)
def test_a_verifier_with_another_document(
    path: tuple[Any, ...], value: Any, field: str, store: Path, bell: Path, command: Command
) -> None:
    """What it vouches for is not what is known here, and its token says so: each difference is a claim that fails."""
    document = PACKAGE / "door_bell" / "door_bell.json"
    command("extension", "add", str(document))
    other = json.loads(document.read_text())
    place = other
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    program = load_object(bell).programs["bell"]
    verifier = HonestVerifier()
    believed = Trust(verifier.key)
    nonce = believed.nonce()
    extensions.use([json.dumps(other)])
    token = verifier.token(program, nonce)
    extensions.use(None)
    with pytest.raises(GateError) as error:
        believed.accept(program, token)
    assert error.value.field == field


def state(session: Any, link: int) -> dict[str, Any]:
    found: dict[str, Any] = session.call("info", handle=link)["state"]
    return found


@pytest.mark.usefixtures("lockdown")
def test_a_host_with_the_package(
    package: Path, bell: Path, store: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Verified in the confined process, which has the document and not the package; attached, and people come."""
    command("extension", "add", "door_bell")
    assert "1 SAFE" in command("verify", "--service", str(bell))
    pipe, path = tmp_path / "door", tmp_path / "h.sock"
    os.mkfifo(pipe)
    monkeypatch.setenv("PYTHONPATH", os.fspath(package))
    monkeypatch.setenv("PREVAIL_PY_HOST", os.fspath(path))
    process = start_host(path, "--store", os.fspath(tmp_path / "store.sqlite"), "--btf", "none")
    try:
        command("ebpf", "add", "program", str(bell), "pinpath=/bell")
        assert "doorbell" in command("ebpf", "show", "programs")
        with connect(path) as session:
            program = session.call("open_pin", path="/bell")
            parameters = {"pipe": os.fspath(pipe), "door": 7}
            link = session.call("link_create", program=program, hook=None, parameters=parameters, held=False)
            with pytest.raises(HostError) as refused:
                session.call("link_create", program=program, hook="xdp", parameters={"ifindex": 1}, held=False)
            assert refused.value.errno == errno.EOPNOTSUPP
            pipe.write_bytes(b"Bob\nAda\nBob\n")
            deadline = time.monotonic() + 20
            while state(session, link)["visitors"] < 3 and time.monotonic() < deadline:
                time.sleep(0.05)
            assert state(session, link) == {"visitors": 3, "let in": 2, "rings": 5}
            assert "01 00 00 00  value: 02" in command("ebpf", "map", "dump", "name", "answers")
            session.call("link_detach", link=link)
            assert session.call("info", handle=program)["run_count"] == 3
    finally:
        process.terminate()
        assert process.communicate(timeout=20)[1] == ""
