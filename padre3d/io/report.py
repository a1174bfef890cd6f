"""The verdict on a cloud: what it holds, whether the model can use it, which option mends it.

Guesses are named as such. Units, axes and ground are told from the shape of the cloud alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from padre3d.io.cloud import Cloud, Dropped, drop_unusable
from padre3d.io.frames import MODEL_SENSOR_HEIGHT_M, InputFrame
from padre3d.io.shape import forward_of, ground_height, unit_of

GROUND_TOLERANCE_M = 0.4
FORWARD_TOLERANCE_RAD = np.deg2rad(30)
# What tells a sensor or data set by the names of its fields.
SIGNATURES = (
    ("livox", {"tag", "line"}),
    ("ouster", {"reflectivity", "ambient"}),
    ("ouster", {"reflectivity", "near_ir"}),
)


@dataclass(frozen=True)
class Expected:
    """What a model was trained on; the defaults are nuScenes with ten sweeps.

    Attributes:
        range_m: x, y, z least, then most.
        sweeps: in a cloud.
        points: in range, of one sweep; None where nobody counted.
    """

    range_m: tuple[float, ...] = (-54.0, -54.0, -5.0, 54.0, 54.0, 3.0)
    sweeps: int = 10
    points: int | None = 24_000

    @classmethod
    def of(cls, range_m: Sequence[float], sweeps: int) -> Expected:
        """What a model of this range expects; points are counted for nuScenes' range alone."""
        limits = tuple(map(float, range_m))
        return cls(limits, sweeps, cls.points if limits == cls.range_m else None)


@dataclass(frozen=True)
class Verdict:
    """What was found.

    Attributes:
        points: (P, 5) the points that count, in the input's frame.
        dropped: the ones that do not.
        in_range: points in the model's range.
        sweeps: sweeps seen in the time.
        ground_m: guess of the ground's z in the input's frame, None if none is seen.
        spans: least and most of x, y, z, (3, 2); NaN without a point.
        facts: topic and text, in order.
        advice: what is wrong, with the option that mends it.
    """

    points: np.ndarray
    dropped: Dropped
    in_range: int
    sweeps: int
    ground_m: float | None
    spans: np.ndarray
    facts: tuple[tuple[str, str], ...]
    advice: tuple[str, ...]

    def short(self) -> str:
        """The facts in one line."""
        facts = dict(self.facts)
        unit = facts["extent"].rsplit(": ", 1)[-1]
        ground = "no ground seen" if self.ground_m is None else f"ground z {self.ground_m:.2f} m"
        forward = facts["axes"].split("; ")[0]
        return "; ".join(
            [
                f"{self.in_range:,} points in range",
                unit,
                forward,
                ground,
                f"intensity {facts['intensity']}",
                f"time {facts['time']}",
                facts["density"].split("; ")[-1],
            ]
        )

    def text(self, title: str) -> str:
        """The whole report."""
        lines = [title, *(f"  {topic:<10} {text}" for topic, text in self.facts)]
        lines += [f"  ! {text}" for text in self.advice] or ["  nothing to mend"]
        return "\n".join(lines)


def examine(
    cloud: Cloud,
    frame: InputFrame | None = None,
    expected: Expected | None = None,
    dropped: Dropped | None = None,
) -> Verdict:
    """Look a cloud over.

    Args:
        cloud: as read.
        frame: the frame it is taken to be in; the model's by default.
        expected: what the model expects.
        dropped: what was dropped from the cloud before; None: it is dropped here.
    """
    frame = InputFrame() if frame is None else frame
    expected = Expected() if expected is None else expected
    points = cloud.points
    if dropped is None:
        points, dropped = drop_unusable(points)
    in_range = int(inside(frame.to_model(points), expected.range_m).sum())
    spans = _spans(points)
    unit = unit_of(points)
    ground = ground_height(points) if unit in ("metres", "georeferenced") else None
    forward = forward_of(points) if unit == "metres" else None
    facts = [
        ("layout", cloud.layout),
        ("points", _points_text(points, dropped)),
        ("in range", f"{in_range:,} of {len(points):,} within {_range_text(expected.range_m)}"),
        ("extent", f"{_extent_text(spans)}: {unit} (guess)" if len(points) else "no points"),
        ("axes", _axes_text(forward, frame)),
        ("ground", _ground_text(ground, frame)),
        ("intensity", _intensity_text(cloud)),
        ("time", _time_text(cloud)),
        ("density", _density_text(in_range, cloud.time.sweeps, expected)),
    ]
    advice = [
        *cloud.warnings,
        *_preset_advice(cloud),
        *_unit_advice(unit, points, ground, frame),
        *_frame_advice(forward, ground if unit == "metres" else None, frame),
        *_content_advice(cloud, points, dropped, in_range, expected),
    ]
    return Verdict(
        points, dropped, in_range, cloud.time.sweeps, ground, spans, tuple(facts), tuple(advice)
    )


