"""A teacher and a student that differ in their mixers: what is copied, what is fitted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from padre3d.backbone import VoxelBackbone
from padre3d.backbone.encoder import EncoderLayer
from padre3d.detector import PADReDetector
from padre3d.head.windows import LocalWindow
from padre3d.structures.pillars import Pillars

_MIXER = re.compile(r"backbone\.blocks\.\d+\.layers\.\d+\.mixer\.")
_WINDOW = "head.decoder.window.kept"


@dataclass(frozen=True)
class Copied:
    """Keys of state dicts.

    Attributes:
        copied: the student's weights that are the teacher's.
        mixers: the student's mixers, which are fitted.
        own: weights that the student has alone or in another shape, as its config starts them.
        left: the teacher's that went nowhere, its mixers not counted.
    """

    copied: tuple[str, ...]
    mixers: tuple[str, ...]
    own: tuple[str, ...]
    left: tuple[str, ...]


class Pair:
    """Two detectors in evaluation mode; the student gets the teacher's weights but for its mixers.

    Weights of one key and shape are copied, and a window of the teacher's decoder that was pruned,
    unless the student's config chooses offsets of its own. Of the student only the mixers, the
    position embeddings, which nothing but mixers reads, and what the teacher's backbone does not
    have take gradients.

    Args:
        teacher: a trained detector.
        student: another one, changed in place.

    Raises:
        ValueError: if both are not made for the same pillars, layers, channels and classes in the
            same order, the student's decoder cannot have the teacher's window, or there is nothing
            to fit.
    """

    def __init__(self, teacher: nn.Module, student: nn.Module) -> None:
        check_pair(teacher, student)
        assert isinstance(teacher, PADReDetector)
        assert isinstance(student, PADReDetector)
        self.teacher, self.student = teacher.eval(), student.eval()
        copy_window(teacher, student)
        self.copied = copy_weights(teacher, student)
        both = (*self.copied.own, *self.copied.left)
        foreign = [key for key in both if key.startswith("pillar_encoder.")]
        if foreign:
            raise ValueError(f"pillar encoder: expected the teacher's, got another {foreign[0]}")
        self.teacher.requires_grad_(False)
        self.student.requires_grad_(False)
        for parameter in self.trained():
            parameter.requires_grad_()

    @property
    def layers(self) -> list[EncoderLayer]:
        """The student's layers."""
        return layers_of(self.student.backbone)

    def of_layer(self, number: int) -> list[nn.Parameter]:
        """The weights of a layer's mixer and of the position embedding that it alone reads."""
        parameters = list(self.layers[number].mixer.parameters())
        embeddings = [e for block in self.student.backbone.position_embeddings for e in block]
        if embeddings:
            parameters += embeddings[number].parameters()
        return parameters

    def trained(self) -> list[nn.Parameter]:
        """All weights that fitting may change."""
        found = [p for i in range(len(self.layers)) for p in self.of_layer(i)]
        named = dict(self.student.named_parameters())
        own = [named[k] for k in self.copied.own if k in named and k.startswith("backbone.")]
        return list(dict.fromkeys([*found, *own]))

    def pillars(self, points: Tensor) -> Pillars:
        """Pillars of one cloud (P, 5), with features that are both detectors'."""
        with torch.no_grad():
            return self.teacher.pillar_encoder([points.to(self.device)])

    @property
    def device(self) -> torch.device:
        """Where both detectors are."""
        return next(self.student.parameters()).device


def layers_of(backbone: VoxelBackbone) -> list[EncoderLayer]:
    """The encoder layers in their order."""
    return [layer for block in backbone.blocks for layer in block.layers]


def check_pair(teacher: nn.Module, student: nn.Module) -> None:
    """See :class:`Pair`."""
    for name, model in (("teacher", teacher), ("student", student)):
        backbone = getattr(model, "backbone", None)
        if not isinstance(model, PADReDetector) or not isinstance(backbone, VoxelBackbone):
            raise ValueError(
                f"{name}: expected a PADReDetector with a VoxelBackbone, got {type(model).__name__}"
                f" with {type(backbone).__name__}"
            )
    a, b = _shape_of(teacher), _shape_of(student)
    for name, wanted in a.items():
        if b[name] != wanted:
            raise ValueError(f"student: expected the teacher's {name} {wanted}, got {b[name]}")
    assert isinstance(student.backbone, VoxelBackbone)
    layers = layers_of(student.backbone)
    if not any(p.numel() for layer in layers for p in layer.mixer.parameters()):
        kinds = sorted({type(layer.mixer).__name__ for layer in layers})
        raise ValueError(f"student: expected mixers with weights to fit, got {kinds}")


def copy_window(teacher: nn.Module, student: nn.Module) -> None:
    """Let the student's decoder see the keys that the teacher's was pruned to, see :class:`Pair`.

    Raises:
        ValueError: if the student's window is smaller or wraps.
    """
    ours, theirs = _window_of(student), _window_of(teacher)
    if ours is None or theirs is None or theirs.kept is None or ours.kept is not None:
        return
    ours.keep(theirs.kept)


def _window_of(model: Any) -> LocalWindow | None:
    window = getattr(getattr(model.head, "decoder", None), "window", None)
    return window if isinstance(window, LocalWindow) else None


def copy_weights(teacher: nn.Module, student: nn.Module) -> Copied:
    """Copy every weight and statistic of one key and shape, but for mixers and chosen windows."""
    source, target = teacher.state_dict(), student.state_dict()
    mixers = [key for key in target if _MIXER.match(key)]
    same = [
        key
        for key, value in target.items()
        if key in source and source[key].shape == value.shape and not _MIXER.match(key)
        if key != _WINDOW or torch.equal(source[key].to(value.device), value)
    ]
    student.load_state_dict({key: source[key] for key in same}, strict=False)
    taken = {*same, *mixers}
    return Copied(
        tuple(same),
        tuple(mixers),
        tuple(key for key in target if key not in taken),
        tuple(key for key in source if key not in taken and not _MIXER.match(key)),
    )


def _shape_of(model: Any) -> Mapping[str, Any]:
    backbone = model.backbone
    return {
        "classes": model.class_names,
        "grid": (model.grid.range_m, model.grid.cell_m),
        "inputs of the pillar encoder": {
            name: getattr(model.pillar_encoder, name, None)
            for name in ("in_channels", "with_xyz", "with_distance")
        },
        "channels": backbone.dim,
        "number of layers": len(layers_of(backbone)),
        "parallel layers": backbone.blocks[0].parallel,
    }
