"""The command line of the campaign."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import monotonic

from prevail_py.research.mutants.campaign import SUITE, CampaignError, Result, Store, baseline, controls, digest, run
from prevail_py.research.mutants.draw import SEED, draw
from prevail_py.research.mutants.places import PACKAGE
from prevail_py.research.mutants.table import document


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where nine of ten mutants are killed, 1 where they are not, 2 where the campaign cannot be made."""
    parser = argparse.ArgumentParser(prog="python -m prevail_py.research.mutants", description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="mutants (default: 200)")
    parser.add_argument("--seed", type=int, default=SEED, help=f"by which they are drawn (default: {SEED})")
    parser.add_argument("--jobs", type=int, default=1, help="trials at a time (default: 1)")
    parser.add_argument("--only", help="those with this text in their names")
    parser.add_argument("--survivors", action="store_true", help="try only what survived, whatever changed")
    parser.add_argument("--list", action="store_true", help="print the mutants and end")
    parser.add_argument("--out", type=Path, default=Path("out/mutants"), help="the results (default: out/mutants)")
    parser.add_argument("--markdown", type=Path, help="write the table there")
    options = parser.parse_args(arguments)
    root = PACKAGE.parent
    if not (root / "tests").is_dir():
        print("mutants: the tests are not beside the package: run this in a checkout", file=sys.stderr)
        return 2
    mutants = draw(options.count, options.seed)
    if options.list:
        print(*(f"{mutant.area:10} {mutant.name}" for mutant in mutants), sep="\n")
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    store = Store(options.out, digest(root))
    store.load(whatever=options.survivors)
    wanted = [mutant for mutant in mutants if options.only is None or options.only in mutant.name]
    if options.survivors:
        wanted = [m for m in wanted if m.name not in store.results or not store.results[m.name].is_killed]
    else:
        wanted = [mutant for mutant in wanted if mutant.name not in store.results]
    started, done = monotonic(), 0

    def tell(result: Result) -> None:
        nonlocal done
        done += 1
        took = f"{monotonic() - started:.0f} s {result.outcome:8} {result.seconds:6.1f} s"
        print(f"{done}/{len(wanted)} {took} {result.name}  [{result.test}]")
        sys.stdout.flush()

    try:
        base = _baseline(root, store)
        run(root, store, base, wanted, options.jobs, tell=tell)
    except CampaignError as error:
        print(f"mutants: {error}", file=sys.stderr)
        return 2
    ended = [store.results[mutant.name] for mutant in mutants if mutant.name in store.results]
    killed = sum(result.is_killed for result in ended)
    print(f"{killed} of {len(ended)} mutants killed; survivors:")
    print(*(f"  {result.name}" for result in ended if not result.is_killed), sep="\n")
    if options.markdown is not None:
        found = json.loads(base.read_text(encoding="utf-8"))
        commit = _git(root, "rev-parse", "--short", "HEAD") or "unknown"
        text = document(mutants, store.results, commit, "make mutants", found["seconds"], found["tests"])
        options.markdown.write_text(text, encoding="utf-8")
    return 0 if killed >= 0.9 * len(ended) else 1


def _baseline(root: Path, store: Store) -> Path:
    """The baseline of these sources: what was kept, or a new one, with the controls."""
    base, mark = store.folder / "baseline.json", store.folder / "baseline.digest"
    if base.exists() and mark.exists() and mark.read_text(encoding="utf-8") == store.digest:
        return base
    print(f"baseline: {', '.join(SUITE)}", flush=True)
    mark.unlink(missing_ok=True)
    base = baseline(root, store.folder)
    print("controls", flush=True)
    controls(root, store.folder, base)
    mark.write_text(store.digest, encoding="utf-8")
    return base


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip()


if __name__ == "__main__":
    raise SystemExit(main())
