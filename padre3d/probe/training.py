"""Training of the probe, resumable to the same result."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from padre3d.io.files import write_atomic
from padre3d.probe.balance import class_weights, pillar_counts
from padre3d.probe.cache import FrameCache
from padre3d.probe.frames import Frame
from padre3d.probe.model import Probe, probe_loss
from padre3d.probe.schedule import Schedule, as_tensors, augment
from padre3d.probe.settings import ProbeSettings
from padre3d.probe.targets import PillarTargets, pillar_targets
from padre3d.training.checkpoint import load_checkpoint_file

CHECKPOINT = "checkpoint.pt"
CHECKPOINT_EVERY = 100
LAST_SHARE = 0.1
DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


class Training:
    """A probe in training.

    A step whose loss or whose gradient is not finite changes no weight and is counted.

    Args:
        settings: all that decides the result.
        frames: training frames.
        fingerprint: of the settings and the data; a checkpoint of another one is not continued.
        device: where to train.

    Attributes:
        step: steps done.
        losses: loss of each step done.
        nonfinite_steps: steps whose loss or gradient was not finite.
        nonfinite_losses: steps whose loss was not finite.
        seconds: time of the steps done, reading and augmenting frames included.
    """

    def __init__(
        self,
        settings: ProbeSettings,
        frames: FrameCache | Sequence[Frame],
        fingerprint: str = "",
        device: str = "cpu",
    ) -> None:
        self.settings, self.frames, self.fingerprint = settings, frames, fingerprint
        self.device = torch.device(device)
        self.schedule = Schedule(
            settings.seed,
            settings.steps,
            settings.batch_size,
            len(frames),
            **settings.augmentation,
        )
        torch.manual_seed(settings.seed)
        num_classes = len(settings.class_names)
        model = Probe(settings.grid, settings.pillar_encoder, settings.backbone, num_classes)
        self.model = model.to(self.device)
        whole = (frames[i] for i in range(len(frames)))
        counts = pillar_counts(whole, model.grid, num_classes)
        balance, background = settings.class_balance, settings.background_weight
        self.class_weights = class_weights(counts, balance, background).to(self.device)
        arguments = dict(settings.optimizer)
        kind = getattr(torch.optim, arguments.pop("type"))
        self.average = _average_of(self.model, settings.ema_decay)
        self.optimizer = kind(self.model.parameters(), **arguments)
        self.scheduler = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            arguments["lr"],
            total_steps=settings.steps,
            pct_start=settings.pct_start,
        )
        # Half precision only: bfloat16 reaches as far as float32.
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=settings.amp == "fp16")
        self.step = self.nonfinite_steps = self.nonfinite_losses = 0
        self.losses: list[float] = []
        self.seconds = 0.0

    def autocast(self) -> AbstractContextManager:
        """The precision of the forward pass, in training and in validation."""
        if self.settings.amp is None:
            return nullcontext()
        return torch.autocast(self.device.type, DTYPES[self.settings.amp])

    def run(
        self, folder: Path | None = None, progress: Callable[[Training], None] | None = None
    ) -> None:
        """Do the steps that are left; a checkpoint every 100 steps and at the end."""
        self.model.train()
        while self.step < self.settings.steps:
            self.one_step()
            at_end = self.step == self.settings.steps
            if folder is not None and (at_end or self.step % CHECKPOINT_EVERY == 0):
                self.save(folder / CHECKPOINT)
            if progress is not None:
                progress(self)

    def one_step(self) -> None:
        """One step of the optimiser."""
        start = time.perf_counter()
        frames = [
            augment(as_tensors(self.frames[draw.frame], self.device), draw)
            for draw in self.schedule[self.step]
        ]
        with self.autocast():
            predicted, coords = self.model([frame.points for frame in frames])
        targets = batch_targets(self.model, coords, frames)
        loss = probe_loss(predicted, targets, self.class_weights, self.settings.loss_weights)
        self._update(loss)
        self.losses.append(float(loss.detach()))
        self.nonfinite_losses += not math.isfinite(self.losses[-1])
        self.step += 1
        self.seconds += time.perf_counter() - start

    def _update(self, loss: Tensor) -> None:
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
        if math.isfinite(norm.item()) and math.isfinite(loss.item()):
            self.scaler.step(self.optimizer)
        else:
            self.nonfinite_steps += 1
            # A schedule without any step before it warns; the step count stays in line.
            self.optimizer._opt_called = True  # type: ignore[attr-defined]
        self.scaler.update()
        self.scheduler.step()
        if self.average is not None:
            self.average.update_parameters(self.model)

    @property
    def validated(self) -> Probe:
        """The model that is scored: the average if there is one, in evaluation mode."""
        model: Any = self.model if self.average is None else self.average.module
        return model.eval()

    @property
    def train_loss(self) -> float:
        """Mean of the finite losses of the last tenth of the steps; NaN without one."""
        last = self.losses[-max(1, round(LAST_SHARE * self.settings.steps)) :]
        finite = [loss for loss in last if math.isfinite(loss)]
        return sum(finite) / len(finite) if finite else math.nan

    def save(self, path: Path) -> None:
        """Write a checkpoint; a kill leaves the one before."""
        state = {
            "fingerprint": self.fingerprint,
            "step": self.step,
            "losses": self.losses,
            "nonfinite_steps": self.nonfinite_steps,
            "nonfinite_losses": self.nonfinite_losses,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random_state": torch.get_rng_state(),
            "cuda_random_state": _cuda_random_state(self.device),
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_atomic(path, buffer.getvalue())

    def load(self, path: Path) -> bool:
        """Go on from a checkpoint; False if there is none of these settings that loads."""
        try:
            state = load_checkpoint_file(path)
        except (FileNotFoundError, ValueError):
            return False
        if state.get("fingerprint") != self.fingerprint:
            return False
        for name in ("model", "optimizer", "scheduler", "scaler"):
            getattr(self, name).load_state_dict(state[name])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        for name in ("step", "losses", "nonfinite_steps", "nonfinite_losses", "seconds"):
            setattr(self, name, state[name])
        torch.set_rng_state(state["random_state"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_random_state"], self.device)
        return True


def _average_of(model: Probe, decay: float) -> AveragedModel | None:
    if not decay:
        return None
    # Statistics of normalisations are averaged as well.
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)


def batch_targets(model: Probe, coords: Tensor, frames: Sequence[Frame]) -> PillarTargets:
    """Truth of a batch's pillars (N, 3), in their order."""
    centres = model.grid.centres_m(coords[:, 1:])
    parts = []
    for sample, frame in enumerate(frames):
        own = centres[coords[:, 0] == sample]
        parts.append(
            pillar_targets(own, frame.boxes, frame.labels, model.cell_m, model.num_classes)
        )
    # Pillars come sample by sample.
    return PillarTargets(*(torch.cat(values) for values in zip(*parts, strict=True)))


def _cuda_random_state(device: torch.device) -> Tensor | None:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else None
