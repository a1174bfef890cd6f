"""PADRe-2 on the pillar grid, on the synthetic data set of ``make demo``: trains on two CPU cores.

The twin of dsvt_padre2_synthetic.py: convolutions of 5 x 5 cells over the occupied pillars where
that has 11 taps along an order. No order and no position embedding.

python tools/make_synthetic.py --out data/synthetic --scenes 10 --seed 0
python tools/create_data.py nuscenes --root-path data/synthetic --version v1.0-mini
python tools/train.py configs/dsvt_padre2_grid_synthetic.py --work-dir work_dirs/demo_grid
"""

_base_ = "dsvt_padre2_synthetic.py"

model = dict(backbone=dict(mixer=dict(layout="grid", kernel_size=5), pos_embed=None))
