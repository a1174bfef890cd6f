"""Point clouds and poses of ROS recordings (.mcap, .bag, .db3), by rosbags; no ROS is needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from padre3d.io.pointcloud2 import pointcloud2_fields
from padre3d.io.transforms import TransformTree

SUFFIXES = (".mcap", ".bag", ".db3")
POINTS = "sensor_msgs/msg/PointCloud2"
TRANSFORMS = "tf2_msgs/msg/TFMessage"
ODOMETRY = "nav_msgs/msg/Odometry"
STATIC_TOPIC = "/tf_static"


@dataclass(frozen=True)
class RecordedCloud:
    """One message.

    Attributes:
        stamp_ns: its header's time, or the recording's where the header has none.
        frame: the frame of its points.
        fields: (P,) arrays by name.
        pose: (4, 4) frame to fixed frame, None without a pose topic.
        fault: why this cloud is of no use while others are: its message is damaged (then there are
            no fields), or its pose is not known.
    """

    stamp_ns: int
    frame: str
    fields: dict[str, np.ndarray]
    pose: np.ndarray | None
    fault: str = ""

    @property
    def stamp_s(self) -> float:
        """The time in seconds."""
        return self.stamp_ns / 1e9


def is_recording(path: Path) -> bool:
    """Whether a path is a recording: a file with such a suffix, or a folder of ROS 2."""
    if path.is_dir():
        return (path / "metadata.yaml").is_file()
    return path.suffix.lower() in SUFFIXES


def read_recording(
    path: str | Path,
    topic: str | None = None,
    *,
    pose_topic: str | None = None,
    fixed_frame: str | None = None,
) -> Iterator[RecordedCloud]:
    """The clouds of a topic in their order; one of no use says why, and others follow.

    Args:
        path: the recording.
        topic: of type PointCloud2; None: the only one.
        pose_topic: of type TFMessage (``/tf``) or Odometry; None: no poses. ``/tf_static`` is read
            with it where there is one.
        fixed_frame: frame of the poses; None: ``odom`` if the clouds' frame hangs on it, else the
            topmost.

    Raises:
        ValueError: if it is no such recording, or a topic is missing or of another type. It names
            the recording.
        ImportError: if rosbags is not installed.
    """
    path = Path(path)
    try:
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import Stores, get_typestore
    except ImportError as error:
        raise ImportError("recordings need rosbags: pip install rosbags") from error
    try:
        # Old .db3 files do not say what their types are.
        with AnyReader([path], default_typestore=get_typestore(Stores.LATEST)) as reader:
            clouds = _connections(reader, topic, (POINTS,))
            tree = None if pose_topic is None else _transforms(reader, pose_topic)
            for connection, logged_ns, raw in reader.messages(clouds):
                message = reader.deserialize(raw, connection.msgtype)
                yield _cloud(message, logged_ns, tree, fixed_frame)
    except GeneratorExit:
        raise
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    except Exception as error:  # rosbags lets its own, sqlite's and decompressors' errors out.
        raise ValueError(f"{path}: expected a ROS recording: {error!r}") from error


def _connections(reader: Any, topic: str | None, types: tuple[str, ...]) -> list[Any]:
    """The connections of a topic, or of the only one of these types."""
    of_type = [c for c in reader.connections if c.msgtype in types]
    topics = sorted({c.topic for c in of_type})
    short = " or ".join(name.split("/")[-1] for name in types)
    there = ", ".join(topics) or "none"
    if topic is None:
        if len(topics) == 1:
            return of_type
        raise ValueError(f"--topic: expected a topic of {short}; there are {there}")
    found = [c for c in of_type if c.topic == topic]
    if not found:
        raise ValueError(f"topic {topic}: expected a topic of {short}; there are {there}")
    return found


def _transforms(reader: Any, pose_topic: str) -> TransformTree:
    tree = TransformTree()
    chosen = _connections(reader, pose_topic, (TRANSFORMS, ODOMETRY))
    chosen += [
        c
        for c in reader.connections
        if c.topic == STATIC_TOPIC and c.msgtype == TRANSFORMS and c not in chosen
    ]
    for connection, _, raw in reader.messages(chosen):
        message = reader.deserialize(raw, connection.msgtype)
        if connection.msgtype == ODOMETRY:
            pose = message.pose.pose
            _add(tree, message.header, message.child_frame_id, pose.position, pose.orientation)
            continue
        is_static = connection.topic == STATIC_TOPIC
        for item in message.transforms:
            motion = item.transform
            _add(
                tree,
                item.header,
                item.child_frame_id,
                motion.translation,
                motion.rotation,
                is_static,
            )
    return tree


def _add(
    tree: TransformTree, header: Any, child: str, place: Any, turn: Any, is_static: bool = False
) -> None:
    tree.add(
        header.frame_id,
        child,
        [place.x, place.y, place.z],
        [turn.w, turn.x, turn.y, turn.z],
        None if is_static else _stamp_ns(header) / 1e9,
    )


def _stamp_ns(header: Any) -> int:
    return int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)


def _cloud(
    message: Any, logged_ns: int, tree: TransformTree | None, fixed_frame: str | None
) -> RecordedCloud:
    stamp_ns = _stamp_ns(message.header) or logged_ns
    frame = message.header.frame_id
    fields: dict[str, np.ndarray] = {}
    pose = None
    try:
        fields = pointcloud2_fields(message)
        if tree is not None:
            pose = _pose(tree, frame, fixed_frame, stamp_ns / 1e9)
    except ValueError as error:
        return RecordedCloud(stamp_ns, frame, fields, None, str(error))
    return RecordedCloud(stamp_ns, frame, fields, pose)


def _pose(tree: TransformTree, frame: str, fixed_frame: str | None, stamp_s: float) -> np.ndarray:
    fixed = fixed_frame or tree.fixed_frame(frame)
    pose = tree.pose(frame, fixed, stamp_s)
    if fixed == frame.lstrip("/"):
        raise ValueError(f"expected transforms of the clouds' frame {frame}, got none")
    return pose
