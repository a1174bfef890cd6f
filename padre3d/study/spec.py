"""What a study file defines, and the runs that follow from it."""

from __future__ import annotations

import hashlib
import json
import re
import runpy
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from padre3d.study.options import cfg_options, plain_text

METRICS_FILE = "metrics.json"
PLACEHOLDER = re.compile(r"\{([A-Za-z_][\w.]*)\}")
NAME = re.compile(r"[A-Za-z0-9][\w.+-]*")
VALUES = frozenset({"out", "seed", "variant", "threads", "python"})
BUILT_IN = VALUES | {"options"}


@dataclass(frozen=True)
class Reuse:
    """Files that a step's command goes on from, and that another run may have made already.

    The command must see itself whether they are of its own kind: they are copied unread.

    Attributes:
        files: relative to the run's folder.
        apart_from: overrides in which the other run may differ; its seed and all other overrides
            are equal.
    """

    files: Sequence[str]
    apart_from: Sequence[str] = ()


@dataclass(frozen=True)
class Step:
    """One of several commands of a run.

    Attributes:
        name: shown while it runs.
        command: program and arguments with placeholders; see ``Study``.
        result: the file that the step leaves, relative to the run's folder, placeholders allowed.
            A step whose result is there and that was not interrupted is not run again.
        only: variants that have this step; empty for all.
        reuse: what the step takes over from another run, if it has begun nothing itself.
    """

    name: str
    command: Sequence[str]
    result: str
    only: Sequence[str] = ()
    reuse: Reuse | None = None


@dataclass(frozen=True)
class Study:
    """A grid of variants and seeds with one command, or several steps, per run.

    Commands run in the repository's root; one that starts with a ``.py`` file is run by this
    Python. Placeholders in them: ``{out}`` (the run's folder), ``{seed}``, ``{variant}``,
    ``{threads}``, ``{python}``, the key of any override, and the argument ``{options}``, which
    becomes ``--cfg-options key=value ...`` of the overrides that no placeholder names. Values of
    overrides may hold the runner's placeholders, too: ``{"randomness.seed": "{seed}"}``. The (last)
    command writes ``{out}/metrics.json``: an object, nested or flat, with the metrics and, if
    known, ``params``, ``macs``, ``seconds`` and ``device``.

    Attributes:
        name: names the results file.
        variants: overrides by variant name.
        metrics: metrics to keep.
        command: program and arguments of a run; either this or ``steps``.
        steps: several commands, run in order.
        seeds: one run of each variant per seed.
        baseline: the variant that paired differences refer to.
        defaults: overrides of all variants; a variant's own win.
        rename: metric name by the key in metrics.json, or by what follows a ``/`` in it:
            ``{"NDS": "nds"}`` takes ``NuScenes metric/pred_instances_3d_NuScenes/NDS``.
        env: environment variables of the commands.
        inputs: files, relative to the root, whose contents count: a change makes results stale.

    Raises:
        ValueError: if the fields do not fit together.
    """

    name: str
    variants: Mapping[str, Mapping[str, Any]]
    metrics: Sequence[str]
    command: Sequence[str] = ()
    steps: Sequence[Step] = ()
    seeds: Sequence[int] = (0,)
    baseline: str | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    rename: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    inputs: Sequence[str] = ()

    def __post_init__(self) -> None:
        self._check_types()
        for name in (self.name, *self.variants, *(step.name for step in self.steps)):
            if not NAME.fullmatch(name):
                raise ValueError(f"name: expected letters, digits and ._+- only, got {name!r}")
        if bool(self.command) == bool(self.steps):
            raise ValueError(f"study {self.name}: expected either command or steps")
        if not (self.variants and self.metrics and self.seeds):
            raise ValueError(f"study {self.name}: expected variants, metrics and seeds")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds: expected each once, got {tuple(self.seeds)}")
        if self.baseline is not None and self.baseline not in self.variants:
            raise ValueError(
                f"baseline: expected one of {list(self.variants)}, got {self.baseline!r}"
            )
        unknown = sorted(set(self.rename.values()) - set(self.metrics))
        if unknown:
            raise ValueError(f"rename: {unknown[0]!r} is not among the metrics")
        for variant in self.variants:
            self._check_placeholders(variant)

    def all_steps(self) -> tuple[Step, ...]:
        """The steps; a plain command is one that leaves metrics.json."""
        return tuple(self.steps) or (Step("run", self.command, METRICS_FILE),)

    def steps_of(self, variant: str) -> tuple[Step, ...]:
        """The steps of a variant's runs."""
        return tuple(step for step in self.all_steps() if not step.only or variant in step.only)

    def overrides(self, variant: str) -> dict[str, Any]:
        """Overrides of a variant, defaults included."""
        return {**self.defaults, **self.variants[variant]}

    def config_hash(self, variant: str, root: Path) -> str:
        """Hash of all that decides a run's result besides its seed and the code.

        Raises:
            FileNotFoundError: if a file of ``inputs`` is missing.
        """
        settings = {
            "overrides": self.overrides(variant),
            "steps": [(s.name, list(s.command), s.result) for s in self.steps_of(variant)],
            "rename": dict(self.rename),
            "env": dict(self.env),
            "inputs": {name: _digest((root / name).read_bytes()) for name in self.inputs},
        }
        return _digest(json.dumps(settings, sort_keys=True).encode())[:12]

    def runs(self, root: Path, work_dir: Path) -> list[Run]:
        """All runs, seed-major, so that what is done at any time is balanced."""
        hashes = {variant: self.config_hash(variant, root) for variant in self.variants}
        return [
            Run(self, name, seed, hashes[name], work_dir / name / f"seed{seed}-{hashes[name]}")
            for seed in self.seeds
            for name in self.variants
        ]

    def placeholders(self, variant: str) -> set[str]:
        """Names of all placeholders in a variant's commands and results."""
        texts = [text for step in self.steps_of(variant) for text in (*step.command, step.result)]
        return {name for text in texts for name in PLACEHOLDER.findall(text)}

    def _check_types(self) -> None:
        for step in self.all_steps():
            if isinstance(step.command, str):
                raise ValueError(f"command: expected a list of strings, got {step.command!r}")
            texts = (*step.command, step.result)
            if any("{options}" in text and text != "{options}" for text in texts):
                raise ValueError(f"step {step.name}: {{options}} must be an argument of its own")
            unknown = sorted(set(step.only) - set(self.variants))
            if isinstance(step.only, str) or unknown:
                raise ValueError(f"step {step.name}, only: expected variants, got {step.only!r}")
            if step.reuse and any(isinstance(v, str) for v in vars(step.reuse).values()):
                raise ValueError(f"step {step.name}: expected lists of names, got {step.reuse!r}")
        if isinstance(self.metrics, str):
            raise ValueError(f"metrics: expected a tuple of names, got {self.metrics!r}")

    def _check_placeholders(self, variant: str) -> None:
        if not self.steps_of(variant):
            raise ValueError(f"variant {variant}: expected a step, got none")
        overrides, used = self.overrides(variant), self.placeholders(variant)
        clash = sorted(BUILT_IN & set(overrides))
        if clash:
            raise ValueError(f"variant {variant}: {clash[0]!r} is the runner's own placeholder")
        unknown = sorted(used - BUILT_IN - set(overrides))
        if unknown:
            raise ValueError(f"variant {variant}: nothing to put in for {{{unknown[0]}}}")
        rest = {key: value for key, value in overrides.items() if key not in used}
        if rest and "options" not in used:
            raise ValueError(f"variant {variant}: the command has no place for {sorted(rest)[0]!r}")
        try:
            inner = set(PLACEHOLDER.findall(json.dumps(overrides)))
        except TypeError as error:
            raise ValueError(f"variant {variant}: overrides must be plain data: {error}") from None
        if inner - VALUES:
            unknown = sorted(inner - VALUES)
            raise ValueError(f"variant {variant}: nothing to put in for {{{unknown[0]}}}")
        run = Run(self, variant, self.seeds[0], "", Path("out"))
        for step in self.steps_of(variant):
            run.command(step, threads=1)


