"""Fields of a ROS sensor_msgs/PointCloud2 message, of every type and either byte order."""

from __future__ import annotations

from typing import Any

import numpy as np

# sensor_msgs/PointField: INT8 = 1 ... FLOAT64 = 8.
DATATYPES = ("i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8")


def pointcloud2_fields(message: Any) -> dict[str, np.ndarray]:
    """The fields of one number a point.

    Args:
        message: anything with the attributes of a PointCloud2.

    Returns:
        One (P,) array per field, rows of the image one after the other.

    Raises:
        ValueError: if the data are shorter than the message says, or a field lies outside of a
            point or has an unknown type.
    """
    width, height, step = int(message.width), int(message.height), int(message.point_step)
    row_step = int(message.row_step) or width * step
    data = np.ascontiguousarray(np.asarray(message.data, np.uint8))
    wanted = (height - 1) * row_step + width * step if width and height else 0
    if min(width, height, step) < 0 or row_step < width * step or len(data) < wanted:
        raise ValueError(
            f"expected a PointCloud2 of {height} x {width} points of {step} bytes, "
            f"{wanted} bytes, got {len(data)} with row_step {row_step}"
        )
    order = ">" if message.is_bigendian else "<"
    fields: dict[str, np.ndarray] = {}
    for field in message.fields:
        if int(field.count) > 1:
            continue
        if not 1 <= int(field.datatype) <= len(DATATYPES):
            raise ValueError(
                f"field {field.name}: expected a datatype 1 to 8, got {field.datatype}"
            )
        dtype = np.dtype(order + DATATYPES[int(field.datatype) - 1])
        offset = int(field.offset)
        if not 0 <= offset <= step - dtype.itemsize:
            raise ValueError(
                f"field {field.name}: expected an offset within {step} bytes a point, got {offset}"
            )
        if wanted == 0:
            fields.setdefault(field.name, np.zeros(0, dtype))
            continue
        view: np.ndarray = np.ndarray((height, width), dtype, data.data, offset, (row_step, step))
        fields.setdefault(field.name, view.reshape(-1).astype(dtype.newbyteorder("=")))
    return fields
