"""The activations that feed-forward networks offer, by name."""

from __future__ import annotations

from torch import nn

from padre3d.checks import check_choice

_ACTIVATIONS: dict[str, type[nn.Module]] = {"gelu": nn.GELU, "relu": nn.ReLU}
ACTIVATIONS = tuple(_ACTIVATIONS)


def activation_module(name: str) -> nn.Module:
    """The activation of that name.

    Raises:
        ValueError: if there is none.
    """
    check_choice("activation", name, ACTIVATIONS)
    return _ACTIVATIONS[name]()
