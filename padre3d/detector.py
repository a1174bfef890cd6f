"""The detector: points -> pillars -> tokens -> BEV map -> boxes. Reads like the stage table.

Boxes are converted here, and nowhere else, between mmdet3d's bottom centre and the gravity centre
used everywhere else. Besides this module only ``data`` and ``adapters`` know mmdet3d.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmdet3d.models.detectors import Base3DDetector
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.structures import InstanceData
from torch import Tensor, nn

from padre3d.bev import scatter_to_map
from padre3d.head import HeadOutputs
from padre3d.structures.boxes import Detections
from padre3d.structures.classes import NUSCENES_CLASSES
from padre3d.structures.grid import PillarGrid
from padre3d.structures.pillars import Pillars


class PADReDetector(Base3DDetector):
    """A DSVT-style LiDAR detector whose token mixer is chosen in the config.

    Args:
        grid: :class:`PillarGrid` settings ``dict(range_m=..., cell_m=...)``; every stage gets its
            sizes from it.
        pillar_encoder: config of the pillar encoder.
        backbone: config of the token backbone; its ``mixer`` names PADRe or attention.
        bev_backbone: config of the 2-D backbone.
        head: config of the detection head.
        class_names: class names in label order. The settings of the head that name classes
            (``point_classes``, ``decode.nms_classes``) follow them.
        frozen: parts that are not trained, such as ``("pillar_encoder", "backbone")``: their
            weights get no gradient and their batch normalisation keeps its statistics.
        train_cfg: settings that go before those of ``head.targets``.
        test_cfg: settings that go before those of ``head.decode``, such as ``score_thr``.
        data_preprocessor, init_cfg: as in mmdet3d.

    Raises:
        ValueError: for a part whose ``grid``, ``num_classes`` or ``class_names`` contradict these,
            and frozen parts that there are not.
    """

    def __init__(
        self,
        grid: dict,
        pillar_encoder: dict,
        backbone: dict,
        bev_backbone: dict,
        head: dict,
        class_names: Sequence[str] = NUSCENES_CLASSES,
        frozen: Sequence[str] = (),
        train_cfg: Mapping[str, Any] | None = None,
        test_cfg: Mapping[str, Any] | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.grid = PillarGrid(**grid)
        self.class_names = tuple(class_names)
        self.pillar_encoder = MODELS.build(_with("pillar_encoder", pillar_encoder, grid=self.grid))
        self.backbone = MODELS.build(_with("backbone", backbone, grid=self.grid))
        self.bev_backbone = MODELS.build(bev_backbone)
        for name, settings in (("targets", train_cfg), ("decode", test_cfg)):
            if settings:
                head = {**head, name: {**(head.get(name) or {}), **settings}}
        self.head = MODELS.build(
            _with(
                "head",
                head,
                grid=self.grid.coarser(self.bev_backbone.stride),
                num_classes=len(self.class_names),
                class_names=self.class_names,
            )
        )

        self.frozen = tuple(frozen)
        for name in self.frozen:
            if not isinstance(getattr(self, name, None), nn.Module):
                parts = [part for part, _ in self.named_children()]
                raise ValueError(f"PADReDetector: expected frozen parts of {parts}, got {name!r}")
            getattr(self, name).requires_grad_(False)

    def train(self, mode: bool = True) -> PADReDetector:
        """Training mode, but for the frozen parts."""
        super().train(mode)
        for name in self.frozen:
            getattr(self, name).eval()
        return self

    def forward_points(self, points: list[Tensor]) -> HeadOutputs:
        """Raw head outputs of a batch of clouds, each (P_b, 5): x, y, z, intensity, time lag."""
        return self.forward_pillars(self.pillar_encoder(points))

    def forward_pillars(self, pillars: Pillars) -> HeadOutputs:
        """Raw head outputs of encoded pillars."""
        pillars = self.backbone(pillars)
        return self.head(self.bev_backbone(scatter_to_map(pillars, self.grid.ny, self.grid.nx)))

    @torch.no_grad()
    def predict_points(self, points: list[Tensor]) -> list[Detections]:
        """Detections (gravity centres) of a batch of clouds, each (P_b, 5).

        A cloud without a point in the range has none: what the head makes of an empty map is
        what training left in its biases.
        """
        pillars = self.pillar_encoder(points)
        detections = self.head.predict(self.forward_pillars(pillars))
        occupied = torch.zeros(len(points), dtype=torch.bool, device=pillars.coords.device)
        occupied.index_fill_(0, pillars.coords[:, 0], True)
        return [
            of_sample if seen else of_sample.select(slice(0))
            for of_sample, seen in zip(detections, occupied.tolist(), strict=True)
        ]

    def extract_feat(self, batch_inputs: dict) -> Tensor:
        """BEV map (B, C, y, x) of mmdet3d's input dict."""
        pillars = self.backbone(self.pillar_encoder(batch_inputs["points"]))
        return self.bev_backbone(scatter_to_map(pillars, self.grid.ny, self.grid.nx))

    def _forward(
        self, batch_inputs: dict, batch_data_samples: list[Det3DDataSample] | None = None
    ) -> HeadOutputs:
        return self.forward_points(batch_inputs["points"])

    def loss(
        self, batch_inputs: dict, batch_data_samples: list[Det3DDataSample]
    ) -> dict[str, Tensor]:
        """Losses of a training batch in mmdet3d's format."""
        boxes = [to_gravity_boxes(s.gt_instances_3d.bboxes_3d) for s in batch_data_samples]
        labels = [s.gt_instances_3d.labels_3d for s in batch_data_samples]
        return self.head.loss(self.forward_points(batch_inputs["points"]), boxes, labels)

    def predict(
        self, batch_inputs: dict, batch_data_samples: list[Det3DDataSample]
    ) -> list[Det3DDataSample]:
        """Detections of a test batch in mmdet3d's format."""
        results = [to_instances(d) for d in self.predict_points(batch_inputs["points"])]
        return self.add_pred_to_datasample(batch_data_samples, results)


def _with(part: str, config: Mapping[str, Any], **settings: Any) -> dict[str, Any]:
    """A part's config with the settings that the detector gives; another value is a contradiction.

    Raises:
        ValueError: naming the setting and both values.
    """
    for name, value in settings.items():
        given = config.get(name)
        if isinstance(given, Mapping):
            given = PillarGrid.of(given)
        elif isinstance(given, list):
            given = tuple(given)
        if given is not None and given != value:
            raise ValueError(
                f"{part}.{name}: expected {value} as the model's grid and class_names say, got "
                f"{given}; leave it out"
            )
    return {**config, **settings}


def to_gravity_boxes(boxes: LiDARInstance3DBoxes) -> Tensor:
    """mmdet3d boxes to (M, 9) rows ``x, y, z (gravity), l, w, h, yaw, vx, vy``."""
    return torch.cat([boxes.gravity_center, boxes.tensor[:, 3:9]], dim=1)


def to_instances(detections: Detections) -> InstanceData:
    """Detections with gravity centres to mmdet3d's instances (bottom centres)."""
    boxes = detections.boxes.float()
    return InstanceData(
        bboxes_3d=LiDARInstance3DBoxes(boxes, box_dim=9, origin=(0.5, 0.5, 0.5)),
        scores_3d=detections.scores.float(),
        labels_3d=detections.labels,
    )
