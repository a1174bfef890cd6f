"""PADRe, the polynomial attention drop-in replacement (Eqs. 1-8 of the paper).

| file | content |
|---|---|
| maps.py | the structured linear maps A_i, B_i, C_i, D_i, U, V and how each is applied |
| api.py | ``padre``: the semantics, validation and the choice of implementation |
| grid_conv.py | convolutions over the occupied cells of a grid |
| block_conv.py | convolutions over the means of blocks of cells |
| eager.py | the fast path, one function per equation |
| cross.py | several inputs (appendix A.1) |
| rational.py | a ratio of two polynomials (appendix A.2) |
| weights.py | ``PadreWeights``: the maps of one instance, checked |
| oracle.py | the same equations with explicit matrices in float64: the oracle of the tests |
"""

from padre3d.ops.padre.api import IMPLEMENTATIONS, padre
from padre3d.ops.padre.cross import cross_padre
from padre3d.ops.padre.maps import (
    ChannelLowRank,
    ChannelMap,
    Pointwise,
    TokenBlockConv,
    TokenCausalConv1d,
    TokenChain,
    TokenConv1d,
    TokenConv2d,
    TokenDense,
    TokenGridConv,
    TokenLowRank,
    TokenMap,
    TokenMean,
    TokenPrefix,
    TokenSum,
)
from padre3d.ops.padre.rational import RationalWeights, rational_padre
from padre3d.ops.padre.weights import PadreWeights

__all__ = [
    "IMPLEMENTATIONS",
    "ChannelLowRank",
    "ChannelMap",
    "PadreWeights",
    "Pointwise",
    "RationalWeights",
    "TokenBlockConv",
    "TokenCausalConv1d",
    "TokenChain",
    "TokenConv1d",
    "TokenConv2d",
    "TokenDense",
    "TokenGridConv",
    "TokenLowRank",
    "TokenMap",
    "TokenMean",
    "TokenPrefix",
    "TokenSum",
    "cross_padre",
    "padre",
    "rational_padre",
]
