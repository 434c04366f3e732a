"""Certificates: what is SAFE is accepted, what is not is never, whatever the certificate says."""

from __future__ import annotations

import ast
import io
import json
import os
import random
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from prevail_py import examples
from prevail_py.checker.certificate import MAX_BYTES, CertificateError, fingerprint, read
from prevail_py.checker.check import check
from prevail_py.cli.main import main
from prevail_py.objects.elf import load_object
from prevail_py.objects.program import Program
from prevail_py.objects.text import assemble
from prevail_py.research.suite import pairs
from prevail_py.verifier import verify
from prevail_py.verifier.certificate import document

DEBIAN = sorted(Path("/usr/lib").glob("*/bpf/x*.o"))


def _certified(program: Program, **options: Any) -> str:
    verdict = verify(program, **options)
    assert verdict.is_safe, verdict
    return document([verdict.certificate()])


def _safe_examples() -> Iterator[Any]:
    for name, example in examples.EXAMPLES.items():
        if example.safe:
            for program in load_object(examples.path(name)).programs.values():
                yield pytest.param(program, id=program.name)


@pytest.mark.parametrize("program", list(_safe_examples()))
def test_the_examples_are_accepted(program: Program) -> None:
    (certificate,) = read(_certified(program))
    answer = check(program, certificate)
    assert answer.kind == "accepted", answer


@pytest.mark.skipif(not DEBIAN, reason="xdp-tools and libxdp1 are not installed")
@pytest.mark.parametrize("name", ["xdpfilt_alw_all.o", "xdpdump_xdp.o", "xdp-dispatcher.o", "xsk_def_xdp_prog.o"])
def test_programs_of_debian_are_accepted(name: str) -> None:
    path = next(path for path in DEBIAN if path.name == name)
    for program in load_object(path).programs.values():
        answer = check(program, read(_certified(program))[0])
        assert answer.kind == "accepted", answer


PROVED = [name for name, pair in pairs().items() if pair.proved]


@cache
def _suite(name: str) -> str:
    return _certified(pairs()[name].safe)


REFUSED_THOUGH_SAFE: dict[str, str] = {}
"""Programs of the suite whose certificates the checker does not accept, and why."""


@pytest.mark.parametrize("name", PROVED)
def test_the_suite_is_accepted_and_its_twins_are_not(name: str) -> None:
    """A twin differs in one place; the certificate of the safe program, made out to the twin, must not pass."""
    pair = pairs()[name]
    text = _suite(name)
    answer = check(pair.safe, read(text)[0])
    assert (answer.kind == "accepted") is (name not in REFUSED_THOUGH_SAFE), answer
    assert check(pair.twin, read(text)[0]).reason == "the certificate is for another program"
    (forged,) = read(text.replace(fingerprint(pair.safe), fingerprint(pair.twin)))
    assert check(pair.twin, forged).kind == "refused"


def test_what_the_solver_discharged_the_checker_proves_again() -> None:
    """There the certificate leaves out where paths join, and the checker goes along the paths."""
    for text in (MIDDLE, SQUARE):
        program = assemble(text)
        verdict = verify(program)
        assert verdict.is_safe
        assert verdict.discharged
        (certificate,) = read(_certified(program))
        assert check(program, certificate).kind == "accepted"


MIDDLE = """
    r6 = *(u32 *)(r1 + 0)
    r7 = *(u32 *)(r1 + 4)
    r2 = r6
    r2 += 16
    r0 = 0
    if r2 > r7 goto out
    r1 = *(u8 *)(r6 + 0)
    r2 = *(u8 *)(r6 + 1)
    r8 = 0
    if r1 > 15 goto out
    if r2 > 15 goto out
    if r1 != 7 goto other
    r8 = 1
other:
    r3 = r1
    r3 += r2
    r3 >>= 1
    if r1 > r2 goto swapped
    if r3 >= r1 goto inside
    goto beyond
swapped:
    if r3 >= r2 goto inside
beyond:
    r0 = *(u8 *)(r10 - 1)
inside:
    r0 = 1
out:
    exit
"""
"""The middle of two numbers lies between them: behind ``beyond`` is what never happens."""

