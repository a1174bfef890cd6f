"""A training's schedule over fewer epochs and at another rate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

# What mmengine takes for "never".
NEVER = 10**9
# Kinds of schedulers, and what they have beside _COMMON.
_KINDS: dict[str, frozenset[str]] = {
    "CosineAnnealing": frozenset({"T_max", "eta_min", "eta_min_ratio"}),
    "Linear": frozenset({"start_factor", "end_factor"}),
    "Constant": frozenset({"factor"}),
    "Poly": frozenset({"eta_min", "power"}),
    "OneCycle": frozenset(
        {
            *("eta_max", "total_steps", "pct_start", "anneal_strategy"),
            *("div_factor", "final_div_factor", "three_phase"),
        }
    ),
    "MultiStep": frozenset({"milestones", "gamma"}),
    "Step": frozenset({"step_size", "gamma"}),
}
_COMMON = frozenset({"type", "begin", "end", "by_epoch", "convert_to_iter_based", "verbose"})


def shorten_schedule(cfg: Config, planned: int, epochs: int, rate: float) -> None:
    """Change a training config's rates and schedulers, in place.

    Args:
        cfg: has ``optim_wrapper.optimizer.lr``.
        planned: epochs that it is made for.
        epochs: that it shall take; what counts epochs or iterations shrinks alike.
        rate: factor of every learning rate, absolute bounds of schedulers included.

    Raises:
        ValueError: if there is no such learning rate, or a scheduler is not understood.
    """
    optimizer = cfg.optim_wrapper.get("optimizer") or {}
    if not isinstance(optimizer.get("lr"), (int, float)):
        raise ValueError(
            "student's config: expected a number as optim_wrapper.optimizer.lr, got "
            f"{optimizer.get('lr')!r}"
        )
    optimizer["lr"] *= rate
    schedulers = cfg.get("param_scheduler") or []
    if isinstance(schedulers, Mapping):
        schedulers = [schedulers]
    cfg.param_scheduler = [
        short for step in schedulers for short in _shortened(step, planned, epochs / planned, rate)
    ]


def _shortened(
    scheduler: Mapping[str, Any], planned: int, factor: float, rate: float
) -> list[dict[str, Any]]:
    """A scheduler of ``mmengine`` as one or more that do the same in less time."""
    out = dict(scheduler)
    kind, parameter = _kind_of(out)
    by_epoch = out.get("by_epoch", True)
    if kind in ("MultiStep", "Step"):
        return _drops(out, kind, planned if by_epoch else NEVER, factor)
    if parameter == "LR":
        for name in ("eta_min", "eta_max"):
            if out.get(name) is not None:
                out[name] = _times(out[name], rate)
    begin = out.get("begin", 0)
    if out.get("total_steps") is not None:  # as mmengine counts where it is not given
        out["end"] = begin + out["total_steps"]
    out.pop("total_steps", None)
    if out.get("T_max") == out.get("end", planned) - begin:
        del out["T_max"]
    for name in ("begin", "end", "T_max"):
        if out.get(name) is not None and out[name] < NEVER:
            out[name] = out[name] * factor if by_epoch else round(out[name] * factor)
    if by_epoch:  # fractions of epochs are whole numbers of iterations
        out["convert_to_iter_based"] = True
    elif "end" in out:
        out["end"] = max(out["end"], out.get("begin", 0) + 1)
    return [out]


def _kind_of(scheduler: Mapping[str, Any]) -> tuple[str, str]:
    """Kind, and ``LR`` or ``Momentum``; every setting is one that is known."""
    name = _type_name(scheduler)
    parameter = next((end for end in ("LR", "Momentum") if name.endswith(end)), "")
    kind = name.removesuffix(parameter)
    if not parameter or kind not in _KINDS:
        raise ValueError(
            f"student's config: param_scheduler: expected one of {sorted(_KINDS)} with LR or "
            f"Momentum behind it, to shorten it for the fine-tuning, got {name}"
        )
    unknown = sorted(set(scheduler) - _COMMON - _KINDS[kind])
    if unknown:
        raise ValueError(
            f"student's config: param_scheduler: expected a {name} of known settings, to shorten "
            f"it for the fine-tuning, got {unknown}"
        )
    return kind, parameter


def _type_name(scheduler: Mapping[str, Any]) -> str:
    """Of a name in the registry, or of a class as configs in pure Python have it."""
    given = scheduler.get("type")
    return getattr(given, "__name__", str(given).rpartition(".")[2])


def _drops(
    scheduler: dict[str, Any], kind: str, planned: int, factor: float
) -> list[dict[str, Any]]:
    """One constant factor after every milestone.

    mmengine compares milestones with whole numbers of steps, so a fraction of an epoch would be
    passed over without a change; the begin of a scheduler is rounded to an iteration.
    """
    begin, end = scheduler.get("begin", 0), scheduler.get("end", planned)
    gamma = scheduler.get("gamma", 0.1)
    if not 0 <= gamma <= 1:
        raise ValueError(f"student's config: param_scheduler: expected gamma in 0..1, got {gamma}")
    if kind == "MultiStep":
        places = [begin + place for place in scheduler["milestones"]]
    elif end < NEVER:
        places = list(range(begin + scheduler["step_size"], end, scheduler["step_size"]))
    else:
        raise ValueError("student's config: param_scheduler: expected an end of a StepLR by steps")
    by_epoch = scheduler.get("by_epoch", True)
    common: dict[str, Any] = {
        "type": _type_name(scheduler).replace(kind, "Constant"),
        "factor": gamma,
        "end": NEVER,
        "by_epoch": by_epoch,
    }
    if by_epoch:
        common["convert_to_iter_based"] = True
    scaled = [place * factor for place in places if place < end]
    return [{**common, "begin": place if by_epoch else round(place)} for place in scaled]


def _times(value: Any, rate: float) -> Any:
    """A number, or one for each group of parameters, times the rate."""
    return [one * rate for one in value] if isinstance(value, (list, tuple)) else value * rate
