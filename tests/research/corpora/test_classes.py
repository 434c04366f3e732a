"""The table of classes is consistent, and rules decide as its comments say."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from prevail_py.research.corpora.classes import UNCLASSIFIED, class_of, classes, rules
from prevail_py.research.corpora.columns import Row


def test_rules_name_classes_and_classes_have_rules() -> None:
    assert {rule.fault for rule in rules()} == classes().keys()
    assert all(fault.about for fault in classes().values())
    assert {fault.name for fault in classes().values() if fault.excluded} >= {"alignment", "termination"}


@pytest.mark.parametrize(
    ("message", "name"),
    [
        ("invalid access to map value, value_size=48 off=48 size=8", "bounds"),
        ("R2 offset is outside of the packet", "packet"),
        ("invalid access to packet", "packet"),
        ("invalid bpf_context access", "context"),
        ("dereference of modified ctx ptr R1 off=8 disallowed", "context"),
        ("R1 !read_ok", "register-initialisation"),
        ("R0 invalid mem access 'map_value_or_null'", "null"),
        ("R1 invalid mem access 'scalar'", "pointer-type"),
        ("R1 type=scalar expected=fp", "pointer-type"),
        ("type=sock_or_null expected=sock", "null"),
        ("Unreleased reference id=1 alloc_insn=1", "references"),
        ("At program exit the register R0 has smin=2 smax=2 should have been in [0, 1]", "return-range"),
        ("misaligned stack access off 0+-2+0 size 4", "alignment"),
        ("infinite loop detected", "termination"),
        ("R2 invalid zero-sized read: u64=[0,8]", "helper-arguments"),
        ("program of this type cannot use helper bpf_sk_release", "helper-availability"),
        ("write into map forbidden", "read-only"),
        ("R1 pointer += pointer", "pointer-arithmetic"),
        ("value -4294967168 makes map_value pointer be out of bounds", "pointer-value"),
        ("div by zero", "division"),
    ],
)
def test_messages_of_the_kernel(make_row: Callable[..., Row], message: str, name: str) -> None:
    assert class_of(make_row(expected="failure", message=message)).name == name


def test_what_is_used_comes_before_the_message(make_row: Callable[..., Row]) -> None:
    row = make_row(expected="failure", message="R1 !read_ok", uses="btf spin-lock")
    assert class_of(row).name == "locks"
    assert not class_of(row).scope
    assert class_of(make_row(expected="success", uses="btf")).name == "kernel-types"


def test_without_a_message_the_kernel_is_asked(make_row: Callable[..., Row]) -> None:
    assert class_of(make_row(expected="failure", message="", kernel_reason="R3 !read_ok")).name == (
        "register-initialisation"
    )


def test_what_no_rule_fits_is_not_hidden(make_row: Callable[..., Row]) -> None:
    assert class_of(make_row(expected="failure", message="something new")) is UNCLASSIFIED
    assert class_of(make_row(expected="success")).name == "accepted"
