"""Models in OpenVINO on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from padre3d.backends.base import Arrays, Loaded, Options, one_line, require, taken


def load(path: Path, options: Options) -> Loaded:
    """A compiled model, or a ValueError that names the file."""
    openvino = require("openvino", "openvino", "openvino")
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
    if options.threads:
        settings["INFERENCE_NUM_THREADS"] = options.threads
    try:
        model = openvino.Core().compile_model(str(path), "CPU", settings)
    except RuntimeError as error:
        raise ValueError(
            f"{path}: expected an ONNX model that loads, got {one_line(error)}"
        ) from error
    inputs = [port.get_any_name() for port in model.inputs]
    outputs = [port.get_any_name() for port in model.outputs]

    def run(arrays: Mapping[str, np.ndarray]) -> Arrays:
        try:
            results = model(taken(arrays, inputs, path))
        except RuntimeError as error:
            raise ValueError(
                f"{path}: expected a model that runs, got {one_line(error)}"
            ) from error
        return {name: np.array(results[name]) for name in outputs}

    return Loaded(run)
