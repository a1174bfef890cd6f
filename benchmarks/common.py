"""What every benchmark shares: the correctness gate, interleaved timing, memory, JSON."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
CPU_INFO = Path("/proc/cpuinfo")
# What a result calls a set of instructions, and its names in CPU_INFO: of the vectors the widest,
# and whatever multiplies fewer bits.
VECTORS = {"avx512": "avx512f", "avx2": "avx2"}
FEWER_BITS = {
    "vnni": ("avx512_vnni", "avx_vnni"),
    "bf16": ("avx512_bf16", "amx_bf16"),
    "amx": ("amx_tile",),
}


class GateError(AssertionError):
    """An implementation computes something else: it must not be timed."""


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one case: median and quartiles of ``runs`` interleaved runs.

    ``cpu_ms`` is the median of the processor time of all threads: on a machine that others use at
    the same time it still says what the code needs.
    """

    median_ms: float
    q1_ms: float
    q3_ms: float
    min_ms: float
    cpu_ms: float
    runs: int

    def as_dict(self) -> dict[str, float]:
        """For JSON."""
        return asdict(self)


def parser(description: str | None, repeats: int = 20) -> argparse.ArgumentParser:
    """Options of all benchmarks."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = made.add_argument
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--dtype", choices=sorted(DTYPES), help="default: float16 on a GPU, float32 on a CPU")
    add("--threads", type=int, help="CPU threads of torch")
    add("--repeats", type=int, default=repeats, help="timed runs of each case")
    add("--quick", action="store_true", help="small sizes, under a minute on two cores")
    add("--json", metavar="FILE", help="'-' prints; default benchmarks/results/DEVICE/NAME.json")
    return made


def setup(args: argparse.Namespace) -> tuple[torch.device, torch.dtype]:
    """Apply the common options; fixes the seed."""
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.quick:
        args.repeats = min(args.repeats, 3)
    torch.manual_seed(0)
    device = torch.device(args.device)
    name = args.dtype or ("float16" if device.type == "cuda" else "float32")
    return device, DTYPES[name]


def gate(name: str, got: Tensor, expected: Tensor, tolerance: float) -> float:
    """The largest error relative to the largest expected value.

    Raises:
        GateError: if it is above ``tolerance`` or anything is not finite.
    """
    if got.shape != expected.shape:
        raise GateError(f"{name}: expected shape {tuple(expected.shape)}, got {tuple(got.shape)}")
    scale = expected.double().abs().max().clamp_min(1e-30)
    error = float((got.double() - expected.double()).abs().max() / scale)
    if not error <= tolerance:
        raise GateError(f"{name}: expected a relative error below {tolerance:g}, got {error:g}")
    return error


def tolerance_of(dtype: torch.dtype) -> float:
    """What the gate allows between two forms of one computation in this precision."""
    return {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}[dtype]


def interleaved(
    cases: Mapping[str, Callable[[], Any]],
    device: torch.device,
    repeats: int,
    warm_up: int = 2,
    clocks: Mapping[str, Callable[[], float]] | None = None,
) -> dict[str, Timing]:
    """Time the cases in turn, so that whatever disturbs the machine disturbs all of them.

    The order within a round rotates: no case always runs behind the same one. ``clocks`` have the
    processor seconds of cases that another process computes.
    """
    for case in cases.values():
        for _ in range(warm_up):
            case()
    names, seen = list(cases), {name: [] for name in cases}
    for i in range(repeats):
        shift = i % len(names)
        for name in names[shift:] + names[:shift]:
            clock = (clocks or {}).get(name, time.process_time)
            before = clock()
            elapsed = once_ms(cases[name], device)
            seen[name].append((elapsed, (clock() - before) * 1e3))
    return {name: timing(*zip(*values, strict=True)) for name, values in seen.items()}


def once_ms(case: Callable[[], Any], device: torch.device) -> float:
    """Milliseconds of one call; on a GPU until its last kernel is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    case()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - start) * 1e3


def timing(values: Sequence[float], cpu: Sequence[float]) -> Timing:
    """Median and quartiles of elapsed times and the median of processor times."""
    cpu_ms = statistics.median(cpu)
    if len(values) == 1:
        return Timing(values[0], values[0], values[0], values[0], cpu_ms, 1)
    q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
    return Timing(median, q1, q3, min(values), cpu_ms, len(values))


