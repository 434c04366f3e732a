"""Real object files: what the kernel says about the XDP programs that the distribution installs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prevail_py.objects.elf import load_object
from prevail_py.vm.kernel.answer import AnswerKind, KernelAnswer
from prevail_py.vm.kernel.engine import Session

pytestmark = pytest.mark.usefixtures("kernel")


def answers(paths: list[Path]) -> dict[tuple[str, str], KernelAnswer]:
    with Session() as session:
        return {
            (path.name, name): session.ask(program)
            for path in paths
            for name, program in load_object(path).programs.items()
        }


def test_distribution_objects(xdp_objects: tuple[Path, ...]) -> None:
    for (file, name), answer in answers(list(xdp_objects)).items():
        if file == "xdpdump_bpf.o":  # fentry and fexit with CO-RE
            assert answer.kind is AnswerKind.NOT_LOADED
        else:
            assert answer.kind is AnswerKind.ACCEPT, f"{file} {name}: {answer.reason}"
            assert answer.instructions_processed


def test_same_answers_as_another_loader_got(xdp_objects: tuple[Path, ...], shared_dir: Path) -> None:
    """libbpf's results on Linux 6.18 for the same objects; the instructions processed are the kernel's business."""
    rows = [json.loads(line) for line in (shared_dir / "facts" / "peer_verdicts.jsonl").read_text().splitlines()]
    known = {(row["object"], row["function"]): row["kernel"] for row in rows}
    both = {key: answer.kind.value for key, answer in answers(list(xdp_objects)).items() if key in known}
    assert len(both) > 10
    assert both == {key: known[key] for key in both}
