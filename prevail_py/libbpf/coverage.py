"""Which of the names of libbpf and of eBPF for Windows there are here: ``python -m prevail_py.libbpf.coverage``.

``names.tsv`` lists both: the functions that libbpf 1.1 declares, and those that ``ebpfapi.dll``
exports.  A name is supported where this package has it, and partly where :data:`PARTLY` says so.
"""

from __future__ import annotations

import argparse
import pkgutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from prevail_py import libbpf
from prevail_py.libbpf import refused

__all__ = ["PARTLY", "Name", "names", "page", "status"]

PARTLY: Final[Mapping[str, str]] = {
    "bpf_link_create": "XDP on interfaces; other hooks by `parameters`",
    "bpf_map_create": "options: `map_flags`, `inner_map_fd`, `map_extra`",
    "bpf_map__set_ifindex": "0 only: nothing is offloaded",
    "bpf_map__set_numa_node": "makes no difference",
    "bpf_object__set_kversion": "makes no difference",
    "bpf_prog_attach": "interfaces; a host has no cgroups",
    "bpf_prog_attach_opts": "interfaces; a host has no cgroups",
    "bpf_prog_detach": "interfaces; a host has no cgroups",
    "bpf_prog_detach2": "interfaces; a host has no cgroups",
    "bpf_prog_load": "options: `expected_attach_type`, `log_buf`",
    "bpf_prog_query": "interfaces; a host has no cgroups",
    "bpf_prog_query_opts": "interfaces; a host has no cgroups",
    "bpf_prog_test_run_opts": "no `flags`, `cpu` and `batch_size`",
    "bpf_program__attach": "`cgroup_sock_addr` for bind; as in libbpf not XDP",
    "bpf_program__set_flags": "none is known",
    "bpf_program__set_ifindex": "0 only: nothing is offloaded",
    "bpf_xdp_attach": "Linux's modes make no difference",
    "bpf_xdp_query": "`prog_id` and `attach_mode`",
    "bpf_object__open_file": "options: `object_name`, and `platform` of our own",
    "bpf_object__open_mem": "options: `object_name`, and `platform` of our own",
    "btf__parse": "ELF files of eBPF only",
    "btf__parse_elf": "ELF files of eBPF only",
    "btf__parse_elf_split": "ELF files of eBPF only",
    "btf__parse_split": "ELF files of eBPF only",
    "ebpf_api_elf_verify_program_from_file": "types are named; of the statistics `total_warnings`",
    "ebpf_api_elf_verify_program_from_memory": "types are named; of the statistics `total_warnings`",
    "ebpf_api_elf_verify_section_from_file": "types are named; of the statistics `total_warnings`",
    "ebpf_api_elf_verify_section_from_memory": "types are named; of the statistics `total_warnings`",
    "ebpf_enumerate_programs": "types are named; no `offset_in_section`",
    "ebpf_enumerate_sections": "types are named; no `offset_in_section`",
    "ebpf_perf_buffer__new": "no options",
    "ebpf_program_attach": "the attach type is the program's",
    "ebpf_program_attach_by_fd": "the attach type is the program's",
    "ebpf_ring_buffer__new": "no options",
    "libbpf_probe_bpf_helper": "what this package verifies and runs, with every backend",
    "libbpf_probe_bpf_map_type": "what this package verifies and runs, with every backend",
    "libbpf_probe_bpf_prog_type": "what this package verifies and runs, with every backend",
    "libbpf_set_print": "failures only; nothing is printed by default",
    "perf_buffer__consume_buffer": "the first CPU has the records of all",
    "perf_buffer__new": "`page_cnt` bounds nothing",
    "perf_buffer__new_raw": "`attr` is not looked at",
}
"""What of a function there is, where that is not all."""


class Name(NamedTuple):
    """A function: the header of libbpf that declares it, empty where it is not libbpf's; whether Windows exports it."""

    name: str
    header: str
    windows: bool


def names() -> tuple[Name, ...]:
    """The list, in alphabetical order."""
    data = pkgutil.get_data("prevail_py.libbpf", "names.tsv")
    assert data is not None
    rows = [line.split("\t") for line in data.decode().splitlines() if not line.startswith("#")]
    return tuple(Name(name, header.strip("-"), windows == "yes") for name, header, windows in rows)


def status(name: str) -> str:
    """``yes``, ``partly`` or ``no``."""
    if name not in libbpf.__all__ or name in refused.__all__:
        return "no"
    return "partly" if name in PARTLY else "yes"


def _note(name: str) -> str:
    if name in refused.REASONS:
        return f"-EOPNOTSUPP: {refused.REASONS[name]}"
    return PARTLY.get(name, "does nothing" if name in refused.__all__ else "")


def page() -> str:
    """The table, as Markdown."""
    rows = names()
    counts = {
        "libbpf 1.1": Counter(status(row.name) for row in rows if row.header),
        "eBPF for Windows": Counter(status(row.name) for row in rows if row.windows),
    }
    lines = ["| names of | yes | partly | no |", "| --- | --: | --: | --: |"]
    lines += [f"| {what} | {count['yes']} | {count['partly']} | {count['no']} |" for what, count in counts.items()]
    lines += ["", "| name | libbpf | Windows | here | |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        windows = "exported" if row.windows else ""
        lines.append(f"| `{row.name}` | {row.header} | {windows} | {status(row.name)} | {_note(row.name)} |")
    return "\n".join(line.rstrip() for line in lines) + "\n"


MARK: Final = "<!-- The rest is written by `python -m prevail_py.libbpf.coverage`. -->\n"


def main() -> None:
    """Put the table into a document, behind its mark."""
    parser = argparse.ArgumentParser(description="The names of libbpf that there are, as a table.")
    parser.add_argument("--out", metavar="FILE", type=Path, help="replace what is behind the mark in FILE")
    arguments = parser.parse_args()
    if arguments.out is None:
        print(page(), end="")
        return
    text = arguments.out.read_text(encoding="utf-8")
    arguments.out.write_text(text[: text.index(MARK) + len(MARK)] + "\n" + page(), encoding="utf-8")


if __name__ == "__main__":
    main()
