"""The verifier process itself: get ready, make a key, lock down, answer until the connection ends.

Everything that needs the file system happens before the lockdown and before any byte of a request is read: imports,
tables, the types of the kernel, a first use of the solver.  Objects are parsed inside.  Requests and answers are
described in ``docs/trust.md``.
"""

from __future__ import annotations

import codecs
import json
import os
import pkgutil
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from prevail_py.host.canonical import CanonicalError, Plain, decode
from prevail_py.host.service.channel import Channel, ChannelError
from prevail_py.host.service.facts import claim_of, encoded_facts
from prevail_py.host.service.lockdown import Limits, LockdownError, hide, lock_down
from prevail_py.host.service.memory import SealError, read_sealed
from prevail_py.host.service.programs import MessageError, fields_of, from_verdict, to_program
from prevail_py.host.token import NONCE_SIZE, Claims, Options, TokenError, build_id, sign, subject
from prevail_py.objects.errors import ObjectError
from prevail_py.objects.target import MAX_BTF, MAX_KCONFIG, Kconfig, TargetBtf
from prevail_py.platforms import extensions, platform
from prevail_py.platforms.extensions import ExtensionError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from prevail_py.objects.program import Program
    from prevail_py.verifier.verdict import Verdict

__all__ = ["PROTOCOL", "Given", "serve"]

PROTOCOL: Final = 3
"""1 knew no platform but Linux, 2 no facts."""
MAX_PAYLOAD: Final = 32 << 20
MAX_EXTENSIONS: Final = 32 << 20
_BALLAST: Final = 4 << 20

_WARM: Final = ("platforms", "objects", "cfg", "domains", "vm.helpers", "vm.maps", "verifier")
_CODECS: Final = ("ascii", "latin-1", "utf-8", "utf-16", "utf-32", "unicode_escape", "raw_unicode_escape")
_PLATFORMS: Final = ("linux", "windows")
"""Those whose tables are in memory when the process is locked down."""
_WARM_EXAMPLES: Final = ("xdp_firewall", "unsafe_null")


@dataclass(frozen=True, slots=True)
class Given:
    """What a verifier process is started with.

    ``btf`` and ``kconfig`` are sealed descriptors and what to call them; ``extensions`` is one with the documents that
    count, an array of JSON strings, and without it none do; ``public_key`` is where the key is pinned.
    ``unconfined`` accepts a machine that lacks what a lockdown needs.
    """

    descriptor: int
    btf: tuple[int, str] | None = None
    kconfig: tuple[int, str] | None = None
    limits: Limits = field(default_factory=Limits)
    unconfined: bool = False
    public_key: str | None = None
    extensions: int | None = None


def serve(given: Given, after_lockdown: Callable[[], None] = lambda: None) -> int:
    """Be the verifier; the exit status.  ``after_lockdown`` is for tests, which look around from inside."""
    hide()
    channel = Channel(socket.socket(fileno=given.descriptor))
    try:
        inside = _ready(given)
        key = _new_key()
        if given.public_key is not None:  # no file can be written later
            with open(given.public_key, "w", encoding="ascii") as file:
                file.write(_public(key).hex() + "\n")
        lacking = lock_down(given.limits, channel.socket.fileno(), required=not given.unconfined)
    except (LockdownError, ObjectError, SealError, ExtensionError, OSError) as error:
        channel.send({"error": str(error)})
        return 1
    after_lockdown()
    hello: Plain = {"protocol": PROTOCOL, "key": _public(key), "build": build_id(), "lacking": list(lacking)}
    channel.send(hello)
    return inside.answer(channel, key)


@dataclass(frozen=True, slots=True)
class _Inside:
    """What requests are answered with."""

    btf: TargetBtf | None
    kconfig: Kconfig | None

    def answer(self, channel: Channel, key: Ed25519PrivateKey) -> int:
        """Answer requests until the other side hangs up, or until memory runs out: then nothing can be relied on."""
        ballast = bytearray(_BALLAST)  # to be thrown out where memory is short, so that this can be said
        while (received := channel.receive()) is not None:
            request, descriptors = received
            try:
                answer: Plain = {"verdicts": self._verdicts(request, descriptors, key)}
            except (ObjectError, MessageError, SealError, TokenError, CanonicalError) as error:
                answer = {"refused": str(error)}
            except MemoryError:
                del ballast
                channel.send({"failed": "out of memory"})
                return 1
            except Exception as error:
                answer = {"failed": f"{type(error).__name__}: {error}"}
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)
            try:
                channel.send(answer)
            except (ChannelError, CanonicalError) as error:
                channel.send({"failed": str(error)})
        return 0

    def _verdicts(self, request: Plain, descriptors: tuple[int, ...], key: Ed25519PrivateKey) -> list[Plain]:
        from prevail_py.verifier import verify

        got = fields_of(request, _REQUEST, optional=("only", "platform"))
        if len(got["nonce"]) != NONCE_SIZE:
            raise MessageError(f"nonce: not {NONCE_SIZE} bytes")
        if len(descriptors) != 1:
            raise MessageError("a request carries one descriptor")
        options = Options.of(got["options"])
        _known(options)
        answers: list[Plain] = []
        for program in self._programs(got, read_sealed(descriptors[0], MAX_PAYLOAD)):
            verdict = verify(program, termination=True, **options.arguments())
            facts = encoded_facts(verdict)
            token = _token(verdict, options, got["nonce"], key, facts)
            answers.append({"verdict": from_verdict(verdict), "token": token, "facts": facts})
        return answers

    def _programs(self, request: dict[str, Any], data: bytes) -> list[Program]:
        from prevail_py.objects.elf import load_object

        match request["kind"]:
            case "program":
                program = to_program(decode(data))
                _known_platform(program.platform)
                return [program]
            case "object":
                name = request["platform"] or ""
                _known_platform(name)
                loaded = load_object(data, request["name"], btf=self.btf, kconfig=self.kconfig, platform=name)
                found = loaded.programs.values()
                return [each for each in found if request["only"] in (None, each.name)]
        raise MessageError(f"kind: {request['kind']!r}")


