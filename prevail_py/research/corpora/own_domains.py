"""Domains that only this process has, written in a cell of a notebook say, for processes that do the verifying.

:func:`own_domains` finds what a name such as ``"mine*interval"`` stands for beyond the domains of the package, and
packs it; :func:`install` registers it elsewhere.  The digest of an :class:`OwnDomain` covers its code by value, and
every file of source that is loaded here and belongs neither to Python nor to an installed package nor to this one: more
than the domain may use, so that what is kept under it cannot be that of other code.
"""

from __future__ import annotations

import base64
import io
import site
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any, ClassVar, Final

import prevail_py
from prevail_py.domains import BUILT_IN, FACTS, WORDS, register
from prevail_py.research.corpora.cache import CorpusError, digest

__all__ = ["OwnDomain", "install", "own_domains"]


@dataclass(frozen=True, slots=True)
class OwnDomain:
    """A domain by name, its code (a pickle, in base64), and what it is known by where results are kept."""

    name: str
    code: str
    digest: str


def own_domains(domain: str) -> tuple[OwnDomain, ...]:
    """Those of the parts of ``domain`` that were registered in this process.

    Raises ValueError for a part that is no domain, :class:`CorpusError` where one cannot be brought elsewhere.
    """
    parts = dict.fromkeys(part.strip() for part in domain.split("*"))
    known = {**WORDS, **FACTS}
    for part in parts:
        if part not in known:
            raise ValueError(f"unknown domain {part!r}: there are {', '.join(sorted(known))}")
    return tuple(_packed(part, known[part]) for part in parts if part not in BUILT_IN)


def install(domains: Mapping[str, str]) -> None:
    """Register domains, given as name and code, unless that was the last that was installed by that name."""
    for name, code in domains.items():
        if _installed.get(name) != code:
            import cloudpickle

            register(name, cloudpickle.loads(base64.b64decode(code)))
            _installed[name] = code


_installed: Final[dict[str, str]] = {}


def _packed(name: str, domain: Any) -> OwnDomain:
    try:
        import cloudpickle
    except ImportError:
        raise CorpusError(
            f"cloudpickle: not installed; the domain {name} needs it (pip install 'prevail-py[research]')"
        ) from None
    module = sys.modules.get(getattr(domain, "__module__", None) or "")
    by_value = module is not None and module.__name__ != "__main__" and _is_own(module)
    try:
        if by_value:  # a process elsewhere need not find the module
            cloudpickle.register_pickle_by_value(module)
        try:
            code = base64.b64encode(cloudpickle.dumps(domain)).decode()
            identity = _identity(domain)
        finally:
            if by_value:
                cloudpickle.unregister_pickle_by_value(module)
    except Exception as error:  # whatever the domain refers to says why it cannot be packed
        raise CorpusError(f"the domain {name} cannot be brought to another process: {error}") from error
    return OwnDomain(name, code, digest(identity, *_own_sources()))


def _identity(domain: Any) -> bytes:
    """The pickle of a domain without what differs from process to process: names of files, numbers of classes."""
    import cloudpickle
    from cloudpickle import cloudpickle as inside

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        dispatch_table: ClassVar = {
            **cloudpickle.Pickler.dispatch_table,
            CodeType: lambda code: inside._code_reduce(code.replace(co_filename="")),
        }

    buffer = io.BytesIO()
    Pickler(buffer).dump(domain)
    data = buffer.getvalue()
    # Classes that are defined in a notebook get a random number; which one of them is meant is what counts.
    numbers = [number.encode() for number in inside._DYNAMIC_CLASS_TRACKER_BY_CLASS.values()]
    found = sorted((data.find(number), number) for number in numbers if number in data)
    for place, (_, number) in enumerate(found):
        data = data.replace(number, b"%032d" % place)
    return data


def _own_sources() -> list[bytes | str]:
    """Names and contents of the loaded files that are nobody else's."""
    files = sorted({str(module.__file__) for module in list(sys.modules.values()) if _is_own(module)})
    return [part for file in files if Path(file).is_file() for part in (file, Path(file).read_bytes())]


def _is_own(module: Any) -> bool:
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and not any(Path(file).is_relative_to(folder) for folder in _FOREIGN)


_FOREIGN: Final = tuple(
    {
        *(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib", "scripts")),
        *map(Path, site.getsitepackages()),
        Path(site.getusersitepackages()),
        Path(prevail_py.__file__).parent,
    }
)
