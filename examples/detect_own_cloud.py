"""Your own cloud through an exported detector: python examples/detect_own_cloud.py MODEL CLOUD OUT

MODEL is a folder of tools/export.py or the name of a packaged model, CLOUD a .pcd, .ply, .bin or
.npy. Its frame is the model's (x right, y forward); padre3d.io.frames.InputFrame turns others.
"""

from __future__ import annotations

import sys
from pathlib import Path

from padre3d.deploy import Runtime
from padre3d.io import drop_unusable, load_points
from padre3d.io.boxes_json import write_boxes_json
from padre3d.visual import Page, draw_bev


def main(model: str, cloud: str, out: str) -> int:
    """Write boxes.json, view.png and view.html into a folder; returns the number of boxes."""
    runtime = Runtime(model) if Path(model).is_dir() else Runtime.from_package(model)
    points, dropped = drop_unusable(load_points(cloud))
    found = runtime(points)
    found = found.select(found.scores >= 0.1)
    write_boxes_json(Path(out) / "boxes.json", found, runtime.class_names)
    names = runtime.class_names
    picture, sides = Path(out) / "view.png", runtime.manifest.grid.range_m
    far = max(map(abs, (*sides[:2], *sides[3:5])))
    draw_bev(points, found.boxes, found.labels, found.scores, names, path=picture, range_m=far)
    page = Page(runtime.class_names)
    page.add(Path(cloud).name, points, found)
    page.save(Path(out) / "view.html")
    print(f"{len(points)} points ({dropped.total} dropped), {len(found.scores)} boxes: {out}")
    return len(found.scores)


if __name__ == "__main__":
    main(*sys.argv[1:4])
