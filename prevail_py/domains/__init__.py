"""Abstract domains: words and facts only, no eBPF, no solver.

:func:`facts` turns a name such as ``"interval*tnum*zones"`` into a domain: the words in it are reduced with each other
and lifted to all symbols, the facts are multiplied.  A new domain is one module and one line in the tables below, or a
class in a notebook and a call of :func:`register` (``docs/writing-a-domain.md``).
"""

if __name__ != "prevail_py.domains":
    raise ImportError("import prevail_py.domains: the top-level link 'domains' is there for people to find the package")

from collections.abc import Callable
from functools import cache
from typing import Any, Final

from prevail_py.domains.congruence import Congruence
from prevail_py.domains.equalities import Equalities
from prevail_py.domains.facts_product import FactsProduct
from prevail_py.domains.interval import Interval
from prevail_py.domains.lattice import Facts
from prevail_py.domains.nonrelational import NonRelational
from prevail_py.domains.octagons import Octagons
from prevail_py.domains.product import word_product
from prevail_py.domains.scalar import Scalar
from prevail_py.domains.scalar_zones import ScalarZones
from prevail_py.domains.tnum import Tnum
from prevail_py.domains.zones import Zones

__all__ = ["BUILT_IN", "DEFAULT", "FACTS", "WORDS", "facts", "register"]

DEFAULT: Final = "interval*tnum*zones"

WORDS: Final[dict[str, type[Any]]] = {"interval": Interval, "tnum": Tnum, "congruence": Congruence}
"""Abstractions of one word, by name."""

FACTS: Final[dict[str, Callable[[], Facts]]] = {
    "zones": Zones.top,
    "octagons": Octagons.top,
    "equalities": Equalities.top,
}
"""Abstractions of all symbols together, by name."""

BUILT_IN: Final = frozenset({*WORDS, *FACTS})
"""The names that always stand for the same domain."""


def register(name: str, domain: type[Any] | Callable[[], Facts]) -> None:
    """Let ``name`` stand for a domain of one's own, alone and in products, for the rest of this process.

    ``domain`` is a class of words (with the members of :class:`~prevail_py.domains.lattice.Word`), or a function that
    makes the top of some facts.  Raises ValueError for a name that is taken by something else or cannot stand in a
    product, TypeError for what is neither.
    """
    if not name.isidentifier():
        raise ValueError(f"a domain cannot be called {name!r}: its name should be one word")
    if not callable(domain):
        raise TypeError(f"{domain!r} is neither a class of words nor a function that makes facts")
    table: dict[str, Any] = WORDS if isinstance(domain, type) and _is_word(domain) else FACTS
    built_in = name in BUILT_IN
    if built_in and {**WORDS, **FACTS}[name] is not domain:
        raise ValueError(f"the name {name!r} is taken")
    WORDS.pop(name, None)
    FACTS.pop(name, None)
    table[name] = domain
    facts.cache_clear()


def _is_word(domain: type[Any]) -> bool:
    return all(hasattr(domain, member) for member in ("apply", "restrict", "between", "constant"))


@cache
def facts(name: str = DEFAULT, fused: bool = True) -> Callable[[], Facts]:
    """The domain called ``name``, as a function that makes its top.  Raises ValueError for a name that is none.

    Where there is a faster record for the same composition that is used, unless ``fused`` is False.
    """
    parts = [part.strip() for part in name.split("*")]
    known = {*WORDS, *FACTS}
    for part in parts:
        if part not in known:
            raise ValueError(f"unknown domain {part!r}: there are {', '.join(sorted(known))}")
    if len(set(parts)) != len(parts):
        raise ValueError(f"a domain is named twice in {name!r}")
    words: list[Any] = [WORDS[part] for part in parts if part in WORDS]
    relations = [FACTS[part] for part in parts if part in FACTS]
    if not words:
        raise ValueError(f"{name!r} names no word domain ({', '.join(sorted(WORDS))}): ranges would not be known")
    word = words[0]
    for other in words[1:]:
        word = Scalar if (word, other) == (Interval, Tnum) else word_product(word, other)
    if fused and word is Scalar and relations[:1] == [Zones.top]:
        if len(relations) == 1:
            return ScalarZones.top
        return lambda: FactsProduct((ScalarZones.top(), *(make() for make in relations[1:])))
    if not relations:
        return lambda: NonRelational.top(word)
    return lambda: FactsProduct((NonRelational.top(word), *(make() for make in relations)))
