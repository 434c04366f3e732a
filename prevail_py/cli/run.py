"""``prevail-py run OBJ --pcap IN``: an XDP program over a capture file, once it is proved safe."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from prevail_py.cli.support import (
    EXIT_NOT_SAFE,
    EXIT_OK,
    InputError,
    add_engine_argument,
    add_maps_argument,
    add_program_argument,
    add_service_argument,
    add_target_arguments,
    environment_for,
    open_object,
    print_table,
    start_verifier,
    the_program,
)

if TYPE_CHECKING:
    from prevail_py.host.trust import Trust
    from prevail_py.objects.elf import ObjectFile
    from prevail_py.verifier.verdict import Verdict

NAME = "run"
HELP = "run a verified XDP program over the packets of a capture file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``run``."""
    parser.add_argument("object", metavar="OBJ", help="an eBPF object file")
    add_program_argument(parser, "the program, where there are several")
    add_target_arguments(parser)
    add_service_argument(parser)
    parser.add_argument("--pcap", metavar="IN", required=True, help="the packets, in order")
    add_engine_argument(parser)
    parser.add_argument(
        "--validate", action="store_true", help="check by Z3 that native code is what the semantics says (engine jit)"
    )
    parser.add_argument("--out", metavar="DIR", help="write one capture file per action there")
    add_maps_argument(parser)
    parser.add_argument(
        "--show-maps", action="store_true", help="print what the maps hold after, zeros in arrays left out"
    )


def run(arguments: argparse.Namespace) -> int:
    """Verify and run; 0, 1 where the gate refuses the program, 2 where an input cannot be used."""
    from prevail_py.cli.map_contents import contents_table, fill
    from prevail_py.host.capture import CaptureError
    from prevail_py.host.gate import GateError
    from prevail_py.host.xdp import ReplayError, replay
    from prevail_py.report.text import verdict_text
    from prevail_py.verifier import verify
    from prevail_py.vm.engines import EngineError
    from prevail_py.vm.maps import MapError, create_maps

    path = arguments.object
    token: dict[str, bytes] | None = None
    facts: dict[str, bytes] = {}
    trust: Trust | None = None
    if arguments.service:
        loaded, verdicts, token, trust, facts = _from_service(path, arguments)
    else:
        loaded, verdicts = open_object(path, arguments), {}
    program = the_program(path, loaded, arguments.program)
    environment = environment_for((arguments.engine,))
    try:
        maps = create_maps(program.maps, environment)
        if arguments.maps is not None:
            fill(maps, arguments.maps, loaded.programs, environment)
        native = arguments.engine.startswith("jit")  # which need not count where a run is known to end
        verdict = verdicts[program.name] if arguments.service else verify(program, termination=native)
        if arguments.validate:
            _validate(path, verdict)
        report = replay(
            program,
            None if arguments.service else verdict,
            arguments.pcap,
            out_dir=arguments.out,
            maps=maps,
            environment=environment,
            engine=arguments.engine,
            token=token,
            trust=trust,
            facts=facts.get(program.name),
        )
    except GateError as error:
        print(f"prevail-py: {error}", file=sys.stderr)
        if not verdict.is_safe:
            print(verdict_text(path, verdict))
        return EXIT_NOT_SAFE
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}") from error
    except CaptureError as error:
        raise InputError(str(error)) from error
    except (EngineError, MapError, ReplayError) as error:
        raise InputError(f"{path}: {error}") from error
    if arguments.service:
        print(f"prevail-py: {report.admission}", file=sys.stderr)
    print_table(report.table())
    if arguments.show_maps:
        contents = contents_table(maps)
        if contents.rows:
            print()
            print_table(contents)
    return EXIT_OK


def _validate(path: str, verdict: Verdict) -> None:
    """Refuse to go on unless the native code of the program is known to be right; say so where it is."""
    from prevail_py.host.gate import facts_of
    from prevail_py.verifier.translation import validate
    from prevail_py.vm.jit.proved.plan import Ineligible

    facts = facts_of(verdict)
    if facts is None:
        if verdict.is_safe:
            raise InputError(f"{path}: nothing to validate: only a verdict that is found in this process has facts")
        return  # the gate says why
    try:
        mistakes = validate(verdict.program, facts)
    except Ineligible as reason:
        raise InputError(f"{path}: nothing to validate, the program runs checked: {reason}") from None
    if mistakes:
        raise InputError(f"{path}: the native code is wrong: {mistakes[0]}")
    print(f"prevail-py: native code of {verdict.program.name} validated", file=sys.stderr)


def _from_service(
    path: str, arguments: argparse.Namespace
) -> tuple[ObjectFile, dict[str, Verdict], dict[str, bytes], Trust, dict[str, bytes]]:
    """The programs as a confined process loaded them, its verdicts and tokens by name, the trust in its key, and what
    it proved of memory."""
    from prevail_py.host.service import Refused
    from prevail_py.host.trust import Trust
    from prevail_py.objects.elf import ObjectFile

    with start_verifier(arguments) as verifier:
        trust = Trust(verifier.key)
        try:
            answers = verifier.verify_object(path, platform=arguments.platform, nonce=trust.nonce())
        except Refused as error:
            raise InputError(f"{path}: {error}") from error
        except OSError as error:
            raise InputError(f"{path}: {error.strerror or error}") from error
    verdicts = {answer.verdict.program.name: answer.verdict for answer in answers}
    tokens = {answer.verdict.program.name: answer.token for answer in answers if answer.token is not None}
    loaded = ObjectFile(path, {name: verdict.program for name, verdict in verdicts.items()})
    facts = {answer.verdict.program.name: answer.facts for answer in answers if answer.facts is not None}
    return loaded, verdicts, tokens, trust, facts
