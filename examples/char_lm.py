"""A small character model of Python's standard library: attention against causal PADRe.

    python examples/char_lm.py                      # three seeds, 11 minutes of processor time
    python examples/char_lm.py --steps 50 --seeds 0 --json -

The paper's preliminary language study (section 5) in small: a causal transformer, its
self-attention replaced by PADRe-2 and PADRe-3 (``replace_attention`` with ``causal=True``), trained
from scratch on text that is on every machine. The feed-forward width makes up for the difference of
the mixers' parameters. One file in ten is kept for the test.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import statistics
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from padre3d.mixers import replace_attention  # noqa: E402
from padre3d.study.environment import commit, device_name  # noqa: E402

CHARACTERS = 128
HEADS = 4
TEST_WINDOWS = 128


def standard_library() -> tuple[Tensor, Tensor]:
    """(training, test) characters of the top-level modules: ASCII, tabs and newlines included."""
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    if not files:
        raise FileNotFoundError(f"no .py files in {sysconfig.get_paths()['stdlib']}")
    parts: tuple[list[bytes], list[bytes]] = ([], [])
    for i, file in enumerate(files):
        text = file.read_text(encoding="utf-8", errors="replace")
        parts[i % 10 == 9].append(text.encode("ascii", errors="replace"))
    train, test = (torch.tensor(list(b"\n".join(part))) for part in parts)
    return train, test


class CharacterModel(nn.Module):
    """Embedding and learned positions, a causal pre-norm encoder, a linear map to characters."""

    def __init__(self, dim: int, layers: int, ffn_dim: int, context: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(CHARACTERS, dim)
        self.positions = nn.Parameter(0.02 * torch.randn(context, dim))
        layer = nn.TransformerEncoderLayer(
            dim, HEADS, ffn_dim, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(
            layer, layers, nn.LayerNorm(dim), enable_nested_tensor=False
        )
        self.head = nn.Linear(dim, CHARACTERS)
        mask = nn.Transformer.generate_square_subsequent_mask(context)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, text: Tensor) -> Tensor:
        """Characters (B, L) -> logits (B, L, CHARACTERS) of the next ones."""
        x = self.embedding(text) + self.positions[: text.shape[1]]
        mask = self.mask[: text.shape[1], : text.shape[1]]
        return self.head(self.encoder(x, mask=mask, is_causal=True))


def parameters(model: nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in model.parameters())


def build(mixer: dict[str, Any] | None, args: argparse.Namespace) -> CharacterModel:
    """The model with a mixer in the place of attention, as many parameters as with attention."""
    budget = parameters(CharacterModel(args.dim, args.layers, args.ffn_dim, args.context))
    ffn_dim = args.ffn_dim
    while True:
        model = CharacterModel(args.dim, args.layers, ffn_dim, args.context)
        if mixer is not None:
            replace_attention(model, mixer)
        per_unit = args.layers * (2 * args.dim + 1)
        change = round((budget - parameters(model)) / per_unit)
        if change == 0:
            return model
        ffn_dim += change


def windows(text: Tensor, starts: Tensor, context: int) -> tuple[Tensor, Tensor]:
    """(inputs, targets), each (B, context)."""
    index = starts[:, None] + torch.arange(context + 1)
    chosen = text[index]
    return chosen[:, :-1], chosen[:, 1:]


def bits(model: CharacterModel, inputs: Tensor, targets: Tensor) -> Tensor:
    """Bits per character."""
    return F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten()) / math.log(2)


def run(
    mixer: dict[str, Any] | None, seed: int, text: tuple[Tensor, Tensor], args: argparse.Namespace
) -> dict[str, float]:
    """Train from one seed and test; the seed draws the weights and the windows."""
    torch.manual_seed(seed)
    model = build(mixer, args)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), args.lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.lr, args.steps, pct_start=0.1)
    train, test = text
    started = time.process_time()
    for _ in range(args.steps):
        starts = torch.randint(len(train) - args.context, (args.batch,), generator=generator)
        loss = bits(model, *windows(train, starts, args.context))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    seconds = time.process_time() - started
    model.eval()
    starts = torch.linspace(0, len(test) - args.context - 1, TEST_WINDOWS).long()
    with torch.no_grad():
        losses = [
            bits(model, *windows(test, part, args.context)).item() for part in starts.split(16)
        ]
    return {
        "test_bits": statistics.mean(losses),
        "parameters": parameters(model),
        "cpu_ms_per_step": 1e3 * seconds / args.steps,
    }


def table(results: dict[str, list[dict[str, float]]]) -> str:
    """Markdown: mean and standard deviation over the seeds."""
    lines = [
        "| mixer | parameters | test bits per character | CPU ms per step |",
        "|---|---|---|---|",
    ]
    for name, rows in results.items():
        losses = [row["test_bits"] for row in rows]
        spread = statistics.stdev(losses) if len(losses) > 1 else 0.0
        time_of_step = statistics.mean(row["cpu_ms_per_step"] for row in rows)
        lines.append(
            f"| {name} | {rows[0]['parameters']:,.0f} | {statistics.mean(losses):.3f} ± "
            f"{spread:.3f} | {time_of_step:.0f} |"
        )
    return "\n".join(lines)


def environment(args: argparse.Namespace) -> dict[str, Any]:
    """With what the figures were made."""
    head, changed = commit(ROOT)
    return {
        "commit": head,
        "changed_files": changed,
        "device": device_name(visible=""),  # runs on the CPU
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "arguments": {k: v for k, v in vars(args).items() if k not in ("json", "table")},
    }


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--steps", type=int, default=500)
    add("--batch", type=int, default=16, help="windows per step")
    add("--context", type=int, default=128, help="characters per window")
    add("--dim", type=int, default=128)
    add("--layers", type=int, default=4)
    add("--ffn-dim", type=int, default=384, help="with attention; the others are fitted to it")
    add("--lr", type=float, default=2e-3)
    add("--kernel-size", type=int, default=11)
    add("--seeds", type=int, nargs="+", default=[0, 1, 2])
    add("--mixers", nargs="+", help="default: all")
    add("--json", help="where to write the figures; - prints them")
    add("--table", metavar="FILE", help="only print the table of figures that --json has written")
    args = parser.parse_args(argv)
    if args.table:
        print(table(json.loads(Path(args.table).read_text())["results"]))
        return
    padre = dict(type="padre", causal=True, kernel_size=args.kernel_size)
    mixers = {
        "attention": None,
        "PADRe-2": padre | {"degree": 2},
        "PADRe-3": padre | {"degree": 3},
    }
    text = standard_library()
    results: dict[str, list[dict[str, float]]] = {}
    result = {**environment(args), "characters": [len(part) for part in text], "results": results}
    for name, mixer in mixers.items():
        if args.mixers is None or name in args.mixers:
            results[name] = []
            for seed in args.seeds:
                results[name].append(run(mixer, seed, text, args))
                print(name, seed, results[name][-1], file=sys.stderr, flush=True)
                if args.json not in (None, "-"):
                    # After every run: what an interruption leaves behind can be read.
                    Path(args.json).write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1) if args.json == "-" else table(results))


if __name__ == "__main__":
    main()
