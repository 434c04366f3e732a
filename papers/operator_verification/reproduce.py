"""Precision of tnum multiplication (CGO'22) and planted operator bugs (after CAV'23): makes the tables of this folder.

    python papers/operator_verification/reproduce.py [--bits 8] [--no-bugs]

The algorithms of the paper are written here for numpy arrays, after their description there.  Ours is the shipped one:
on arrays it is the paper's ``our_mul`` with a constant as the first factor, which is compared with the shipped function
on all pairs of five bits and on random pairs of the width in question.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from prevail_py.domains import bits
from prevail_py.research.planted import BUGS, planted
from prevail_py.verifier.proofs.prove import COUNTEREXAMPLE, cells

Array = NDArray[np.int32]
Tnum = tuple[Array, Array]
HERE = Path(__file__).resolve().parent


def add(a: Tnum, b: Tnum, last: int) -> Tnum:
    """The tnum sum."""
    least = a[0] + b[0]
    mask = ((least + a[1] + b[1]) ^ least) | a[1] | b[1]
    return least & ~mask & last, mask & last


def kern_mul(a: Tnum, b: Tnum, width: int) -> Tnum:
    """Linux before 5.14: the product of the values, then half multiplications by the masks."""
    last = (1 << width) - 1

    def half_multiplied(sum_: Tnum, value: Array, mask: Array) -> Tnum:
        for bit in range(width):
            there = mask >> bit & 1
            sum_ = add(sum_, (np.zeros_like(value), (value << bit & last) * there), last)
        return sum_

    product = (a[0] * b[0] & last, np.zeros_like(a[0] * b[0]))
    return half_multiplied(half_multiplied(product, a[1], b[1] | b[0]), b[1], a[0])


def bitwise_mul(a: Tnum, b: Tnum, width: int) -> Tnum:
    """Long multiplication: a partial product for each bit of the first factor, all summed."""
    last = (1 << width) - 1
    zero = np.zeros_like(a[0] * b[0])
    total = (zero, zero)
    for bit in range(width):
        one, unknown = a[0] >> bit & 1, a[1] >> bit & 1
        value, mask = b[0] * one, b[1] * one + (b[0] | b[1]) * unknown
        total = add(total, (value << bit & last, mask << bit & last), last)
    return total


def our_mul(a: Tnum, b: Tnum, width: int) -> Tnum:
    """The paper's algorithm: values are multiplied at once, only what is unknown is summed bit by bit."""
    last = (1 << width) - 1
    zero = np.zeros_like(a[0] * b[0])
    unknown = (zero, zero)
    for bit in range(width):
        one, open_ = a[0] >> bit & 1, a[1] >> bit & 1
        mask = b[1] * one + (b[0] | b[1]) * open_
        unknown = add(unknown, (zero, mask << bit & last), last)
    return add((a[0] * b[0] & last, zero), unknown, last)


def shipped_mul(a: Tnum, b: Tnum, width: int) -> Tnum:
    """:func:`prevail_py.domains.bits._mul` on arrays."""
    constant = b[1] == 0
    swap = lambda x, y: np.where(constant, y, x)  # noqa: E731
    first = swap(a[0], b[0]), swap(a[1], b[1])
    second = swap(b[0], a[0]), swap(b[1], a[1])
    return our_mul(first, second, width)


ALGORITHMS: dict[str, Callable[[Tnum, Tnum, int], Tnum]] = {
    "kern_mul": kern_mul, "bitwise_mul": bitwise_mul, "our_mul": our_mul, "shipped": shipped_mul,
}  # fmt: skip


def all_tnums(width: int) -> Tnum:
    """Every tnum of so many bits."""
    pairs = [(v, m) for m in range(1 << width) for v in range(1 << width) if v & m == 0]
    return np.array([v for v, _ in pairs], np.int32), np.array([m for _, m in pairs], np.int32)


def check_shipped(width: int) -> None:
    """That the arrays compute what the shipped function does.  Raises AssertionError."""
    draw = random.Random(0)
    for size, chosen in ((5, None), (width, 20_000)):
        values, masks = (x.tolist() for x in all_tnums(size))
        numbers = range(len(values))
        some = ([(i, j) for i in numbers for j in numbers] if chosen is None
                else [(draw.choice(numbers), draw.choice(numbers)) for _ in range(chosen)])  # fmt: skip
        i, j = (np.array(x) for x in zip(*some, strict=True))
        v, m = (np.array(x) for x in (values, masks))
        value, mask = shipped_mul((v[i], m[i]), (v[j], m[j]), size)
        for n, (p, q) in enumerate(some):
            assert bits._mul(values[p], masks[p], values[q], masks[q], size) == (value[n], mask[n]), (size, p, q)


