"""Verdict tokens: what a verifier says of a program, signed, so that another process may act on it.

The wire format is in ``docs/trust.md``.  A token is::

    "PVTK"  version: u16  length: u16  claims: deterministic CBOR  signature: 64 bytes

in network order; the Ed25519 signature (RFC 8032) is over everything before it.  The claims are a map with exactly the
fields of :class:`Claims`, of fixed types and bounded lengths.  What of them follows from the program is
:func:`subject`; whoever is about to run a program computes that again.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, fields
from functools import cache
from importlib import metadata
from pathlib import Path
from sys import version_info
from typing import TYPE_CHECKING, Any, Final

from prevail_py.domains import DEFAULT
from prevail_py.host.canonical import CanonicalError, Plain, decode, encode, plain
from prevail_py.isa.decode import DecodeError
from prevail_py.isa.decode import decode as decode_code
from prevail_py.isa.encode import EncodeError
from prevail_py.isa.encode import encode as encode_code
from prevail_py.isa.instructions import Call, CallKfunc
from prevail_py.objects.program import Program
from prevail_py.platforms import Platform, platform
from prevail_py.verifier.policy import STRICT

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = [
    "HASH_SIZE",
    "KEY_SIZE",
    "MAX_TOKEN",
    "NONCE_SIZE",
    "NO_FACTS",
    "VERSION",
    "Claims",
    "Options",
    "TokenError",
    "build_id",
    "fingerprint",
    "parse",
    "program_tag",
    "sign",
    "subject",
]

MAGIC: Final = b"PVTK"
VERSION: Final = 2
"""1 knew nothing of facts."""
HASH_SIZE: Final = 32
NONCE_SIZE: Final = 32
KEY_SIZE: Final = 32
SIGNATURE_SIZE: Final = 64
MAX_CLAIMS: Final = 2048
_HEADER: Final = struct.Struct(">4sHH")
MAX_TOKEN: Final = _HEADER.size + MAX_CLAIMS + SIGNATURE_SIZE

MAX_TEXT: Final = 256
NO_FACTS: Final = bytes(HASH_SIZE)
"""In place of a hash, where nothing was proved that native code could rest on."""


class TokenError(ValueError):
    """A token that cannot be made or read; ``field`` names the place."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field: Final = field
        self.reason: Final = reason

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Options:
    """What :func:`prevail_py.verifier.verify` is asked for; None leaves a number to the verifier."""

    domain: str = DEFAULT
    disjuncts: int | None = None
    budget: int | None = None
    policy: str = STRICT.name
    smt: bool = True

    def arguments(self) -> dict[str, Any]:
        """As keyword arguments of :func:`~prevail_py.verifier.verify`."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @staticmethod
    def of(value: Plain) -> Options:
        """Options as they were encoded.  Raises :class:`TokenError`."""
        if not isinstance(value, dict) or value.keys() != {field.name for field in fields(Options)}:
            raise TokenError("options", "not a map of exactly these options")
        numbers = [value[name] for name in ("disjuncts", "budget")]
        if not all(number is None or (type(number) is int and 0 < number < 1 << 63) for number in numbers):
            raise TokenError("options", "a number that is not positive")
        if not all(isinstance(value[name], str) and len(str(value[name])) <= MAX_TEXT for name in ("domain", "policy")):
            raise TokenError("options", "a name that is no text, or too long")
        if type(value["smt"]) is not bool:
            raise TokenError("options", "smt: neither true nor false")
        given: dict[str, Any] = dict(value)
        return Options(**given)


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says.

    ``verdict`` is one of :class:`~prevail_py.verifier.verdict.VerdictKind`.  From :func:`subject`: ``name``,
    ``platform``, ``program_type``, ``attach_type`` and ``section`` (which says whether the program may sleep) are
    names, the others SHA-256: of the instructions (``bytecode``), where functions begin and end (``functions``), the
    context descriptor (``context``), the definitions of the maps and their types (``maps``), the contracts of all
    helpers and kfuncs that are called (``prototypes``), and what loading found out (``linking``).  ``build`` is
    :func:`build_id` of the verifier, ``nonce`` what the asker gave, ``time`` in milliseconds since 1970.  ``facts`` is
    the SHA-256 of what was proved of the program's memory (:mod:`prevail_py.host.service.facts`).
    """

    verdict: str
    name: str
    platform: str
    program_type: str
    attach_type: str
    section: str
    bytecode: bytes
    functions: bytes
    context: bytes
    maps: bytes
    prototypes: bytes
    linking: bytes
    options: Options
    build: bytes
    nonce: bytes
    time: int
    facts: bytes = NO_FACTS

    def plain(self) -> dict[str, Plain]:
        """The map that is encoded."""
        values: dict[str, Plain] = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**values, "options": dict(self.options.arguments())}


_TEXTS: Final = ("verdict", "name", "platform", "program_type", "attach_type", "section")
_HASHES: Final = ("bytecode", "functions", "context", "maps", "prototypes", "linking", "build", "nonce", "facts")
SUBJECT: Final = (
    "name",
    "platform",
    "program_type",
    "attach_type",
    "section",
    "bytecode",
    "functions",
    "context",
    "maps",
    "prototypes",
    "linking",
)
"""The claims that follow from the program."""


def sign(claims: Claims, key: Ed25519PrivateKey) -> bytes:
    """The token that says ``claims``.  Raises :class:`TokenError` for claims that no token may make."""
    _claims(claims.plain())
    body = encode(claims.plain())
    if len(body) > MAX_CLAIMS:
        raise TokenError("token", f"claims of more than {MAX_CLAIMS} bytes")
    signed = _HEADER.pack(MAGIC, VERSION, len(body)) + body
    return signed + key.sign(signed)


