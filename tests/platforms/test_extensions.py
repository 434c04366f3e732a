"""Documents of extensions and the store: what is taken, and that all else gets one line with the place."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prevail_py.cli.main import main
from prevail_py.platforms import extensions, platform
from prevail_py.platforms.extension_document import MAX_DOCUMENT, parse
from prevail_py.platforms.extensions import ExtensionError, extended
from prevail_py.platforms.model import ArgKind, FieldKind

DOCUMENT: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "thirdparty" / "door_bell" / "door_bell" / "door_bell.json").read_text()
)
EXAMPLE = "prevail_py/examples/xdp_counter.o"


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "extensions"
    monkeypatch.setenv("PREVAIL_PY_EXTENSIONS", os.fspath(path))
    extensions.use(None)
    yield path
    monkeypatch.undo()
    extensions.use(None)


def changed(*path: Any, to: Any) -> str:
    """The document with one place changed; ``...`` takes it out."""
    document = copy.deepcopy(DOCUMENT)
    place = document
    for step in path[:-1]:
        place = place[step]
    if to is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return json.dumps(document)


def named(name: str) -> str:
    """The same again under another name."""
    return changed("name", to=name)


def test_what_a_document_says() -> None:
    found = parse(json.dumps(DOCUMENT))
    (kind,) = found.program_types
    assert (found.name, kind.number, kind.return_range, kind.has_direct_packet) == ("door_bell", 65537, (0, 1), True)
    assert [kind.context_read(offset, size) for offset, size in ((0, 8), (8, 8), (16, 4), (16, 8), (0, 4))] == [
        FieldKind.PACKET, FieldKind.PACKET_END, FieldKind.SCALAR, None, None,
    ]  # fmt: skip
    ring, name = found.helpers
    assert [arg.kind for arg in ring.args] == [ArgKind.CTX, ArgKind.SCALAR]
    assert (name.args[0].writes, name.args[0].reads) == (True, False)
    extensions.use([found.document])
    host = platform()
    assert host.program_type_of_section("doorbell/front") == ("doorbell", "doorbell")
    assert host.helper(65537, "doorbell") == ring
    assert host.helper(65537, "xdp") is None
    assert host.helper(1, "doorbell") is not None
    assert "not available" in host.unavailable(8, "doorbell")
    assert "not available" in host.unavailable(6, "doorbell")
    assert host.extensions == {"doorbell": "door_bell", "visitors": "door_bell"}
    extensions.use(None)
    assert platform().extensions == {}


def test_nothing_changes_for_types_that_were_there() -> None:
    """Whatever an extension adds: who may call what, sections and contexts stay as they are."""
    before = platform()
    extensions.use([json.dumps(DOCUMENT)])
    after = platform()
    assert after is not before
    for id in before.helper_ids():
        for name in before.program_types:
            one, other = before.helper(id, name), after.helper(id, name)
            assert (one is None) == (other is None)
            if one is not None and other is not None:
                assert replace(one, program_types=None) == replace(other, program_types=None)
            assert before.unavailable(id, name) == after.unavailable(id, name)
    assert {name: after.program_types[name] for name in before.program_types} == dict(before.program_types)
    assert [after.section_rule(rule.pattern) for rule in before.sections] == [
        before.section_rule(rule.pattern) for rule in before.sections
    ]


T: tuple[Any, ...] = ("program_types", 0)
H: tuple[Any, ...] = ("helpers", 1)
WRONG: tuple[tuple[str, str], ...] = (
    ("{", "line 1, column 2: "),
    ('{"schema": 1, "schema": 1}', "there twice"),
    ("[" * 100_000, "nested too deeply"),
    ("[]", "an object is wanted"),
    ("x" * (MAX_DOCUMENT + 1), "more than"),
    (changed("schema", to=2), "schema: 2, not 1"),
    (changed("schema", to="1"), "schema: a whole number is wanted"),
    (changed("name", to="Door Bell"), "name: 'Door Bell' is no name"),
    (changed("more", to=1), "'more' is not known here"),
    (changed("platform", to=...), "'platform' is missing"),
    (changed(*T, "number", to=6), "program_types[0].number: 6: numbers of extensions are"),
    (changed(*T, "number", to=True), "program_types[0].number: a whole number is wanted"),
    (changed(*T, "context_size", to=0), "program_types[0].context_size: 1 to 4096"),
    (changed(*T, "reads", 0, to=[8, 0]), "program_types[0].reads[0]: size, first and last"),
    (changed(*T, "reads", 0, to=[8, 20, 20]), "program_types[0].reads[0]: no accesses of"),
    (changed(*T, "reads", 0, to=[3, 0, 0]), "program_types[0].reads[0]: no accesses of"),
    (changed(*T, "reads", 0, to=[8, 0, 0, "SOCK"]), "program_types[0].reads[0][3]: 'SOCK' is none of"),
    (changed(*T, "reads", 2, to=[4, 4, 20]), "program_types[0]: the pointer at offset 0 shares bytes"),
    (changed(*T, "writes", to=[[8, 0, 0]]), "program_types[0]: the pointer at offset 0 shares bytes"),
    (changed(*T, "writes", to=[[8, 16, 16, "PACKET"]]), "program_types[0].writes: pointers are not written"),
    (changed(*T, "reads", 0, to=[4, 0, 4, "PACKET"]), "program_types[0].reads: a pointer is one field"),
    (changed(*T, "packet", to=""), "program_types[0].packet: a packet needs fields"),
    (changed(*T, "reads", to=[[4, 16, 16]]), "program_types[0].packet: a packet needs fields"),
    (changed(*T, "return_range", to=[1, 0]), "program_types[0].return_range: two whole numbers"),
    (changed(*T, "return_range", to=[0, 1 << 63]), "program_types[0].return_range: two whole numbers"),
    (changed(*T, "helpers", to=["bpf_skb_load_bytes"]), "program_types[0].helpers[0]: 'bpf_skb_load_bytes' is none of"),
    (changed("attach_types", to={"doorbell": 1}), "attach_types.doorbell: 1: numbers"),
    (changed("sections", 0, to=["doorbell+", "xdp", ""]), "sections[0][1]: 'xdp' is none of doorbell"),
    (changed("sections", 0, to=["door bell", "doorbell", ""]), "sections[0][0]: 'door bell' is no pattern"),
    (changed("sections", 0, to=["doorbell", "doorbell", "xdp"]), "sections[0][2]: 'xdp' is none of"),
    (changed(*H, "id", to=1), "helpers[1].id: 1: numbers"),
    (changed(*H, "returns", to="MAP_VALUE"), "helpers[1].returns: 'MAP_VALUE' is none of"),
    (changed(*H, "program_types", to=["xdp"]), "helpers[1].program_types[0]: 'xdp' is none of"),
    (changed(*H, "program_types", to=[]), "helpers[1].program_types: nobody may call it"),
    (changed(*H, "args", to=["SOCK_COMMON"]), "helpers[1].args[0]: 'SOCK_COMMON' is none of"),
    (changed(*H, "args", to=["MEM_WRITE"]), "helpers[1].args[0]: memory is followed by its size"),
    (changed(*H, "args", to=["SIZE"]), "helpers[1].args[0]: memory is followed by its size"),
    (changed(*H, "args", to=["SCALAR", "SIZE"]), "helpers[1].args[1]: memory is followed by its size"),
    (changed(*H, "args", to=["CTX", "MAP_KEY"]), "helpers[1].args: a key or value needs the map"),
    (changed(*H, "args", to=["SCALAR"] * 6), "helpers[1].args: at most 5"),
    (changed(*H, "args", to=[["FIXED_MEM", 0, "r"]]), "helpers[1].args[0][1]: 1 to 4096"),
    (changed(*H, "args", to=[["FIXED_MEM", 8, "x"]]), "helpers[1].args[0][2]: 'x' is none of"),
    (changed("map_types", 0, "like", to="ringbuf"), "map_types[0].like: 'ringbuf' is none of"),
    (changed("map_types", 0, "number", to=1), "map_types[0].number: 1: numbers"),
)


@pytest.mark.parametrize(("text", "problem"), WRONG)
def test_wrong_documents(text: str, problem: str) -> None:
    with pytest.raises(ExtensionError) as error:
        parse(text)
    assert problem in str(error.value)
    assert "\n" not in str(error.value)


def other(**changes: Any) -> str:
    """Another extension that adds nothing but these."""
    return json.dumps({"schema": 1, "name": "other", "platform": "linux", **changes})


TAKEN: tuple[tuple[str, str], ...] = (
    (named("other"), "extension other: program type doorbell is taken"),
    (other(program_types=[{**DOCUMENT["program_types"][0], "name": "xdp"}]), "program type xdp is taken"),
    (other(program_types=[{**DOCUMENT["program_types"][0], "name": "gate"}]), "the number 65537 of program type gate"),
    (other(attach_types={"xdp": 65600}), "attach type xdp is taken"),
    (other(map_types=[{"number": 65600, "name": "hash", "like": "hash"}]), "map type hash is taken"),
    (other(map_types=[{"number": 65537, "name": "guests", "like": "hash"}]), "map type guests is taken"),
)


@pytest.mark.parametrize(("text", "problem"), TAKEN)
def test_what_is_taken(text: str, problem: str) -> None:
    with pytest.raises(ExtensionError, match=problem):
        extended(platform(), [parse(json.dumps(DOCUMENT)), parse(text)])


def test_sections_and_helpers_that_are_taken() -> None:
    gate = {**DOCUMENT["program_types"][0], "name": "gate", "number": 65600}
    first = parse(json.dumps(DOCUMENT))
    for changes, problem in (
        ({"sections": [["xdp/front", "gate", ""]]}, "section xdp/front is taken"),
        ({"sections": [["doorbell/back", "gate", ""]]}, "section doorbell/back is taken"),
        ({"helpers": [{**DOCUMENT["helpers"][0], "program_types": ["gate"]}]}, r"helper bell_ring \(65537\) is taken"),
        (
            {"helpers": [{**DOCUMENT["helpers"][0], "id": 65700, "program_types": ["gate"]}]},
            r"helper bell_ring \(65700\) is taken",
        ),
    ):
        second = parse(other(program_types=[gate], **changes))
        with pytest.raises(ExtensionError, match=problem):
            extended(platform(), [first, second])


# The store. ----------


def write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(mode=0o755, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def linked(path: Path) -> None:
    write(path.with_suffix(".txt"), json.dumps(DOCUMENT))
    path.symlink_to(path.with_suffix(".txt"))


def open_to_others(path: Path) -> None:
    write(path, json.dumps(DOCUMENT))
    path.parent.chmod(0o777)


def no_text(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"\xff")


def pipe(path: Path) -> None:
    path.parent.mkdir()
    os.mkfifo(path)


def no_directory(path: Path) -> None:
    path.parent.write_text("")


BAD_STORES: dict[str, tuple[Callable[[Path], None], str]] = {
    "no JSON": (lambda path: write(path, "{"), "line 1, column 2"),
    "a wrong document": (lambda path: write(path, changed("schema", to=7)), "schema: 7, not 1"),
    "no text": (no_text, "not text in UTF-8"),
    "another name": (lambda path: write(path, named("gate")), "holds the extension 'gate'"),
    "a file of everybody's": (lambda path: write(path, json.dumps(DOCUMENT), 0o666), "others may write to it"),
    "a directory of everybody's": (open_to_others, "others may write to it"),
    "a link": (linked, "Too many levels of symbolic links"),
    "a pipe": (pipe, "not a regular file"),
    "a directory": (lambda path: path.mkdir(parents=True), "Is a directory"),
    "no directory": (no_directory, "Not a directory"),
    "too long": (lambda path: write(path, " " * (MAX_DOCUMENT + 1)), "more than"),
}


@pytest.mark.parametrize("name", BAD_STORES)
def test_bad_stores(name: str, store: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command says so in one line, and nothing is verified against half of the truth."""
    spoil, problem = BAD_STORES[name]
    spoil(store / "door_bell.json")
    extensions.use(None)
    for command in (
        ["verify", str(root / EXAMPLE)], ["extension", "list"], ["hostd", "--store", "none", "--socket", str(store)],
        ["ebpf", "show", "sections", str(root / EXAMPLE)],
    ):  # fmt: skip
        assert main(command) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(f"prevail-py: {store}")
        assert problem in err
        assert err.count("\n") == 1


