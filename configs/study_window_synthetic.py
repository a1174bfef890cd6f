"""The packaged grid model with the 1,681 keys of the nuScenes configs in its decoder's window.

The head alone learns three epochs more with a window of 27 m to each side in place of 5.4 m; every other weight
stays. It is what the table of evicted keys is made with:

SYNTHETIC_ROOT=data/synthetic72 python tools/train.py configs/study_window_synthetic.py --work-dir work_dirs/window
SYNTHETIC_ROOT=data/synthetic72 python benchmarks/window.py configs/study_window_synthetic.py \
    work_dirs/window/epoch_3.pth --frames 16 --nds --threads 1 --backends onnxruntime openvino qnn

Data as for studies/detector_mixers.py.
"""

_base_ = ["study_grid_blocks_synthetic.py"]

max_epochs = 3
load_from = "padre3d/models/padre2_grid_synthetic/weights.pth"

model = dict(
    frozen=("pillar_encoder", "backbone", "bev_backbone"),
    head=dict(local_radius=20),
)

optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [
    dict(
        type="CosineAnnealingLR",
        eta_min_ratio=1e-3,
        begin=0,
        end=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=max_epochs, val_begin=max_epochs + 1)