SQUARE = """
    r6 = r1
    r8 = *(u32 *)(r6 + 12)
    r7 = r10
    r7 += -8
    r0 = r8
    r0 &= 255
    r0 *= r0
    if r0 != 50 goto use
    r7 = 0
use:
    r2 = 1
    *(u64 *)(r7 + 0) = r2
    r0 = 0
    exit
"""
"""No number has the square 50."""


# Attacks ----------------------------------------------------------------------------------------------------------


def _places(item: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    children = item.items() if isinstance(item, dict) else enumerate(item) if isinstance(item, list) else ()
    for key, child in children:
        yield from _places(child, (*path, key))


def _altered(document_: Any, random_: random.Random) -> Any:
    """The document with one place altered: removed, doubled, or another value."""
    altered = json.loads(json.dumps(document_))
    places = [path for path in _places(altered["certificates"][0]["invariants"]) if path]
    leaves = [path for path in places if isinstance(path[-1], int) and len(path) > 4]
    path = random_.choice(leaves if random_.random() < 0.7 else places)
    parent = altered["certificates"][0]["invariants"]
    for key in path[:-1]:
        parent = parent[key]
    key, old = path[-1], parent[path[-1]]
    kind = random_.randrange(12)
    if kind == 0 and isinstance(parent, list):
        del parent[key]
    elif kind == 1 and isinstance(parent, list):
        parent.insert(key, old)
    elif isinstance(old, int):
        others = [0, 1, old + 1, old - 1, old ^ 8, (1 << 64) - 1, 1 << 31, old * 2]
        parent[key] = random_.choice([other for other in others if other != old])
    elif isinstance(old, str):
        parent[key] = random_.choice(["", "packet", "map value", "memory", "<=", "s<=", "==", "unusable", "ff" * 64])
    else:
        parent[key] = random_.choice([None, "unusable", [0, 0], [1, 0], [], {}])
    return altered


@pytest.mark.parametrize("name", [PROVED[i] for i in range(0, len(PROVED), 9)])
def test_no_alteration_makes_an_unsafe_program_pass(name: str) -> None:
    """Certificates for the twin, altered at random: refused, or malformed, but never accepted."""
    pair, random_ = pairs()[name], random.Random(name)
    content = json.loads(_suite(name))
    content["certificates"][0]["sha256"] = fingerprint(pair.twin)
    answers: dict[str, int] = {}
    for _ in range(60):
        altered = content
        for _ in range(random_.randrange(1, 4)):
            altered = _altered(altered, random_)
        try:
            kind = check(pair.twin, read(json.dumps(altered))[0]).kind
        except CertificateError as error:
            kind = f"malformed{str(error).count(chr(10))}"
        answers[kind] = answers.get(kind, 0) + 1
    assert answers.keys() <= {"refused", "not supported", "malformed0"}, answers
    assert answers.get("refused", 0) > 0, answers


def test_claiming_everything_or_nothing_does_not_help() -> None:
    """A program that reads a number as an address, with claims made up for it."""
    pair = pairs()[PROVED[0]]
    content = json.loads(_suite(PROVED[0]))
    content["certificates"][0]["sha256"] = fingerprint(pair.twin)
    for row in content["certificates"][0]["invariants"]:
        row["states"] = []
    assert check(pair.twin, read(json.dumps(content))[0]).kind == "refused"
    content["certificates"][0]["invariants"] = []
    assert check(pair.twin, read(json.dumps(content))[0]).kind == "refused"


def test_a_claim_that_contradicts_itself_covers_nothing() -> None:
    pair = pairs()[PROVED[0]]
    content = json.loads(_suite(PROVED[0]))
    for row in content["certificates"][0]["invariants"]:
        for state in row["states"]:
            state["facts"] += [["<=", 64, [1, 0], [0, 5]], ["<=", 64, [0, 6], [1, 0]]]
    assert check(pair.safe, read(json.dumps(content))[0]).kind == "refused"


@pytest.mark.parametrize(
    "fact",
    [
        ["<=", 64, [1, 0], [0, 1 << 64]],
        ["<=", 33, [1, 0], [0, 1]],
        ["<<", 64, [1, 0], [0, 1]],
        ["==", 64, [1, 0], ["and", 64, 0, [1, 0], [0, 1]]],
        ["==", 64, [1 << 40, 0], [0, 0]],
        ["==", 64, [-1, 0], [0, 0]],
        ["sum", [[1, 0]] * 5, [], 0],
        ["sum", [[1, 0]], [], 1 << 70],
        ["<=", True, [1, 0], [0, 1]],
        ["<=", 64, [1, 0.5], [0, 1]],
        [],
        7,
    ],
    ids=str,
)
def test_malformed_facts_are_errors(fact: Any) -> None:
    content = json.loads(_suite(PROVED[0]))
    content["certificates"][0]["invariants"][0]["states"][0]["facts"].append(fact)
    with pytest.raises(CertificateError, match="certificate 0, invariant 0"):
        read(json.dumps(content))


@pytest.mark.parametrize(
    "node",
    [["sext", 32, 32, [0, 0]], ["and", 64, 0, [0, 0]], ["and", 33, 0, [0, 0], [0, 0]], ["zext", 20, 0, [0, 0]],
     ["and", 64, 0, [0, 0], [0, 1 << 64]], ["bswap", 8, 0, [0, 0]], ["?", 64, 0, [0, 0], [0, 0]],
     ["neg", 64, 0, [1000, 0]], [7], 7, None],
    ids=str,
)  # fmt: skip
def test_malformed_nodes_are_errors(node: Any) -> None:
    content = json.loads(_suite(PROVED[0]))
    content["certificates"][0]["invariants"][0]["states"][0]["nodes"].append(node)
    with pytest.raises(CertificateError, match="certificate 0, invariant 0"):
        read(json.dumps(content))


def test_nodes_are_computed_from_earlier_ones() -> None:
    content = json.loads(_suite(PROVED[0]))
    nodes = content["certificates"][0]["invariants"][0]["states"][0]["nodes"]
    nodes.append(["neg", 64, 0, [len(nodes) + 1, 0]])
    with pytest.raises(CertificateError, match="certificate 0, invariant 0"):
        read(json.dumps(content))


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "7", '{"kind": "x", "schema": 2, "certificates": []}', "[" * 100_000, "\ud800", b"\xff\xfe",
     '{"kind":"prevail-py certificates","schema":1,"certificates":[]}',
     '{"kind":"prevail-py certificates","schema":2,"certificates":[{}]}'],
    ids=range(11),
)  # fmt: skip
def test_what_is_no_document_is_an_error_of_one_line(text: str | bytes) -> None:
    with pytest.raises(CertificateError) as error:
        read(text)
    assert "\n" not in str(error.value)


