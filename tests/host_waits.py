"""Waits of the host for the device, by stage of the detector: ``python tests/host_waits.py``.

Prints the table of docs/performance.md. Inference is one frame, a training step two. They run on a
pretended device, so no GPU is needed and the numbers are the same on every machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.optim.optimizer import amp_optimizer_wrapper
from mmengine.runner import amp
from pretended_device import DEVICE, KINDS, PretendedDevice, to_pretended
from small_detector import batch, build, cloud
from torch import nn

# A mixer for each layout of tokens.
LAYOUTS = {
    "sequence": dict(type="padre", preset="sequence", kernel_size=5),
    "set": dict(type="set_attention", num_heads=2),
    "grid": dict(type="padre", layout="grid", kernel_size=3),
}
STEPS = ("inference", "training", "fp16 training")
STAGES = (
    "data to the device",
    "pillar encoder",
    "token plan",
    "backbone layers",
    "BEV backbone",
    "head",
    "decode",
    "results to mmdet3d",
    "loss",
    "backward",
    "optimiser",
)


def move(model: nn.Module, device: PretendedDevice) -> nn.Module:
    """A detector moved onto the pretended device, its stages watched."""
    to_pretended(model).data_preprocessor.to(DEVICE)
    for owner, method, stage in (
        (model.data_preprocessor, "forward", "data to the device"),
        (model.pillar_encoder, "forward", "pillar encoder"),
        (model.backbone.planner, "forward", "token plan"),
        (model.backbone, "forward", "backbone layers"),
        (model.bev_backbone, "forward", "BEV backbone"),
        (model.head, "forward", "head"),
        (model.head, "loss", "loss"),
        (model, "predict_points", "decode"),
        (model, "predict", "results to mmdet3d"),
    ):
        device.watch(owner, method, stage)
    return model


def train_step(
    model: nn.Module, data: dict, device: PretendedDevice, dtype: str | None = None
) -> dict[str, torch.Tensor]:
    """A step of mmengine's training, in mixed precision if ``dtype`` is given; returns its log."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    with _mixed_precision():
        if dtype is None:
            wrapper = OptimWrapper(optimizer)
        else:
            wrapper = AmpOptimWrapper(optimizer=optimizer, dtype=dtype, loss_scale=256.0)
        device.watch(wrapper, "backward", "backward")
        device.watch(wrapper, "step", "optimiser")
        return model.train().train_step(data, wrapper)


@contextmanager
def _mixed_precision() -> Iterator[None]:
    """mmengine offers it beside a GPU only."""
    with (
        mock.patch.object(amp_optimizer_wrapper, "is_cuda_available", return_value=True),
        mock.patch.object(amp, "autocast", lambda dtype: torch.autocast("cuda", dtype)),
    ):
        yield


def find_every_class(head: nn.Module) -> None:
    """Proposals of all classes with a score, so that decoding does all it can have to do."""
    forward = head.forward

    def replaced(bev: torch.Tensor):
        outputs = forward(bev)
        labels = torch.arange(head.selector.num_proposals, device=bev.device) % head.num_classes
        return outputs._replace(
            query_labels=labels.expand_as(outputs.query_labels),
            query_heatmap_score=torch.ones_like(outputs.query_heatmap_score),
        )

    head.forward = replaced


def counts(layout: str, step: str) -> Counter[tuple[str, str]]:
    """Waits of one step of a mini detector, by (stage, kind)."""
    model = build(layout=layout, mixer=LAYOUTS[layout])
    find_every_class(model.head)
    with PretendedDevice() as device:
        move(model, device)
        if step == "inference":
            with torch.no_grad():
                model.test_step(batch([cloud(900, 1)]))
        else:
            dtype = "float16" if "fp16" in step else None
            train_step(model, batch([cloud(900, 1), cloud(700, 2)]), device, dtype)
    return device.counts()


def table() -> list[str]:
    """The lines of the table: the waits of each stage in each layout and step, by kind."""
    columns = [(layout, step) for layout in LAYOUTS for step in STEPS]
    found = {column: counts(*column) for column in columns}
    rows = [["stage", *(f"{layout}: {step}" for layout, step in columns)]]
    rows.append(["---"] * len(rows[0]))
    for stage in STAGES:
        cells = [[found[column][stage, kind] for kind in KINDS] for column in columns]
        rows.append([stage, *(" + ".join(map(str, c)) if any(c) else "0" for c in cells)])
    return [f"| {' | '.join(row)} |" for row in rows]


if __name__ == "__main__":
    print("\n".join(table()))
