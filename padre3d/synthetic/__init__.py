"""A seeded synthetic world, seen by a 32-beam LiDAR and written in the nuScenes v1.0 schema.

| stage | file |
|---|---|
| ground, lanes, hills | street.py |
| houses, trees, street furniture | clutter.py |
| classes, sizes, shapes | catalog.py, meshes.py, actor_shapes.py, actors.py |
| what stands where, what drives where | layout.py, traffic.py |
| ray casting, noise, intensity | lidar.py |
| files and tables | scene.py, tables.py, dataset.py, statistics.py |
"""

from padre3d.synthetic.dataset import generate

__all__ = ["generate"]
