"""Turn measured facts about Linux into this package's tables: ``python -m prevail_py.platforms.linux.generate DIR``.

``DIR`` holds ``linux_helpers.json`` (prototypes as the kernel spells them, measured callers) and
``linux_contexts.json`` (measured context accesses).  Writes ``helpers.json`` and ``contexts.json`` next to this
module, one helper or row a line.  Every spelling must be known here: an unknown one raises :class:`FactsError`.

Where the kernel's own declaration understates what a helper does to memory, the table below says what it does: Linux
6.12 declares some buffers that helpers write as if they were only read, which is a kernel bug and would be unsound
to repeat.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from prevail_py.platforms.linux.availability import CALLERS
from prevail_py.platforms.linux.program_types import PROGRAM_TYPE_NUMBERS
from prevail_py.platforms.model import ArgKind, FieldKind, ReturnKind

__all__ = ["FactsError", "context_table", "helper_table", "main", "render"]


class FactsError(ValueError):
    """The facts say something this generator does not know."""


# ARG_* spelling -> (kind, flags).  Flags: r the helper reads the memory, w writes it, a aligned, R releases.
_ARGS: Mapping[str, tuple[ArgKind, str]] = {
    "ARG_ANYTHING": (ArgKind.ANYTHING, ""),
    "ARG_SCALAR": (ArgKind.SCALAR, ""),
    "ARG_PTR_TO_CTX": (ArgKind.CTX, ""),
    "ARG_PTR_TO_CTX_OR_NULL": (ArgKind.CTX_OR_NULL, ""),
    "ARG_CONST_MAP_PTR": (ArgKind.MAP, ""),
    "ARG_PTR_TO_MAP_KEY": (ArgKind.MAP_KEY, "r"),
    "ARG_PTR_TO_MAP_VALUE": (ArgKind.MAP_VALUE, "r"),
    "ARG_PTR_TO_MAP_VALUE | MEM_UNINIT | MEM_WRITE": (ArgKind.MAP_VALUE_UNINIT, "w"),
    "ARG_PTR_TO_MAP_VALUE_OR_NULL": (ArgKind.MAP_VALUE_OR_NULL, "r"),
    "ARG_PTR_TO_MEM | MEM_RDONLY": (ArgKind.MEM_READ, "r"),
    "ARG_PTR_TO_MEM | PTR_MAYBE_NULL | MEM_RDONLY": (ArgKind.MEM_READ_OR_NULL, "r"),
    "ARG_PTR_TO_MEM | MEM_WRITE": (ArgKind.MEM_READ_WRITE, "rw"),
    "ARG_PTR_TO_UNINIT_MEM": (ArgKind.MEM_WRITE, "w"),
    "ARG_PTR_TO_FIXED_SIZE_MEM | MEM_UNINIT | MEM_WRITE | MEM_ALIGNED": (ArgKind.FIXED_MEM, "wa"),
    "ARG_PTR_TO_FIXED_SIZE_MEM | MEM_WRITE | MEM_ALIGNED": (ArgKind.FIXED_MEM, "rwa"),
    "ARG_CONST_SIZE": (ArgKind.SIZE, ""),
    "ARG_CONST_SIZE_OR_ZERO": (ArgKind.SIZE_OR_ZERO, ""),
    "ARG_CONST_ALLOC_SIZE_OR_ZERO": (ArgKind.ALLOC_SIZE, ""),
    "ARG_PTR_TO_FUNC": (ArgKind.FUNCTION, ""),
    "ARG_PTR_TO_STACK_OR_NULL": (ArgKind.STACK_OR_NULL, ""),
    "ARG_PTR_TO_CONST_STR": (ArgKind.CONST_STRING, "r"),
    "ARG_PTR_TO_SPIN_LOCK": (ArgKind.SPIN_LOCK, ""),
    "ARG_PTR_TO_TIMER": (ArgKind.TIMER, ""),
    "ARG_KPTR_XCHG_DEST": (ArgKind.KPTR, ""),
    "ARG_PTR_TO_DYNPTR | MEM_RDONLY": (ArgKind.DYNPTR, ""),
    "ARG_PTR_TO_DYNPTR | DYNPTR_TYPE_RINGBUF | OBJ_RELEASE": (ArgKind.DYNPTR, "R"),
    "ARG_PTR_TO_DYNPTR | DYNPTR_TYPE_LOCAL | MEM_UNINIT | MEM_WRITE": (ArgKind.DYNPTR_UNINIT, ""),
    "ARG_PTR_TO_DYNPTR | DYNPTR_TYPE_RINGBUF | MEM_UNINIT | MEM_WRITE": (ArgKind.DYNPTR_UNINIT, ""),
    "ARG_PTR_TO_RINGBUF_MEM | OBJ_RELEASE": (ArgKind.RINGBUF_MEM, "R"),
    "ARG_PTR_TO_SOCK_COMMON": (ArgKind.SOCK_COMMON, ""),
    "ARG_PTR_TO_SOCKET_OR_NULL": (ArgKind.SOCK_OR_NULL, ""),
    "ARG_PTR_TO_BTF_ID_SOCK_COMMON": (ArgKind.BTF_SOCK_COMMON, ""),
    "ARG_PTR_TO_BTF_ID_SOCK_COMMON | OBJ_RELEASE": (ArgKind.BTF_SOCK_COMMON, "R"),
    "ARG_PTR_TO_BTF_ID_SOCK_COMMON | PTR_MAYBE_NULL": (ArgKind.BTF_SOCK_COMMON_OR_NULL, ""),
    "ARG_PTR_TO_BTF_ID": (ArgKind.BTF_POINTER, ""),
    "ARG_PTR_TO_BTF_ID_OR_NULL": (ArgKind.BTF_POINTER_OR_NULL, ""),
    "ARG_PTR_TO_BTF_ID_OR_NULL | OBJ_RELEASE": (ArgKind.BTF_POINTER_OR_NULL, "R"),
    "ARG_PTR_TO_PERCPU_BTF_ID": (ArgKind.PERCPU_BTF_POINTER, ""),
}  # fmt: skip

# Memory whose declaration carries no access flag, or a wrong one: (helper, argument from 1) -> what the code does.
_DECLARED_WRONG: Mapping[tuple[str, int, str], tuple[ArgKind, str]] = {
    ("bpf_fib_lookup", 2, "ARG_PTR_TO_MEM"): (ArgKind.MEM_READ_WRITE, "rw"),
    ("bpf_sysctl_get_name", 2, "ARG_PTR_TO_MEM"): (ArgKind.MEM_READ_WRITE, "rw"),
    ("bpf_d_path", 2, "ARG_PTR_TO_MEM"): (ArgKind.MEM_READ_WRITE, "rw"),
    ("bpf_snprintf_btf", 1, "ARG_PTR_TO_MEM"): (ArgKind.MEM_READ_WRITE, "rw"),
    ("bpf_read_branch_records", 2, "ARG_PTR_TO_MEM_OR_NULL"): (ArgKind.MEM_READ_WRITE_OR_NULL, "rw"),
    ("bpf_snprintf", 1, "ARG_PTR_TO_MEM_OR_NULL"): (ArgKind.MEM_READ_WRITE_OR_NULL, "rw"),
    ("bpf_get_stack", 2, "ARG_PTR_TO_MEM | MEM_RDONLY"): (ArgKind.MEM_WRITE, "w"),
    ("bpf_kallsyms_lookup_name", 1, "ARG_PTR_TO_MEM"): (ArgKind.MEM_READ, "r"),
    ("bpf_tcp_raw_gen_syncookie_ipv4", 1, "ARG_PTR_TO_FIXED_SIZE_MEM"): (ArgKind.FIXED_MEM, "r"),
    ("bpf_tcp_raw_gen_syncookie_ipv4", 2, "ARG_PTR_TO_MEM"): (ArgKind.MEM_READ, "r"),
    ("bpf_tcp_raw_gen_syncookie_ipv6", 1, "ARG_PTR_TO_FIXED_SIZE_MEM"): (ArgKind.FIXED_MEM, "r"),
    ("bpf_tcp_raw_gen_syncookie_ipv6", 2, "ARG_PTR_TO_MEM"): (ArgKind.MEM_READ, "r"),
    ("bpf_tcp_raw_check_syncookie_ipv4", 1, "ARG_PTR_TO_FIXED_SIZE_MEM"): (ArgKind.FIXED_MEM, "r"),
    ("bpf_tcp_raw_check_syncookie_ipv4", 2, "ARG_PTR_TO_FIXED_SIZE_MEM"): (ArgKind.FIXED_MEM, "r"),
    ("bpf_tcp_raw_check_syncookie_ipv6", 1, "ARG_PTR_TO_FIXED_SIZE_MEM"): (ArgKind.FIXED_MEM, "r"),
    ("bpf_tcp_raw_check_syncookie_ipv6", 2, "ARG_PTR_TO_FIXED_SIZE_MEM"): (ArgKind.FIXED_MEM, "r"),
}  # fmt: skip

_RETURNS: Mapping[str, ReturnKind] = {
    "RET_INTEGER": ReturnKind.INTEGER,
    "?": ReturnKind.INTEGER,  # not spelled out in the kernel: RET_INTEGER is 0
    "RET_VOID": ReturnKind.VOID,
    "RET_PTR_TO_MAP_VALUE": ReturnKind.MAP_VALUE,
    "RET_PTR_TO_MAP_VALUE_OR_NULL": ReturnKind.MAP_VALUE_OR_NULL,
    "RET_PTR_TO_RINGBUF_MEM_OR_NULL": ReturnKind.MEM_OR_NULL,
    "RET_PTR_TO_DYNPTR_MEM_OR_NULL": ReturnKind.MEM_OR_NULL,
    "RET_PTR_TO_SOCKET_OR_NULL": ReturnKind.SOCK_OR_NULL,
    "RET_PTR_TO_TCP_SOCK_OR_NULL": ReturnKind.TCP_SOCK_OR_NULL,
    "RET_PTR_TO_SOCK_COMMON_OR_NULL": ReturnKind.SOCK_COMMON_OR_NULL,
    "RET_PTR_TO_BTF_ID": ReturnKind.BTF_POINTER,
    "RET_PTR_TO_BTF_ID_OR_NULL": ReturnKind.BTF_POINTER_OR_NULL,
    "RET_PTR_TO_BTF_ID_TRUSTED": ReturnKind.BTF_POINTER_TRUSTED,
    "RET_PTR_TO_MEM_OR_BTF_ID | MEM_RDONLY": ReturnKind.MEM_OR_BTF_POINTER,
    "RET_PTR_TO_MEM_OR_BTF_ID | PTR_MAYBE_NULL | MEM_RDONLY": ReturnKind.MEM_OR_BTF_POINTER_OR_NULL,
}

_SIZES: Mapping[str, int] = {
    "sizeof(u32)": 4,
    "sizeof(u64)": 8,
    "sizeof(s64)": 8,
    "sizeof(struct iphdr)": 20,
    "sizeof(struct ipv6hdr)": 40,
    "sizeof(struct tcphdr)": 20,
}

_STRUCTURES: Mapping[str, str] = {
    "BPF_PTR_POISON": "",  # settled by the verifier for each call
    "&btf_sock_ids[BTF_SOCK_TYPE_SOCK_COMMON]": "sock_common",
    "&btf_sock_ids[BTF_SOCK_TYPE_TCP]": "tcp_sock",
    "&btf_sock_ids[BTF_SOCK_TYPE_TCP6]": "tcp6_sock",
    "&btf_sock_ids[BTF_SOCK_TYPE_TCP_TW]": "tcp_timewait_sock",
    "&btf_sock_ids[BTF_SOCK_TYPE_TCP_REQ]": "tcp_request_sock",
    "&btf_sock_ids[BTF_SOCK_TYPE_UDP6]": "udp6_sock",
    "&btf_sock_ids[BTF_SOCK_TYPE_UNIX]": "unix_sock",
    "&btf_sock_ids[BTF_SOCK_TYPE_MPTCP]": "mptcp_sock",
    "&btf_tracing_ids[BTF_TRACING_TYPE_TASK]": "task_struct",
    "&btf_seq_file_ids[0]": "seq_file",
    "&bpf_skb_output_btf_ids[0]": "sk_buff",
    "&bpf_xdp_output_btf_ids[0]": "xdp_buff",
    "&bpf_xdp_get_buff_len_bpf_ids[0]": "xdp_buff",
    "&bpf_inode_storage_btf_ids[0]": "inode",
    "&bpf_ima_inode_hash_btf_ids[0]": "inode",
    "&bpf_ima_file_hash_btf_ids[0]": "file",
    "&bpf_d_path_btf_ids[0]": "path",
    "&bpf_bprm_opts_set_btf_ids[0]": "linux_binprm",
    "&bpf_sock_from_file_btf_ids[0]": "socket",
    "&bpf_sock_from_file_btf_ids[1]": "file",
    "&bpf_task_pt_regs_ids[0]": "pt_regs",
    "&bpf_cgroup_btf_id[0]": "cgroup",
    "&tcp_sock_id": "tcp_sock",
}

# Prototypes that apply to some program types only; a helper's other prototype is for all the rest.  Programs of type
# syscall get what tracing programs get.
_FOR_TYPES: Mapping[str, tuple[str, ...]] = {
    "bpf_get_stackid_proto_pe": ("perf_event",),
    "bpf_get_socket_ptr_cookie_proto": ("sk_reuseport", "tracing", "lsm", "syscall"),
    "bpf_sock_addr_setsockopt_proto": ("cgroup_sock_addr", "sock_ops"),
    "bpf_sock_addr_getsockopt_proto": ("cgroup_sock_addr", "sock_ops"),
    "bpf_get_stack_proto_raw_tp": ("raw_tracepoint", "raw_tracepoint_writable", "tracing", "lsm", "syscall"),
    "bpf_sk_storage_get_cg_sock_proto": ("cgroup_sock",),
    "bpf_sk_storage_get_tracing_proto": ("tracing", "lsm", "syscall"),
    "bpf_sk_storage_delete_tracing_proto": ("tracing", "lsm", "syscall"),
    "bpf_sk_lookup_assign_proto": ("sk_lookup",),
    "bpf_xdp_get_buff_len_trace_proto": ("tracing", "syscall"),
}

# Listed with a helper they do not belong to.
_MISPLACED = frozenset(
    {("bpf_redirect", "bpf_clone_redirect_proto"), ("bpf_redirect_map", "bpf_sk_redirect_map_proto")}
)

# R0 is a reference to release (verifier.c: is_acquire_function; map lookups in socket maps acquire one too).
_ACQUIRE = frozenset(
    {"bpf_sk_lookup_tcp", "bpf_sk_lookup_udp", "bpf_skc_lookup_tcp", "bpf_ringbuf_reserve", "bpf_kptr_xchg"}
)

_FIELDS: Mapping[str, FieldKind] = {
    "scalar": FieldKind.SCALAR,
    "pkt": FieldKind.PACKET,
    "pkt_end": FieldKind.PACKET_END,
    "pkt_meta": FieldKind.PACKET_META,
    "sock": FieldKind.SOCK,
    "sock_or_null": FieldKind.SOCK_OR_NULL,
    "sock_common_or_null": FieldKind.SOCK_COMMON_OR_NULL,
    "flow_keys": FieldKind.FLOW_KEYS,
    "tp_buffer": FieldKind.TRACEPOINT_BUFFER,
    "trusted_ptr_nf_hook_state": FieldKind.NF_HOOK_STATE,
    "trusted_ptr_sk_buff": FieldKind.SK_BUFF,
}

# Contexts larger than the probe went, both checked for alignment and size only: PERF_MAX_TRACE_SIZE and U16_MAX.
_PROBED = 1024
_BOUND: Mapping[str, int] = {"tracepoint": 8192, "syscall": 65535}


def _known(table: Mapping[str, Any], spelling: str, place: str) -> Any:
    if spelling not in table:
        raise FactsError(f"{place}: unknown {spelling!r}")
    return table[spelling]


def _mask(names: Iterable[str], place: str) -> str:
    return hex(sum(1 << _known(PROGRAM_TYPE_NUMBERS, name, place) for name in set(names)))


def _arg(helper: str, position: int, fact: Mapping[str, str]) -> str:
    """``KIND [rwaR flags, -] [size, 0] [structure]``, trailing defaults left out."""
    place = f"{helper} argument {position}"
    spelling = fact["type"]
    corrected = _DECLARED_WRONG.get((helper, position, spelling))
    kind, flags = corrected if corrected is not None else _known(_ARGS, spelling, place)
    size = _known(_SIZES, fact["size"], place) if "size" in fact else 0
    if (kind is ArgKind.FIXED_MEM) != (size > 0):
        raise FactsError(f"{place}: size {size} does not go with {spelling}")
    words = [kind.name, flags, str(size), _known(_STRUCTURES, fact["btf_id"], place) if "btf_id" in fact else ""]
    while words[-1] in ("", "0"):
        words.pop()
    return " ".join(word or "-" for word in words)


def helper_table(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of ``helpers.json``, by helper number.  Raises :class:`FactsError`."""
    rows = []
    for helper in sorted(facts["helpers"], key=lambda helper: helper["id"]):
        name = helper["name"]
        row: dict[str, Any] = {"id": helper["id"], "name": name}
        if name in CALLERS or helper["program_types"]:
            row["callers"] = _mask(CALLERS.get(name, helper["program_types"]), name)
        if helper.get("changes_packet"):
            row["changes_packet"] = True
        if name in _ACQUIRE:
            row["acquires"] = True
        prototypes: dict[str, dict[str, Any]] = {}
        for fact in helper["prototypes"]:
            if (name, fact["proto"]) in _MISPLACED:
                continue
            only = _FOR_TYPES.get(fact["proto"])
            prototype: dict[str, Any] = {} if only is None else {"only": _mask(only, name)}
            prototype["args"] = [_arg(name, i, arg) for i, arg in enumerate(fact["args"], 1)]
            prototype["returns"] = _known(_RETURNS, fact["ret"], name).name
            for flag in ("gpl_only", "pkt_access", "might_sleep"):
                if fact.get(flag) in (True, "true"):
                    prototype[flag] = True
                elif fact.get(flag) not in (None, False):
                    raise FactsError(f"{name}: unknown {flag} {fact[flag]!r}")
            if fact.get("ret_btf_id") and _known(_STRUCTURES, fact["ret_btf_id"], name):
                prototype["structure"] = _STRUCTURES[fact["ret_btf_id"]]
            key = prototype.get("only", "")
            if prototypes.setdefault(key, prototype) != prototype:
                raise FactsError(f"{name}: {fact['proto']} differs from another prototype and names no program types")
        if "" not in prototypes:
            raise FactsError(f"{name}: no prototype for the general case")
        # The general one last: the first that applies counts.
        row["prototypes"] = [prototypes[key] for key in sorted(prototypes, reverse=True)]
        rows.append(row)
    return rows


