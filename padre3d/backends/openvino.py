"""Models in OpenVINO on the CPU, in 32 bit or in bfloat16 where the processor multiplies it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from padre3d.backends.base import Arrays, BackendError, Loaded, Options, one_line, require, taken


def loader(precision: str, backend: str) -> Callable[[Path, Options], Loaded]:
    """A loader of models that runs in "f32" or "bf16"; files of 8 bit run in 8 bit in both."""

    def load(path: Path, options: Options) -> Loaded:
        """A compiled model, or an error."""
        require(backend, "openvino", "openvino")
        core = shared_core()
        able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision == "bf16" and "BF16" not in able:
            raise BackendError(
                f"backend {backend!r}: expected a processor with bfloat16, this one has "
                f"{', '.join(able)}"
            )
        return _compiled(core, path, precision, options)

    return load


@cache
def shared_core() -> Any:
    """The one ``openvino.Core`` of the process, which lives as long as the process.

    The CPU plugin of each core gives the calling thread a stack for signal handlers and unmaps it
    when the core and its models are gone. Of two cores that go in the order in which they came,
    the second puts the first one's unmapped stack back, and the next signal with a handler on
    that stack (the end of a child process under a ``torch`` data loader) ends the process with a
    segmentation fault. Seen with OpenVINO 2026.4.1.
    """
    import openvino

    return openvino.Core()


def _compiled(core: Any, path: Path, precision: str, options: Options) -> Loaded:
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": precision}
    if options.threads:
        settings["INFERENCE_NUM_THREADS"] = options.threads
    try:
        model = core.compile_model(str(path), "CPU", settings)
    except RuntimeError as error:
        raise ValueError(
            f"{path}: expected an ONNX model that loads, got {one_line(error)}"
        ) from error
    inputs = [port.get_any_name() for port in model.inputs]
    outputs = [port.get_any_name() for port in model.outputs]
    # A compiled model that is called has one request, whose results the next call replaces, of
    # whichever thread.
    requests = threading.local()

    def run(arrays: Mapping[str, np.ndarray]) -> Arrays:
        if not hasattr(requests, "own"):
            requests.own = model.create_infer_request()
        try:
            results = requests.own.infer(taken(arrays, inputs, path), share_inputs=True)
        except RuntimeError as error:
            raise ValueError(
                f"{path}: expected a model that runs, got {one_line(error)}"
            ) from error
        return {name: np.array(results[name]) for name in outputs}

    return Loaded(run)
