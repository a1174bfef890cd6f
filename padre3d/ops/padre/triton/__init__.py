"""PADRe in fused Triton kernels: the ``sequence`` structure, degrees 2 to 4, and its encoder layer.

A layer is cut before each convolution, the only place where tokens meet, so degree d takes d
launches forward:

| launch | content |
|---|---|
| 1 | gather of the pillars, position, the d channel maps Y_i = X B_i |
| 2 .. d-1 | Z_{i+1} = (C_i Z_i) * Y_{i+1} |
| d | the last such product, the sum, V, residual, norm, feed-forward network, two norms, scatter |

Everything is accumulated in single precision; matrix products take their operands in the compute
type: that of autocast, else that of the weights. Nothing is atomic, so results repeat bit by bit.

| file | content |
|---|---|
| parts.py | device functions: rows of a block, convolution, layer norm, GELU |
| forward.py, backward.py | the kernels |
| launch.py | buffers, block sizes and launches |
| grid.py | convolutions over the occupied cells of a grid |
| api.py | ``padre`` and ``encoder_layer``: what is supported, gradients |
"""

try:
    import triton as _triton  # noqa: F401
except ImportError as error:
    raise ImportError(
        "impl='triton' needs Triton, which is not installed: pip install triton"
    ) from error

from padre3d.ops.padre.triton.api import encoder_layer, padre
from padre3d.ops.padre.triton.grid import grid_convolution

__all__ = ["encoder_layer", "grid_convolution", "padre"]
