"""What the annotations of the kernel's selftests expect of a program.

``__success``, ``__failure``, ``__msg(...)`` and their like become declaration tags in the object's BTF
(``comment:test_expect_success``, ...), which is where the kernel's own test loader reads them
(``tools/testing/selftests/bpf/test_loader.c``, ``progs/bpf_misc.h``).  Only the expectations for privileged loading
count here: a program that is only expected to fail for unprivileged users has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from prevail_py.objects.btf import Btf, Kind

__all__ = ["Expectation", "expectations"]

_PREFIX: Final = "comment:"


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a test expects of one program.

    ``success`` is None where nothing is said about privileged loading (the program may serve another test only, then
    ``auxiliary``).  ``messages`` must occur in the verifier's log, in this order; ``{{...}}`` in them is a regular
    expression.  ``retval`` is as written: a number, ``INT_MIN`` or a name.  ``architectures`` is empty for all.
    """

    success: bool | None = None
    messages: tuple[str, ...] = ()
    description: str = ""
    retval: str = ""
    flags: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    auxiliary: bool = False


def expectations(btf: Btf | None) -> Mapping[str, Expectation]:
    """The expectations by function name, for each function that has an annotation.

    Raises :class:`~prevail_py.objects.errors.ObjectError` where the type information makes no sense.
    """
    if btf is None:
        return {}
    tags: dict[int, list[str]] = {}
    for tag in btf.of_kind(Kind.DECL_TAG):
        if tag.component == -1 and tag.name.startswith(_PREFIX + "test_"):
            tags.setdefault(tag.type, []).append(tag.name.removeprefix(_PREFIX))
    found = {}
    for id, texts in tags.items():
        function = btf.type(id)
        if function.kind is Kind.FUNC:
            found[function.name] = _expectation(texts)
    return found


def _expectation(tags: list[str]) -> Expectation:
    success: bool | None = None
    messages: list[tuple[int, str]] = []
    texts = {"test_description": "", "test_retval": ""}
    flags, architectures = [], []
    privileged = unprivileged = False
    for tag in tags:
        name, _, value = tag.partition("=")
        privileged |= name in _PRIVILEGED
        unprivileged |= name.endswith("_unpriv")
        match name:
            case "test_expect_success":
                success = True
            case "test_expect_failure":
                success = False
            case "test_expect_msg":
                number, _, message = value.partition("=")
                messages.append((int(number) if number.isdecimal() else 0, message))
            case "test_prog_flags":
                flags.append(value)
            case "test_arch":
                architectures.append(value)
            case "test_description" | "test_retval":
                texts[name] = value
            case _:
                pass
    # As the test loader has it: without any word on privilege, and where only a result is given, loading must succeed.
    auxiliary = "test_auxiliary" in tags
    if success is None and not auxiliary and (privileged or not unprivileged):
        success = True
    return Expectation(
        success,
        tuple(message for _, message in sorted(messages)),
        texts["test_description"],
        texts["test_retval"],
        tuple(flags),
        tuple(architectures),
        auxiliary,
    )


_PRIVILEGED: Final = frozenset(
    {"test_expect_success", "test_expect_failure", "test_expect_msg", "test_expect_xlated", "test_retval", "test_jited"}
)
