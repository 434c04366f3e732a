"""``prevail-py include-dir``: where the headers for C programs are."""

from __future__ import annotations

import argparse

NAME = "include-dir"
HELP = "print the folder of prevail.h, for the compiler's -I"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments."""


def run(arguments: argparse.Namespace) -> int:
    """Print one line."""
    from prevail_py.include import FOLDER

    print(FOLDER)
    return 0
