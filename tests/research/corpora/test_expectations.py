"""Annotations are read from declaration tags, as the kernel's test loader reads them."""

from __future__ import annotations

import pytest

from prevail_py.objects.btf import parse_btf
from prevail_py.research.corpora.expectations import Expectation, expectations
from prevail_py.research.elf_writer import BtfWriter

FUNC, FUNC_PROTO, DECL_TAG = 12, 13, 17
ALL = 0xFFFFFFFF


def read(*tags: str, component: int = ALL) -> Expectation | None:
    btf = BtfWriter()
    prototype = btf.add(FUNC_PROTO, word=btf.integer("int", 4))
    function = btf.add(FUNC, "f", prototype, 1)
    for tag in tags:
        btf.add(DECL_TAG, tag, function, rest=[component])
    return expectations(parse_btf(memoryview(btf.build()))).get("f")


@pytest.mark.parametrize(
    ("tags", "success"),
    [
        (("comment:test_expect_success",), True),
        (("comment:test_expect_failure",), False),
        (("comment:test_expect_failure", "comment:test_expect_msg=3=no"), False),
        (("comment:test_retval=7",), True),
        (("comment:test_description=only a name",), True),
        (("comment:test_expect_failure_unpriv",), None),
        (("comment:test_expect_msg_unpriv=0=no", "comment:test_retval=0"), True),
        (("comment:test_expect_success_unpriv", "comment:test_expect_failure"), False),
        (("comment:test_auxiliary",), None),
    ],
)
def test_what_is_expected(tags: tuple[str, ...], success: bool | None) -> None:
    found = read(*tags)
    assert found is not None
    assert found.success is success


def test_messages_come_in_the_order_of_their_numbers() -> None:
    found = read(
        "comment:test_expect_failure",
        "comment:test_expect_msg=11=third = last",
        "comment:test_expect_msg=2=first",
        "comment:test_expect_msg=10=second",
        "comment:test_expect_msg_unpriv=1=not this",
        "comment:test_description=what it is",
        "comment:test_retval=0x10",
        "comment:test_prog_flags=BPF_F_STRICT_ALIGNMENT",
        "comment:test_arch=X86_64",
    )
    assert found == Expectation(
        False,
        ("first", "second", "third = last"),
        "what it is",
        "0x10",
        ("BPF_F_STRICT_ALIGNMENT",),
        ("X86_64",),
    )


def test_other_tags_are_no_annotations() -> None:
    assert read() is None
    assert read("arg:nonnull", "exception_callback:x") is None
    assert read("comment:test_expect_failure", component=0) is None, "a tag of an argument"
    assert expectations(None) == {}
