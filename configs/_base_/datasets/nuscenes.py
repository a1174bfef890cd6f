"""nuScenes with class-balanced grouping and sampling (CBGS): 4.4 times as many frames an epoch."""

_base_ = ["./nuscenes_nocbgs.py"]

train_dataloader = dict(
    dataset=dict(_delete_=True, type="SeededCBGSDataset", dataset=_base_.train_dataset)
)
