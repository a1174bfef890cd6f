"""Make a whole data set: scenes in parallel, then the tables, then one rename."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from padre3d.io.staging import replace_folder, staging
from padre3d.synthetic.cameras import camera_sensors
from padre3d.synthetic.lidar import SWEEP_S
from padre3d.synthetic.scene import SceneResult, SceneTask, make_scene
from padre3d.synthetic.statistics import summarise
from padre3d.synthetic.tables import fixed_tables, scene_names, write_tables

_DONE: Any = None


def generate(
    out_dir: str | Path,
    num_scenes: int,
    seed: int,
    scene_seconds: float = 20.0,
    workers: int = 1,
    version: str | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> dict[str, Any]:
    """Write a synthetic data set in the nuScenes v1.0 schema.

    Args:
        out_dir: the data root; it appears only when it is complete.
        num_scenes: scenes, named after real ones so that both splits are filled from two on.
        seed: the same seed gives the same bytes, whatever the number of workers.
        scene_seconds: length of a scene; 2 key frames and 20 sweeps a second.
        workers: processes.
        version: ``v1.0-mini`` (default up to ten scenes) or ``v1.0-trainval``.
        overwrite: replace the data set at ``out_dir``.
        progress: show a progress bar.

    Returns:
        The figures that are written to ``statistics.json`` too.

    Raises:
        ValueError: for a number out of range or an unknown version.
        FileExistsError: if ``out_dir`` is not empty and ``overwrite`` is false, if it holds
            something else than a synthetic data set, or another process has filled it meanwhile.
    """
    out_dir = Path(out_dir)
    version = version or ("v1.0-mini" if num_scenes <= 10 else "v1.0-trainval")
    names = scene_names(num_scenes, version)
    num_sweeps = round(scene_seconds / SWEEP_S)
    if num_sweeps < 1 or workers < 1 or seed < 0:
        raise ValueError(
            "expected scene_seconds >= 0.05, workers >= 1 and seed >= 0, "
            f"got {scene_seconds}, {workers} and {seed}"
        )
    _check_free(out_dir, overwrite)
    with staging(out_dir) as partial:
        for folder in ("samples/LIDAR_TOP", "sweeps/LIDAR_TOP", "maps"):
            (partial / folder).mkdir(parents=True)
        tasks = [SceneTask(partial, name, n, seed, num_sweeps) for n, name in enumerate(names)]
        with _progress_bar(len(tasks) * num_sweeps, progress) as advance:
            results = _run(tasks, workers, advance)
        tables = fixed_tables(seed)
        tables["sensor"] += camera_sensors(seed)
        for result in results:
            for name, rows in result.rows.items():
                tables[name] += rows
        write_tables(tables, partial / version)
        statistics = {"seed": seed, **summarise([result.statistics for result in results])}
        (partial / "statistics.json").write_text(json.dumps(statistics, indent=1) + "\n")
        # Another process may have been faster.
        _check_free(out_dir, overwrite)
        replace_folder(partial, out_dir)
    return statistics


def _check_free(out_dir: Path, overwrite: bool) -> None:
    if not out_dir.exists() or (out_dir.is_dir() and not any(out_dir.iterdir())):
        return
    if not overwrite:
        raise FileExistsError(f"{out_dir} is not empty: choose another folder or overwrite it")
    if not (out_dir / "statistics.json").is_file():
        raise FileExistsError(f"{out_dir} holds no statistics.json: not a synthetic data set")


def _run(tasks: list[SceneTask], workers: int, advance: Callable[[int], None]) -> list[SceneResult]:
    if workers == 1 or len(tasks) == 1:
        return [make_scene(task, advance) for task in tasks]
    context = multiprocessing.get_context("spawn")
    done = context.Value("q", 0)
    shown = 0
    with ProcessPoolExecutor(workers, context, _share_counter, (done,)) as pool:
        futures = [pool.submit(_make_counted, task) for task in tasks]
        pending = set(futures)
        while pending:
            _, pending = wait(pending, timeout=0.5)
            advance(done.value - shown)
            shown = done.value
        return [future.result() for future in futures]


def _share_counter(counter: Any) -> None:
    global _DONE
    _DONE = counter


def _count_sweeps(sweeps: int) -> None:
    with _DONE.get_lock():
        _DONE.value += sweeps


def _make_counted(task: SceneTask) -> SceneResult:
    return make_scene(task, _count_sweeps)


@contextmanager
def _progress_bar(total: int, show: bool) -> Iterator[Callable[[int], None]]:
    if not show:
        yield lambda sweeps: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    with Progress(
        "{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    ) as bar:
        task = bar.add_task("sweeps", total=total)
        yield lambda sweeps: bar.update(task, advance=sweeps)
