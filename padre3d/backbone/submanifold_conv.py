"""spconv's sub-manifold convolution, its weights loaded as they were saved (needs spconv)."""

from __future__ import annotations

from typing import Any

import spconv.pytorch as spconv
from torch import nn


class SubmanifoldConv2d(spconv.SubMConv2d):  # type: ignore[misc]
    """As its base class, where mmdet3d has been imported, too.

    mmdet3d 1.4 makes every layer of spconv take weights without a version for those of spconv 1 and
    move their axes: a state dict that has lost its metadata, such as a plain dict, could not be
    loaded.
    """

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        nn.Module._load_from_state_dict(self, *args, **kwargs)
