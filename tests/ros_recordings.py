"""Recordings written with the rosbags package, in every format that the project reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rosbags import rosbag1, rosbag2
from rosbags.typesys import Stores, get_typestore

from padre3d.io.pointcloud2 import DATATYPES

POINTS, TRANSFORMS = "sensor_msgs/msg/PointCloud2", "tf2_msgs/msg/TFMessage"
ODOMETRY = "nav_msgs/msg/Odometry"


class Recorder:
    """Writes messages to ``drive.mcap``, ``drive.db3`` or ``drive.bag`` in a folder."""

    def __init__(self, folder: Path, suffix: str) -> None:
        self.is_ros1 = suffix == ".bag"
        store = Stores.ROS1_NOETIC if self.is_ros1 else Stores.ROS2_HUMBLE
        self.types = get_typestore(store)
        if self.is_ros1:
            self.path = folder / "drive.bag"
            self.writer = rosbag1.Writer(self.path)
        else:
            plugin = {
                ".mcap": rosbag2.StoragePlugin.MCAP,
                ".db3": rosbag2.StoragePlugin.SQLITE3,
            }[suffix]
            self.path = folder / "drive" / f"drive{suffix}"
            self.writer = rosbag2.Writer(folder / "drive", version=9, storage_plugin=plugin)
        self.writer.open()
        self.connections = {}
        if self.is_ros1:
            self.types.register({TRANSFORMS: self._transform_type()})

    def close(self) -> Path:
        self.writer.close()
        return self.path

    def points(self, stamp_ns, frame, fields, topic="/points", height=1, **changes):
        table = np.zeros(len(next(iter(fields.values()))), self._layout(fields))
        for name, values in fields.items():
            table[name] = values
        item = self._type("sensor_msgs/msg/PointField")
        offsets = [table.dtype.fields[name][1] for name in fields]
        described = [
            item(name, offset, DATATYPES.index(values.dtype.str[1:]) + 1, 1)
            for (name, values), offset in zip(fields.items(), offsets, strict=True)
        ]
        step = table.dtype.itemsize
        width = len(table) // height
        values = {
            "header": self._header(stamp_ns, frame),
            "height": height,
            "width": width,
            "fields": described,
            "is_bigendian": False,
            "point_step": step,
            "row_step": width * step,
            "data": np.frombuffer(table.tobytes(), np.uint8),
            "is_dense": True,
        }
        self._write(topic, POINTS, stamp_ns, self._type(POINTS)(**{**values, **changes}))

    def transform(self, stamp_ns, parent, child, position, quaternion, topic="/tf"):
        motion = self._type("geometry_msgs/msg/Transform")(
            self._type("geometry_msgs/msg/Vector3")(*position), self._quaternion(quaternion)
        )
        stamped = self._type("geometry_msgs/msg/TransformStamped")(
            self._header(stamp_ns, parent), child, motion
        )
        self._write(topic, TRANSFORMS, stamp_ns, self._type(TRANSFORMS)([stamped]))

    def odometry(self, stamp_ns, parent, child, position, quaternion, topic="/odom"):
        zero = self._type("geometry_msgs/msg/Vector3")(0.0, 0.0, 0.0)
        pose = self._type("geometry_msgs/msg/Pose")(
            self._type("geometry_msgs/msg/Point")(*position), self._quaternion(quaternion)
        )
        unknown = np.zeros(36)
        message = self._type(ODOMETRY)(
            self._header(stamp_ns, parent),
            child,
            self._type("geometry_msgs/msg/PoseWithCovariance")(pose, unknown),
            self._type("geometry_msgs/msg/TwistWithCovariance")(
                self._type("geometry_msgs/msg/Twist")(zero, zero), unknown
            ),
        )
        self._write(topic, ODOMETRY, stamp_ns, message)

    @staticmethod
    def _layout(fields):
        """Two bytes before every field, as drivers that align their structs leave."""
        layout = []
        for name, values in fields.items():
            layout += [(f"_{name}", "u1", 2), (name, values.dtype)]
        return layout

    @staticmethod
    def _transform_type():
        from rosbags.typesys import get_types_from_msg

        text = "geometry_msgs/TransformStamped[] transforms\n"
        return get_types_from_msg(text, TRANSFORMS)[TRANSFORMS]

    def _write(self, topic, kind, stamp_ns, message):
        if topic not in self.connections:
            self.connections[topic] = self.writer.add_connection(topic, kind, typestore=self.types)
        serialize = self.types.serialize_ros1 if self.is_ros1 else self.types.serialize_cdr
        self.writer.write(self.connections[topic], stamp_ns, bytes(serialize(message, kind)))

    def _type(self, name):
        return self.types.types[name]

    def _quaternion(self, wxyz):
        w, x, y, z = map(float, wxyz)
        return self._type("geometry_msgs/msg/Quaternion")(x, y, z, w)

    def _header(self, stamp_ns, frame):
        stamp = self._type("builtin_interfaces/msg/Time")(
            int(stamp_ns // 10**9), int(stamp_ns % 10**9)
        )
        header = self._type("std_msgs/msg/Header")
        return header(0, stamp, frame) if self.is_ros1 else header(stamp, frame)
