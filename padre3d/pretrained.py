"""The trained models that come with the package, in torch: their names, ``create_model``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from padre3d.inference import build_model, check_device, detector_registry, load_weights
from padre3d.models import SETTINGS, WEIGHTS, folder_info, model_folder
from padre3d.runtime.folder import check_hash


def create_model(
    name: str,
    pretrained: bool = False,
    *,
    device: str = "cpu",
    changes: Mapping[str, Any] | None = None,
) -> nn.Module:
    """A packaged detector; ``padre3d.detect(model, points)`` finds boxes with it.

    Args:
        name: of :func:`padre3d.models.list_models`; empty for the first of them, the best.
        pretrained: load the trained weights; random ones otherwise.
        device: as torch names it.
        changes: of its config, keys with dots as ``--cfg-options`` gives them, such as
            ``{"model.head.num_proposals": 300}``. The weights must still fit.

    Returns:
        The :class:`padre3d.detector.PADReDetector` in evaluation mode.

    Raises:
        ValueError: on an unknown name (with the known ones), if a file is not the packaged one
            (its sha256 is checked), a change is none of the model's or the weights do not fit it,
            or there is no such device.
        FileNotFoundError: if the model was packaged without torch weights.
        ImportError: if mmdet3d or its mmcv is missing, with what installs them.
    """
    detector_registry()  # says what is missing better than the next import would
    from mmengine.config import Config

    from padre3d.training.config import naming_config

    check_device(device)
    changes = dict(changes or {})
    foreign = [key for key in changes if key != "model" and not str(key).startswith("model.")]
    if foreign:
        raise ValueError(f"changes: expected keys that start with model., got {foreign}")
    folder = model_folder(name)
    source = checked_file(folder, SETTINGS)
    cfg = Config({"model": json.loads(source.read_text())})
    with naming_config(f"{source}, changes"):
        cfg.merge_from_dict(changes)
    model = build_model(cfg, source)
    if pretrained:
        load_weights(model, checked_file(folder, WEIGHTS))
    return model.to(device).eval()


def checked_file(folder: Path, name: str) -> Path:
    """A file of a packaged model whose checksum is that of the card.

    Raises:
        FileNotFoundError, ValueError: as :func:`create_model`.
    """
    sums = folder_info(folder).get("sha256", {})
    if name not in sums:
        raise FileNotFoundError(f"{folder}: expected {name} in its card, got {sorted(sums)}")
    check_hash(folder, name, sums[name])
    return folder / name