@dataclass(frozen=True)
class Run:
    """One variant at one seed.

    Attributes:
        study: the study.
        variant: name of the variant.
        seed: the seed.
        hash: the variant's ``config_hash``.
        out: the run's folder, which is the hash's own, so that nothing of an earlier configuration
            is continued.
    """

    study: Study
    variant: str
    seed: int
    hash: str
    out: Path

    def __str__(self) -> str:
        return f"{self.variant} seed {self.seed}"

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of the variant."""
        return self.study.steps_of(self.variant)

    @property
    def key(self) -> tuple[str, int, str]:
        """What a result is found by."""
        return self.variant, self.seed, self.hash

    def command(self, step: Step, threads: int) -> list[str]:
        """The step's command with all placeholders filled."""
        values, used = self._values(threads), self.study.placeholders(self.variant)
        rest = {key: values[key] for key in self.study.overrides(self.variant) if key not in used}
        options = cfg_options(rest)
        command: list[str] = []
        for argument in step.command:
            command += options if argument == "{options}" else [_fill(argument, values)]
        return [sys.executable, *command] if command[0].endswith(".py") else command

    def result(self, step: Step, threads: int) -> Path:
        """The file that a step leaves."""
        return self.out / _fill(step.result, self._values(threads))

    def _values(self, threads: int) -> dict[str, Any]:
        own = {
            "out": self.out,
            "seed": self.seed,
            "variant": self.variant,
            "threads": threads,
            "python": sys.executable,
        }
        return {**_fill_values(self.study.overrides(self.variant), own), **own}


def load_study(path: Path) -> Study:
    """The ``STUDY`` of a study file.

    Raises:
        ValueError: if the file defines none.
    """
    study = runpy.run_path(str(path)).get("STUDY")
    if not isinstance(study, Study):
        raise ValueError(f"{path}: expected STUDY = Study(...), got {study!r}")
    return study


def _fill(text: str, values: Mapping[str, Any]) -> str:
    return PLACEHOLDER.sub(lambda match: plain_text(values[match[1]]), text)


def _fill_values(value: Any, own: Mapping[str, Any]) -> Any:
    """Put the runner's own placeholders into an override; one alone keeps its type."""
    if isinstance(value, str):
        alone = PLACEHOLDER.fullmatch(value)
        found = own[alone[1]] if alone else None
        return found if isinstance(found, int) else _fill(value, own)
    if isinstance(value, Mapping):
        return {key: _fill_values(item, own) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_fill_values(item, own) for item in value)
    return value


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
