"""Qualcomm NPUs through onnxruntime-qnn: on the device, or on x86-64 in its HTP emulator.

NPUs take fixed shapes only. A float graph needs the names of a SoC and its HTP architecture.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from padre3d.backends.base import BackendError, Loaded, Options, one_line, require
from padre3d.backends.onnxruntime import runner

PROVIDER = "QNNExecutionProvider"
# Snapdragon 8 Gen 2; replace both for another one.
DEFAULTS = {"soc_model": "43", "htp_arch": "73", "htp_graph_finalization_optimization_mode": "3"}


def load(path: Path, options: Options) -> Loaded:
    """The model on the NPU, or in its emulator."""
    return Loaded(runner(open_session(path, options), path))


def open_session(path: Path, options: Options, context: Path | None = None) -> Any:
    """A session that runs the whole model on the NPU or not at all.

    Args:
        path: a model with fixed shapes.
        options: ``qnn`` replaces :data:`DEFAULTS`.
        context: also write the compiled model (a context binary inside an ONNX file) there.

    Raises:
        BackendError: if onnxruntime-qnn is missing or has no device for this machine.
        ValueError: if a part of the graph would stay on the CPU.
    """
    ort = require("qnn", "onnxruntime", "onnxruntime onnxruntime-qnn")
    qnn = require("qnn", "onnxruntime_qnn", "onnxruntime-qnn")
    devices = [device for device in ort.get_ep_devices() if device.ep_name == PROVIDER]
    if not devices:
        ort.register_execution_provider_library(PROVIDER, qnn.get_library_path())
        devices = [device for device in ort.get_ep_devices() if device.ep_name == PROVIDER]
    if not devices:
        raise BackendError(
            "backend 'qnn': expected a device of onnxruntime-qnn, it has none on this machine"
        )
    settings = ort.SessionOptions()
    settings.log_severity_level = 3
    settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    if context is not None:
        settings.add_session_config_entry("ep.context_enable", "1")
        settings.add_session_config_entry("ep.context_file_path", str(context))
        settings.add_session_config_entry("ep.context_embed_mode", "1")
    settings.add_provider_for_devices(
        devices[:1], {"backend_path": qnn.get_qnn_htp_path(), **DEFAULTS, **(options.qnn or {})}
    )
    try:
        return ort.InferenceSession(str(path), settings)
    except Exception as error:  # onnxruntime's own exceptions share no public base class
        raise ValueError(
            f"{path}: expected a model that runs on the NPU, got {one_line(error)}"
        ) from error