def peak_mb(case: Callable[[], Any], device: torch.device) -> float:
    """Highest MB allocated at once during a call, what was there before not counted.

    On a GPU the allocator's own peak; on a CPU the running sum of the profiler's allocations.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        case()
        torch.cuda.synchronize(device)
        return (torch.cuda.max_memory_allocated(device) - before) / 1e6
    with _quiet(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as prof:
        kept = case()
    del kept
    events = [e for e in prof.profiler.kineto_results.events() if e.name() == "[memory]"]
    current = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        current += event.nbytes()
        peak = max(peak, current)
    return peak / 1e6


def top_operators(case: Callable[[], Any], count: int = 10) -> list[dict[str, Any]]:
    """The operators with the largest own time on the CPU or GPU, in ms, with their calls."""
    activities = [ProfilerActivity.CPU]
    cuda = torch.cuda.is_available()
    if cuda:
        activities.append(ProfilerActivity.CUDA)
    with _quiet(), profile(activities=activities) as prof:
        case()
    key = "self_device_time_total" if cuda else "self_cpu_time_total"
    rows = sorted(prof.key_averages(), key=lambda e: -getattr(e, key))[:count]
    return [{"name": e.key, "ms": getattr(e, key) / 1e3, "calls": e.count} for e in rows]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The profiler's library writes to file descriptor 2; nobody reads that here."""
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def product_gflops(device: torch.device, dtype: torch.dtype, size: int = 1024) -> float:
    """GFLOP/s of a large square matrix product: what the machine can do at best."""
    a = torch.randn(size, size, device=device).to(dtype)
    times = [once_ms(lambda: a @ a, device) for _ in range(30)]
    return 2 * size**3 / min(times) / 1e6


def copy_gb_per_s(device: torch.device) -> float:
    """GB/s read and written by a copy of 64 MB."""
    a = torch.zeros(16_000_000, device=device)
    b = torch.empty_like(a)
    times = [once_ms(lambda: b.copy_(a), device) for _ in range(5)]
    return 2 * a.numel() * 4 / min(times) / 1e6


def growth_exponent(sizes: Sequence[float], values: Sequence[float]) -> float | None:
    """Slope of log(value) over log(size): 1 is linear, 2 quadratic. None below two points."""
    if len(sizes) < 2:
        return None
    x, y = torch.tensor(sizes).double().log(), torch.tensor(values).double().log()
    x = x - x.mean()
    return float((x * y).sum() / x.square().sum())


def device_name(device: torch.device) -> str:
    """Model name of the GPU or CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    with contextlib.suppress(OSError):
        for line in CPU_INFO.read_text().splitlines():
            if line.startswith("model name"):
                return re.sub(r"\s+", " ", line.split(":", 1)[1]).strip()
    return platform.processor() or platform.machine()


def instructions() -> list[str]:
    """Sets of instructions that decide how fast an x86 CPU is, such as avx512, vnni and bf16.

    Processors of one model name may differ in them. Empty where they are not known.
    """
    flags: set[str] = set()
    with contextlib.suppress(OSError):
        for line in CPU_INFO.read_text().splitlines():
            if line.startswith("flags"):
                flags.update(line.split(":", 1)[1].split())
    vectors = [name for name, flag in VECTORS.items() if flag in flags][:1]
    return vectors + [name for name, any_of in FEWER_BITS.items() if flags.intersection(any_of)]


def conditions(device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Where and with what a result was measured."""
    return {
        "device": device_name(device),
        "device_type": device.type,
        "instructions": instructions() if device.type == "cpu" else [],
        "dtype": str(dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "commit": commit(),
        "changed_files": len(_git("status", "--porcelain", "-uno").splitlines()),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
        "product_gflops": round(product_gflops(device, dtype), 1),
        "copy_gb_per_s": round(copy_gb_per_s(device), 1),
    }


def commit(root: Path = ROOT) -> str:
    """Short name of a source tree's commit, empty outside one."""
    return _git("rev-parse", "--short", "HEAD", root=root)


def _git(*command: str, root: Path = ROOT) -> str:
    try:
        done = subprocess.run(
            ["git", *command], cwd=root, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def device_folder(device: torch.device) -> str:
    """Folder of the results of this device and, for a CPU, of what it has and how many threads."""
    name = re.sub(r"[^a-z0-9]+", "-", device_name(device).lower()).strip("-")
    if device.type == "cuda":
        return name
    threads = torch.get_num_threads()
    return "-".join([name, *instructions(), str(threads), "threads" if threads > 1 else "thread"])


def write_json(name: str, result: Mapping[str, Any], target: str | None, folder: str) -> None:
    """Print the result, or write it in one step to ``target`` or to the results' folder."""
    text = json.dumps(result, indent=1) + "\n"
    if target == "-":
        sys.stdout.write(text)
        return
    path = Path(target) if target else RESULTS / folder / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        file.write(text)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)
    sys.stderr.write(f"wrote {path}\n")


def randomise_norms(model: nn.Module) -> None:
    """Norms that do something, so that the gate sees them."""
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if "norm" in name and tensor.is_floating_point():
                scale = 0.8 + 0.4 * torch.rand_like(tensor)
                tensor.copy_(scale if "weight" in name or "var" in name else scale - 1)
