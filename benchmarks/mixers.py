"""Figure 2 and Table 6: one mixer on ever longer sequences, PADRe against attention and Table 1.

    python benchmarks/mixers.py                          # D = 192 and 128, 256 to 262,144 tokens
    python benchmarks/mixers.py --mixers padre2 sdpa --tokens 4096 --dims 192
    python benchmarks/mixers.py --quick --json -

Rows named *_image are the paper's form, 11 x 11 kernels on an image of the tokens; the other PADRe
rows convolve along the sequence. Latency of one forward pass without gradients, peak memory, and
the exponent with which the latency grows from 4,096 tokens on. A case ends at the length at which
one run would take longer than --limit-s or more memory than --limit-gb; the lengths left out are
named in the result.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import common  # noqa: E402
from padre3d.mixers import build_mixer  # noqa: E402

TOKENS = tuple(sorted([2304, *(256 << i for i in range(11))]))  # 2304: Figure 2's 48 x 48
DIMS = (192, 128)
HEAD_CHANNELS = {192: 64, 128: 16}  # DeiT-T's and DSVT's heads
GROWTH_FROM = 4096
QUICK_GROWTH_FROM = 256
GATE_TOKENS = 61
GATE_IMAGE_TOKENS = 60
# Without what is slow on a CPU: scans, long filters, degree 4, the other forms of PADRe.
NOT_QUICK = ("hyena", "mamba", "padre4", "padre2_paper", "padre3_paper", "padre4_paper")
NOT_QUICK += ("padre4_image", "padre2_triton", "padre3_triton", "padre4_triton")


def configs(dim: int, fused: bool = True) -> dict[str, dict[str, Any]]:
    """Mixers by the name of their row; ``fused``: those in Triton kernels as well."""
    heads = dim // HEAD_CHANNELS.get(dim, 16)
    padre = {
        f"padre{d}{suffix}": dict(type="padre", degree=d, preset=preset)
        for preset, suffix in (("sequence", ""), ("paper", "_paper"))
        for d in (2, 3, 4)
    }
    for d in (2, 3, 4):
        padre[f"padre{d}_image"] = padre[f"padre{d}_paper"] | {"dims": 2}
    if fused:
        for d in (2, 3, 4):
            padre[f"padre{d}_triton"] = padre[f"padre{d}"] | {"impl": "triton"}
    return padre | {
        "attention": dict(type="self_attention", num_heads=heads, impl="explicit"),
        "sdpa": dict(type="self_attention", num_heads=heads),
        "sima": dict(type="sima", num_heads=heads),
        "conv2former": dict(type="conv2former"),
        "hyena": dict(type="hyena"),
        "mamba": dict(type="mamba"),
        "castling": dict(type="castling", num_heads=heads),
        "linear_angular": dict(type="linear_angular", num_heads=heads),
        "focused_linear": dict(type="focused_linear", num_heads=heads),
        "focused_linear_image": dict(type="focused_linear", num_heads=heads, dims=2),
        "efficient": dict(type="efficient", num_heads=heads),
        "hydra": dict(type="hydra"),
        "enhanced_linear": dict(type="enhanced_linear", num_heads=heads),
        "knn_attention": dict(type="knn_attention", num_heads=heads),
    }


def set_image(mixer: nn.Module, tokens: int) -> None:
    """Lay the tokens of a 2-D mixer out as the image nearest to a square, as high as wide or less.

    The paper's Figure 2 and Table 6 are of images of 256, 1024, 2304 and 4096 tokens.
    """
    height = math.isqrt(tokens)
    while tokens % height:
        height -= 1
    mixer.size = (height, tokens // height)


def check(name: str, mixer: nn.Module, dim: int, dtype: torch.dtype, device: Any) -> float:
    """The gate, on a short sequence in float64.

    PADRe against explicit matrices (``impl="oracle"``; images against themselves: 11 x 11 kernels
    are too many entries), fused attention against the formula, the others against themselves in
    float64.

    Raises:
        GateError: if the mixer to be timed computes something else.
    """
    tokens = GATE_IMAGE_TOKENS if is_image(name) else GATE_TOKENS
    x = torch.randn(2, tokens, dim, device=device, dtype=dtype)
    exact = build_mixer(configs(dim)[name], dim)
    exact.load_state_dict(mixer.state_dict())
    exact = exact.double().eval()
    if is_image(name):
        set_image(mixer, tokens)
        set_image(exact, tokens)
    elif name.startswith("padre"):
        exact.impl = "oracle"
    elif name == "sdpa":
        exact.impl = "explicit"
    expected = exact(x.double().cpu()).to(device)
    return common.gate(name, mixer(x), expected, common.tolerance_of(dtype))


def is_image(name: str) -> bool:
    """Whether a case mixes an image of tokens."""
    return name.endswith("_image")


def attention_gb(name: str, tokens: int, dim: int, dtype: torch.dtype) -> float:
    """GB of the matrices that softmax attention as written holds at once."""
    if name not in ("attention", "knn_attention"):
        return 0.0
    heads = configs(dim)[name]["num_heads"]
    return 2 * heads * tokens**2 * dtype.itemsize / 1e9


def measure_length(
    mixers: dict[str, nn.Module],
    tokens: int,
    dim: int,
    args: argparse.Namespace,
    dtype: torch.dtype,
) -> dict[str, dict[str, float]]:
    """Timings and memory of all mixers at one length, interleaved."""
    device = torch.device(args.device)
    x = torch.randn(1, tokens, dim, device=device, dtype=dtype)
    for name, mixer in mixers.items():
        if is_image(name):
            set_image(mixer, tokens)
    cases = {name: _case(mixer, x) for name, mixer in mixers.items()}
    slowest = max(min(common.once_ms(c, device) for _ in range(2)) for c in cases.values())
    repeats = max(3, min(args.repeats, int(args.repeat_s * 2e3 / slowest)))
    times = common.interleaved(cases, device, repeats, warm_up=0)
    return {
        name: times[name].as_dict() | {"peak_mb": round(common.peak_mb(case, device), 3)}
        for name, case in cases.items()
    }


def _case(mixer: nn.Module, x: Tensor) -> Callable[[], Tensor]:
    return lambda: mixer(x)


def measure_dim(dim: int, args: argparse.Namespace, dtype: torch.dtype) -> dict[str, Any]:
    """All mixers and lengths at one width."""
    device = torch.device(args.device)
    mixers = {
        name: build_mixer(config, dim).to(device, dtype).eval()
        for name, config in configs(dim, device.type == "cuda").items()
        if not args.mixers or name in args.mixers
    }
    errors = {name: check(name, m, dim, dtype, device) for name, m in mixers.items()}
    rows: dict[str, dict[str, Any]] = {name: {} for name in mixers}
    left_out: dict[str, dict[str, str]] = {}
    for tokens in args.tokens:
        running = {}
        for name, mixer in mixers.items():
            reason = _reason_to_stop(name, tokens, dim, dtype, rows[name], args)
            if reason:
                left_out.setdefault(name, {})[str(tokens)] = reason
            else:
                running[name] = mixer
        if running:
            for name, row in measure_length(running, tokens, dim, args, dtype).items():
                rows[name][str(tokens)] = row
    return {
        "gate": errors,
        "rows": rows,
        "left_out": left_out,
        "growth_from": args.growth_from,
        "growth_exponent": {name: growth(row, args.growth_from) for name, row in rows.items()},
        "ratios": ratios(rows),
    }


def _reason_to_stop(
    name: str,
    tokens: int,
    dim: int,
    dtype: torch.dtype,
    row: dict[str, Any],
    args: argparse.Namespace,
) -> str | None:
    gb = attention_gb(name, tokens, dim, dtype)
    if gb > args.limit_gb:
        return f"{gb:.0f} GB for the attention matrices"
    if row:
        last = max(map(int, row))
        power = 2 if name in ("attention", "sdpa", "knn_attention") else 1
        seconds = row[str(last)]["min_ms"] / 1e3 * (tokens / last) ** power
        if seconds > args.limit_s:
            return f"about {seconds:.0f} s a run"
    return None


def growth(row: dict[str, Any], start: int) -> float | None:
    """Exponent of the latency from ``start`` tokens on; None if there are not two lengths."""
    sizes = [int(n) for n in row if int(n) >= start]
    exponent = common.growth_exponent(sizes, [row[str(n)]["median_ms"] for n in sizes])
    return None if exponent is None else round(exponent, 3)


def ratios(rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Latency of both attentions over that of PADRe-2 and PADRe-3, at every common length.

    Both forms of PADRe: along a sequence, and the paper's 11 x 11 kernels on an image.
    """
    found: dict[str, dict[str, float]] = {}
    for slow in ("attention", "sdpa"):
        for fast in ("padre2", "padre3", "padre2_image", "padre3_image"):
            common_lengths = rows.get(slow, {}).keys() & rows.get(fast, {}).keys()
            found[f"{slow} / {fast}"] = {
                n: round(rows[slow][n]["median_ms"] / rows[fast][n]["median_ms"], 2)
                for n in sorted(common_lengths, key=int)
            }
    return found


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = common.parser(__doc__)
    add = parser.add_argument
    add("--tokens", type=int, nargs="+", help="lengths of the sequence")
    add("--dims", type=int, nargs="+", help="channels")
    add("--mixers", nargs="+", choices=sorted(configs(128)), help="default: all")
    add("--limit-s", type=float, default=10.0, help="longest run of a case")
    add("--limit-gb", type=float, default=8.0, help="largest attention matrices")
    args = parser.parse_args(argv)
    args.tokens = args.tokens or ((256, 1024, 4096) if args.quick else TOKENS)
    quick = tuple(name for name in configs(128) if name not in NOT_QUICK)
    args.mixers = args.mixers or (quick if args.quick else None)
    args.growth_from = QUICK_GROWTH_FROM if args.quick else GROWTH_FROM
    args.dims = args.dims or ((128,) if args.quick else DIMS)
    # A quick run repeats less; it leaves out no more than another one.
    args.repeat_s = min(args.limit_s, 0.3) if args.quick else args.limit_s
    device, dtype = common.setup(args)
    with torch.no_grad():
        dims = {str(dim): measure_dim(dim, args, dtype) for dim in args.dims}
    result = {
        "benchmark": "mixers",
        "conditions": common.conditions(device, dtype),
        "tokens": list(args.tokens),
        "dims": dims,
    }
    common.write_json("mixers", result, args.json, common.device_folder(device))


if __name__ == "__main__":
    main()
