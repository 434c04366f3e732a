"""Externs: variables and functions that the object declares and the kernel, or libbpf for it, provides.

``.kconfig`` variables become a map (:mod:`prevail_py.objects.kconfig`); ``.ksyms`` are symbols of the kernel: typed
ones are found in its BTF and keep their identity (an address or call by BTF id), typeless ones are an address that is
known to root only.  A weak symbol that the kernel does not have is the number 0; a call of it must not be reached.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from prevail_py.isa.instructions import Call, CallKfunc, Instruction, LoadImmediate64, Pseudo
from prevail_py.objects.btf import Btf, BtfType, Kind, essential_name
from prevail_py.objects.container import Container, SymbolType
from prevail_py.objects.core_types import Matcher, RelocationError
from prevail_py.objects.errors import ObjectError
from prevail_py.objects.kconfig import (
    OptionType,
    OptionValueError,
    number_bytes,
    option_bytes,
    option_type,
    virtual_value,
)
from prevail_py.objects.maps import MMAPABLE, RDONLY_PROG, MapTable
from prevail_py.objects.program import MapSpec
from prevail_py.objects.target import Missing, Target, TargetBtf

__all__ = ["Externs", "Provided"]

_POISONED_CALL: Final = 2002000000
"""What libbpf adds an extern's number to, to call instead of a kernel function that does not exist."""

_EXTERN: Final = 2  # BTF_VAR_GLOBAL_EXTERN, BTF_FUNC_EXTERN
_WEAK: Final = 2
_ARRAY: Final = 2


@dataclass(slots=True)
class _Extern:
    """A declared extern.  ``number`` is its place in libbpf's order; ``option`` and ``offset`` are of kconfig ones."""

    name: str
    weak: bool
    type: BtfType
    section: str
    option: OptionType | None = None
    offset: int = 0
    number: int = 0


@dataclass(frozen=True, slots=True)
class Provided:
    """What stands for an extern in an instruction.

    ``kconfig`` is the map number and offset of a configuration variable; otherwise ``instruction`` replaces the one in
    the file.  ``symbol`` names a kernel symbol that it refers to, ``poison`` says why it may not be reached.
    ``facts`` are what was assumed of the host; ``target`` the types it was found in.
    """

    instruction: Instruction | None = None
    kconfig: tuple[int, int] | None = None
    symbol: str = ""
    poison: str = ""
    facts: tuple[str, ...] = ()
    target: TargetBtf | None = None


@dataclass(slots=True)
class _Option:
    """A configuration variable's value, or why it has none."""

    value: bytes = b""
    reason: str = ""
    fact: str = ""


