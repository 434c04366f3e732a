"""What the documentation site has beyond the files of ``docs``: the other documents, the lessons, the reference.

The repository's own links lead from file to file, as on any forge.  On the site they are led to the pages that the
files became; a link to what is no page (source code, tables, data) becomes its text.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from prevail_py.research.notebooks import load, markdown  # noqa: E402 -- found by the line above

REFERENCE = {
    "The package": ["prevail_py"],
    "Words and instructions": ["words", "isa.instructions", "isa.semantics", "isa.decode", "isa.encode",
                               "isa.assembler"],
    "Programs and platforms": ["objects.program", "objects.elf", "objects.text", "platforms.model"],
    "Control flow": ["cfg.builder", "cfg.graph", "cfg.wto", "cfg.dominators", "cfg.liveness"],
    "Domains": ["domains", "domains.lattice", "domains.interval", "domains.tnum", "domains.congruence", "domains.zones",
                "domains.octagons", "domains.equalities", "domains.product"],
    "The verifier": ["verifier.analysis", "verifier.verdict", "verifier.assertions", "verifier.policy",
                     "verifier.explain", "verifier.witness", "verifier.termination", "verifier.recording",
                     "verifier.proofs.prove"],
    "The machine": ["vm.interpreter", "vm.outcome", "vm.environment", "vm.engines", "vm.differential", "vm.reduction",
                    "vm.trace"],
    "The host": ["host.gate"],
    "Reports": ["report.pictures", "report.explorer", "report.debugger", "report.document"],
    "Research": ["research.corpora", "research.corpora.registry", "research.corpora.runs", "research.corpora.frames",
                 "research.experiment.grid", "research.experiment.tables", "research.experiment.plots",
                 "research.exhaustive", "research.planted", "research.strategies", "research.notebooks"],
}  # fmt: skip
"""The pages of the reference, with their modules (below ``prevail_py``)."""


def pages() -> dict[str, str]:
    """The pages that are no files of ``docs``, by address: those of the repository, of notebooks, of docstrings."""
    found = {
        f"repository/{name}": (ROOT / name).read_text(encoding="utf-8") for name in ("CONTRIBUTING.md", "CHANGELOG.md")
    }
    for path in sorted((ROOT / "papers").rglob("*.md")):
        found[path.relative_to(ROOT).as_posix()] = path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        found[f"lessons/{path.stem}.md"] = markdown(load(path), folder="")
    for title, modules in REFERENCE.items():
        names = [name if name == "prevail_py" else f"prevail_py.{name}" for name in modules]
        parts = [f"# {title}", *(f"::: {name}" for name in names)]
        found[f"reference/{_slug(title)}.md"] = "\n\n".join(parts) + "\n"
    return found


def images() -> dict[str, Path]:
    """The pictures of the pages that are no files of ``docs``, by address."""
    return {path.relative_to(ROOT).as_posix(): path for path in sorted((ROOT / "papers").rglob("*.png"))}


def sources() -> dict[Path, str]:
    """Which page of the site each file of the repository became."""
    found = {path: path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*")}
    for uri in pages():
        head, _, rest = uri.partition("/")
        if head in ("repository", "papers"):
            found[ROOT / (rest if head == "repository" else uri)] = uri
        elif head == "lessons":
            found[(ROOT / "notebooks" / rest).with_suffix(".ipynb")] = uri
    found |= {path: uri for uri, path in images().items()}
    found[ROOT / "README.md"] = "README.md"
    return {path.resolve(): uri for path, uri in found.items() if path.is_file() or path.suffix == ".ipynb"}


def linked(text: str, page: str, known: dict[Path, str]) -> str:
    """``text`` of the page ``page`` with links to other files led to their pages, or taken out."""
    origin = next((path for path, uri in known.items() if uri == page), None)
    if origin is None:
        return text

    def replace(match: re.Match[str]) -> str:
        mark, label, target, anchor = match.groups()
        if "://" in target or not target:
            return match[0]
        uri = known.get((origin.parent / target).resolve())
        if uri is None:
            return label
        return f"{mark}[{label}]({os.path.relpath(uri, os.path.dirname(page) or '.')}{anchor or ''})"

    parts = re.split(r"(^```.*?^```$)", text, flags=re.DOTALL | re.MULTILINE)
    parts[::2] = [
        re.sub(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)#\s]*)(#[^)]*)?\)", replace, part) for part in parts[::2]
    ]
    parts[::2] = [re.sub(r"\](?=\[\d+\])", r"]\\", part) for part in parts[::2]]  # a[1][2] is no reference
    return "".join(parts)


def _slug(title: str) -> str:
    return title.lower().replace(" ", "-")


def expanded(nav: Any, named: frozenset[str] = frozenset()) -> Any:
    """The navigation with the pages that ``folder/`` and ``*`` stand for.

    Of a folder these are all, the README first; ``*`` are the documents of ``docs`` that are ``named`` nowhere else.
    """
    match nav:
        case list():
            places = [(entry, expanded(entry, named)) for entry in nav]
            return [each for entry, found in places for each in (found if entry == "*" else [found])]
        case dict():
            return {title: expanded(entry, named) for title, entry in nav.items()}
        case "*":
            return sorted({path.name for path in (ROOT / "docs").glob("*.md")} - named)
        case str() if nav.endswith("/"):
            here = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs" / nav).rglob("*.md")]
            found = [uri for uri in {*here, *pages()} if uri.startswith(nav)]
            return sorted(found, key=lambda uri: (not uri.endswith("README.md") or uri.count("/") > 1, uri))
    return nav


def _names(nav: Any) -> Iterator[str]:
    match nav:
        case list():
            for entry in nav:
                yield from _names(entry)
        case dict():
            yield from _names(list(nav.values()))
        case str():
            yield nav


# What mkdocs calls ------------------------------------------------------------------------------------------------


def on_config(config: Any) -> Any:
    """Name the pages of folders in the navigation."""
    config.nav = expanded(config.nav, frozenset(_names(config.nav)))
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are no files."""
    from mkdocs.structure.files import File

    for uri, text in pages().items():
        files.append(File.generated(config, uri, content=text))
    for uri, path in images().items():
        files.append(File.generated(config, uri, abs_src_path=str(path)))
    return files


def on_page_markdown(text: str, page: Any, config: Any, files: Any) -> str:
    """Lead links to pages."""
    return linked(text, page.file.src_uri, sources())
