"""Compile every kernel of an encoder layer, forward and backward, for a GPU that is not there.

    python tests/ops/triton_ahead.py --arch 90 --dtype float16 [--dim 128] [--degree 2] [--mixer]
    python tests/ops/triton_ahead.py --arch 90 --dtype float16 --grid   # convolutions on a grid

A driver that only names its target stands in for CUDA, and launches stop after the compilation:
the variants are the ones a real call would build. Prints JSON: registers per thread, bytes of
local memory (spills) and of shared memory, threads, and how many variants several lengths built.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction

sys.path.insert(0, str(Path(__file__).parents[2]))

from padre3d.backbone.encoder import EncoderLayer
from padre3d.mixers import build_mixer
from padre3d.ops.padre.triton import api, grid_convolution, launch
from padre3d.structures.grid_index import GridIndex
from padre3d.structures.tokens import TokenPositions

LENGTHS = (260, 33, 1)


class AbsentGpu:
    """What Triton asks a driver for before it compiles."""

    def __init__(self, arch: int) -> None:
        self.target = GPUTarget("cuda", arch, 32)

    def get_current_target(self):
        return self.target

    def get_current_device(self):
        return 0

    def get_current_stream(self, device):
        return 0


def resources(cubin: bytes) -> dict[str, int]:
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [str(tool), "--dump-resource-usage", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = {name: int(value) for name, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", text)}
    return {"registers": found["REG"], "local_bytes": found["STACK"] + found["LOCAL"]}


def compile_instead_of_launching(arch: int) -> dict[str, dict[str, int]]:
    """Returns the dict that the following calls fill."""
    figures: dict[str, dict[str, int]] = {}
    run = JITFunction.run

    def compile_only(self, *args, grid, warmup, **kwargs):
        kernel = run(self, *args, grid=grid, warmup=True, **kwargs)
        figures[self.__name__] = {
            **resources(kernel.asm["cubin"]),
            "shared_bytes": kernel.metadata.shared,
            "threads": 32 * kernel.metadata.num_warps,
            "entries": kernel.asm["ptx"].count(f".target sm_{arch}"),
            "variants": len(self.device_caches[0][0]),
        }

    triton.runtime.driver.set_active(AbsentGpu(arch))
    JITFunction.run = compile_only
    api._check_tensors = lambda x, weights: None
    return figures


def run(layer: EncoderLayer, length: int, dtype: torch.dtype, mixer_alone: bool) -> None:
    dim = len(layer.norm.weight)
    index = torch.arange(2 * length).view(2, length)
    valid = torch.ones(2, length, dtype=torch.bool)
    x = torch.zeros(2 * length, dim, dtype=dtype, requires_grad=True)
    if mixer_alone:
        out = layer.mixer(x.view(2, length, dim), None, valid)
    else:
        positions = TokenPositions(torch.zeros(2 * length, dim))
        norms = (layer.norm1, layer.norm2, layer.norm)
        linears, weights = (layer.linear1, layer.linear2), layer.mixer.weights()
        out = api.encoder_layer(x, positions, index, valid, weights, linears, norms)
    out.backward(torch.ones_like(out))


def run_on_grid(length: int, dtype: torch.dtype, dim: int) -> None:
    cells = torch.arange(length)
    index = GridIndex.of(torch.stack([0 * cells, cells // 30, cells % 30], 1), 1, 30, 30)
    x = torch.zeros(length, dim, dtype=dtype, requires_grad=True)
    weight = torch.zeros(dim, 1, 5, 5, requires_grad=True)
    grid_convolution(x, weight, index, 1).sum().backward()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", type=int, default=90)
    parser.add_argument("--dtype", default="float16")
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--degree", type=int, default=2)
    parser.add_argument("--mixer", action="store_true", help="the mixer alone")
    parser.add_argument("--blocks", default="{}", help="JSON that replaces block sizes")
    parser.add_argument("--grid", action="store_true", help="the convolution on a grid")
    args = parser.parse_args()
    sizes, replaced = launch.block_sizes, json.loads(args.blocks)
    launch.block_sizes = lambda *key: sizes(*key) | replaced
    figures = compile_instead_of_launching(args.arch)
    dtype, dim = getattr(torch, args.dtype), args.dim
    mixer = build_mixer({"type": "padre", "degree": args.degree, "impl": "triton"}, dim)
    layer = EncoderLayer(dim, 2 * dim, mixer, use_mask=True).to(dtype)
    for length in LENGTHS:
        if args.grid:
            run_on_grid(length, dtype, dim)
        else:
            run(layer, length, dtype, args.mixer)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
