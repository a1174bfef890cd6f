"""The reference's tiny detector as a user would bring it: a YAML and a checkpoint."""

from pathlib import Path

import torch
import yaml

from .arrays import Golden

POINT_FEATURES = ["x", "y", "z", "intensity", "timestamp"]


def reference_settings(golden: Golden) -> dict:
    """What the YAML of a trained model holds; MODEL is the recorded one."""
    encoding = dict(
        encoding_type="absolute_coordinates_encoding",
        used_feature_list=POINT_FEATURES,
        src_feature_list=POINT_FEATURES,
    )
    size = golden["voxel_size"].tolist()
    processor = [
        dict(NAME="mask_points_and_boxes_outside_range", REMOVE_OUTSIDE_BOXES=True, MASK_Z=True),
        dict(NAME="shuffle_points", SHUFFLE_ENABLED=dict(train=True, test=True)),
        dict(NAME="transform_points_to_voxels_placeholder", VOXEL_SIZE=size),
    ]
    return dict(
        CLASS_NAMES=golden.arrays["class_names"].tolist(),
        DATA_CONFIG=dict(
            _BASE_CONFIG_="cfgs/dataset_configs/nuscenes_dataset.yaml",
            MAX_SWEEPS=10,
            POINT_CLOUD_RANGE=golden["point_cloud_range"].tolist(),
            POINT_FEATURE_ENCODING=encoding,
            DATA_PROCESSOR=processor,
        ),
        MODEL=golden.config,
        OPTIMIZATION=dict(BATCH_SIZE_PER_GPU=4, NUM_EPOCHS=20, OPTIMIZER="adam_onecycle"),
    )


def write_yaml(golden: Golden, path: Path) -> Path:
    """Write the YAML file."""
    path.write_text(yaml.safe_dump(reference_settings(golden)))
    return path


def reference_weights(golden_dir: Path) -> dict:
    """The checkpoint."""
    return torch.load(golden_dir / "detector_tiny.pth", weights_only=True)
