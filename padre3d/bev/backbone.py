"""Residual 2-D backbone on the bird's-eye-view map, its stages joined at one resolution."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padre3d.bev.conv_norm import conv_norm
from padre3d.checks import check_shape


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut (the basic block of ResNet).

    Args:
        in_channels: channels of the input.
        channels: channels of the output.
        stride: of the first convolution and of the shortcut.
        project: whether the shortcut is a 1 x 1 convolution instead of the identity.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, project: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.norm1 = _norm(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = _norm(channels)
        self.shortcut = None
        if project:
            conv = nn.Conv2d(in_channels, channels, 1, stride, bias=False)
            self.shortcut = nn.Sequential(OrderedDict(conv=conv, norm=_norm(channels)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, channels, H / stride, W / stride)."""
        y = F.relu(conv_norm(self.conv1, self.norm1, x), inplace=True)
        y = conv_norm(self.conv2, self.norm2, y)
        short = self.shortcut
        y += x if short is None else conv_norm(short.conv, short.norm, x)
        return F.relu(y, inplace=True)


class ResidualBEVBackbone(nn.Module):
    """Residual stages of falling resolution, each resized to one resolution and concatenated.

    Args:
        in_channels: channels of the map.
        layers: blocks of each stage, besides the first one that changes stride and channels.
        strides: stride of each stage.
        channels: channels of each stage.
        up_strides: enlargement of each stage's output; below 1 it is a strided convolution. Empty,
            with ``up_channels``: the outputs are joined as they are.
        up_channels: channels of each resized output.

    Raises:
        ValueError: if the lists differ in length, the outputs' resolutions differ or are finer than
            the input's, or an enlargement is neither n nor 1 / n.
    """

    resize: Any

    def __init__(
        self,
        in_channels: int = 128,
        layers: Sequence[int] = (1, 2, 2),
        strides: Sequence[int] = (1, 2, 2),
        channels: Sequence[int] = (128, 128, 256),
        up_strides: Sequence[float] = (0.5, 1, 2),
        up_channels: Sequence[int] = (128, 128, 128),
    ) -> None:
        super().__init__()
        lists: list[Sequence[float]] = [layers, strides, channels]
        if up_strides or up_channels:
            lists += [up_strides, up_channels]
        if len({len(values) for values in lists}) != 1 or not layers:
            raise ValueError(f"stages: expected lists of one length, got {[*map(len, lists)]}")
        self.in_channels, self.out_channels = in_channels, sum(up_channels or channels)
        self.input_multiple, stride = 1, 1
        self.stages, self.resize = nn.ModuleList(), nn.ModuleList()
        resolutions, before = [], in_channels
        for i, width in enumerate(channels):
            first = ResidualBlock(before, width, strides[i], project=True)
            rest = [ResidualBlock(width, width, 1, project=False) for _ in range(layers[i])]
            self.stages.append(nn.Sequential(first, *rest))
            stride *= strides[i]
            enlarged = up_strides[i] if up_strides else 1
            _check_up_stride(enlarged)
            if up_strides:
                self.resize.append(_resize(width, up_channels[i], enlarged))
            self.input_multiple = math.lcm(
                self.input_multiple, round(stride * max(1, 1 / enlarged))
            )
            resolutions.append(enlarged / stride)
            before = width
        if len(set(resolutions)) != 1:
            raise ValueError(
                f"up_strides: expected outputs of one resolution, got {resolutions} of the input"
            )
        if resolutions[0] > 1:
            raise ValueError(
                f"up_strides: expected outputs no finer than the input, got {resolutions[0]} of it"
            )
        self.stride = round(1 / resolutions[0])

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, ny, nx) -> (B, out_channels, ny / stride, nx / stride).

        Raises:
            ValueError: on a wrong number of channels, or a side the strides do not divide.
        """
        check_shape(x, f"B {self.in_channels} H W", name="ResidualBEVBackbone map")
        if x.shape[2] % self.input_multiple or x.shape[3] % self.input_multiple:
            raise ValueError(
                f"ResidualBEVBackbone map: expected sides divisible by {self.input_multiple}, "
                f"got {tuple(x.shape[2:])}"
            )
        outputs = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            outputs.append(self._resized(i, x))
        return torch.cat(outputs, 1)

    def _resized(self, stage: int, x: Tensor) -> Tensor:
        if not self.resize:
            return x
        resize = self.resize[stage]
        return F.relu(conv_norm(resize.conv, resize.norm, x), inplace=True)


def _check_up_stride(stride: float) -> None:
    factor = stride if stride >= 1 else 1 / stride if stride > 0 else 0.0
    if factor < 1 or abs(factor - round(factor)) > 1e-6:
        raise ValueError(f"up_strides: expected n or 1 / n with a whole n, got {stride}")


def _resize(in_channels: int, out_channels: int, stride: float) -> nn.Sequential:
    if stride >= 1:
        size = round(stride)
        conv: nn.Module = nn.ConvTranspose2d(in_channels, out_channels, size, size, bias=False)
    else:
        size = round(1 / stride)
        conv = nn.Conv2d(in_channels, out_channels, size, size, bias=False)
    return nn.Sequential(
        OrderedDict(conv=conv, norm=_norm(out_channels), relu=nn.ReLU(inplace=True))
    )
