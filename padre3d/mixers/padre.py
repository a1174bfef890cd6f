"""PADRe as a module: the weights of a structure, the operator, the mixer interface."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from padre3d.checks import check_choice
from padre3d.mixers.linear_maps import (
    Size,
    channel_map,
    channel_weights,
    initial_sum_weights,
    output_map,
    token_map,
    token_weights,
)
from padre3d.mixers.mixer import (
    LAYOUTS,
    Mixer,
    OutputMap,
    check_mixer_inputs,
    with_position,
)
from padre3d.mixers.structure import (
    Conv,
    PadreStructure,
    TokenSpec,
    preset,
    token_convolutions,
    token_dims,
)
from padre3d.mixers.token_image import check_prefix_inputs, check_token_image
from padre3d.ops import chunked
from padre3d.ops.padre import IMPLEMENTATIONS, PadreWeights, TokenMap, grid_conv, padre
from padre3d.ops.padre.weights import BASES
from padre3d.structures.grid_index import GridIndex

HIGHER_DEGREE_GAIN = 0.5


class PADRe(Mixer):
    """Polynomial mixing of tokens, Eqs. 1-7, on ``x + pos``.

    Every factor Y_i with i >= 2 starts with half the scale of the input (``gain``): each degree
    then adds half as much as the one below it, and the sum stays below the scale of the skip
    connection.

    Args:
        dim: channels D.
        degree: d >= 2 for the presets.
        preset: "sequence" (default), "paper" or "text"; see :mod:`padre3d.mixers.structure`.
        kernel_size: odd width k of the convolutions over tokens.
        dims: 1 for sequences, 2 for images and grids; an image needs ``size``.
        layout: the layout of tokens, see :data:`padre3d.mixers.mixer.LAYOUTS`; None is "sequence"
            for the preset of that name and for a ``structure``, "set" for the other presets. "grid"
            sets dims to 2: the convolutions run over the occupied cells, and ``size`` is their
            index.
        dilation: cells between two taps of a 2-D convolution.
        separable: 2-D convolutions are k x 1 followed by 1 x k.
        block: on a grid, adds a convolution of the means of blocks of so many cells to each side;
            see :class:`padre3d.mixers.structure.Conv`.
        size: (H, W) of the token image, if it is always the same; with dims=2 only.
        prefix: leading tokens outside the sequence or image, such as a class token: a convolution
            passes them by and gives them the mean of its result (``TokenPrefix``). No mask then.
        causal: whether convolutions look back only, as a language model needs; in 1-D and without a
            prefix. A structure says it in its own convolutions.
        structure: any structure, in place of degree, preset and all that concerns its maps.
        impl: implementation of :func:`padre3d.ops.padre.padre`, or "auto": "eager", but a whole
            encoder layer of the backbone runs in the fused kernels of "triton" on a CUDA device
            where a trial finds them right and faster (padre3d/backbone/fused_trial.py).
        gain: scale of the factors Y_i, i >= 2, at the start.
        normalise: normalisation of the factors, see :class:`padre3d.ops.padre.PadreWeights`; with
            ``structure`` it is the structure's.
        basis: polynomial basis, likewise.
        grid_impl: implementation of convolutions on a grid, see
            :func:`padre3d.ops.padre.grid_conv.grid_convolution`.
    """

    # What ``impl`` and the structure's basis may be.
    implementations: ClassVar[tuple[str, ...]] = (*IMPLEMENTATIONS, "auto")
    bases: ClassVar[tuple[str, ...]] = BASES

    def __init__(
        self,
        dim: int,
        degree: int = 2,
        preset: str = "sequence",
        kernel_size: int = 11,
        dims: int = 1,
        size: tuple[int, int] | None = None,
        prefix: int = 0,
        structure: PadreStructure | None = None,
        impl: str = "eager",
        gain: float = HIGHER_DEGREE_GAIN,
        normalise: str | None = None,
        basis: str = "monomial",
        layout: str | None = None,
        dilation: int = 1,
        separable: bool = False,
        grid_impl: str = "auto",
        causal: bool = False,
        block: int = 0,
    ) -> None:
        super().__init__()
        if layout not in (None, *LAYOUTS):
            raise ValueError(f"PADRe layout: expected one of {LAYOUTS} or None, got {layout!r}")
        if layout == "grid" and impl == "triton":
            raise ValueError("PADRe layout='grid': expected impl='eager', got 'triton'")
        if block and layout != "grid":
            raise ValueError(f"PADRe block={block}: expected layout='grid', got {layout!r}")
        if structure is None:
            options = dict(dilation=dilation, separable=separable, causal=causal, block=block)
            dims = 2 if layout == "grid" else dims
            structure = _preset(preset, degree, kernel_size, dims, **options)
            structure = replace(structure, normalise=normalise, basis=basis)
            self.layout = "sequence" if preset == "sequence" else "set"
        self.layout, self.grid_impl = layout or self.layout, grid_impl
        s = structure
        name = type(self).__name__
        check_choice(f"{name} impl", impl, self.implementations)
        check_choice(f"{name} basis", s.basis, self.bases)
        check_choice(f"{name} grid_impl", grid_impl, grid_conv.IMPLEMENTATIONS)
        self._dims = _dims_of(s, self.layout)
        self.size = check_token_image("PADRe", self._dims, size, prefix)
        self.dim, self.structure, self.impl, self.prefix = dim, s, impl, prefix
        if causal and (prefix or impl == "triton"):
            raise ValueError(
                f"PADRe causal: expected prefix=0 and impl='eager', got {prefix} and {impl!r}"
            )
        if causal and not self.is_causal:
            raise ValueError("PADRe causal: expected causal convolutions in the structure")
        gains = [1.0] + [gain] * (s.degree - 1)
        self.a = nn.ModuleList(token_weights(spec, dim) for spec in s.a)
        self.b = nn.ModuleList(
            channel_weights(spec, dim, g) for spec, g in zip(s.b, gains, strict=True)
        )
        self.c = nn.ModuleList(token_weights(spec, dim) for spec in s.c)
        self.d = nn.ModuleList(channel_weights(spec, dim) for spec in s.d)
        self.u = token_weights(s.u, dim)
        self.v = channel_weights(s.v, dim)
        w = initial_sum_weights(s.w, s.degree, dim)
        self.w = None if w is None else nn.Parameter(w)
        self.l = None if s.l is None else nn.Parameter(torch.zeros(dim))

    @property
    def has_fused_layer(self) -> bool:
        """With ``impl="triton"``."""
        return self.impl == "triton"

    @property
    def tries_fused_layer(self) -> bool:
        """With ``impl="auto"``."""
        return self.impl == "auto"

    @property
    def _impl(self) -> str:
        """Of the operator alone, without the layer around it."""
        return "eager" if self.impl == "auto" else self.impl

    def fused_weights(self) -> PadreWeights:
        """The weights of the fused layer."""
        return self.weights()

    @property
    def output_map(self) -> OutputMap | None:
        """V, where it is dense and no U follows: the output is linear in it."""
        return output_map(self.v) if self.structure.u is None else None

    @property
    def is_causal(self) -> bool:
        """Whether every token map looks back only."""
        s = self.structure
        return not self.prefix and all(map(_looks_back, (*s.a, *s.c, s.u)))

    @property
    def receptive_radius(self) -> int | None:
        """Tokens to each side that influence a token; None if not only 1-D convolutions do."""
        s = self.structure
        if self.prefix or not all(map(_is_sequential, (*s.a, *s.c, s.u))):
            return None
        total = _radius(s.a[0])
        for of_factor, of_product in zip(s.a[1:], s.c, strict=True):
            total = max(total + _radius(of_product), _radius(of_factor))
        return total + _radius(s.u)

    def weights(self, size: Size | None = None) -> PadreWeights:
        """The weights as the operator takes them; ``size`` for 2-D structures."""
        size = self.size if size is None else size

        def of_tokens(module: nn.Module) -> TokenMap | None:
            return token_map(module, size, self.prefix, self.grid_impl)

        return PadreWeights(
            a=tuple(map(of_tokens, self.a)),
            b=tuple(channel_map(m) for m in self.b),
            c=tuple(map(of_tokens, self.c)),
            d=tuple(channel_map(m) for m in self.d),
            terms=self.structure.terms,
            w=self.w,
            l=self.l,
            u=of_tokens(self.u),
            v=channel_map(self.v),
            normalise=self.structure.normalise,
            basis=self.structure.basis,
        )

    def forward(
        self,
        x: Tensor,
        pos: Tensor | None = None,
        mask: Tensor | None = None,
        size: Size | None = None,
    ) -> Tensor:
        """Tokens (G, L, D) -> (G, L, D).

        pos is (G, L, D), mask (G, L) bool. Structures of two dimensions need a size: (H, W) with
        H W = L, or the index of a grid for the tokens (1, N, D) of all samples.
        """
        self.check_inputs(x, pos, mask, size)
        radius = self.receptive_radius if self._impl == "eager" else None
        length = chunked.chunk_length(x, radius)
        if radius is not None and length is not None:
            return chunked.mix_chunks(self._mix, x, pos, mask, radius, length)
        return self._mix(x, pos, mask, size)

    def check_inputs(
        self, x: Tensor, pos: Tensor | None, mask: Tensor | None, size: Size | None
    ) -> None:
        """Check what :meth:`forward` takes.

        Raises:
            ValueError: names the argument, what was expected and what came.
        """
        name = type(self).__name__
        check_mixer_inputs(x, pos, mask, self.dim)
        check_prefix_inputs(name, self.prefix, x, mask)
        if not isinstance(size, GridIndex):
            check_token_image(name, self._dims, size, self.prefix)
        elif self.layout != "grid":
            raise ValueError(
                f"{name} size: expected layout='grid' for the index of a grid, got {self.layout!r}"
            )

    def _mix(
        self,
        x: Tensor,
        pos: Tensor | None,
        mask: Tensor | None,
        size: Size | None = None,
    ) -> Tensor:
        """The operator itself; chunks call it, not the module, so that hooks act once."""
        tokens = with_position(x, pos)  # the operator zeroes masked ones
        if mask is not None and isinstance(size, GridIndex):
            size = size.without_masked(mask.squeeze(0))
        return padre(tokens, self.weights(size), mask, impl=self._impl)

    def extra_repr(self) -> str:
        """Channels, degree, layout, and what the modules inside do not show."""
        s = self.structure
        shown = f"dim={self.dim}, degree={s.degree}, layout={self.layout!r}"
        shown += f", normalise={s.normalise!r}" if s.normalise else ""
        return shown + (f", basis={s.basis!r}" if s.basis != "monomial" else "")


def _dims_of(structure: PadreStructure, layout: str) -> int:
    if layout == "grid" and any(conv.dims != 2 for conv in token_convolutions(structure)):
        raise ValueError("PADRe layout='grid': expected convolutions with dims=2, got dims=1")
    return token_dims(structure)


def _is_sequential(spec: TokenSpec) -> bool:
    return spec is None or isinstance(spec, Conv) and spec.dims == 1


def _looks_back(spec: TokenSpec) -> bool:
    return spec is None or isinstance(spec, Conv) and (spec.causal or spec.kernel_size == 1)


def _radius(spec: TokenSpec) -> int:
    if not isinstance(spec, Conv):
        return 0
    return spec.kernel_size - 1 if spec.causal else spec.kernel_size // 2


_preset = preset  # the constructor has an argument of the same name
