"""Markdown tables from results; see report.py."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

Result = dict[str, Any]


def conditions(results: list[Result]) -> str:
    """Where and with what each result was measured."""
    rows = []
    measured = [result for result in results if "conditions" in result]
    for result in measured:
        c = result["conditions"]
        rows.append(
            (
                f"`{result['folder']}/{result['file']}`",
                c["dtype"],
                f"{c['threads']} of {c['cores']}",
                ", ".join(c.get("instructions", [])),
                f"{c['load_before']:.1f}",
                f"{c['product_gflops']:.0f}",
                f"{c['copy_gb_per_s']:.1f}",
                f"torch {c['torch']}",
                f"{c['commit']}{'+' if c['changed_files'] else ''}",
                c["date"],
            )
        )
    head = (
        "result",
        "precision",
        "threads",
        "instructions",
        "load",
        "product GFLOP/s",
        "copy GB/s",
        "software",
        "commit",
        "date",
    )
    return table(head, rows)


def backbone(results: list[Result]) -> str:
    """Latency and memory of the backbone's forms, and the ratios."""
    rows = []
    for result in of("backbone", results):
        times = result["times"]
        for name, t in times.items():
            memory = result["peak_mb"].get(name)
            ratio = times["published"]["median_ms"] / t["median_ms"]
            rows.append(
                (
                    device(result),
                    name,
                    spread(t),
                    number(t["min_ms"]),
                    number(t["cpu_ms"]),
                    "" if memory is None else f"{memory:.0f}",
                    "" if name.startswith("plan") else f"{ratio:.2f}",
                )
            )
    head = (
        "device",
        "form",
        "ms: median (quartiles)",
        "ms: least",
        "CPU ms",
        "peak MB",
        "published / form",
    )
    return table(head, rows)


def roofline_bound(results: list[Result]) -> str:
    """What each stage of the backbone costs at least, and what the two forms took."""
    rows = []
    for result in of("backbone", results):
        for stage in result["roofline_bound"]:
            rows.append(
                (
                    device(result),
                    stage["form"],
                    stage["stage"],
                    f"{stage['gflop']:.2f}",
                    f"{stage['mb']:.0f}",
                    number(stage["bound_ms"]),
                )
            )
        for form in ("padre2", "sdpa"):
            total = sum(
                s["bound_ms"] for s in result["roofline_bound"] if s["form"] in (form, "both")
            )
            least = result["times"][form]["min_ms"]
            gap = f"{number(total)}; least measured {number(least)}, {least / total:.2f} x"
            rows.append((device(result), form, "all", "", "", gap))
    return table(("device", "form", "stage, 8 layers", "GFLOP", "MB", "roofline bound, ms"), rows)


def mixers(results: list[Result]) -> str:
    """Median latency in ms (peak MB) over the number of tokens."""
    rows = []
    lengths: list[int] = sorted({n for r in of("mixers", results) for n in r["tokens"]})
    for result, dim, found in by_dim(results):
        for name, row in found["rows"].items():
            cells = [row.get(str(n)) for n in lengths]
            shown = [f"{number(c['median_ms'])} ({c['peak_mb']:.0f})" if c else "-" for c in cells]
            rows.append((device(result), dim, name, *shown))
    return table(("device", "D", "mixer", *(f"{n:,}" for n in lengths)), rows)


def growth(results: list[Result]) -> str:
    """Growth exponents and attention over PADRe-2."""
    rows = []
    for result, dim, found in by_dim(results):
        for name, exponent in found["growth_exponent"].items():
            ratios = [
                ", ".join(
                    f"{int(n):,}: {v:g}" for n, v in found["ratios"][f"{slow} / padre2"].items()
                )
                if name == "padre2"
                else ""
                for slow in ("attention", "sdpa")
            ]
            shown = "-" if exponent is None else f"{exponent:.2f}"
            rows.append((device(result), dim, name, shown, *ratios))
    head = ("device", "D", "mixer", "exponent", "as written / PADRe-2", "SDPA / PADRe-2")
    return table(head, rows)


def detector(results: list[Result]) -> str:
    """Stages of the whole detector, and what each costs at least."""
    rows = []
    for result in of("detector", results):
        for name, found in result["detectors"].items():
            for stage, t in found["stages"].items():
                least = t.get("bound_ms")
                bound = (
                    (
                        f"{t['gflop']:.1f}",
                        f"{t['mb']:.1f}",
                        number(least),
                        f"{t['median_ms'] / least:.1f}",
                    )
                    if least
                    else ("", "", "", "")
                )
                fps = f"{found['fps']:.2f}" if stage == "total" else ""
                memory = f"{t['peak_mb']:.0f}"
                rows.append((device(result), name, stage, spread(t), *bound, memory, fps))
    head = (
        "device",
        "mixer",
        "stage",
        "ms: median (quartiles)",
        "GFLOP",
        "MB",
        "roofline bound, ms",
        "median / bound",
        "peak MB",
        "frames/s",
    )
    return table(head, rows)


def training(results: list[Result]) -> str:
    """A training step of the backbone."""
    rows = []
    for result in of("training", results):
        for name, t in result["steps"].items():
            memory = f"{t['peak_mb']:.0f}"
            rows.append((device(result), name, spread(t), f"{t['samples_per_s']:.2f}", memory))
    head = ("device", "mixer", "ms: median (quartiles)", "samples/s", "peak MB")
    return table(head, rows)


