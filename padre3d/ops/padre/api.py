"""What PADRe computes, checked at the door; ``impl`` picks the code that computes it.

Y_i = A_i X B_i                                     (Eq. 1), i = 1..d
Z_1 = Y_1                                           (Eq. 2)
Z_{i+1} = (C_i Z_i D_i) * Y_{i+1}                   (Eq. 3), * is the Hadamard product
P = sum_i W_i * Z_i + L, over the chosen degrees    (Eq. 6)
O = U P V                                           (Eq. 7)

Every product is evaluated channels first: A_i (X B_i + b_i), C_i (Z_i D_i + b_i).
"""

from __future__ import annotations

from torch import Tensor

from padre3d.checks import check_mask, check_shape
from padre3d.ops.padre import eager, oracle
from padre3d.ops.padre.weights import PadreWeights


def _triton(x: Tensor, weights: PadreWeights, mask: Tensor | None) -> Tensor:
    from padre3d.ops.padre.triton import padre as fused  # needs Triton, which the core does without

    return fused(x, weights, mask)


IMPLEMENTATIONS = {"eager": eager.padre, "oracle": oracle.padre, "triton": _triton}


def padre(
    x: Tensor, weights: PadreWeights, mask: Tensor | None = None, *, impl: str = "eager"
) -> Tensor:
    """Evaluate PADRe (Eqs. 1-7), each sequence of the batch on its own.

    Args:
        x: tokens (G, N, D).
        weights: the maps; see :class:`PadreWeights`.
        mask: (G, N) bool, True for real tokens. Masked tokens are zero at the input of every token
            map, so what they hold, NaN too, influences no real token and no gradient; their own
            output is arbitrary but finite. How many there are does, where a map is a mean over all
            N tokens: ``TokenMean`` without counts, and ``TokenPrefix``.
        impl: "eager", "triton" for the fused kernels of the ``sequence`` structure, or "oracle"
            for explicit matrices in float64 (small inputs only).

    Returns:
        (G, N, D), or (G, F, E) where U (F, N) and V (D, E) reshape the output.

    Raises:
        ValueError: on a wrong shape or an unknown implementation.
    """
    sizes = check_shape(x, "G N D", name="padre x")
    if mask is not None:
        check_mask(mask, sizes["G"], sizes["N"], name="padre mask")
        # A NaN would reach the weights of the channel maps: its gradient of zero times itself.
        x = x.masked_fill(~mask.unsqueeze(-1), 0.0)
    if impl not in IMPLEMENTATIONS:
        raise ValueError(f"padre impl: expected one of {sorted(IMPLEMENTATIONS)}, got {impl!r}")
    return IMPLEMENTATIONS[impl](x, weights, mask)