_REQUEST: Final = {"kind": str, "name": str, "only": str, "platform": str, "nonce": bytes, "options": dict}


def _known_platform(name: str) -> None:
    """Raises :class:`MessageError` for a platform that does not exist, or was not in memory at the lockdown."""
    try:
        platform(name)
    except ValueError as error:
        raise MessageError(str(error)) from None


def _known(options: Options) -> None:
    """Raises :class:`MessageError` for a domain or policy that does not exist."""
    from prevail_py.domains import facts
    from prevail_py.verifier.policy import policy

    try:
        facts(options.domain)
        policy(options.policy)
    except ValueError as error:
        raise MessageError(str(error)) from None


def _token(
    verdict: Verdict, options: Options, nonce: bytes, key: Ed25519PrivateKey, facts: bytes | None
) -> bytes | None:
    """The token for a verdict; None for a program that no token can speak of, which nobody can run by one."""
    try:
        claims = Claims(
            verdict=verdict.kind.name,
            **subject(verdict.program),
            options=options,
            build=build_id(),
            nonce=nonce,
            time=time.time_ns() // 1_000_000,
            facts=claim_of(facts),
        )
        return sign(claims, key)
    except TokenError:
        return None


def _ready(given: Given) -> _Inside:
    """Have everything in memory that an answer may need."""
    from prevail_py.objects import target

    btf = kconfig = None
    if given.btf is not None:
        descriptor, name = given.btf
        release = os.uname().release if name == target.KERNEL_BTF else ""
        btf = target.types_from(read_sealed(descriptor, MAX_BTF), name, release)
        os.close(descriptor)
    if given.kconfig is not None:
        descriptor, name = given.kconfig
        kconfig = target.kconfig_from(read_sealed(descriptor, MAX_KCONFIG), name)
        os.close(descriptor)
    _extend(given.extensions)
    for package in _WARM:
        found = import_module(f"prevail_py.{package}")
        for module in pkgutil.walk_packages(found.__path__, f"{found.__name__}."):
            if not module.name.endswith("generate"):  # scripts that write the tables
                import_module(module.name)
    for codec in _CODECS:
        codecs.lookup(codec)
    for name in _PLATFORMS:
        platform(name).helper_ids()
    build_id()
    _exercise()
    return _Inside(btf, kconfig)


def _extend(descriptor: int | None) -> None:
    """Use the extensions that were handed over, and neither the store nor what packages offer.

    Raises :class:`ExtensionError` and :class:`SealError`.
    """
    if descriptor is None:
        extensions.use(())
        return
    data = read_sealed(descriptor, MAX_EXTENSIONS)
    os.close(descriptor)
    try:
        documents = json.loads(data)
    except ValueError:
        raise ExtensionError("extensions: no array of documents") from None
    if type(documents) is not list or not all(type(each) is str for each in documents):
        raise ExtensionError("extensions: no array of documents")
    extensions.use(documents)
    for each in {extension.platform for extension in extensions.in_use()}:
        try:
            platform(each)
        except ExtensionError:
            raise
        except ValueError as error:
            raise ExtensionError(f"extensions: {error}") from None


def _exercise() -> None:
    """Use everything once: what is imported or read at first use is there then."""
    import z3

    from prevail_py import examples
    from prevail_py.objects import target
    from prevail_py.objects.elf import load_object
    from prevail_py.verifier import verify

    key = _new_key()
    for name in _WARM_EXAMPLES:
        for program in load_object(examples.path(name)).programs.values():
            from_verdict(verify(program, policy="linux-root"))
            verdict = verify(program, termination=True)
            from_verdict(verdict)
            _token(verdict, Options(), bytes(NONCE_SIZE), key, encoded_facts(verdict))
    with suppress(target.Missing):  # a request that asks for it will be told
        target.kernel_version()
    x = z3.BitVec("x", 64)
    solver = z3.Solver()
    solver.add(x * x == 49, x > 7)
    solver.check()


def _new_key() -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.generate()


def _public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()
