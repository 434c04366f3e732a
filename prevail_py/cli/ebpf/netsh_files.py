"""The commands of ``netsh ebpf`` about object files: no host is asked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prevail_py.cli.ebpf.opening import type_of_section
from prevail_py.cli.support import EXIT_NOT_SAFE, EXIT_OK, InputError, bad_input

if TYPE_CHECKING:
    from prevail_py.cli.ebpf.shell import Shell
    from prevail_py.objects.elf import ObjectFile
    from prevail_py.objects.program import Program

__all__ = [
    "platform_of",
    "show_disassembly",
    "show_hash",
    "show_sections",
    "show_table",
    "show_verification",
]

Arguments = Mapping[str, Any]


def platform_of(shell: Shell, given: Arguments) -> str:
    """Whose sections and numbers the object file uses."""
    platform: str = given.get("platform") or shell.platform
    return platform


def show_table(header: tuple[str, ...], lines: list[str]) -> int:
    """A table as netsh prints it: an empty line, the header, the rows."""
    print("", *header, *lines, sep="\n")
    return EXIT_OK


def _loaded(path: str, platform: str) -> ObjectFile:
    from prevail_py.objects.elf import load_object

    with bad_input(path):
        return load_object(path, platform=platform)


def _chosen(path: str, loaded: ObjectFile, given: Arguments) -> list[Program]:
    """The programs of the section, or of the first one."""
    programs = list(loaded.programs.values())
    section = given.get("section") or (programs[0].section if programs else "")
    found = [each for each in programs if each.section == section]
    if not found:
        raise InputError(f"{path}: no program in section {section!r}" if section else f"{path}: no program")
    return found


def show_disassembly(shell: Shell, given: Arguments) -> int:
    """The programs of one section."""
    from prevail_py.objects.text import disassemble

    path = given["filename"]
    texts = {each.name: disassemble(each) for each in _chosen(path, _loaded(path, platform_of(shell, given)), given)}
    if shell.json:
        return shell.show(texts)
    print("\n\n".join(texts.values()))
    return EXIT_OK


def show_sections(shell: Shell, given: Arguments) -> int:
    """Sections with programs, and the maps."""
    from prevail_py.libbpf.names import libbpf_bpf_map_type_str

    path = given["filename"]
    loaded = _loaded(path, platform_of(shell, given))
    rows = [each for each in loaded.programs.values() if given.get("section") in (None, each.section)]
    if shell.json:
        return shell.show(
            [{"section": each.section, "type": each.program_type, "size": 8 * len(each.code)} for each in rows]
        )
    if given.get("level", "verbose" if "section" in given else "normal") == "normal":
        show_table(
            (
                "                                    Size",
                "             Section       Type  (bytes)",
                "====================  =========  =======",
            ),
            [f"{each.section:>20}  {each.program_type:>9}  {8 * len(each.code):7}" for each in rows],
        )
    else:
        for each in rows:
            print(f"\nSection      : {each.section}\nProgram Type : {each.program_type}")
            print(f"Size         : {8 * len(each.code)} bytes\ninstructions : {each.instruction_count}")
            print(f"subprograms  : {len(each.subprograms)}\nmaps         : {len(each.maps)}")
    lines = []
    for spec in loaded.maps:
        kind = libbpf_bpf_map_type_str(spec.type) or str(spec.type)
        lines.append(f"{kind:>18}{spec.key_size:6}{spec.value_size:7}{spec.max_entries:9}  {spec.name}")
    return show_table(
        (
            "                     Key  Value      Max",
            "          Map Type  Size   Size  Entries  Name",
            "==================  ====  =====  =======  ========",
        ),
        lines,
    )


def show_verification(shell: Shell, given: Arguments) -> int:
    """Verify in this process; 1 where a program is not SAFE."""
    from dataclasses import replace

    from prevail_py.report.document import object_document
    from prevail_py.report.text import verdict_text
    from prevail_py.verifier import verify

    path, platform = given["filename"], platform_of(shell, given)
    programs = _chosen(path, _loaded(path, platform), given)
    if "type" in given:
        program_type, attach_type = type_of_section(given["type"], f"type={given['type']}", platform)
        programs = [replace(each, program_type=program_type, expected_attach_type=attach_type) for each in programs]
    verdicts = [verify(each, termination=True) for each in programs]
    if shell.json:
        shell.show(object_document(path, verdicts))
    else:
        for verdict in verdicts:
            if not verdict.is_safe:
                print(verdict_text(path, verdict))
            if given.get("level") == "verbose":
                print(verdict.invariants)
            if verdict.is_safe:
                print(f"Verification of {verdict.program.name} succeeded")
            if verdict.is_safe and verdict.termination is not None:
                print(verdict.termination)
    return EXIT_OK if all(verdict.is_safe for verdict in verdicts) else EXIT_NOT_SAFE


def show_hash(shell: Shell, given: Arguments) -> int:
    """SHA-256 of the instructions of each program: what a token speaks of."""
    from prevail_py.isa.encode import encode

    path = given["filename"]
    programs = _loaded(path, platform_of(shell, given)).programs.values()
    digests = {each.name: hashlib.sha256(encode(each.code)).digest() for each in programs}
    if shell.json:
        return shell.show(digests)
    for name, digest in digests.items():
        if "hashonly" in given:
            print(digest.hex().upper())
            continue
        print(f"Hash for {name} in {path}:\nSize: {len(digest)} bytes")
        print(f"Data: {digest[:16].hex(' ')}\n      {digest[16:].hex(' ')}")
    return EXIT_OK
