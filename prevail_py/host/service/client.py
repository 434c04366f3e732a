"""Asking a verifier process: start it, make sure that it is confined, and put an end to it when it does not answer."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from prevail_py.host.canonical import CanonicalError, Plain, encode
from prevail_py.host.service.channel import Channel, ChannelError
from prevail_py.host.service.lockdown import Limits
from prevail_py.host.service.memory import sealed
from prevail_py.host.service.programs import MessageError, fields_of, from_program, to_verdict
from prevail_py.host.service.worker import PROTOCOL
from prevail_py.host.token import KEY_SIZE, NONCE_SIZE, Options, fingerprint
from prevail_py.objects.errors import ObjectError
from prevail_py.objects.program import Program
from prevail_py.objects.target import KERNEL_BTF
from prevail_py.platforms.extensions import in_use
from prevail_py.verifier.verdict import Verdict

__all__ = ["Certified", "Refused", "Verifier", "VerifierError"]

START_TIMEOUT: Final = 120.0
_GRACE: Final = 2.0


class VerifierError(RuntimeError):
    """There is no answer: the verifier could not be started or confined, failed, hung, or died."""


class Refused(ValueError):  # noqa: N818 - an answer, not a failure
    """The verifier cannot use what it was given: a malformed object, an unknown option."""


@dataclass(frozen=True, slots=True)
class Certified:
    """What a verifier process found about ``verdict.program``, the program as it loaded it.

    ``token`` says so under its signature; None for a program that no token can speak of.  ``facts`` are what was proved
    of its memory, if anything, which the token vouches for (:mod:`prevail_py.host.service.facts`).
    """

    verdict: Verdict
    token: bytes | None
    facts: bytes | None = None


class Verifier:
    """A verifier process of our own, to be used in a ``with`` statement; one request at a time, from any thread.

    ``limits`` bound its memory and time, ``timeout`` the seconds that an answer may take: after that it is killed, as
    everything that has died stays dead and says why.  ``btf`` and ``kconfig`` are files about the kernel that programs
    are for; they are read here and handed over sealed, and so are the extensions that count in this process
    (:mod:`prevail_py.platforms.extensions`).  ``unconfined`` accepts a machine on which the process cannot
    be locked down completely; :attr:`lacking` says then what is missing.  ``pin`` is a file that receives the public
    key.  Raises :class:`VerifierError` where it cannot be started.
    """

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        timeout: float = 60.0,
        btf: str | os.PathLike[str] | None = KERNEL_BTF,
        kconfig: str | os.PathLike[str] | None = None,
        unconfined: bool = False,
        pin: str | os.PathLike[str] | None = None,
    ) -> None:
        self.timeout: Final = timeout
        self._lock: Final = threading.Lock()
        self._epitaph = ""
        limits = limits or Limits()
        ours, theirs = socket.socketpair()
        self._channel: Final = Channel(ours)
        handed = []
        arguments = ["--fd", str(theirs.fileno()), "--memory", str(limits.memory >> 20), "--cpu", str(limits.cpu)]
        try:
            for option, path in (("btf", btf), ("kconfig", kconfig)):
                if path is None or (path == KERNEL_BTF and not os.path.exists(path)):
                    continue
                handed.append(sealed(_contents(path)))
                arguments += [f"--{option}-fd", str(handed[-1]), f"--{option}-name", os.fspath(path)]
            if documents := [each.document for each in in_use()]:
                handed.append(sealed(json.dumps(documents).encode()))
                arguments += ["--extensions-fd", str(handed[-1])]
            if unconfined:
                arguments.append("--unconfined")
            if pin is not None:
                arguments += ["--public-key", os.fspath(os.path.abspath(pin))]
            # -P: the current directory holds no modules of ours.
            self._process: Final = subprocess.Popen(
                self._command(arguments),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={"PYTHONPATH": str(Path(__file__).resolve().parents[3]), "PATH": os.environ.get("PATH", "")},
                pass_fds=[theirs.fileno(), *handed],
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            for descriptor in handed:
                os.close(descriptor)
        try:
            hello = self._hello()
            self.key: Final[bytes] = hello["key"]
            self.build: Final[bytes] = hello["build"]
            self.lacking: Final = tuple(map(str, hello["lacking"]))
            if not unconfined:
                self._check_confined()
        except BaseException:
            self.close()
            raise

    @staticmethod
    def _command(arguments: list[str]) -> list[str]:
        return [sys.executable, "-P", "-m", "prevail_py", "verifierd", *arguments]

    def __enter__(self) -> Verifier:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<verifier {fingerprint(self.key)}, process {self.pid}>"

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def close(self) -> None:
        """End the process.  It holds nothing that is worth waiting for."""
        self._channel.socket.close()
        self._process.kill()
        self._process.wait()
        self._epitaph = self._epitaph or "the verifier was closed"

    def verify(self, program: Program, *, nonce: bytes | None = None, options: Options | None = None) -> Certified:
        """Verify a program that was loaded before.

        ``nonce`` comes from whoever is to admit it (:meth:`prevail_py.host.trust.Trust.nonce`); by default nobody will.
        Raises :class:`Refused` and :class:`VerifierError`.
        """
        try:
            data = encode(from_program(program))
        except (CanonicalError, MessageError) as error:
            raise Refused(f"{program.name}: {error}") from None
        (certified,) = self._ask("program", data, program.name, None, None, nonce, options)
        return certified

    def verify_object(
        self,
        source: str | os.PathLike[str] | bytes,
        name: str | None = None,
        *,
        only: str | None = None,
        platform: str = "linux",
        nonce: bytes | None = None,
        options: Options | None = None,
    ) -> tuple[Certified, ...]:
        """Load an object file for a platform, inside, and verify its programs, or the one called ``only``.

        Raises OSError for a file that cannot be read, :class:`Refused` and :class:`VerifierError`.
        """
        if not isinstance(source, bytes):
            name = Path(source).name if name is None else name
            try:
                source = _contents(source)
            except ObjectError as error:
                raise Refused(str(error)) from None
        return self._ask("object", source, name or "<bytes>", only, platform, nonce, options)

    def _ask(
        self,
        kind: str,
        data: bytes,
        name: str,
        only: str | None,
        platform: str | None,
        nonce: bytes | None,
        options: Options | None,
    ) -> tuple[Certified, ...]:
        request: dict[str, Plain] = {
            "kind": kind,
            "name": name,
            "only": only,
            "platform": platform,
            "nonce": os.urandom(NONCE_SIZE) if nonce is None else nonce,
            "options": (options or Options()).arguments(),
        }
        descriptor = sealed(data)
        try:
            with self._lock, self._watchdog(self.timeout):
                try:
                    self._channel.send(request, [descriptor])
                except OSError:
                    raise self._dead() from None
                except CanonicalError as error:
                    raise Refused(str(error)) from None
                answer = self._receive()
        finally:
            os.close(descriptor)
        match answer:
            case {"verdicts": list(rows)}:
                return tuple(self._parsed(_certified, row) for row in rows)
            case {"refused": str(reason)}:
                raise Refused(reason)
            case {"failed": str(reason)}:
                raise VerifierError(f"the verifier failed: {reason}")
        raise self._garbled("not an answer")

    def _receive(self) -> Plain:
        try:
            received = self._channel.receive()
        except OSError:
            raise self._dead() from None
        except ChannelError as error:
            if str(error) == "the connection ended within a message":
                raise self._dead() from None
            raise self._garbled(str(error)) from None
        if received is None:
            raise self._dead()
        message, descriptors = received
        for descriptor in descriptors:  # none is expected
            os.close(descriptor)
        return message

    def _parsed(self, read: Any, value: Plain) -> Any:
        try:
            return read(value)
        except (MessageError, TypeError, ValueError) as error:
            raise self._garbled(str(error)) from None

    def _garbled(self, reason: str) -> VerifierError:
        """It does not speak the protocol: whatever it is by now, it is not asked again."""
        self._epitaph = f"the verifier did not speak the protocol: {reason}"
        self.close()
        return VerifierError(self._epitaph)

    @contextmanager
    def _watchdog(self, seconds: float) -> Iterator[None]:
        """Kill the process unless the block ends in time; that ends whatever waits for it."""
        if self._epitaph:
            raise VerifierError(self._epitaph)

        def bite() -> None:
            self._epitaph = f"the verifier did not answer within {seconds:g} s and was killed"
            self._process.kill()

        timer = threading.Timer(seconds, bite)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _dead(self) -> VerifierError:
        try:
            status = self._process.wait(timeout=_GRACE)
        except subprocess.TimeoutExpired:  # it hung up, and has no reason to go on
            self._process.kill()
            status = self._process.wait()
        if not self._epitaph:
            how = f"exit status {status}"
            if status < 0:
                with suppress(ValueError):
                    how = f"killed by {signal.Signals(-status).name}"
            self._epitaph = f"the verifier died ({how})"
        return VerifierError(self._epitaph)

    def _hello(self) -> dict[str, Any]:
        with self._watchdog(START_TIMEOUT):
            hello = self._receive()
        match hello:
            case {"error": str(reason)}:
                raise VerifierError(f"the verifier cannot be confined here: {reason}")
        got: dict[str, Any] = self._parsed(
            lambda value: fields_of(value, {"protocol": int, "key": bytes, "build": bytes, "lacking": list}), hello
        )
        if got["protocol"] != PROTOCOL or len(got["key"]) != KEY_SIZE:
            raise self._garbled(f"protocol {got['protocol']}, a key of {len(got['key'])} bytes")
        return got

    def _check_confined(self) -> None:
        """What the kernel says of the process, not what it says itself.  Raises :class:`VerifierError`."""
        try:
            text = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise VerifierError(f"whether the verifier is confined cannot be seen: {error}") from None
        status = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
        for field, wanted in (("NoNewPrivs", "1"), ("Seccomp", "2"), ("CapEff", "0" * 16)):
            if status.get(field, "").strip() != wanted:
                raise VerifierError(f"the verifier is not confined: {field} is {status.get(field, 'unknown').strip()}")


def _certified(row: Plain) -> Certified:
    got = fields_of(row, {"verdict": dict, "token": bytes, "facts": bytes}, optional=("token", "facts"))
    return Certified(to_verdict(got["verdict"]), got["token"], got["facts"])


def _contents(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a regular file of moderate size.  Raises OSError and :class:`ObjectError`."""
    from prevail_py.objects.target import MAX_BTF

    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ObjectError("file", "not a regular file")
        data = file.read(MAX_BTF + 1)
    if len(data) > MAX_BTF:
        raise ObjectError("file", f"larger than {MAX_BTF >> 20} MiB")
    return data
