"""What every backend shares: its options, what it returns, and the error when it is absent."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

Arrays = dict[str, np.ndarray]
Run = Callable[[Mapping[str, np.ndarray]], Arrays]


class BackendError(RuntimeError):
    """The backend asked for cannot be used here; the message says what is missing."""


@dataclass(frozen=True)
class Options:
    """Settings of a backend.

    Attributes:
        threads: on the CPU; None leaves it to the backend.
        cache: folder for engines, None for ``engines`` beside the model.
        qnn: options of the QNN execution provider that replace the defaults.
    """

    threads: int | None = None
    cache: Path | None = None
    qnn: Mapping[str, str] | None = None


def _nothing() -> None:
    """What a backend without resources of its own does when it is closed."""


@dataclass(frozen=True)
class Loaded:
    """A model ready to run.

    Attributes:
        run: inputs by name to outputs by name.
        limits: minimum and maximum number of pillars that it takes, None for no limit of its own.
        close: frees what the model holds on a device; it does not run any more.
    """

    run: Run
    limits: tuple[int, int] | None = None
    close: Callable[[], None] = _nothing


def run_parts(parts: Sequence[Loaded], inputs: Mapping[str, np.ndarray]) -> Arrays:
    """Outputs of the last of several graphs, each fed with the results of those before it."""
    outputs: Arrays = {}
    for part in parts:
        outputs = part.run({**inputs, **outputs})
    return outputs


def one_line(error: Exception) -> str:
    """A library's message without its line breaks."""
    return " ".join(str(error).split())


def taken(
    inputs: Mapping[str, np.ndarray], names: Iterable[str], path: Path
) -> dict[str, np.ndarray]:
    """The inputs that a model has.

    Raises:
        ValueError: if it wants one that there is not.
    """
    names = list(names)
    missing = [name for name in names if name not in inputs]
    if missing:
        raise ValueError(
            f"{path}: expected a model with the inputs {', '.join(inputs)}, got one with {missing}"
        )
    return {name: inputs[name] for name in names}


def require(backend: str, module: str, package: str) -> ModuleType:
    """Import a backend's module.

    Raises:
        BackendError: says what to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise BackendError(
            f"backend {backend!r}: expected the module {module}, found none ({error}); "
            f"pip install {package}"
        ) from error