def parse(token: bytes, key: bytes) -> Claims:
    """What ``token`` says, once its signature by the public ``key`` is checked.  Raises :class:`TokenError`.

    Nothing but the frame is looked at before the signature.
    """
    if not _HEADER.size + SIGNATURE_SIZE <= len(token) <= MAX_TOKEN:
        raise TokenError("token", f"{len(token)} bytes")
    magic, version, length = _HEADER.unpack_from(token)
    if magic != MAGIC:
        raise TokenError("token", "not a verdict token")
    if version != VERSION:
        raise TokenError("version", f"{version}, where {VERSION} is understood")
    if _HEADER.size + length + SIGNATURE_SIZE != len(token):
        raise TokenError("token", "cut short, or too long")
    _check_signature(token[:-SIGNATURE_SIZE], token[-SIGNATURE_SIZE:], key)
    try:
        return _claims(decode(token[_HEADER.size : -SIGNATURE_SIZE]))
    except CanonicalError as error:
        raise TokenError("claims", str(error)) from None


def _check_signature(signed: bytes, signature: bytes, key: bytes) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, signed)
    except InvalidSignature:
        raise TokenError("signature", "not by the key that is trusted") from None


def _claims(value: Plain) -> Claims:
    if not isinstance(value, dict) or value.keys() != {field.name for field in fields(Claims)}:
        raise TokenError("claims", "not a map of exactly the claims of this version")
    for name in _TEXTS:
        text = value[name]
        if not isinstance(text, str) or len(text) > MAX_TEXT:
            raise TokenError(name, "no text, or too long")
    for name in _HASHES:
        data = value[name]
        if not isinstance(data, bytes) or len(data) != HASH_SIZE:
            raise TokenError(name, f"not {HASH_SIZE} bytes")
    if type(value["time"]) is not int or not 0 <= value["time"] < 1 << 63:
        raise TokenError("time", "not a time")
    given: dict[str, Any] = {**value, "options": Options.of(value["options"])}
    return Claims(**given)


def fingerprint(key: bytes) -> str:
    """A short name of a public key for messages."""
    return hashlib.sha256(key).hexdigest()[:16]


def program_tag(program: Program) -> str:
    """A short name for the instructions of a program: the first eight bytes of their SHA-256, in hexadecimal."""
    return hashlib.sha256(encode_code(program.code)).digest()[:8].hex()


def subject(program: Program) -> dict[str, Any]:
    """The claims that follow from ``program``, by name: :data:`SUBJECT`.

    Raises :class:`TokenError` for a program that no token can speak of: its code must be what its encoding decodes to,
    for else two programs that do different things would have one hash.
    """
    try:
        host = platform(program.platform)
        type = host.program_type(program.program_type, program.expected_attach_type, program.hook)
    except (KeyError, ValueError) as error:
        raise TokenError("program_type", f"not known: {error}") from None
    try:
        code = encode_code(program.code)
        if decode_code(code) != program.code:
            raise TokenError("bytecode", "instructions that their own encoding does not give back")
    except (EncodeError, DecodeError) as error:
        raise TokenError("bytecode", str(error)) from None
    helpers = sorted({each.helper for each in program.code if isinstance(each, Call)})
    kfuncs = [
        (pc, each, program.symbols.get(pc)) for pc, each in enumerate(program.code) if isinstance(each, CallKfunc)
    ]
    return {
        "name": program.name,
        "platform": program.platform,
        "program_type": program.program_type,
        "attach_type": program.expected_attach_type,
        "section": program.section,
        "bytecode": hashlib.sha256(code).digest(),
        "functions": _hash(program.subprograms),
        "context": _hash(type),
        "maps": _hash([(spec, host.map_type(spec.type)) for spec in program.maps]),
        "prototypes": _hash([[_contract(host, id, program) for id in helpers], kfuncs]),
        "linking": _hash(
            [
                program.licence,
                program.unsupported,
                program.symbols,
                program.poisoned,
                program.assumptions,
                program.target_btf,
                program.hook,
            ]
        ),
    }


def _contract(host: Platform, id: int, program: Program) -> tuple[object, ...]:
    """What the verifier knows of a helper in this program: its prototype, and why it may not be called."""
    forbidden = host.unavailable(id, program.program_type, program.expected_attach_type, program.section)
    return id, host.helper(id, program.program_type), forbidden


def _hash(value: object) -> bytes:
    try:
        return hashlib.sha256(encode(plain(value))).digest()
    except CanonicalError as error:
        raise TokenError("program", str(error)) from None


_BUILD: Final = ("words.py", "isa", "platforms", "objects", "cfg", "domains", "vm", "verifier", "host")
_LIBRARIES: Final = ("pyelftools", "z3-solver", "cryptography")


@cache
def build_id() -> bytes:
    """SHA-256 over the source of the verifier and all it rests on, its tables, and the versions of what it uses."""
    root = Path(__file__).resolve().parents[1]
    roots = [root / name for name in _BUILD]
    paths = [path for each in roots for path in (each.rglob("*") if each.is_dir() else [each])]
    digest = hashlib.sha256()
    for path in sorted(paths):
        if path.suffix in (".py", ".json", ".tsv"):
            name = path.relative_to(root).as_posix()
            digest.update(encode([name, hashlib.sha256(path.read_bytes()).digest()]))
    for name in _LIBRARIES:
        digest.update(encode([name, metadata.version(name)]))
    digest.update(encode(["python", ".".join(map(str, version_info[:3]))]))
    return digest.digest()