def inside(points: np.ndarray, range_m: tuple[float, ...]) -> np.ndarray:
    """Which (P,) of the points lie in the range."""
    low, high = np.array(range_m[:3]), np.array(range_m[3:])
    return ((points[:, :3] >= low) & (points[:, :3] < high)).all(axis=1)


def why_no_boxes(
    verdict: Verdict, best_score: float | None, score_thr: float, expected: Expected | None = None
) -> str:
    """One line that explains a frame without boxes.

    Args:
        verdict: of the frame.
        best_score: of the boxes below the threshold, None without any.
        score_thr: the threshold.
        expected: what the model expects.
    """
    expected = Expected() if expected is None else expected
    if not len(verdict.points):
        return f"no usable point ({verdict.dropped.text() or 'the file is empty'})"
    if verdict.in_range == 0:
        advice = next((a for a in verdict.advice if "--origin" in a or "--unit" in a), "")
        return _none_in_range(verdict.spans, expected.range_m) + (f"; {advice}" if advice else "")
    seen = f"{verdict.in_range:,} points in range"
    if best_score is None:
        seen += ", the model found nothing"
    else:
        seen += f", the best box scores {best_score:.2f}, below {score_thr:g}"
    return f"{seen}; {verdict.advice[0]}" if verdict.advice else seen


def _spans(points: np.ndarray) -> np.ndarray:
    if not len(points):
        return np.full((3, 2), np.nan)
    return np.stack([points[:, :3].min(0), points[:, :3].max(0)], 1).astype(np.float64)


def _points_text(points: np.ndarray, dropped: Dropped) -> str:
    if not dropped.total:
        return f"{len(points):,}"
    total = len(points) + dropped.total
    return f"{total:,}, {len(points):,} used; dropped: {dropped.text()}"


def _range_text(range_m: tuple[float, ...]) -> str:
    return (
        ", ".join(f"{n} {range_m[i]:g} to {range_m[i + 3]:g}" for i, n in enumerate("xyz")) + " m"
    )


def _extent_text(spans: np.ndarray) -> str:
    return ", ".join(
        f"{n} {_number(s[0])} to {_number(s[1])}" for n, s in zip("xyz", spans, strict=True)
    )


def _axes_text(forward: float | None, frame: InputFrame) -> str:
    taken = f"taken as {_direction(frame.forward_rad)}"
    if forward is None:
        return f"forward {taken}; the cloud does not show it"
    return f"forward {taken}; the cloud looks {_direction(forward)} (guess)"


def _ground_text(ground: float | None, frame: InputFrame) -> str:
    if ground is None:
        return "not seen"
    in_model = ground + frame.lift_m
    known = -MODEL_SENSOR_HEIGHT_M
    return f"z = {ground:.2f} m (guess), {in_model:.2f} to the model, which knows {known:.2f}"


def _intensity_text(cloud: Cloud) -> str:
    info = cloud.intensity
    if not info.source:
        return "none: 0"
    scale = f", times {info.scale:g}" if info.scale != 1 else ""
    return f"{info.low:g} to {info.high:g} ({info.source}{scale})"


def _time_text(cloud: Cloud) -> str:
    info = cloud.time
    words = {
        "none": "none: one sweep, lag 0",
        "ignored": f"{info.source} ignored: lag 0",
        "ring": f"{info.source} holds whole numbers, no times: one sweep, lag 0",
        "unknown": f"{info.source} is no time: lag 0",
        "lag": f"{info.source}: lags in {info.unit} over {info.span_s:.3g} s, {info.sweeps} sweeps",
        "stamps": f"{info.source}: stamps in {info.unit} over {info.span_s:.3g} s, one sweep",
    }
    return words[info.kind]


