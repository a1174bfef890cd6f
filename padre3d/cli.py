"""What all tools share: errors of one line, ``--debug``, and what no command line may ask for."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from padre3d.backends.base import BackendError
from padre3d.io.lock import LockedError

# What a user can cause and mend. Anything else is a fault of the program and keeps its traceback.
EXPECTED = (ValueError, OSError, ImportError, MemoryError, BackendError, LockedError)
Rule = tuple[str, Any, Any, str]


def add_debug_argument(parser: argparse.ArgumentParser) -> None:
    """``--debug``, which :func:`run_tool` looks at."""
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def run_tool(
    run: Callable[[argparse.Namespace], int | None], args: argparse.Namespace, status: int = 1
) -> int:
    """Run a tool; an error that a user can mend is one line on stderr.

    Args:
        run: does the work; returns the exit status, None for 0.
        args: its command line, with ``debug``.
        status: exit status of an error.

    Returns:
        What ``run`` returned, 0 for None.

    Raises:
        SystemExit: on an error, an interrupt (130) and when whoever read the output has gone.
    """
    # A log file on a full disk would print a traceback for every line.
    logging.raiseExceptions = args.debug
    try:
        result = run(args) or 0
        sys.stdout.flush()
    except BrokenPipeError:
        # Nothing more can be said, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        if args.debug:
            raise
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except EXPECTED as error:
        if args.debug:
            raise
        text = f"error: {one_line(error)}"
        if status == 1:
            sys.exit(text)
        print(text, file=sys.stderr)
        sys.exit(status)
    return result


def one_line(error: BaseException) -> str:
    """An error's message on one line; its type where it has none.

    Lists, which follow a colon and are indented, keep their lines.
    """
    text = str(error)
    words = text.strip() if ":\n  " in text else " ".join(text.split())
    if isinstance(error, MemoryError):
        return f"not enough memory {words}".strip()
    return words or type(error).__name__


def check_used(rules: Iterable[Rule]) -> None:
    """Refuse options that would have no effect.

    Args:
        rules: option, its value (None, False or an empty list where it is not given), whether it is
            used, and what it would need.

    Raises:
        ValueError: naming the option.
    """
    for option, value, is_used, wanted in rules:
        given = value is not None and value is not False and value != []
        if given and not is_used:
            raise ValueError(f"{option}: expected {wanted}")


def check_targets(
    targets: Iterable[tuple[str, Path | str | None]], inputs: Iterable[Path | str | None]
) -> None:
    """Refuse to write over an input, or two files over each other.

    Args:
        targets: option and file it will write, None for none.
        inputs: files that are read; inside folders nothing is overwritten either.

    Raises:
        ValueError: naming both.
    """
    taken = {_identity(path): f"the input {path}" for path in inputs if path is not None}
    for option, path in targets:
        if path is None:
            continue
        key = _identity(path)
        if key in taken:
            raise ValueError(f"{option} {path}: expected a file of its own, got {taken[key]}")
        taken[key] = f"the file of {option} {path}"


def _identity(path: Path | str) -> tuple[int, int] | str:
    """The same for all names of a file: links, hard links, relative paths."""
    try:
        status = os.stat(path)
    except OSError:
        return os.path.realpath(path)
    return status.st_dev, status.st_ino
