"""The fit from its first phase to its last, resumable to the same result."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from padre3d.distill.draws import Clouds, Draws
from padre3d.distill.errors import LEAST_PILLARS, measure
from padre3d.distill.pair import Pair
from padre3d.distill.phases import PHASES, FitSettings, Phase
from padre3d.io.files import write_atomic
from padre3d.training.checkpoint import load_checkpoint_file

STATE_FILE = "fit.pt"
START = "start"
Progress = Callable[[str, int, int], None]


class Fitting:
    """Fits a student's mixers to its teacher's, phase by phase.

    Args:
        pair: teacher and student.
        clouds: to fit on.
        unseen: clouds to measure the errors on.
        settings: all that decides the result beside models and clouds.
        fingerprint: of models and clouds; the state of another one is not continued.
        save_every_s: seconds between two saves within a phase; every phase ends with one.

    Attributes:
        errors: by phase, "start" first, what :func:`padre3d.distill.errors.measure` gives.
    """

    def __init__(
        self,
        pair: Pair,
        clouds: Clouds,
        unseen: Clouds,
        settings: FitSettings,
        fingerprint: str = "",
        save_every_s: float = 30.0,
    ) -> None:
        self.pair, self.clouds, self.unseen = pair, clouds, unseen
        self.settings, self.save_every_s = settings, save_every_s
        self.fingerprint = f"{fingerprint} {settings}"
        self.errors: dict[str, dict[str, Any]] = {}
        self.number = self.step = 0
        self._work: Any = None

    def run(self, folder: Path | None = None, progress: Progress = lambda *_: None) -> None:
        """Do what is left.

        Args:
            folder: where the state is kept; None keeps none.
            progress: is told the phase, the steps done of it and their number.
        """
        if START not in self.errors:
            self.errors[START] = measure(self.pair, self.unseen)
        while self.number < len(PHASES):
            phase = PHASES[self.number](self.pair, self.settings, len(self.clouds))
            if self._work is not None:
                phase.load_state_dict(self._work)
            self._run_phase(phase, folder, progress)
            if phase.steps:
                self.errors[phase.name] = measure(self.pair, self.unseen)
            self.number, self.step, self._work = self.number + 1, 0, None
            self._save(folder, None)

    def _run_phase(self, phase: Phase, folder: Path | None, progress: Progress) -> None:
        draws = Draws(self.clouds, self.settings.seed, self.number)
        saved = time.monotonic()
        progress(phase.name, self.step, phase.steps)
        while self.step < phase.steps:
            pillars = self.pair.pillars(draws[self.step])
            if len(pillars.features) >= LEAST_PILLARS:
                phase.step(self.step, pillars)
            self.step += 1
            if time.monotonic() - saved >= self.save_every_s:
                self._save(folder, phase)
                saved = time.monotonic()
            progress(phase.name, self.step, phase.steps)
        if phase.steps:
            phase.finish()

    def _save(self, folder: Path | None, phase: Phase | None) -> None:
        """Write the state; a kill leaves the one before."""
        if folder is None:
            return
        state = {
            "fingerprint": self.fingerprint,
            "number": self.number,
            "step": self.step,
            "errors": self.errors,
            "student": self.pair.student.backbone.state_dict(),
            "work": None if phase is None else phase.state_dict(),
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_atomic(folder / STATE_FILE, buffer.getvalue())

    def load(self, folder: Path) -> bool:
        """Go on from a folder's state; False if there is none of this fit that is whole."""
        try:
            state = load_checkpoint_file(folder / STATE_FILE)
        except (FileNotFoundError, ValueError):
            return False
        if state.get("fingerprint") != self.fingerprint:
            return False
        self.pair.student.backbone.load_state_dict(state["student"])
        self.number, self.step, self.errors = state["number"], state["step"], state["errors"]
        self._work = state["work"]
        return True
