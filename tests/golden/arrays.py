"""Reading the reference arrays."""

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from padre3d.convert.keys import KeyMap, rename
from padre3d.structures.pillars import Pillars


class Golden:
    """One file of reference arrays; integers come as int64 tensors on ``device``."""

    def __init__(self, path: Path, prefix: str = "", device: torch.device | str = "cpu"):
        self.arrays = np.load(path, allow_pickle=False)
        self.prefix, self.device = prefix, device

    def __getitem__(self, key: str) -> Tensor:
        array = torch.from_numpy(self.arrays[self.prefix + key])
        return (array.long() if array.dtype == torch.int32 else array).to(self.device)

    @property
    def config(self) -> dict:
        return json.loads(str(self.arrays[self.prefix + "config"]))

    def state(self) -> dict[str, Tensor]:
        keys = [k for k in self.arrays.files if k.startswith("sd/")]
        state = {k[3:]: torch.from_numpy(self.arrays[k]) for k in keys}
        # The files hold 0-d counters as arrays of one element.
        counter = "num_batches_tracked"
        return {k: v.reshape(()) if k.endswith(counter) else v for k, v in state.items()}

    def load_into(self, module: nn.Module, keys: KeyMap) -> nn.Module:
        module.load_state_dict(rename(self.state(), keys), strict=True)
        return module.eval().to(self.device)


def without_type(config: dict) -> dict:
    """The arguments of the module that a config describes."""
    return {name: value for name, value in config.items() if name != "type"}


def pillars_from_reference(features: Tensor, coords_bzyx: Tensor, batch_size: int):
    """Pillars in our row order, and for each reference row our row."""
    coords = coords_bzyx[:, [0, 2, 3]]
    key = (coords[:, 0] * 10_000 + coords[:, 1]) * 10_000 + coords[:, 2]
    order = key.argsort()
    ours_of = torch.empty_like(order)
    ours_of[order] = torch.arange(len(order), device=order.device)
    return Pillars(features[order], coords[order], batch_size), ours_of
