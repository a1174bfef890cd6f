"""The order-N Hyena operator (appendix B.3), as published and as its defining equations.

z^1 = x^0,  z^{n+1} = x^n * (h^n conv z^n),  y = z^{N+1}     (Eqs. 35-37)

x^0..x^N are linear projections of the input, h^n are filters as long as the sequence: a
homogeneous polynomial of degree N + 1 (Eq. 47) in quasi-linear time. As PADRe: B_i the projections,
C_i the long convolutions, only the last Z in the sum.

| ``form`` | projections | long filters | look | source |
|---|---|---|---|---|
| published | then 3 causal taps | h^2..h^N, each plus a skip D z | back | authors |
| equations | as they are | h^1..h^N | both ways, or back | Eqs. 35-37 |

In the published form the short convolution of x^0 stands for h^1: order N has N - 1 long filters.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padre3d.checks import check_choice, check_count
from padre3d.mixers.hyena_filters import HyenaFilter, PublishedFilter
from padre3d.mixers.linear_maps import CausalTaps
from padre3d.mixers.mixer import Mixer, check_mixer_inputs, with_position, zero_masked
from padre3d.mixers.token_image import check_prefix_inputs

FORMS = ("published", "equations")
_is_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)


def long_convolution(filters: Tensor, x: Tensor) -> Tensor:
    """``y_t = sum_s h_{t - s} x_s`` by FFT, per channel, in at least float32.

    A length left open for an exported graph takes a direct convolution: an FFT has a size. Its cost
    is quadratic in the length it is run at.

    Args:
        filters: (2 L - 1, D), entry j is the lag j - (L - 1); or (L, D), entry j is the lag j.
        x: (G, L, D).
    """
    length = x.shape[1]
    first = filters.shape[0] - length
    work = torch.promote_types(x.dtype, torch.float32)
    if not isinstance(length, int) and _is_exporting():
        padded = F.pad(x.to(work).transpose(1, 2), (length - 1, first))
        taps = filters.to(work).flip(0).T.unsqueeze(1)
        return F.conv1d(padded, taps, groups=x.shape[2]).transpose(1, 2).to(x.dtype)
    # Circular, but what wraps around lands on entries that are not read.
    size = 1 << (2 * length - 2).bit_length() if isinstance(length, int) else 2 * length
    product = torch.fft.rfft(filters.to(work), size, dim=0) * torch.fft.rfft(
        x.to(work), size, dim=1
    )
    out = torch.fft.irfft(product, size, dim=1)
    return out[:, first : first + length].to(x.dtype)


class Hyena(Mixer):
    """Hyena with implicit filters, then an output projection.

    Args:
        dim: channels D.
        order: N; the degree is N + 1 (N = 2 is the common choice). At least 2 in the published
            form, which has N - 1 long filters, else at least 1.
        form: "published" (Poli et al. 2023) or "equations"; see the table of this module.
        causal: whether tokens see only earlier ones: always in the published form, by choice
            (default: no) in the other.
        max_tokens: published form only: length at which the filters' time is 1 (None: 4096).
            Longer sequences continue the filters.
        prefix: equations form: tokens outside the sequence, as for
            :class:`padre3d.mixers.PADRe`.
    """

    ends_in = "out"

    def __init__(
        self,
        dim: int,
        order: int = 2,
        form: str = "published",
        causal: bool | None = None,
        max_tokens: int | None = None,
        prefix: int = 0,
    ) -> None:
        super().__init__()
        check_choice("Hyena form", form, FORMS)
        published = form == "published"
        check_count("Hyena order", order, 2 if published else 1)
        if not published and max_tokens is not None:
            raise ValueError(
                f"Hyena max_tokens: expected form='published', whose filters have a time scale, "
                f"with it, got {max_tokens} and form={form!r}"
            )
        max_tokens = 4096 if max_tokens is None else max_tokens
        check_count("Hyena max_tokens", max_tokens, 1)
        check_count("Hyena prefix", prefix, 0)
        self.causal = published if causal is None else bool(causal)
        if published and not self.causal:
            raise ValueError(
                "Hyena causal: expected True in the published form, got False; form='equations' "
                "looks both ways"
            )
        if prefix and self.causal:
            raise ValueError(
                f"Hyena prefix: expected 0 where tokens see only earlier ones, got {prefix}: the "
                "tokens in front would see none (form='equations' looks both ways)"
            )
        self.dim, self.order, self.form, self.prefix = dim, order, form, prefix
        self.projections = nn.Linear(dim, (order + 1) * dim)
        if published:
            self.short = CausalTaps((order + 1) * dim, 3)
            self.filters: nn.Module = PublishedFilter((order - 1) * dim, max_tokens)
            self.skip = nn.Parameter(torch.randn(order - 1, dim))
        else:
            self.filters = nn.ModuleList(HyenaFilter(dim, causal=self.causal) for _ in range(order))
        self.out = nn.Linear(dim, dim)

    @property
    def is_causal(self) -> bool:
        """As asked for."""
        return self.causal

    def forward(self, x: Tensor, pos: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Tokens (G, L, D) -> (G, L, D); pos (G, L, D), mask (G, L) bool."""
        check_mixer_inputs(x, pos, mask, self.dim)
        check_prefix_inputs("Hyena", self.prefix, x, mask)
        if x.shape[0] == 0 or x.shape[1] == 0:
            return self.out(x)
        projected = self.projections(zero_masked(with_position(x, pos), mask))
        mix = self._published if self.form == "published" else self._equations
        return self.out(mix(projected, mask))

    def _published(self, projected: Tensor, mask: Tensor | None) -> Tensor:
        """The authors' order: the last projection is x^0, the first the last gate."""
        *gates, z = self.short(zero_masked(projected, mask)).chunk(self.order + 1, dim=-1)
        # Channel by channel, the filters of all orders stand side by side.
        filters = self.filters(z.shape[1]).unflatten(-1, (self.dim, -1)).unbind(-1)
        for gate, taps, skip in zip(gates[:0:-1], filters, self.skip, strict=True):
            z = zero_masked(z * gate, mask)
            z = long_convolution(taps, z) + skip * z
        return z * gates[0]

    def _equations(self, projected: Tensor, mask: Tensor | None) -> Tensor:
        z, *gates = projected.chunk(self.order + 1, dim=-1)
        assert isinstance(self.filters, nn.ModuleList)
        for gate, make_filter in zip(gates, self.filters, strict=True):
            z = gate * self._mix(make_filter, zero_masked(z, mask))
        return z

    def _mix(self, make_filter: nn.Module, z: Tensor) -> Tensor:
        """The long convolution; prefix tokens keep their own and get its mean (TokenPrefix)."""
        first, rest = z[:, : self.prefix], z[:, self.prefix :]
        if rest.shape[1] == 0:
            return z
        mixed = long_convolution(make_filter(rest.shape[1]), rest)
        if not self.prefix:
            return mixed
        return torch.cat([first + mixed.mean(1, keepdim=True), mixed], 1)