def test_two_that_want_the_same(store: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(store / "door_bell.json", json.dumps(DOCUMENT))
    write(store / "gate.json", named("gate"))
    extensions.use(None)
    assert main(["verify", str(root / EXAMPLE)]) == 2
    assert capsys.readouterr().err == "prevail-py: extension gate: program type doorbell is taken\n"
    assert main(["extension", "remove", "gate"]) == 0  # which mends it
    extensions.use(None)
    assert main(["verify", str(root / EXAMPLE)]) == 0


def test_what_is_not_added(tmp_path: Path, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The store stays as it was."""
    path = tmp_path / "document.json"
    write(store / "door_bell.json", json.dumps(DOCUMENT))
    extensions.use(None)
    for text, problem in (
        ("{", f"{path}: line 1, column 2"),
        (named("gate"), f"{path}: extension gate: program type doorbell is taken"),
        (changed("platform", to="plan9"), f"{path}: platform: unknown platform 'plan9'"),
    ):
        path.write_text(text)
        assert main(["extension", "add", str(path)]) == 2
        assert capsys.readouterr().err.startswith(f"prevail-py: {problem}")
    for words, problem in (
        (["add", "nothing"], "nothing: No such file"),
        (["remove", "nothing"], "nothing is not in the store"),
        (["remove", "../x"], "is not in the store"),
        (["show", "nothing"], "nothing is not in the store"),
    ):
        assert main(["extension", *words]) == 2
        assert problem in capsys.readouterr().err
    assert [each.name for each in store.iterdir()] == ["door_bell.json"]
    path.write_text(changed("program_types", 0, "return_range", to=[0, 3]))
    assert main(["extension", "add", str(path)]) == 0  # a newer one of the same name
    assert "[0, 3]" in (store / "door_bell.json").read_text()
