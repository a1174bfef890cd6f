"""Points in, boxes out: a detector from a config and a checkpoint, and one cloud through it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from padre3d.structures.boxes import Detections, box_arrays
from padre3d.training.checkpoint import load_checkpoint_file

NAMED = 3


def init_model(config: str | Path, checkpoint: str | Path, device: str = "cpu") -> nn.Module:
    """Build the detector of a config and load its weights.

    Args:
        config: config file whose ``model`` is a :class:`padre3d.detector.PADReDetector`.
        checkpoint: weights that a training of the same config wrote.
        device: as torch names it.

    Returns:
        The detector in evaluation mode.

    Raises:
        ValueError: if the config has no model, or the checkpoint is not whole or belongs to another
            config.
        FileNotFoundError: if a file is missing.
    """
    if not Path(config).is_file():
        raise FileNotFoundError(f"config {config}: expected a file, found none")
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    from padre3d.plugin import MODELS

    cfg = Config.fromfile(config)
    if "model" not in cfg:
        raise ValueError(f"config {config}: expected a model in it, got {_first(sorted(cfg))}")
    init_default_scope(cfg.get("default_scope", "mmdet3d"))
    model = MODELS.build(cfg.model)
    load_weights(model, checkpoint)
    return model.to(device).eval()


def load_weights(model: nn.Module, checkpoint: str | Path) -> None:
    """Load a checkpoint into a model; every key and shape must fit.

    Args:
        model: the model; a distributed wrapper is looked through.
        checkpoint: a training checkpoint (``state_dict`` inside) or a bare state dict.

    Raises:
        ValueError: if the file is not whole, or keys are missing, unexpected or of another shape:
            the checkpoint belongs to another config. The model is unchanged then.
        FileNotFoundError: if there is no such file.
    """
    loaded = load_checkpoint_file(checkpoint)
    state = loaded.get("state_dict", loaded)
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(
            f"checkpoint {checkpoint}: expected a state_dict of tensors, got keys "
            f"{_first(sorted(map(str, loaded)))}"
        )
    state = {key.removeprefix("module."): value for key, value in state.items()}
    model = getattr(model, "module", model)
    problems = _mismatches(model.state_dict(), state)
    if problems:
        raise ValueError(
            f"checkpoint {checkpoint} does not fit the model, it belongs to another config: "
            + "; ".join(problems)
        )
    model.load_state_dict(state)


def detect(model: Any, points: np.ndarray) -> Detections:
    """Find the boxes of one cloud.

    Args:
        model: a detector of :func:`init_model`.
        points: (P, 5) x, y, z in m, intensity, time lag in s; rows with NaN, infinity or an
            absurd number do not count, and a cloud with no point in the model's range has no boxes.

    Returns:
        The boxes, best first.

    Raises:
        ValueError: if the points have another shape, or the network gives numbers that are not
            finite.
    """
    points = np.asarray(points)
    if points.ndim != 2 or points.shape[1] != 5:
        raise ValueError(f"points: expected shape (P, 5), got {points.shape}")
    device = next(model.parameters()).device
    cloud = torch.as_tensor(points, dtype=torch.float32, device=device)
    with torch.inference_mode():
        detections = model.predict_points([cloud])[0]
    return box_arrays(detections, model.class_names).best_first()


def _mismatches(wanted: dict[str, Tensor], got: dict[str, Tensor]) -> list[str]:
    """What is wrong with a state dict, one sentence a kind."""
    missing = [key for key in wanted if key not in got]
    unexpected = [key for key in got if key not in wanted]
    reshaped = [
        f"{key} (expected {tuple(wanted[key].shape)}, got {tuple(got[key].shape)})"
        for key in wanted
        if key in got and wanted[key].shape != got[key].shape
    ]
    kinds = (("missing", missing), ("unexpected", unexpected), ("of another shape", reshaped))
    return [f"{len(keys)} {kind}: {_first(keys)}" for kind, keys in kinds if keys]


def _first(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
