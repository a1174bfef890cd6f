"""nuScenes, every training frame once per epoch; prepare with tools/create_data.py.

Another directory: NUSCENES_ROOT=/path, or override ``data_root`` of the three data sets.
"""

dataset_type = "NuScenesSweepsDataset"
data_root = "{{$NUSCENES_ROOT:data/nuscenes}}"
class_names = [
    "car",
    "truck",
    "construction_vehicle",
    "bus",
    "trailer",
    "barrier",
    "motorcycle",
    "bicycle",
    "pedestrian",
    "traffic_cone",
]
point_cloud_range = [-54.0, -54.0, -5.0, 54.0, 54.0, 3.0]
data_prefix = dict(pts="samples/LIDAR_TOP", sweeps="sweeps/LIDAR_TOP")

# The first step of every pipeline, where mmdet3d's inference functions look for it. The lists below
# hold the steps after it.
load_points = dict(type="LoadPointsFromFile", coord_type="LIDAR", load_dim=5, use_dim=5)
train_pipeline = [
    dict(type="LoadSweeps", num_sweeps=10),
    dict(type="LoadAnnotations3D", with_bbox_3d=True, with_label_3d=True),
    dict(
        type="SampleGroundTruth",
        min_points=5,
        sample_groups=dict(
            car=2,
            truck=3,
            construction_vehicle=7,
            bus=4,
            trailer=6,
            barrier=2,
            motorcycle=6,
            bicycle=6,
            pedestrian=2,
            traffic_cone=2,
        ),
        others=2,
    ),
    dict(
        type="RandomFlip3D",
        sync_2d=False,
        flip_ratio_bev_horizontal=0.5,
        flip_ratio_bev_vertical=0.5,
    ),
    dict(
        type="GlobalRotScaleTrans",
        rot_range=[-0.78539816, 0.78539816],
        scale_ratio_range=[0.9, 1.1],
        translation_std=[0.5, 0.5, 0.5],
    ),
    dict(type="PointsRangeFilter", point_cloud_range=point_cloud_range),
    dict(type="ObjectRangeFilter", point_cloud_range=point_cloud_range),
    dict(type="ObjectNameFilter", classes=class_names),
    dict(type="PointShuffle"),
    dict(type="Pack3DDetInputs", keys=["points", "gt_bboxes_3d", "gt_labels_3d"]),
]
test_pipeline = [
    dict(type="LoadSweeps", num_sweeps=10),
    dict(type="PointsRangeFilter", point_cloud_range=point_cloud_range),
    dict(type="Pack3DDetInputs", keys=["points"]),
]

train_dataset = dict(
    type=dataset_type,
    data_root=data_root,
    ann_file="nuscenes_infos_train.pkl",
    data_prefix=data_prefix,
    metainfo=dict(classes=class_names),
    pipeline=[load_points, *train_pipeline],
    box_type_3d="LiDAR",
)
val_dataset = dict(
    type=dataset_type,
    data_root=data_root,
    ann_file="nuscenes_infos_val.pkl",
    data_prefix=data_prefix,
    metainfo=dict(classes=class_names),
    pipeline=[load_points, *test_pipeline],
    box_type_3d="LiDAR",
    test_mode=True,
)

train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=train_dataset,
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=val_dataset,
)
test_dataloader = val_dataloader

# The metric takes root and annotations from the data set that it evaluates.
val_evaluator = dict(type="NuScenesDetectionMetric")
test_evaluator = val_evaluator