@dataclass(slots=True)
class Externs:
    """The externs of one object, resolved when an instruction refers to them.  Methods raise :class:`ObjectError`."""

    _externs: dict[str, _Extern]
    _btf: Btf | None
    _target: Target
    _map: int | None = None
    _options: dict[str, _Option] = field(default_factory=dict)

    @classmethod
    def collect(cls, container: Container, btf: Btf | None, target: Target, maps: MapTable) -> Externs:
        """Find all externs; configuration variables, if there are any, become the map ``.kconfig``."""
        if btf is None:
            return cls({}, None, target)
        found = _declared(container, btf)
        self = cls(found, btf, target)
        options = [extern for extern in found.values() if extern.option is not None]
        if options:
            self._map = self._add_map(maps, options)
        return self

    def _add_map(self, maps: MapTable, options: list[_Extern]) -> int:
        data = bytearray()
        for extern in options:
            assert extern.option is not None
            data += bytes(extern.offset - len(data))
            option = self._options[extern.name] = self._option(extern, extern.option)
            data += option.value or bytes(extern.option.size)
        assert self._btf is not None
        datasec = self._btf.datasec(".kconfig")
        return maps.add(
            MapSpec(
                name=".kconfig",
                type=_ARRAY,
                key_size=4,
                value_size=len(data),
                max_entries=1,
                flags=MMAPABLE | RDONLY_PROG,
                initial=bytes(data),
                read_only=True,
                value_btf=datasec.id if datasec is not None else 0,
            )
        )

    def _option(self, extern: _Extern, type: OptionType) -> _Option:
        name = extern.name
        try:
            if not name.startswith("CONFIG_"):
                given = self._target.given_option(name)
                if given is not None:
                    return _Option(option_bytes(type, given), fact=str(self._target.kconfig))
                number = virtual_value(name, self._target)
                if number is None and not (extern.weak and name.startswith("LINUX_")):
                    return _Option(reason="neither CONFIG_* nor a LINUX_* that is known")
                fact = f"{name} = {number:#x}, of the running kernel" if number is not None else f"{name} is unknown"
                return _Option(number_bytes(type, number or 0), fact=fact)
            kconfig = self._target.kconfig
            text = kconfig.values.get(name)
            if text is not None:
                return _Option(option_bytes(type, text), fact=str(kconfig))
            if not extern.weak:
                return _Option(reason=f"not set in {kconfig.source}")
            return _Option(fact=str(kconfig))
        except (OptionValueError, Missing) as error:
            return _Option(reason=str(error))

    def provide(self, name: str, instruction: LoadImmediate64 | None) -> Provided | str:
        """What stands for the extern in a wide load, or in a call where ``instruction`` is None; or why nothing can."""
        extern = self._externs.get(name)
        if extern is None:
            return f"extern {name}"
        if extern.section == ".kconfig":
            reason = (
                self._options[name].reason if name in self._options else "its type is none of a configuration value"
            )
            if reason or instruction is None or self._map is None:
                return f"kconfig {name}: {reason or 'called'}"
            if instruction.low:
                return f"kconfig {name}: an offset into it"
            return Provided(kconfig=(self._map, extern.offset), facts=(self._options[name].fact,))
        kind = "kfunc" if extern.type.kind is Kind.FUNC else "ksym"
        try:
            if extern.type.kind is Kind.VAR:
                if instruction is None:
                    return f"ksym {name}: a variable is called"
                assert self._btf is not None
                if self._btf.resolve(extern.type.type).kind is Kind.VOID:
                    return self._address(extern, instruction)
            return self._typed(extern, instruction)
        except (Missing, RelocationError) as error:
            return f"{kind} {name}: {error}"

    def _address(self, extern: _Extern, load: LoadImmediate64) -> Provided | str:
        """A typeless symbol: its address, as far as this process may know."""
        unknown = replace(load, low=0, high=0, pseudo=Pseudo.IMMEDIATE)
        if not self._target.is_running:
            # Nothing is known of the symbols of another kernel: whatever the address is, 0 included.
            return Provided(unknown, symbol=extern.name)
        try:
            address = self._target.symbols.get(extern.name)
        except Missing:
            return Provided(unknown, symbol=extern.name)
        if address is None and extern.weak:
            return Provided(unknown, facts=(f"the running kernel has no symbol {extern.name}",))
        if address is None:
            return f"ksym {extern.name}: the running kernel has no such symbol"
        if address < 0:
            return f"ksym {extern.name}: the running kernel has several symbols of that name"
        low, high = (_signed(address >> shift) for shift in (0, 32))
        fact = f"the running kernel has the symbol {extern.name}"
        return Provided(replace(unknown, low=low, high=high), symbol=extern.name, facts=(fact,))

    def _typed(self, extern: _Extern, load: LoadImmediate64 | None) -> Provided | str:
        """A symbol that the target's BTF describes."""
        assert self._btf is not None
        target = self._target.btf
        kind = extern.type.kind
        wanted = essential_name(extern.name) if kind is Kind.FUNC else extern.name
        found = target.types.find(wanted, kind)
        compatible = found is not None and Matcher(self._btf, target.types).types_compatible(
            self._btf.resolve(extern.type.type).id, target.types.resolve(found.type).id
        )
        facts = (str(target),)
        if found is not None and compatible:
            if load is None:
                return Provided(CallKfunc(found.id), symbol=wanted, facts=facts, target=target)
            reference = replace(load, low=found.id, high=0, pseudo=Pseudo.BTF_ID)
            return Provided(reference, symbol=wanted, facts=facts, target=target)
        if found is not None and not (extern.weak and kind is Kind.FUNC):
            return f"{_WHAT[kind]} {extern.name}: its type differs from that in the target BTF"
        if found is None and any(module.find(wanted, kind) is not None for module in target.modules()):
            return f"{_WHAT[kind]} {extern.name}: it is in a kernel module"
        if not extern.weak:
            return f"{_WHAT[kind]} {extern.name}: not in the target BTF"
        if load is None:
            reason = f"call of the kernel function {extern.name}: not in the target BTF"
            return Provided(Call(_POISONED_CALL + extern.number), poison=reason, facts=facts)
        return Provided(replace(load, low=0, high=0, pseudo=Pseudo.IMMEDIATE), facts=facts)


_WHAT: Final = {Kind.FUNC: "kfunc", Kind.VAR: "ksym"}


def _signed(word: int) -> int:
    word &= 0xFFFFFFFF
    return word - (1 << 32) if word >> 31 else word


def _declared(container: Container, btf: Btf) -> dict[str, _Extern]:
    """All externs by name, in libbpf's order: configuration before symbols, sorted so that they need no padding."""
    sections = _sections(btf)
    found: dict[str, _Extern] = {}
    for symbol in container.symbols:
        if symbol.section or not symbol.binding or symbol.type != SymbolType.NOTYPE:
            continue
        name = container.symbol_name(symbol)
        if name in sections and name not in found:
            section, type = sections[name]
            found[name] = _Extern(name, symbol.binding == _WEAK, type, section)
            if section == ".kconfig" and type.kind is Kind.VAR:
                found[name].option = option_type(btf, type.type)

    def order(extern: _Extern) -> tuple[bool, int, int, str]:
        option = extern.option
        alignment, size = (option.alignment, option.size) if option is not None else (0, 0)
        return (extern.section != ".kconfig", -alignment, size, extern.name)

    offset = 0
    ordered = sorted(found.values(), key=order)
    for number, extern in enumerate(ordered):
        extern.number = number
        if extern.option is not None:
            extern.offset = -(-offset // extern.option.alignment) * extern.option.alignment
            offset = extern.offset + extern.option.size
    return {extern.name: extern for extern in ordered}


def _sections(btf: Btf) -> Mapping[str, tuple[str, BtfType]]:
    """The section and the type of each declared extern: libbpf's are declared in two sections."""
    found: dict[str, tuple[str, BtfType]] = {}
    for section in (".kconfig", ".ksyms"):
        datasec = btf.datasec(section)
        for variable in datasec.variables if datasec is not None else ():
            type = btf.type(variable.type)
            if type.kind not in (Kind.VAR, Kind.FUNC) or type.linkage != _EXTERN:
                raise ObjectError(f"BTF section {section}", f"type {type.id} is no declaration of an extern")
            found[type.name] = section, type
    return found
