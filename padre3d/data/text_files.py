"""Text files that a user or another tool wrote: read, or one error that names the file."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any


def read_text(path: Path, what: str) -> str:
    """The text of a file in UTF-8; ValueError if it is none."""
    try:
        # Spreadsheets begin their files with a byte order mark.
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected {what}, got {error}") from error


def read_json(path: Path, what: str) -> Any:
    """The content of a JSON file.

    Args:
        path: the file.
        what: what it should be, for messages: ``"a split"``.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no JSON.
    """
    try:
        return json.loads(read_text(path, what))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: expected {what} as JSON, got {error}") from error


def read_csv(path: Path, what: str) -> list[tuple[int, dict[str, str]]]:
    """Rows of a CSV file with a header, each with the number of its line; errors as read_json."""
    lines = read_text(path, what).splitlines(keepends=True)
    reader = csv.DictReader(lines, skipinitialspace=True)
    try:
        return [(reader.line_num, dict(row)) for row in reader]
    except csv.Error as error:
        raise ValueError(f"{path}: expected {what} as CSV, got {error}") from error
