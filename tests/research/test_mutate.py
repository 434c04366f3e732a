"""The mutator: deterministic, damaging, and able to reach every layer of the loader."""

from __future__ import annotations

from collections import Counter

import pytest

from prevail_py.objects.elf import load_object
from prevail_py.objects.errors import ObjectError
from prevail_py.research.elf_writer import BtfWriter, ElfWriter
from prevail_py.research.mutate import mutations


def example() -> bytes:
    btf = BtfWriter()
    number = btf.integer("int", 4)
    btf.datasec(
        ".maps", [btf.map("m", type=2, key_size=4, max_entries=8, value_type=btf.struct("v", 4, [("a", number, 0)]))]
    )
    load, call, end = "18010000000000000000000000000000", "85100000ffffffff", "9500000000000000"
    elf = ElfWriter()
    main = elf.code("xdp", bytes.fromhex(load + load + call + end))
    text = elf.code(".text", bytes.fromhex("b700000000000000" + end))
    elf.function("main", main, 0, 48)
    elf.relocate(main, 0, elf.symbol("m", elf.section(".maps", bytes(32)), 0, 32), 1)
    elf.relocate(main, 16, elf.symbol("d", elf.section(".data", bytes(64)), 8, 8), 1)
    elf.relocate(main, 32, elf.function("callee", text, 0, 16), 10)
    extension = btf.build_ext([("xdp", 0, "a.c", "text", 1, 1), (".text", 0, "a.c", "text", 2, 1)])
    elf.section(".BTF", btf.build())
    elf.section(".BTF.ext", extension)
    elf.section("license", b"GPL\0")
    return elf.build()  # fmt: skip


def test_same_seed_same_mutants() -> None:
    data = example()
    first = list(mutations(data, 7, 50))
    assert first == list(mutations(data, 7, 50))
    assert first[:20] == list(mutations(data, 7, 20))
    assert first != list(mutations(data, 8, 50))
    assert len(set(first)) > 40


def test_almost_all_mutants_differ_from_the_original() -> None:
    data = example()
    assert sum(mutant == data for mutant in mutations(data, 0, 500)) < 50


@pytest.mark.parametrize("data", [b"", b"\x7fELF", bytes(64), b"\x7fELF" + b"\xff" * 60, bytes(range(256)) * 8])
def test_any_bytes_will_do(data: bytes) -> None:
    assert len(list(mutations(data, 0, 200))) == 200


def test_mutants_reach_every_layer_of_the_loader() -> None:
    """What blind flips would not do: errors from all parts, and mutants that still load."""
    places: Counter[str] = Counter()
    loaded = 0
    for mutant in mutations(example(), 1, 3000):
        try:
            load_object(mutant)
            loaded += 1
        except ObjectError as error:
            places[str(error).split()[0].rstrip(":") + (" function" if " function " in str(error) else "")] += 1
    assert 300 < loaded < 2700
    for place in ("ELF", "section", "section function", "symbol", ".BTF", ".BTF.ext", "map", "file"):
        assert places[place] > 0, places