def context_table(facts: Mapping[str, Any]) -> dict[str, dict[str, list[list[Any]]]]:
    """The contents of ``contexts.json``: rows of size, first and last offset, kind unless it is scalar.

    Raises :class:`FactsError`.
    """
    table = {}
    for name, accesses in facts["program_types"].items():
        _known(PROGRAM_TYPE_NUMBERS, name, "contexts")
        rows: dict[str, list[list[Any]]] = {"read": [], "write": []}
        for direction in ("read", "write"):
            for fact in accesses[direction]:
                size, first, last = fact["size"], fact["first_offset"], fact["last_offset"]
                if name in _BOUND and last + size == _PROBED:
                    last = (_BOUND[name] - size) // size * size
                if (last - first) % size:
                    raise FactsError(f"{name}: offsets {first}..{last} are no multiple of {size} apart")
                row = [size, first, last]
                if direction == "read":
                    kind = _known(_FIELDS, fact["type"], name)
                    row += [] if kind is FieldKind.SCALAR else [kind.name]
                rows[direction].append(row)
        table[name] = rows
    return table


def render(facts_dir: Path) -> dict[str, str]:
    """File name -> text of every generated table.  Raises :class:`FactsError`, :class:`OSError`."""
    helpers = helper_table(json.loads((facts_dir / "linux_helpers.json").read_text()))
    contexts = context_table(json.loads((facts_dir / "linux_contexts.json").read_text()))
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in helpers)
    blocks = []
    for name, accesses in contexts.items():
        parts = []
        for direction, rows in accesses.items():
            text = ",".join(json.dumps(row, separators=(",", ":")) for row in rows)
            parts.append(f' "{direction}":[{text}]')
        blocks.append(f'"{name}":{{\n' + ",\n".join(parts) + "}")
    return {"helpers.json": f"[\n{lines}\n]\n", "contexts.json": "{\n" + ",\n".join(blocks) + "\n}\n"}


def main(arguments: list[str]) -> int:
    """Write the tables; 0, or 2 with a line on stderr."""
    if len(arguments) != 1:
        print("usage: python -m prevail_py.platforms.linux.generate FACTS_DIR", file=sys.stderr)
        return 2
    try:
        files = render(Path(arguments[0]))
    except (FactsError, OSError) as error:
        print(f"generate: {error}", file=sys.stderr)
        return 2
    for name, text in files.items():
        (Path(__file__).parent / name).write_text(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