def _density_text(in_range: int, sweeps: int, expected: Expected) -> str:
    trained = f"trained on {expected.sweeps} sweeps"
    if expected.points is not None:
        trained += f" of about {expected.points:,}"
    plural = "sweep" if sweeps == 1 else "sweeps"
    return f"{in_range // sweeps:,} points in range a sweep, {sweeps} {plural}; {trained}"


def _preset_advice(cloud: Cloud) -> list[str]:
    if cloud.preset is not None:
        return []
    fields = {name.lower() for name in cloud.fields}
    for preset, names in SIGNATURES:
        if names <= fields:
            return [f"fields {', '.join(sorted(names))} are those of {preset}: --preset {preset}"]
    info = cloud.intensity
    if cloud.time.kind == "unknown" and cloud.time.source == "column 5":
        return ["a fifth column like Waymo's elongation: --preset waymo --columns 5"]
    if cloud.layout == "4 columns of float32" and info.high <= 1 and info.scale == 1:
        return ["four columns with intensities up to 1, as KITTI has: --preset kitti"]
    return []


def _unit_advice(
    unit: str, points: np.ndarray, ground: float | None, frame: InputFrame
) -> list[str]:
    if unit == "georeferenced":
        x, y = np.median(points[:, :2], axis=0)
        z = (np.median(points[:, 2]) if ground is None else ground) + MODEL_SENSOR_HEIGHT_M
        return [
            "georeferenced coordinates: --origin X,Y,Z with the sensor's position, "
            f"for example --origin {x:.0f},{y:.0f},{z:.0f}"
        ]
    short = {"millimetres": "mm", "centimetres": "cm"}.get(unit)
    if short and short != frame.unit:
        return [f"coordinates look like {unit}: --unit {short}"]
    if unit == "unknown":
        return ["no coordinate reaches 2 m: normalised coordinates? The model needs metres"]
    return []


def _frame_advice(forward: float | None, ground: float | None, frame: InputFrame) -> list[str]:
    advice = []
    if forward is not None and _apart(forward, frame.forward_rad) > FORWARD_TOLERANCE_RAD:
        options = {
            "x": "--axes kitti",
            "y": "--axes nuscenes",
            "-x": "--axes kitti --yaw 180",
            "-y": "--axes nuscenes --yaw 180",
        }
        direction = _direction(forward)
        advice.append(f"forward looks like {direction} (guess): {options[direction]}")
    if ground is not None:
        off = ground + frame.lift_m + MODEL_SENSOR_HEIGHT_M
        if abs(off) > GROUND_TOLERANCE_M:
            # Adding 0 turns -0.0 into 0.0.
            height = round(-ground, 2) + 0.0
            advice.append(f"the ground is {off:+.2f} m off the model's: --sensor-height {height:g}")
    return advice


def _content_advice(
    cloud: Cloud, points: np.ndarray, dropped: Dropped, in_range: int, expected: Expected
) -> list[str]:
    advice = []
    if cloud.intensity.source and cloud.intensity.high == cloud.intensity.low == 0:
        advice.append("every intensity is 0: --intensity-field chooses another field")
    if len(points) and in_range == 0:
        advice.append(_none_in_range(_spans(points), expected.range_m))
    if cloud.time.sweeps < expected.sweeps and in_range:
        advice.append(
            f"{cloud.time.sweeps} of {expected.sweeps} sweeps: --poses adds those of frames before"
        )
    if dropped.total > len(points):
        advice.append(f"more points dropped than used: {dropped.text()}")
    return advice


def _none_in_range(spans: np.ndarray, range_m: tuple[float, ...]) -> str:
    """Names the first axis on which no point is in the range, or x where they miss it together."""
    low, high = np.array(range_m[:3]), np.array(range_m[3:])
    missed = np.flatnonzero((spans[:, 0] >= high) | (spans[:, 1] < low))
    axis = int(missed[0]) if len(missed) else 0
    name, low, high = "xyz"[axis], low[axis], high[axis]
    within = f"+-{high:g} m" if low == -high else f"{name} {low:g} to {high:g} m"
    least, most = (_number(v) for v in spans[axis])
    return f"no point within {within}; {name} spans {least} to {most}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _direction(angle_rad: float) -> str:
    return ("x", "y", "-x", "-y")[int(np.rint(angle_rad / (np.pi / 2))) % 4]


def _apart(one_rad: float, other_rad: float) -> float:
    return abs((one_rad - other_rad + np.pi) % (2 * np.pi) - np.pi)