def train_step(results: list[Result]) -> str:
    """A training step of the whole detector beside an earlier commit."""
    rows = []
    for result in of("train_step", results):
        commits = {
            "now": result["conditions"]["commit"],
            "before": result.get("before_commit", ""),
        }
        for name, t in result["times"].items():
            ratio = f"{t['cpu_ms'] / result['times']['now']['cpu_ms']:.2f}"
            what = (device(result), result["config"], f"`{commits[name]}`")
            rows.append((*what, spread(t), number(t["min_ms"]), number(t["cpu_ms"]), ratio))
    head = ("device", "config", "commit", "ms: median (quartiles)", "ms: least", "CPU ms")
    return table((*head, "times now's CPU ms"), rows)


def whole(results: list[Result]) -> str:
    """Points to boxes in every form: a table of each run, and what the processor can do."""
    parts = []
    for result in of("whole", results):
        c = result["conditions"]
        able = ", ".join(c.get("instructions", [])) or "instructions not recorded"
        where = f"{c['device']} ({able}), {c['threads']} of {c['cores']} threads"
        parts += [f"{where}, `{result['folder']}/{result['file']}`:", _forms(result)]
        left_out = [f"{name} ({why})" for name, why in result.get("left_out", {}).items()]
        if left_out:
            parts.append(f"Left out: {'; '.join(left_out)}.")
    return "\n\n".join(parts) or table((), [])


def _forms(result: Result) -> str:
    rows = []
    for name, t in result["times"].items():
        rms = result["relative_rms"].get(name)
        rows.append(
            (
                name,
                spread(t),
                number(t["min_ms"]),
                number(t["cpu_ms"]),
                f"{result['ratio_vs_published'][name]:.2f}",
                f"{result['cpu_ratio_vs_published'][name]:.2f}",
                "" if rms is None else f"{rms:.1e}",
            )
        )
    head = (
        "what runs",
        "ms: median (quartiles)",
        "ms: least",
        "CPU ms",
        "published / it",
        "by CPU time",
        "relative RMS of the worst raw output",
    )
    return table(head, rows)


def runtime(results: list[Result]) -> str:
    """Points to boxes: eager torch and the exported file."""
    rows = []
    for result in of("runtime", results):
        for name, t in result["times"].items():
            ratio = result["ratio_vs_eager"].get(name)
            rows.append(
                (
                    device(result),
                    result["config"],
                    str(result["pillars"]),
                    name,
                    spread(t),
                    number(t["min_ms"]),
                    f"{ratio:.2f}" if ratio else "",
                )
            )
    head = (
        "device",
        "config",
        "pillars",
        "what runs",
        "ms: median (quartiles)",
        "ms: least",
        "eager / it",
    )
    return table(head, rows)


def overhead(results: list[Result]) -> str:
    """What the runtime computes around the graph, beside an earlier commit."""
    return _parts("version", of("overhead", results))


def cpp_runtime(results: list[Result]) -> str:
    """The same in C++ beside Python."""
    return _parts("runtime", of("cpp_runtime", results))


def _parts(what: str, results: list[Result]) -> str:
    """Rows of cases that are called ``PART, FORM``."""
    rows = []
    for result in results:
        where = (device(result), result["config"], str(result["pillars"]))
        for case, t in result["times"].items():
            part, form = case.split(", ")
            rows.append((*where, part, form, spread(t), number(t["min_ms"]), number(t["cpu_ms"])))
    head = ("device", "config", "pillars", "part", what, "ms: median (quartiles)", "ms: least")
    return table((*head, "CPU ms"), rows)


def profile(results: list[Result]) -> str:
    """Top ten operators of the whole detector."""
    rows = []
    for result in of("detector", results):
        for name, found in result["detectors"].items():
            rows += _operators(device(result), name, found["profile"])
    return table(("device", "mixer", "operator", "own ms", "calls"), rows)


def operators(results: list[Result]) -> str:
    """Top ten operators of PADRe-2's detector in several versions of the package."""
    rows: list[tuple[str, ...]] = []
    for result in sorted(of("operators", results), key=lambda r: r["total"]["median_ms"]):
        version = f"`{result['conditions']['commit']}`"
        total = (device(result), version, "the whole call: " + spread(result["total"]), "", "")
        rows += [total, *_operators(device(result), version, result["profile"])]
    return table(("device", "commit", "operator", "own ms", "calls"), rows)


def _operators(where: str, what: str, profile: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    return [
        (where, what, f"`{entry['name']}`", number(entry["ms"]), str(entry["calls"]))
        for entry in profile
    ]


def of(benchmark: str, results: list[Result]) -> list[Result]:
    """The results of one benchmark."""
    return [r for r in results if r["benchmark"] == benchmark]


def by_dim(results: list[Result]) -> Iterator[tuple[Result, str, Result]]:
    """(result, D, its part) of the mixers' results."""
    for result in of("mixers", results):
        for dim, found in result["dims"].items():
            yield result, dim, found


def device(result: Result) -> str:
    """Short name of a device."""
    c = result["conditions"]
    if c["device_type"] != "cpu":
        return str(c["device"])
    return ", ".join([f"{c['threads']} CPU thr.", *c.get("instructions", [])])


def spread(t: dict[str, float]) -> str:
    """Median and quartiles."""
    return f"{number(t['median_ms'])} ({number(t['q1_ms'])}-{number(t['q3_ms'])})"


def number(value: float) -> str:
    """Three digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; a line instead if there is no row."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    if not lines:
        return "No result is stored."
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *lines])