def test_a_document_that_is_too_long_is_not_read() -> None:
    class Long(str):
        def __len__(self) -> int:
            return MAX_BYTES + 1

    with pytest.raises(CertificateError, match="MiB"):
        read(Long())


def test_every_prefix_of_a_document_is_an_error() -> None:
    text = _suite(PROVED[0])
    for length in range(0, len(text), 97):
        with pytest.raises(CertificateError):
            read(text[:length])


# Determinism, and what belongs to what ----------------------------------------------------------------------------


def test_the_same_program_gives_the_same_bytes_whatever_the_hash_seed() -> None:
    path = examples.path("xdp_parser.o") if "xdp_parser.o" in examples.EXAMPLES else examples.path("xdp_parser")
    code = (
        "import sys, prevail_py, hashlib\n"
        "from prevail_py.verifier.certificate import document\n"
        "p = prevail_py.load(sys.argv[1]).programs['xdp_parser']\n"
        "print(hashlib.sha256(document([prevail_py.verify(p).certificate()]).encode()).hexdigest())\n"
    )
    digests = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        run = subprocess.run(
            [sys.executable, "-c", code, str(path)], env=environment, capture_output=True, text=True, check=True
        )
        digests.add(run.stdout)
    assert len(digests) == 1


def test_answers_are_the_same_each_time() -> None:
    pair = pairs()[PROVED[3]]
    answers = {check(pair.safe, read(_suite(PROVED[3]))[0]) for _ in range(2)}
    assert len(answers) == 1


