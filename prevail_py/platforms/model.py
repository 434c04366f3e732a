"""What a platform is: program types and their contexts, helper prototypes, map types, section names.

Pure data with look-ups, no tables: those are in the platform's own package (:mod:`prevail_py.platforms.linux`).  A
third-party platform builds a :class:`Platform` from its own tables; verifier, interpreter and loader know only this.
The parts are in :mod:`prevail_py.platforms.contexts` and :mod:`prevail_py.platforms.contracts`; all are to be had here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from prevail_py.platforms.contexts import AttachRule, ContextAccess, ContextField, FieldKind, KernelObject, ProgramType
from prevail_py.platforms.contracts import ArgKind, HelperArg, HelperPrototype, LookupResult, ReturnKind

__all__ = [
    "ArgKind",
    "AttachRule",
    "ContextAccess",
    "ContextField",
    "FieldKind",
    "HelperArg",
    "HelperPrototype",
    "KernelObject",
    "LookupResult",
    "MapType",
    "Platform",
    "ProgramType",
    "ReturnKind",
    "SectionRule",
]


@dataclass(frozen=True, slots=True)
class SectionRule:
    """A pattern of section names, in libbpf's notation, and what programs found there are.

    ``name`` matches exactly; ``name+`` also matches ``name/anything``.  ``sleepable`` and ``frags`` are flags of the
    program (``BPF_F_SLEEPABLE``, ``BPF_F_XDP_HAS_FRAGS``).
    """

    pattern: str
    program_type: str
    attach_type: str = ""
    sleepable: bool = False
    frags: bool = False

    def matches(self, section: str) -> bool:
        """Whether a section (without the leading ``?``) falls under this rule."""
        if not self.pattern.endswith("+"):
            return section == self.pattern
        stem = self.pattern[:-1]
        return section == stem or section.startswith(stem + "/")


@dataclass(frozen=True, slots=True)
class MapType:
    """A map type.

    ``index_key``: keys are 32-bit indices below ``max_entries``.  ``per_cpu``: one value per CPU.  ``value_access``:
    how a program may use the memory that a lookup returned, "rw", "r" or "".  ``helpers`` are the names of the only
    helpers that accept the map, None when any that is not bound to other map types does.  ``asks``: a helper that peeks
    into the map reads the value that it is given, instead of writing one.
    """

    number: int
    name: str
    index_key: bool = False
    per_cpu: bool = False
    lookup: LookupResult = LookupResult.VALUE
    value_access: str = "rw"
    helpers: frozenset[str] | None = None
    asks: bool = False


_VALUE_READ = HelperArg(ArgKind.MAP_VALUE, reads=True)


@dataclass(frozen=True)
class Platform:
    """The tables of one platform and the questions asked of them.

    ``load_helpers`` is called once, at the first question about a helper: it gives for every helper id the
    (program types, prototype) pairs, None for all the others; the first pair that applies counts.
    ``attach_types_of_helpers`` gives, by helper and program type, the only attach types with which it may be called.
    ``hook_rules`` are rules by attach type and kind of hook, in place of the attach type's.

    ``map_numbers`` and ``helper_numbers`` are for a platform whose objects use other numbers than its tables: by the
    number in an object (of helpers also by program type, empty for all) the number here.  The loader translates; where
    they are empty there is nothing to translate.

    ``extensions`` names the extension that a program type or map type is from, for those that are from one
    (:mod:`prevail_py.platforms.extensions`).
    """

    name: str
    program_types: Mapping[str, ProgramType]
    attach_types: Mapping[str, int]
    attach_rules: Mapping[str, AttachRule]
    sections: Sequence[SectionRule]
    map_types: Mapping[int, MapType]
    load_helpers: Callable[[], Mapping[int, Sequence[tuple[frozenset[str] | None, HelperPrototype]]]]
    objects: Mapping[str, KernelObject] = field(default_factory=dict)
    bound_helpers: Mapping[str, frozenset[str]] = field(default_factory=dict)
    attach_types_of_helpers: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    hook_rules: Mapping[tuple[str, str], AttachRule] = field(default_factory=dict)
    measured_types: frozenset[str] = frozenset()
    map_numbers: Mapping[int, int] = field(default_factory=dict)
    helper_numbers: Mapping[tuple[str, int], int] = field(default_factory=dict)
    extensions: Mapping[str, str] = field(default_factory=dict)
    _cache: dict[str, object] = field(default_factory=dict, compare=False, repr=False)
    _refusals: dict[tuple[int, str, str, str], str] = field(default_factory=dict, compare=False, repr=False)

    def program_type(self, name: str, attach_type: str = "", hook: str = "") -> ProgramType:
        """The program type called ``name``, as it is for programs with this expected attach type and kind of hook.

        Raises :class:`KeyError` for a name that the platform does not have.
        """
        base = self.program_types[name]
        rule = self.hook_rules.get((attach_type, hook)) or self.attach_rules.get(attach_type)
        if rule is None:
            return base
        key = f"{name}@{attach_type}@{hook}"
        cached = self._cache.get(key)
        if not isinstance(cached, ProgramType):
            cached = self._cache[key] = rule.apply(base)
        return cached

    def depends_on_hook(self, attach_type: str, hook: str) -> bool:
        """Whether what a program may do depends on its kind of hook, and that is not known.

        Then its program type allows only what every kind does; more may be right.
        """
        kinds = {kind for attach, kind in self.hook_rules if attach == attach_type}
        return bool(kinds) and hook not in kinds

    def program_type_of_section(self, section: str) -> tuple[str, str] | None:
        """(program type, attach type or "") of a section name; None if nothing matches.

        A leading ``?`` (do not load by default) is ignored.  After the exact rules, a name of the form
        ``known/anything`` is taken for ``known``, which libbpf before 1.0 allowed.
        """
        rule = self.section_rule(section)
        return None if rule is None else (rule.program_type, rule.attach_type)

    def section_rule(self, section: str) -> SectionRule | None:
        """The rule a section name falls under, None if nothing matches."""
        name = section.removeprefix("?")
        for rule in self.sections:
            if rule.matches(name):
                return rule
        stem = name
        while "/" in stem:
            stem = stem.rpartition("/")[0]
            for rule in self.sections:
                if rule.pattern == stem:
                    return rule
        return None

    def helper(self, id: int, program_type: str | None = None) -> HelperPrototype | None:
        """The prototype of helper ``id`` in programs of this type.

        None if there is no such helper or it was measured that programs of this type may not call it.  Where nothing
        was measured (of the helper, or of the program type) the prototype is given.
        """
        overloads = self._helpers().get(id)
        if overloads is None:
            return None
        if program_type is not None and program_type in self.measured_types:
            allowed = overloads[0][1].program_types
            if allowed is not None and program_type not in allowed:
                return None
        for types, prototype in overloads:
            if types is None or (program_type is not None and program_type in types):
                return prototype
        return None

    def unavailable(self, id: int, program_type: str, attach_type: str = "", section: str = "") -> str:
        """Why a program may not call helper ``id``, empty if it may.

        ``section`` tells whether the program may sleep.
        """
        key = id, program_type, attach_type, section
        reason = self._refusals.get(key)
        if reason is None:
            reason = self._refusals[key] = self._refusal(*key)
        return reason

    def _refusal(self, id: int, program_type: str, attach_type: str, section: str) -> str:
        name = self.helper_name(id)
        if name is None:
            return f"there is no helper {id}"
        prototype = self.helper(id, program_type)
        if prototype is None:
            return f"helper {name} is not available to {program_type} programs"
        attach_types = self.attach_types_of_helpers.get((name, program_type))
        if attach_types is not None and attach_type not in attach_types:
            which = f"of attach type {attach_type}" if attach_type else "without an attach type"
            return f"helper {name} is not available to {program_type} programs {which}"
        if prototype.might_sleep and not self.may_sleep(program_type, section):
            return f"helper {name} may sleep, and the program may not"
        return ""

    def may_sleep(self, program_type: str, section: str) -> bool:
        """Whether programs of this type in a section of this name are sleepable."""
        found = [rule for rule in self.sections if rule.program_type == program_type]
        rule = self.section_rule(section)
        return (rule is not None and rule.sleepable) or (bool(found) and all(rule.sleepable for rule in found))

    def helper_name(self, id: int) -> str | None:
        """The name of helper ``id``, whoever may call it; None if there is no such helper."""
        overloads = self._helpers().get(id)
        return None if overloads is None else overloads[0][1].name

    def helper_by_name(self, name: str, program_type: str | None = None) -> HelperPrototype | None:
        """Like :meth:`helper`, by name (``bpf_map_lookup_elem``)."""
        ids = self._cache.get("ids")
        if not isinstance(ids, dict):
            ids = self._cache["ids"] = {pairs[0][1].name: id for id, pairs in self._helpers().items()}
        id = ids.get(name)
        return None if id is None else self.helper(id, program_type)

    def helper_ids(self) -> tuple[int, ...]:
        """All helper numbers, ascending."""
        return tuple(sorted(self._helpers()))

    def map_number(self, number: int) -> int:
        """What a map type of an object goes by here; -1 where the platform has no such type."""
        return self.map_numbers.get(number, -1) if self.map_numbers else number

    def helper_number(self, number: int, program_type: str) -> int | None:
        """What a helper that an object calls goes by here; None where the platform has no such helper."""
        if not self.helper_numbers:
            return number
        found = self.helper_numbers.get((program_type, number))
        return self.helper_numbers.get(("", number)) if found is None else found

    def map_type(self, number: int) -> MapType | None:
        """The map type with this number, None if there is none."""
        return self.map_types.get(number)

    def map_type_by_name(self, name: str) -> MapType | None:
        """The map type of this name (``array``, ``lru_hash``), None if there is none."""
        return next((map_type for map_type in self.map_types.values() if map_type.name == name), None)

    def map_accepts(self, map_type: int, helper: str) -> bool:
        """Whether the helper of this name may be given a map of this type."""
        found = self.map_types.get(map_type)
        if found is None or (found.helpers is not None and helper not in found.helpers):
            return False
        bound = self.bound_helpers.get(helper)
        return bound is None or found.name in bound

    def argument(self, arg: HelperArg, map_type: int) -> HelperArg:
        """What ``arg`` is where the helper is given a map of this type."""
        if arg.kind is not ArgKind.MAP_VALUE_UNINIT:
            return arg
        found = self.map_types.get(map_type)
        return _VALUE_READ if found is not None and found.asks else arg

    def _helpers(self) -> Mapping[int, Sequence[tuple[frozenset[str] | None, HelperPrototype]]]:
        helpers = self._cache.get("helpers")
        if not isinstance(helpers, dict):
            helpers = self._cache["helpers"] = dict(self.load_helpers())
        return helpers
