"""Waits of the host for the device, by stage of the detector: ``python tests/host_waits.py``.

Prints the table of docs/performance.md. Inference is one frame; a training step has two. Measured on
a pretended device, so a GPU is not needed and the numbers are the same on every machine.
"""

from __future__ import annotations

from collections import Counter

import torch
from mmengine.optim import OptimWrapper
from pretended_device import KINDS, PretendedDevice, to_pretended
from small_detector import batch, build, cloud

# A mixer for each layout of tokens.
LAYOUTS = {
    "sequence": dict(type="padre", preset="sequence", kernel_size=5),
    "set": dict(type="set_attention", num_heads=2),
}
STAGES = (
    "data to the device",
    "pillar encoder",
    "token plan",
    "backbone layers",
    "BEV backbone",
    "head",
    "decode",
    "loss",
    "backward",
    "optimiser",
    "results to mmdet3d",
)
STEPS = ("inference", "training")


def move(model: torch.nn.Module, device: PretendedDevice) -> torch.nn.Module:
    """A detector on the pretended device, its stages watched."""
    to_pretended(model).data_preprocessor.to("cuda:0")
    for owner, method, name in (
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
        device.watch(owner, method, name)
    return model


def train(model: torch.nn.Module, data: dict, device: PretendedDevice, optimizer: OptimWrapper):
    """One training step; returns its log, whose values are still on the device."""
    device.watch(optimizer, "backward", "backward")
    device.watch(optimizer, "step", "optimiser")
    return model.train().train_step(data, optimizer)


def counts(layout: str, step: str) -> Counter[tuple[str, str]]:
    """Waits of one step of a mini detector, by (stage, kind)."""
    model = build(layout=layout, mixer=LAYOUTS[layout])
    with PretendedDevice() as device:
        move(model, device)
        if step == "inference":
            with torch.no_grad():
                model.test_step(batch([cloud(900, 1)]))
        else:
            optimizer = OptimWrapper(torch.optim.AdamW(model.parameters()))
            train(model, batch([cloud(900, 1), cloud(700, 2)]), device, optimizer)
    return device.counts()


def table() -> list[str]:
    """The lines of the table: per stage the waits in each layout and step, by kind."""
    columns = [(layout, step) for layout in LAYOUTS for step in STEPS]
    found = {column: counts(*column) for column in columns}
    rows = [["stage", *(f"{layout}, {step}" for layout, step in columns)]]
    rows.append(["---"] * len(rows[0]))
    for stage in STAGES:
        cells = [[found[column][stage, kind] for kind in KINDS] for column in columns]
        rows.append([stage, *(" + ".join(map(str, cell)) for cell in cells)])
    return [f"| {' | '.join(row)} |" for row in rows]


if __name__ == "__main__":
    print("\n".join(table()))