def precision(width: int) -> str:
    """The table: how often the results differ, and how many words they hold."""
    values, masks = all_tnums(width)
    names = list(ALGORITHMS)
    better = {(x, y): 0 for x in names for y in names}
    unknown = dict.fromkeys(names, 0)
    seconds = dict.fromkeys(names, 0.0)
    incomparable = 0
    for v, m in zip(values, masks, strict=True):
        a = np.array([v]), np.array([m])
        found = {}
        for name, algorithm in ALGORITHMS.items():
            start = time.process_time()
            found[name] = algorithm(a, (values, masks), width)
            seconds[name] += time.process_time() - start
            unknown[name] += int(np.bitwise_count(found[name][1].astype(np.uint32)).sum())
        for x in names:
            for y in names:
                if x != y:
                    more, less = found[y][1] & ~found[x][1], found[x][1] & ~found[y][1]
                    better[x, y] += int(((less == 0) & (more != 0)).sum())
        k, o = found["kern_mul"][1], found["our_mul"][1]
        incomparable += int((((k & ~o) != 0) & ((o & ~k) != 0)).sum())
    pairs = len(values) ** 2
    lines = [
        f"# Tnum multiplication on all {pairs:,} pairs of {width} bits",
        "",
        "Made by `reproduce.py`. How often the algorithm of the row gives fewer words than that of the column,",
        "and the mean number of unknown bits in its results.",
        "",
        "| | " + " | ".join(names) + " | unknown bits |",
        "| --- |" + " ---: |" * (len(names) + 1),
    ]
    for x in names:
        cells_ = [f"{100 * better[x, y] / pairs:.3f} %" for y in names]
        lines.append(f"| {x} | " + " | ".join(cells_) + f" | {unknown[x] / pairs:.4f} |")
    lines += ["", f"Results of kern_mul and our_mul that are not comparable: {100 * incomparable / pairs:.4f} %."]
    return "\n".join(lines) + "\n"


def gains(width: int) -> dict[int, int]:
    """How many pairs by how many bits more ``kern_mul`` leaves unknown than ``our_mul``, where the two differ."""
    values, masks = all_tnums(width)
    counts: dict[int, int] = {}
    for v, m in zip(values, masks, strict=True):
        a = np.array([v]), np.array([m])
        kern, ours = (algorithm(a, (values, masks), width) for algorithm in (kern_mul, our_mul))
        differ = (kern[0] != ours[0]) | (kern[1] != ours[1])
        more = np.bitwise_count(kern[1].astype(np.uint32)).astype(int) - np.bitwise_count(ours[1].astype(np.uint32))
        for bits_, count in zip(*np.unique(more[differ], return_counts=True), strict=True):
            counts[int(bits_)] = counts.get(int(bits_), 0) + int(count)
    return counts


def figure(width: int, path: Path) -> None:
    """The distribution of :func:`gains`, as the paper draws it: the share of differing pairs up to so many bits."""
    from matplotlib.figure import Figure

    counts = gains(width)
    total = sum(counts.values())
    steps = sorted(counts)
    shares = [100 * sum(counts[other] for other in steps if other <= step) / total for step in steps]
    picture = Figure(figsize=(6.0, 3.6), layout="constrained")
    axes = picture.add_subplot()
    axes.step(steps, shares, where="post", color="#0072B2", marker="o")
    axes.axvline(0, color="#999999", linewidth=1)
    axes.set(xlabel="bits that kern_mul leaves unknown and our_mul knows", ylabel="differing pairs up to there, %")
    axes.set(ylim=(0, 105), title=f"{total:,} of {len(all_tnums(width)[0]) ** 2:,} pairs of {width} bits differ")
    axes.grid(color="#dddddd", linewidth=0.5)
    picture.savefig(path, dpi=100, metadata={"Software": None})


def refutations() -> str:
    """The table of planted bugs."""
    lines = [
        "# Historic operator bugs, planted and refuted",
        "",
        "Made by `reproduce.py`. Seconds are CPU time until `prove` had a counterexample that it had replayed on ints.",
        "",
        "| bug | mistake | operation | word | bits | seconds | counterexample |",
        "| --- | --- | --- | ---: | ---: | ---: | --- |",
    ]
    for bug in BUGS.values():
        with planted(bug):
            start = time.process_time()
            for cell in cells("interval", bug.width, [bug.exposed_by]):
                if cell.obligation.bits != bug.bits or cell.name == "facts":
                    continue
                row = cell.prove()
                if row.result == COUNTEREXAMPLE:
                    detail = row.detail.split(": ", 1)[1].replace("|", "\\|")
                    lines.append(f"| {bug.name} | {bug.summary} | {bug.exposed_by} | {bug.width} | {bug.bits} "
                                 f"| {time.process_time() - start:.1f} | {detail} |")  # fmt: skip
                    break
            else:
                raise AssertionError(f"{bug.name} was not refuted")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Make both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bits", type=int, default=8)
    parser.add_argument("--no-bugs", action="store_true", help="precision only")
    arguments = parser.parse_args()
    check_shipped(arguments.bits)
    (HERE / "precision.md").write_text(precision(arguments.bits))
    figure(arguments.bits, HERE / "precision.png")
    if not arguments.no_bugs:
        (HERE / "bugs.md").write_text(refutations())


if __name__ == "__main__":
    main()
