"""A training step of a config, forward, backward and optimiser, beside that of another checkout.

    git worktree add ../before COMMIT
    SYNTHETIC_ROOT=data/synthetic python benchmarks/train_step.py --before ../before --threads 1

Each version is a process of its own, with what its own tools/train.py makes of its own config of
that name; both have the weights and the batches of this checkout, and take their steps in turn.
Reading the data is not part of a step. Needs the detection extra.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import common  # noqa: E402

CONFIG = Path("configs/dsvt_padre2_synthetic.py")
PROGRAM = Path(__file__).resolve().parent / "training_process.py"
WARM_UP = 3
TOLERANCE = 1e-3  # of the loss before the first step; later ones differ as rounding grows


class Training:
    """A training of one checkout; a call is a step.

    Args:
        checkout: whose package and config are used.
        config: relative to it.
        state: file of weights and batches, written if it is not there.
        threads: of torch.

    Attributes:
        processor_s: seconds of processor time of all steps.
        losses: before each step.

    Raises:
        RuntimeError: if the process ends, or imports another package.
    """

    def __init__(self, checkout: Path, config: Path, state: Path, threads: int) -> None:
        self.checkout = checkout.resolve()
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  (closed with this object)
        self._process = subprocess.Popen(
            [sys.executable, PROGRAM, config, state, str(threads)],
            cwd=self.checkout,
            env={**os.environ, "PYTHONPATH": str(self.checkout), "OMP_NUM_THREADS": str(threads)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self.processor_s, self.losses = 0.0, list[float]()
        found = self._answer()
        if Path(found) != self.checkout:
            self.close()
            raise RuntimeError(f"expected the package of {self.checkout}, got that of {found}")

    def __call__(self) -> None:
        """Take a step."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        seconds, loss = map(float, self._answer().split())
        self.processor_s += seconds
        self.losses.append(loss)

    def close(self) -> None:
        """End the process."""
        self._process.communicate()
        self._log.close()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            self._process.communicate()
            self._log.seek(0)
            said = "\n".join(self._log.read().splitlines()[-20:])
            raise RuntimeError(f"training of {self.checkout} ended: {said}")
        return line


def check(now: Training, before: Training) -> float:
    """The gate: both trainings start with the same loss."""
    return common.gate("loss", *(torch.tensor(v.losses[0]) for v in (now, before)), TOLERANCE)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All figures as a dictionary."""
    device, dtype = common.setup(args)
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as made:
        versions = {"now": Training(common.ROOT, args.config, Path(made) / "state.pth", threads)}
        try:
            if args.before is not None:
                state = Path(made) / "state.pth"
                versions["before"] = Training(args.before, args.config, state, threads)
            clocks = {name: lambda v=v: v.processor_s for name, v in versions.items()}
            times = common.interleaved(versions, device, args.repeats, WARM_UP, clocks)
            errors = {"loss": check(*versions.values())} if args.before is not None else {}
        finally:
            for each in versions.values():
                each.close()
    result = {
        "benchmark": "train_step",
        "conditions": common.conditions(device, dtype),
        "config": args.config.name,
        "gate": errors,
        "times": {name: t.as_dict() for name, t in times.items()},
    }
    if args.before is not None:
        before, now = times["before"], times["now"]
        result["before_commit"] = common.commit(args.before)
        result["ratio_to_before"] = round(before.median_ms / now.median_ms, 3)
        result["cpu_ratio_to_before"] = round(before.cpu_ms / now.cpu_ms, 3)
    return result


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = common.parser(__doc__, repeats=30)
    parser.add_argument(
        "--config", type=Path, default=CONFIG, help="relative to the checkout; default %(default)s"
    )
    parser.add_argument("--before", type=Path, metavar="DIR", help="checkout of another commit")
    args = parser.parse_args(argv)
    if args.device != "cpu":
        parser.error(f"--device: expected cpu, got {args.device}")
    if args.before and not (args.before / "tools" / "train.py").is_file():
        parser.error(f"--before: expected a checkout with tools/train.py, got {args.before}")
    result = measure(args)
    common.write_json("train_step", result, args.json, common.device_folder(torch.device("cpu")))


if __name__ == "__main__":
    main()
