"""The tool of the C++ runtime (cpp/tests/tool.cpp) as a process that waits for the next frame."""

from __future__ import annotations

import subprocess
from pathlib import Path

from benchmarks.common import ROOT

BUILD = ROOT / "build" / "cpp"
TOOL = "padre3d_test_tool"


class CppError(RuntimeError):
    """The tool ended with an error."""


class CppProcess:
    """A command of the tool that answers every line with numbers.

    Args:
        build: CMake's build folder.
        words: the command and its arguments.
    """

    def __init__(self, build: Path, *words: object) -> None:
        self._process = subprocess.Popen(
            [build / TOOL, *map(str, words)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """End the tool."""
        self._process.communicate()

    def numbers(self) -> list[float]:
        """The answer to one line.

        Raises:
            CppError: if there is none, with what the tool says.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        except BrokenPipeError:  # it has said why
            answer = ""
        else:
            answer = self._process.stdout.readline()
        if not answer:
            assert self._process.stderr is not None
            raise CppError(f"{TOOL}: {self._process.stderr.read().strip()}")
        return [float(word) for word in answer.split()]


class CppDetector(CppProcess):
    """The whole detector, points to boxes: a call is a frame.

    Args:
        build: CMake's build folder.
        folder: exported.
        cloud: a .npy file with points.
        boxes: a .npy file that the first frame writes: (K, 11) box, score, label.
        threads: of the pillar encoder and the backend.

    Attributes:
        processor_s: seconds of processor time of all frames, without what lies between them.
    """

    def __init__(self, build: Path, folder: Path, cloud: Path, boxes: Path, threads: int) -> None:
        super().__init__(build, "frames", folder, cloud, boxes, "openvino", threads)
        self.processor_s = 0.0

    def __call__(self) -> None:
        """Find the boxes of one frame.

        Raises:
            CppError: if the program ends instead.
        """
        _, processor_ms = self.numbers()
        self.processor_s += processor_ms / 1e3
