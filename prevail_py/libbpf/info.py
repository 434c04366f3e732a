"""The structures that functions fill, with the kernel's names for their fields (uapi ``linux/bpf.h``)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from prevail_py.libbpf.names import attach_type_number, prog_type_number

__all__ = ["bpf_link_info", "bpf_map_info", "bpf_prog_info", "bpf_test_run_opts", "bpf_xdp_query_opts"]

_LINK_TYPES = {"xdp": 6, "sock_addr": 3}


@dataclass(slots=True)
class bpf_prog_info:
    """A program.  ``load_time`` and ``run_time_ns`` are in nanoseconds, the first since 1970; ``tag`` is hexadecimal.

    ``section``, ``file``, ``engine``, ``pins`` and ``links`` are the host's own.
    """

    type: int = 0
    id: int = 0
    tag: str = ""
    xlated_prog_len: int = 0
    load_time: int = 0
    created_by_uid: int = 0
    nr_map_ids: int = 0
    map_ids: list[int] = field(default_factory=list)
    name: str = ""
    gpl_compatible: bool = False
    run_time_ns: int = 0
    run_cnt: int = 0
    section: str = ""
    program_type: str = ""
    file: str = ""
    engine: str = ""
    pins: list[str] = field(default_factory=list)
    links: int = 0

    def fill(self, found: dict[str, Any]) -> None:
        """From what the host says."""
        self.type, self.id, self.tag = prog_type_number(found["program_type"]), found["id"], found["tag"]
        self.xlated_prog_len, self.load_time, self.created_by_uid = 8 * found["slots"], found["created"], found["uid"]
        self.map_ids, self.nr_map_ids, self.name = list(found["maps"]), len(found["maps"]), found["name"]
        self.gpl_compatible = found["licence"] in ("GPL", "GPL v2", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL")
        self.run_time_ns, self.run_cnt, self.section = found["run_time"], found["run_count"], found["section"]
        self.program_type, self.file, self.engine = found["program_type"], found["file"], found["engine"]
        self.pins, self.links = list(found["pins"]), found["links"]


@dataclass(slots=True)
class bpf_map_info:
    """A map."""

    type: int = 0
    id: int = 0
    key_size: int = 0
    value_size: int = 0
    max_entries: int = 0
    map_flags: int = 0
    name: str = ""
    btf_key_type_id: int = 0
    btf_value_type_id: int = 0
    map_extra: int = 0
    pins: list[str] = field(default_factory=list)
    inner_map: str = ""

    def fill(self, found: dict[str, Any]) -> None:
        """From what the host says."""
        spec = found["spec"]
        self.type, self.id, self.name = spec["type"], found["id"], spec["name"]
        self.key_size, self.value_size, self.max_entries = spec["key_size"], spec["value_size"], spec["max_entries"]
        self.map_flags, self.map_extra = spec["flags"], spec["extra"]
        self.btf_key_type_id, self.btf_value_type_id = spec["key_btf"], spec["value_btf"]
        self.pins, self.inner_map = list(found["pins"]), found["inner"] or ""


@dataclass(slots=True)
class bpf_link_info:
    """A link.  ``attach_type`` is a number, ``ifindex`` that of the interface (0 where there is none)."""

    type: int = 0
    id: int = 0
    prog_id: int = 0
    attach_type: int = 0
    ifindex: int = 0
    hook: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)
    attached: bool = False
    pins: list[str] = field(default_factory=list)

    def fill(self, found: dict[str, Any]) -> None:
        """From what the host says."""
        self.id, self.prog_id, self.hook = found["id"], found["program"], found["hook"]
        self.type, self.attach_type = _LINK_TYPES.get(self.hook, 0), attach_type_number(found["attach_type"])
        self.parameters, self.state = dict(found["parameters"]), dict(found["state"])
        self.ifindex, self.attached, self.pins = self.parameters.get("ifindex", 0), found["attached"], found["pins"]


@dataclass(slots=True)
class bpf_test_run_opts:
    """Input and result of a test run: ``duration`` is nanoseconds of a run on average."""

    data_in: bytes | None = None
    data_out: bytes | None = None
    ctx_in: bytes | None = None
    ctx_out: bytes | None = None
    repeat: int = 1
    retval: int = 0
    duration: int = 0

    @property
    def data_size_out(self) -> int:
        """Bytes of ``data_out``."""
        return len(self.data_out or b"")


@dataclass(slots=True)
class bpf_prog_query_options:
    """What is attached somewhere (``struct bpf_prog_query_opts``): ``prog_ids`` is a list."""

    query_flags: int = 0
    prog_ids: list[int] = field(default_factory=list)
    prog_cnt: int = 0


@dataclass(slots=True)
class bpf_xdp_query_opts:
    """What is attached to an interface."""

    prog_id: int = 0
    attach_mode: int = 0
