"""``prevail-py version``: the version of prevail_py and of Python."""

from __future__ import annotations

import argparse
import platform

from prevail_py import __version__

NAME = "version"
HELP = "print the version"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments."""


def run(arguments: argparse.Namespace) -> int:
    """Print one line."""
    print(f"prevail-py {__version__} (Python {platform.python_version()})")
    return 0
