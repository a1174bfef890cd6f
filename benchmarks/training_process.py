"""A detector in training as a process that takes a step for every line it reads.

    PYTHONPATH=CHECKOUT python benchmarks/training_process.py CONFIG STATE THREADS

To be run in the root of CHECKOUT: starts its tools/train.py up to the first step, with the data
read in this process, and imports nothing of this folder, so that both versions of a comparison run
the same program. STATE has weights and batches; where it is not there yet it is written, of BATCHES
batches of the config's training data. Each answer is a line: processor seconds of the step, and the
loss before it.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner

import padre3d.plugin  # noqa: F401

BATCHES = 6


def runner_of(config: Path, work: Path) -> Runner:
    """What tools/train.py of the checkout makes of the config, ready to train."""
    sys.path.insert(0, "tools")
    tool = importlib.import_module("train")
    made: list[Runner] = []
    Runner.train = lambda runner: made.append(runner)
    words = ["train.py", config, "--work-dir", work, "--cfg-options"]
    words += ["train_dataloader.num_workers=0", "train_dataloader.persistent_workers=False"]
    sys.argv = [str(word) for word in words]
    tool.main()
    return made[0]


def state_of(runner: Runner, file: Path) -> dict[str, Any]:
    """Weights and batches of the file, or of the runner where there is none."""
    if not file.exists():
        loader = Runner.build_dataloader(runner.cfg.train_dataloader, seed=0)
        batches = [*itertools.islice(loader, BATCHES)]
        torch.save({"weights": runner.model.state_dict(), "batches": batches}, file)
    return torch.load(file, weights_only=False)


def main() -> None:
    """Answer lines until there are no more."""
    config, file, threads = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(threads)
    with contextlib.redirect_stdout(sys.stderr):
        runner = runner_of(config, file.parent / str(os.getpid()))
        state = state_of(runner, file)
        runner.model.load_state_dict(state["weights"])
        optimizer: OptimWrapper = runner.build_optim_wrapper(runner.cfg.optim_wrapper)
        runner.model.train()
    batches = itertools.cycle(state["batches"])
    print(Path(padre3d.plugin.__file__).resolve().parent.parent, flush=True)
    for _ in sys.stdin:
        start = time.process_time()
        found = runner.model.train_step(next(batches), optimizer)
        print(time.process_time() - start, float(found["loss"]), flush=True)


if __name__ == "__main__":
    main()
