"""Random weights under the reference's names, and what layers make of them."""

import json

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


class Weights:
    """Weights by name, drawn when they are first asked for; call the layers to compute.

    Args:
        seed: of the weights.
    """

    def __init__(self, seed):
        self.random = torch.Generator().manual_seed(seed)
        self.state = {}

    def draw(self, name, *shape, low=None, high=1.0):
        """Normal with a variance of one over the inputs; uniform with ``low``."""
        if name not in self.state:
            if low is not None:
                value = low + (high - low) * torch.rand(shape, generator=self.random)
            else:
                inputs = max(1, int(np.prod(shape[1:])))
                value = torch.randn(shape, generator=self.random) / inputs**0.5
            self.state[name] = value
        return self.state[name]

    def linear(self, name, x, out, bias=True):
        weight = self.draw(f"{name}.weight", out, x.shape[-1])
        return F.linear(x, weight, self.draw(f"{name}.bias", out) if bias else None)

    def pointwise(self, name, x, out):
        """A Conv1d with a kernel of one on rows."""
        weight = self.draw(f"{name}.weight", out, x.shape[-1], 1)
        return F.linear(x, weight[..., 0], self.draw(f"{name}.bias", out))

    def conv(self, name, x, out, kernel=3, stride=1, bias=False):
        weight = self.draw(f"{name}.weight", out, x.shape[1], kernel, kernel)
        shift = self.draw(f"{name}.bias", out) if bias else None
        return F.conv2d(x, weight, shift, stride, kernel // 2 if kernel == 3 else 0)

    def batch_norm(self, name, x, eps):
        """Over axis 1, in evaluation mode."""
        size = x.shape[1]
        mean = self.draw(f"{name}.running_mean", size, low=-0.5)
        variance = self.draw(f"{name}.running_var", size, low=0.5, high=2.0)
        self.state.setdefault(f"{name}.num_batches_tracked", torch.ones(1, dtype=torch.int64))
        return F.batch_norm(x, mean, variance, *self._affine(name, size), eps=eps)

    def layer_norm(self, name, x):
        size = x.shape[-1]
        return F.layer_norm(x, (size,), *self._affine(name, size))

    def attention(self, name, size, heads):
        """torch's module."""
        module = nn.MultiheadAttention(size, heads, batch_first=True)
        shapes = {key: value.shape for key, value in module.state_dict().items()}
        drawn = {key: self.draw(f"{name}.{key}", *shape) for key, shape in shapes.items()}
        module.load_state_dict(drawn)
        return module.eval()

    def _affine(self, name, size):
        weight = self.draw(f"{name}.weight", size, low=0.5, high=1.5)
        return weight, self.draw(f"{name}.bias", size, low=-0.5)


def save(path, config, weights, arrays, prefix=""):
    """A file as tests/golden reads it: whole numbers in 32 bit."""
    found = {f"{prefix}{name}": as_array(value) for name, value in arrays.items()}
    if weights is not None:
        found.update({f"sd/{name}": value.numpy() for name, value in weights.state.items()})
    np.savez(path, **{f"{prefix}config": np.array(json.dumps(config))}, **found)


def as_array(value):
    array = value.numpy() if torch.is_tensor(value) else np.asarray(value)
    return array.astype(np.int32) if array.dtype == np.int64 else array
