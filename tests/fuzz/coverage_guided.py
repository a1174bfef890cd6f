"""Look for inputs that a reader of points does not expect, guided by coverage.

    pip install atheris
    python tests/fuzz/coverage_guided.py pcd -max_total_time=600    # or npy, ply

Options after the reader are libFuzzer's. An input that fails is written to the current folder.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path

import atheris
import numpy as np
from point_inputs import point_input

with atheris.instrument_imports(include=["padre3d.io"]):
    from padre3d.io import load_points

READERS = ("npy", "pcd", "ply")
SEEDS = 200


def main() -> None:
    """Entry point."""
    if len(sys.argv) < 2 or sys.argv[1] not in READERS:
        sys.exit(f"expected a reader, one of {', '.join(READERS)}, got {sys.argv[1:2]}")
    reader = sys.argv.pop(1)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"input.{reader}"
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        for number in range(SEEDS):
            content = point_input(reader, np.random.default_rng(number))
            (corpus / str(number)).write_bytes(content)

        def one_input(data: bytes) -> None:
            path.write_bytes(data)
            try:
                load_points(path)
            except ValueError as error:
                if path.name not in str(error):
                    raise AssertionError(f"an error without its file: {error}") from error

        atheris.Setup([*sys.argv, str(corpus)], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