def test_all_that_safety_depends_on_is_in_the_fingerprint() -> None:
    program = next(pair.safe for pair in pairs().values() if pair.safe.maps)
    smaller = replace(program.maps[0], value_size=program.maps[0].value_size + 1)
    changed = [
        replace(program, program_type="sched_cls"),
        replace(program, expected_attach_type="x"),
        replace(program, section="xdp.frags"),
        replace(program, maps=(smaller, *program.maps[1:])),
        replace(program, code=program.code[:-1]),
        replace(program, symbols={0: "jiffies"}),
        replace(program, poisoned={0: "x"}),
        replace(program, unsupported=("kptr",)),
        replace(program, hook="x"),
    ]
    prints = {fingerprint(each) for each in (program, *changed)}
    assert len(prints) == len(changed) + 1


def test_only_what_is_safe_under_the_strict_policy_has_a_certificate() -> None:
    pair = pairs()[PROVED[0]]
    with pytest.raises(ValueError, match="no certificate"):
        verify(pair.twin).certificate()
    with pytest.raises(ValueError, match="no certificate"):
        verify(pair.safe, policy="linux-root").certificate()


# The command line -------------------------------------------------------------------------------------------------


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = list(examples.EXAMPLES)
    counter = str(examples.path(next(name for name in names if "counter" in name)))
    flows = str(examples.path(next(name for name in names if "flows" in name)))
    out = tmp_path / "c.json"
    assert main(["verify", "--brief", counter, "--certificate", str(out)]) == 0
    assert main(["check-certificate", counter, str(out)]) == 0
    assert "accepted" in capsys.readouterr().out
    assert main(["check-certificate", counter, str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["programs"][0]["answer"] == "accepted"
    assert main(["check-certificate", flows, str(out)]) == 1
    assert "no such program" in capsys.readouterr().out
    out.write_text(out.read_text()[:-9])
    assert main(["check-certificate", counter, str(out)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(out) in error
    assert main(["check-certificate", counter, str(tmp_path / "none")]) == 2
    assert main(["verify", counter, flows, "--certificate", str(out)]) == 2
    assert main(["verify", counter, "--policy", "linux-root", "--certificate", str(out)]) == 2


def test_an_unsafe_object_gives_no_certificate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unsafe = str(examples.path(next(name for name in examples.EXAMPLES if "unsafe" in name)))
    out = tmp_path / "c.json"
    assert main(["verify", "--brief", unsafe, "--certificate", str(out)]) == 1
    assert read(out.read_text()) == []
    assert main(["check-certificate", unsafe, str(out)]) == 2


def test_assertions_of_the_program_are_proved_again() -> None:
    from prevail_py.examples.functional import FOLDER

    programs = load_object(FOLDER / "asserted.o").programs
    twice, once = programs["folded_twice"], programs["folded_once"]
    text = _certified(twice)
    assert check(twice, read(text)[0]).kind == "accepted"
    assert check(once, read(text.replace(fingerprint(twice), fingerprint(once)))[0]).kind == "refused"


# Size -------------------------------------------------------------------------------------------------------------

MOST_LINES = 1_199
"""Lines of code in the checker, apart from blank lines, comments, docstrings and imports.  It should get smaller."""


def _lines_of_code(source: str) -> int:
    lines: set[int] = set()
    apart = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in apart:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if is_text or isinstance(node, ast.Import | ast.ImportFrom):
            assert isinstance(node, ast.stmt)
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def test_the_checker_stays_small() -> None:
    import prevail_py.checker

    folder = Path(prevail_py.checker.__file__).parent
    assert sum(_lines_of_code(path.read_text()) for path in folder.glob("*.py")) <= MOST_LINES


SPILLED = """
    *(u64 *)(r10 - 8) = r1
    r2 = *(u32 *)(r1 + 0)
    r3 = *(u32 *)(r1 + 4)
    if r2 == r3 goto on
    r0 = 1
on:
    r0 = *(u64 *)(r10 - 8)
    exit
"""
"""Returns the pointer to the context, which it had kept on the stack."""


@pytest.mark.parametrize("content", [None, "unusable", "left out", [0, 0], [1, 0]], ids=str)
def test_a_pointer_on_the_stack_cannot_be_claimed_to_be_a_number(content: Any) -> None:
    leaky = assemble(SPILLED)
    honest = assemble(SPILLED.replace("    r0 = *(u64 *)(r10 - 8)\n", "    r4 = *(u64 *)(r10 - 8)\n    r0 = 1\n"))
    document_ = json.loads(_certified(honest))
    certificate = document_["certificates"][0]
    certificate["sha256"] = fingerprint(leaky)
    for row in certificate["invariants"]:
        for state in row["states"]:
            for frame in state["frames"]:
                cells = [[offset, size, content] for offset, size, _ in frame[1]]
                frame[1] = [] if content == "left out" else cells
    assert any(state["frames"][0][0] != "0" for row in certificate["invariants"] for state in row["states"])
    assert check(leaky, read(json.dumps(document_))[0]).kind == "refused"


def test_what_is_left_of_a_number_may_have_any_size() -> None:
    """A narrow store into a spilled number leaves three, five, six or seven bytes of it."""
    for place in (-39, -37, -36, -35, -34, -33):
        text = (
            f"call 7\n*(u64 *)(r10 - 40) = r0\n*(u8 *)(r10 {place}) = 0\ncall local f\nr0 = *(u32 *)(r10 - 40)\nexit\n"
        )
        program = assemble(text + "f:\nr0 = 0\nexit")
        (certificate,) = read(_certified(program))
        assert check(program, certificate).kind == "accepted"


@pytest.mark.parametrize(
    "index",
    ["r9 &= 1\nr9 *= -1", "r9 &= 7\nr9 *= -2", "r9 s>>= 0\nr9 &= 3", "w9 s>>= 31\nr9 *= 0"],
)
def test_what_a_store_at_a_variable_offset_leaves_alone(index: str) -> None:
    """How far an offset goes down is told by no bounds of a multiplication: the index at -24 is known to be 0."""
    text = f"call 7\nr9 = r0\n{index}\n*(u64 *)(r10 - 24) = 0\nr9 += r10\n*(u64 *)(r9 - 56) = 1\n"
    program = assemble(
        text + "if r0 != 0 goto +0\nr1 = *(u64 *)(r10 - 24)\nr1 += r10\nr0 = 0\n*(u8 *)(r1 - 1) = r0\nexit"
    )
    (certificate,) = read(_certified(program))
    assert check(program, certificate).kind == "accepted"


def test_a_load_below_what_bounds_tell() -> None:
    """Where it starts at the lowest is asked of the solver, too; one byte lower it may not be accepted."""
    head = "call 7\n*(u64 *)(r10 - 64) = 0\n*(u64 *)(r10 - 56) = 0\nr9 = r0\nif r9 > 15 goto +4\nr9 *= -1\nr9 += r10\n"
    program = assemble(head + "r0 = *(u8 *)(r9 - 49)\nr0 = 0\nr0 = 0\nexit")
    (certificate,) = read(_certified(program))
    assert check(program, certificate).kind == "accepted"
    other = assemble(head + "r0 = *(u8 *)(r9 - 50)\nr0 = 0\nr0 = 0\nexit")
    assert check(other, certificate._replace(sha256=fingerprint(other))).kind == "refused"


def test_what_a_store_at_a_variable_offset_may_hit() -> None:
    """The same, but the offset reaches the index: the claim that it is still 0 is refused."""
    safe = "call 7\nr9 = r0\nr9 &= 1\nr9 *= -1\n*(u64 *)(r10 - 24) = 0\nr9 += r10\n*(u8 *)(r9 - 25) = 1\n"
    rest = "if r0 != 0 goto +0\nr1 = *(u64 *)(r10 - 24)\nr1 += r10\nr0 = 0\n*(u8 *)(r1 - 1) = r0\nexit"
    program, other = assemble(safe + rest), assemble(safe.replace("(r9 - 25)", "(r9 - 24)") + rest)
    (certificate,) = read(_certified(program))
    assert check(program, certificate).kind == "accepted"
    assert not verify(other, smt=False).is_safe
    assert check(other, certificate._replace(sha256=fingerprint(other))).kind == "refused"
