"""Encoder layers on small clouds: the fused kernels in Triton's interpreter, and their oracle."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from padre3d.backbone.encoder import EncoderLayer
from padre3d.mixers import build_mixer
from padre3d.structures.tokens import TokenLayout, TokenPositions

interpreter = pytest.importorskip("triton.runtime.interpreter", reason="Triton is not installed")

_patch_lang, _patched = interpreter._patch_lang, set()


def _patch_once(function):
    """The interpreter patches triton.language at every device call: two thirds of its time."""
    if function.__module__ not in _patched:
        _patched.add(function.__module__)
        _patch_lang(function)


interpreter._patch_lang = _patch_once
_cast = interpreter.InterpreterBuilder.cast_impl


def _cast_to_nearest(self, source, target):
    """As a GPU does: the interpreter cuts single precision off to bfloat16, twice the error."""
    tl = interpreter.tl
    if (source.dtype.scalar, target.scalar) != (tl.float32, tl.bfloat16):
        return _cast(self, source, target)
    rounded = torch.from_numpy(np.ascontiguousarray(source.data)).to(torch.bfloat16)
    return interpreter.TensorHandle(rounded.view(torch.uint16).numpy(), target.scalar)


interpreter.InterpreterBuilder.cast_impl = _cast_to_nearest
for name in ("create_fp_ext", "create_fp_trunc"):
    setattr(interpreter.InterpreterBuilder, name, _cast_to_nearest)


def _sum_in_pairs(self, values):
    """As a GPU does: numpy adds rows one after the other, several times the rounding error."""
    axis = self.axis
    data = np.moveaxis(values.handle.data, axis, 0)
    while len(data) > 1:  # Triton's extents are powers of two
        data = data[: len(data) // 2] + data[len(data) // 2 :]
    total = np.moveaxis(data, 0, axis) if self.keep_dims else data[0]
    return self.to_tensor(total, values.dtype)


interpreter.ReduceOps.sum = _sum_in_pairs


def layout_of(lengths):
    """Samples of these lengths, in random orders; pads hold index 0 and are not valid."""
    pillars, longest = sum(lengths), max(lengths)
    index = torch.zeros(len(lengths), longest, dtype=torch.long)
    valid = torch.zeros(len(lengths), longest, dtype=torch.bool)
    slot = torch.empty(pillars, dtype=torch.long)
    first = 0
    for g, length in enumerate(lengths):
        index[g, :length] = first + torch.randperm(length)
        valid[g, :length] = True
        slot[index[g, :length]] = g * longest + torch.arange(length)
        first += length
    return TokenLayout(index, None if valid.all() else valid, slot)


class Case:
    """One layer, one cloud and one gradient of its output."""

    def __init__(self, lengths, dim=16, degree=2, kernel_size=11, seed=0):
        torch.manual_seed(seed)
        config = {"type": "padre", "degree": degree, "kernel_size": kernel_size}
        self.layer = EncoderLayer(dim, 2 * dim, build_mixer(config, dim), use_mask=True)
        for parameter in self.layer.parameters():
            if parameter.dim() == 1:  # biases start at zero and norms at one: nothing to see
                torch.nn.init.normal_(parameter, mean=0.5, std=0.5)
        self.layout = layout_of(lengths)
        pillars = sum(lengths)
        self.x, self.d_out = torch.randn(2, pillars, dim)
        self.table, self.window_index = torch.randn(7, dim), torch.randint(7, (pillars,))

    def run(self, fused, dtype):
        """Output and gradients by name, from the inputs and weights rounded to ``dtype``."""
        layer = copy.deepcopy(self.layer).to(dtype)
        x, table = (t.to(dtype, copy=True).requires_grad_() for t in (self.x, self.table))
        out = forward(layer, x, TokenPositions(table, self.window_index), self.layout, fused)
        out.backward(self.d_out.to(dtype))
        gradients = {name: p.grad for name, p in layer.named_parameters()}
        return {"out": out.detach(), "x": x.grad, "table": table.grad, **gradients}

    def errors(self, dtype):
        """For each tensor the relative errors of the fused and the eager layer."""
        rounded = copy.copy(self)
        rounded.layer = copy.deepcopy(self.layer).to(dtype)
        rounded.x, rounded.table, rounded.d_out = (
            t.to(dtype) for t in (self.x, self.table, self.d_out)
        )
        oracle = rounded.run(fused=False, dtype=torch.float64)
        fused, eager = rounded.run(True, dtype), rounded.run(False, dtype)
        return {name: (error(fused[name], t), error(eager[name], t)) for name, t in oracle.items()}


def error(value, oracle):
    """Relative error in the Euclidean norm; NaN anywhere makes it NaN."""
    return ((value.double() - oracle).norm() / oracle.norm()).item()


def forward(layer, x, positions, layout, fused):
    """The layer by its fused kernels, or its formula in plain torch."""
    linears, norms = (layer.linear1, layer.linear2), (layer.norm1, layer.norm2, layer.norm)
    if fused:
        from padre3d.ops.padre.triton import encoder_layer

        weights = layer.mixer.weights()
        return encoder_layer(x, positions, layout.index, layout.valid, weights, linears, norms)
    tokens = x[layout.index] + positions.table[positions.window_index[layout.index]]
    mixed = layer.mixer(tokens, None, layout.valid).flatten(0, 1)[layout.slot]
    y = norms[0](x + mixed)
    return norms[2](x + norms[1](y + linears[1](F.gelu(linears[0](y)))))
