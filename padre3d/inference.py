"""Points in, boxes out: a detector from a config and a checkpoint, and one cloud through it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from padre3d.structures.boxes import Detections, box_arrays
from padre3d.training.checkpoint import first, load_checkpoint_file, load_state

if TYPE_CHECKING:
    from mmengine.config import Config


def init_model(
    config: str | Path,
    checkpoint: str | Path,
    device: str = "cpu",
    changes: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Build the detector of a config and load its weights.

    Args:
        config: config file whose ``model`` is a :class:`padre3d.detector.PADReDetector`.
        checkpoint: weights that a training of the same config wrote.
        device: as torch names it.
        changes: of the config, as ``--cfg-options`` gives them.

    Returns:
        The detector in evaluation mode.

    Raises:
        ValueError: if the config has no model, the checkpoint is not whole or belongs to another
            config, or there is no such device.
        FileNotFoundError: if a file is missing.
    """
    check_device(device)
    from padre3d.training.config import read_config

    model = build_model(read_config(config, changes), config)
    load_weights(model, checkpoint)
    return model.to(device).eval()


def build_model(cfg: Config, source: str | Path) -> nn.Module:
    """The model of a config, with random weights.

    Args:
        cfg: config with a ``model``.
        source: where it comes from, which errors name.

    Raises:
        ValueError: if the config has no model, or one that cannot be built.
        ImportError: as :func:`detector_registry`.
    """
    models = detector_registry()
    from mmengine.registry import init_default_scope

    from padre3d.training.config import naming_config

    if "model" not in cfg:
        raise ValueError(f"config {source}: expected a model in it, got {first(sorted(cfg))}")
    init_default_scope(cfg.get("default_scope", "mmdet3d"))
    with naming_config(source):
        return models.build(cfg.model)


def detector_registry() -> Any:
    """mmdet3d's registry of models, with those of padre3d.

    Raises:
        ImportError: if mmdet3d or what it needs is missing, with what installs it.
    """
    try:
        from padre3d.plugin import MODELS
    except ImportError as error:
        raise ImportError(
            "a detector needs mmdet3d and an mmcv with compiled operators, which `make install` "
            f"(tools/install.sh) of the repository installs and pip alone does not: {error}"
        ) from error
    return MODELS


def check_device(name: str) -> None:
    """Raise ValueError unless torch has the device."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"--device: expected cpu, cuda or cuda:N, got {name!r}") from error
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise ValueError(f"--device {name}: expected one of {count} CUDA devices")


def load_weights(model: nn.Module, checkpoint: str | Path) -> None:
    """Load a checkpoint into a model; every key and shape must fit.

    Args:
        model: the model; a distributed wrapper is looked through.
        checkpoint: a training checkpoint (``state_dict`` inside) or a bare state dict.

    Raises:
        ValueError: if the file is not whole, keys are missing, unexpected or of another shape (the
            checkpoint belongs to another config), or a weight is not finite. The model is unchanged
            then.
        FileNotFoundError: if there is no such file.
    """
    load_state(model, load_checkpoint_file(checkpoint), checkpoint)


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
