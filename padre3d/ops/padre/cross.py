"""Cross-PADRe (appendix A.1): factors of one polynomial taken from several inputs.

Y_i = A_i X^(c_i) B_i,  i = 1..d, c_i names an input
Z_j = Y_1 * .. * Y_j                                 (Eq. 11)

The sequence c must not be trivial: with one input alone there are no cross-terms. A_i maps the
tokens of input c_i to the tokens of the output, so inputs may differ in length.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from padre3d.checks import check_mask, check_shape
from padre3d.ops.padre import eager
from padre3d.ops.padre.weights import PadreWeights


def cross_padre(
    inputs: Sequence[Tensor],
    order: Sequence[int],
    weights: PadreWeights,
    masks: Sequence[Tensor | None] | None = None,
) -> Tensor:
    """Evaluate Eq. 11 and the sum of Eq. 6 (C_i and D_i, if given, act as in Eq. 3).

    Args:
        inputs: two or more token tensors (G, N_m, D). The output has the tokens of the first.
        order: c, for each factor the index of its input; must name at least two inputs.
        weights: d maps A_i with N_0 output tokens, d maps B_i, and the sum.
        masks: per input (G, N_m) bool or None, as for :func:`padre3d.ops.padre.padre`.

    Returns:
        (G, N_0, D).

    Raises:
        ValueError: on a trivial or unknown order, or shapes that do not fit.
    """
    check_order(order, len(inputs), weights.degree)
    batch, channels = inputs[0].shape[0], inputs[0].shape[-1]
    for m, x in enumerate(inputs):
        check_shape(x, f"{batch} N {channels}", name=f"cross_padre inputs[{m}]")
    masks = [None] * len(inputs) if masks is None else masks
    for m, (x, mask) in enumerate(zip(inputs, masks, strict=True)):
        if mask is not None:
            check_mask(mask, batch, x.shape[1], name=f"cross_padre masks[{m}]")
    pads = [None if mask is None else ~mask.unsqueeze(-1) for mask in masks]
    filled = [
        x if pad is None else x.masked_fill(pad, 0.0) for x, pad in zip(inputs, pads, strict=True)
    ]

    ys = [
        eager.linear_term(filled[m], a, b, weights.normalise, pads[m])
        for m, a, b in zip(order, weights.a, weights.b, strict=True)
    ]
    for i, y in enumerate(ys):
        check_shape(y, f"{batch} {inputs[0].shape[1]} *", name=f"cross_padre Y_{i + 1}")
    zs = eager.recurrence(ys, weights, pads[0])
    return eager.resize(eager.weighted_sum(zs, weights), weights, pads[0])


def check_order(order: Sequence[int], inputs: int, degree: int) -> None:
    """Check the sequence c of appendix A.1.

    Raises:
        ValueError: if it has another length than the degree, names no such input, or is trivial.
    """
    if len(order) != degree:
        raise ValueError(
            f"cross order: expected {degree} entries, one per factor, got {len(order)}"
        )
    if any(not 0 <= m < inputs for m in order):
        raise ValueError(f"cross order: expected inputs 0..{inputs - 1}, got {tuple(order)}")
    if len(set(order)) < 2:
        raise ValueError(f"cross order: expected at least two inputs in it, got {tuple(order)}")
