"""What stays the same throughout one analysis: the program, its platform, and the supply of symbols."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prevail_py.domains.lattice import Facts, Symbol
from prevail_py.objects.program import MapSpec, Program
from prevail_py.platforms.model import HelperPrototype, MapType, Platform, ProgramType
from prevail_py.verifier.definitions import Definitions, masks_of
from prevail_py.verifier.policy import STRICT, Policy
from prevail_py.verifier.values import Region, RegionKind, region_of

__all__ = ["MAX_PACKET_SIZE", "Setting", "Unsupported"]

MAX_PACKET_SIZE: Final = (1 << 31) - 1
"""Bytes between data and data_end: an assumption about the host, far above what any driver delivers."""

METADATA_OFFSETS: Final = (-256, 1)
"""Where data_meta lies relative to data: up to 256 bytes before, and one byte behind where a driver offers none
(``xdp_set_data_meta_invalid`` in Linux)."""

_READ_ONLY_PROGRAM: Final = 1 << 7
_WRITE_ONLY_PROGRAM: Final = 1 << 8


class Unsupported(Exception):  # noqa: N818 - not a mistake of anybody's
    """The program uses something the verifier does not model; caught where the verdict is made."""

    def __init__(self, what: str, pc: int | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.pc = pc


class Setting:
    """Program, platform and symbols of one analysis.

    ``definitions`` records how each symbol was computed, to know what is worth keeping of a state.  What a state may
    conclude from a definition is for its facts to say: it may cover other states, of which the definition is not true.
    ``last`` is the newest symbol.  ``counts_turns`` is set where helpers that call a function in a loop are to be
    analysed turn by turn (``callbacks.py``), which not every program needs; ``summaries`` where what is found of a
    function for one call may serve another (``summaries.py``).  ``prototypes`` are those of the helpers that were met,
    None where the program may not call one.
    """

    def __init__(
        self,
        program: Program,
        platform: Platform,
        top: Callable[[], Facts],
        policy: Policy = STRICT,
        counts_turns: bool = False,
        summaries: bool = True,
    ) -> None:
        self.program = program
        self.platform = platform
        self.policy = policy
        self.top = top
        self.program_type: ProgramType = platform.program_type(
            program.program_type, program.expected_attach_type, program.hook
        )
        self.definitions = Definitions(masks_of(program))
        self.last = 0
        self.prototypes: dict[int, HelperPrototype | None] = {}
        self._values: dict[Region, tuple[MapSpec, bool, bool]] = {}
        self.counts_turns = counts_turns
        self.summaries = summaries

    def fresh(self) -> Symbol:
        """A symbol that was never used before."""
        self.last += 1
        return self.last

    def map_of(self, region: Region) -> MapSpec:
        """The definition of the map that a MAP or MAP_VALUE region belongs to.  Raises Unsupported if unknown."""
        if not 0 <= region.index < len(self.program.maps):
            raise Unsupported(f"reference to map #{region.index}, of which the program has {len(self.program.maps)}")
        spec = self.program.maps[region.index]
        if region.inner:
            if spec.inner is None:
                raise Unsupported(f"map {spec.name}: the definition of its inner maps is not known")
            return spec.inner
        return spec

    def values_of(self, region: Region) -> tuple[MapSpec, bool, bool]:
        """:meth:`map_of`, :meth:`may_read` and :meth:`may_write`, looked up once."""
        found = self._values.get(region)
        if found is None:
            found = self._values[region] = self.map_of(region), self.may_read(region), self.may_write(region)
        return found

    def map_region(self, index: int) -> Region:
        """The handle of a map of the program.  Raises Unsupported for a map the program does not have."""
        region = region_of(RegionKind.MAP, index)
        self.map_type_of(region)
        return region_of(RegionKind.MAP, index, name=self.map_of(region).name)

    def may_read(self, region: Region) -> bool:
        """Whether programs may read the values of this map (``BPF_F_WRONLY_PROG`` forbids it)."""
        return not self.map_of(region).flags & _WRITE_ONLY_PROGRAM and "r" in self.map_type_of(region).value_access

    def may_write(self, region: Region) -> bool:
        """Whether programs may store into the values of this map."""
        return self.may_change(region) and "w" in self.map_type_of(region).value_access

    def may_change(self, region: Region) -> bool:
        """Whether helpers may change this map: not where it is read-only data or ``BPF_F_RDONLY_PROG`` is set."""
        spec = self.map_of(region)
        return not (spec.read_only or spec.flags & _READ_ONLY_PROGRAM)

    def map_type_of(self, region: Region) -> MapType:
        """The map type of :meth:`map_of`.  Raises Unsupported for a number the platform does not know."""
        spec = self.map_of(region)
        found = self.platform.map_type(spec.type)
        if found is None:
            raise Unsupported(f"map {spec.name} has the unknown type {spec.type}")
        return found
