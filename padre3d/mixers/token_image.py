"""Where the tokens of a mixer lie: a sequence or an H x W image, behind tokens outside it."""

from __future__ import annotations

from torch import Tensor

from padre3d.checks import check_count

Size = tuple[int, int]


def check_token_image(owner: str, dims: int, size: Size | None, prefix: int) -> Size | None:
    """Check the arguments that say where tokens lie; returns ``size`` as two integers.

    Args:
        owner: how errors name the mixer.
        dims: 1 for a sequence, 2 for an image.
        size: (H, W) of the image, or None if each call says it.
        prefix: tokens in front that are outside the sequence or image, such as a class token.

    Raises:
        ValueError: names the argument, what was expected and what came.
    """
    if check_count(f"{owner} dims", dims, 1) > 2:
        raise ValueError(f"{owner} dims: expected 1 or 2, got {dims!r}")
    check_count(f"{owner} prefix", prefix, 0)
    if size is None:
        return None
    if dims == 1:
        raise ValueError(f"{owner} size: expected None with dims=1 (a sequence), got {size!r}")
    try:
        height, width = size
    except (TypeError, ValueError):
        raise ValueError(f"{owner} size: expected (H, W), got {size!r}") from None
    return (
        check_count(f"{owner} size, H", height, 1),
        check_count(f"{owner} size, W", width, 1),
    )


def check_prefix_inputs(owner: str, prefix: int, x: Tensor, mask: Tensor | None) -> None:
    """Check that x (G, L, D) holds the prefix tokens and that nothing is masked behind them.

    Raises:
        ValueError: on fewer tokens than the prefix, or a mask beside a prefix.
    """
    if prefix and mask is not None:
        raise ValueError(f"{owner} with prefix tokens: expected mask=None, got a mask")
    if x.shape[1] < prefix:
        raise ValueError(
            f"{owner} with prefix={prefix}: expected at least {prefix} tokens, got {x.shape[1]}"
        )
