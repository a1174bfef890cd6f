"""A convolution and its batch normalisation as one convolution where nothing is learnt."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from padre3d.layers.norms import evaluation_affine


def conv_norm(conv: Any, norm: Any, x: Tensor) -> Tensor:
    """``norm(conv(x))``; in evaluation without gradients the weights take over the normalisation.

    That saves a pass over the map, and its memory, for every convolution.

    Args:
        conv: Conv2d or ConvTranspose2d without bias and groups.
        norm: its batch normalisation, of any kind.
        x: (B, C, H, W).
    """
    if norm.training or torch.is_grad_enabled():
        return norm(_conv(conv, x))
    scale, shift = evaluation_affine(norm)
    transposed = isinstance(conv, nn.ConvTranspose2d)
    if transposed:
        weight = conv.weight * scale.view(1, -1, 1, 1)
        return nn.functional.conv_transpose2d(x, weight, shift, conv.stride, conv.padding)
    weight = conv.weight * scale.view(-1, 1, 1, 1)
    return nn.functional.conv2d(x, weight, shift, conv.stride, conv.padding)


def _conv(conv: Any, x: Tensor) -> Tensor:
    """``conv(x)``; a strided 1 x 1 convolution on a CPU takes the cells that it reads out first.

    There the backward pass of the strided form (oneDNN of torch 2.13) makes a gradient of the whole
    map in one memory format and converts it to the other: five times as long.
    """
    if conv.kernel_size != (1, 1) or x.device.type != "cpu" or isinstance(conv, nn.ConvTranspose2d):
        return conv(x)
    rows, columns = conv.stride
    return nn.functional.conv2d(x[:, :, ::rows, ::columns], conv.weight)
