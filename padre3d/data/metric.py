"""The official nuScenes evaluation, or the same for another class list."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet3d.evaluation.metrics import NuScenesMetric
from mmengine.fileio import load
from mmengine.logging import print_log
from nuscenes import NuScenes
from nuscenes.eval.detection.data_classes import DetectionMetrics
from nuscenes.eval.detection.evaluate import DetectionEval

from padre3d.data.bootstrap import frame_bootstrap
from padre3d.data.class_list import ClassListEvaluation, class_list_evaluation, score_class_list
from padre3d.io.files import write_atomic
from padre3d.structures.classes import NUSCENES_CLASSES

EVALUATED_SPLITS = {"v1.0-mini": "mini_val", "v1.0-trainval": "val"}
FAR_M = 1e6


class NuScenesDetectionMetric(NuScenesMetric):
    """mmdet3d's NuScenesMetric that follows the evaluated data set and its class list.

    ``data_root`` and ``ann_file`` come from the data set's metainfo unless given, so a config names
    them once. nuScenes' ten classes on nuScenes tables, in any order, are the official evaluation.
    Any other class list is scored by the devkit's functions against the info file, see
    :mod:`padre3d.data.class_list`: a class of nuScenes in nuScenes data within its official
    distance, another one as far as the model sees. There, bicycles in racks are not left out, and
    NDS has no attribute error. The test split has no annotations: it is written for submission.

    Args:
        data_root, ann_file: override the data set's.
        bootstrap: resamples of the frames for 95 % intervals of NDS, mAP and the errors, see
            :func:`padre3d.data.bootstrap.frame_bootstrap`; 0 leaves them out.
        class_range: class -> distance in m within which it is scored; only for own class lists.
        range_m: range of the model, outside of which own class lists are not scored; the tools fill
            it in.
        **kwargs: as for NuScenesMetric.

    Raises:
        ValueError: on a class in ``class_range`` that the data set does not have.
    """

    def __init__(
        self,
        data_root: str | None = None,
        ann_file: str | None = None,
        bootstrap: int = 0,
        class_range: Mapping[str, float] | None = None,
        range_m: Sequence[float] | None = None,
        **kwargs: object,
    ) -> None:
        super().__init__(data_root=data_root, ann_file=ann_file, **kwargs)
        if bootstrap < 0 or bootstrap == 1:
            raise ValueError(f"bootstrap: expected 0 or at least 2 resamples, got {bootstrap}")
        self.bootstrap = bootstrap
        self.class_range = dict(class_range or {})
        self.range_m = None if range_m is None else tuple(map(float, range_m))

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Collect the boxes of a batch."""
        for sample in data_samples:
            boxes = sample["pred_instances_3d"]
            on_cpu = {name: boxes[name].to("cpu") for name in boxes}
            self.results.append({"pred_instances_3d": on_cpu, "sample_idx": sample["sample_idx"]})

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Score all frames; keys as in mmdet3d: ``pred_instances_3d_NuScenes/mAP`` and so on."""
        meta: dict[str, Any] = self.dataset_meta
        self.data_root: str = self.data_root or meta["data_root"]
        self.ann_file: str = self.ann_file or meta["ann_file"]
        if self.dataset_meta["version"].endswith("test") and not self.format_only:
            raise ValueError(
                f"version {self.dataset_meta['version']} has no annotations to score against: "
                "set format_only=True and jsonfile_prefix to write a submission"
            )
        if self._is_official():
            if self.class_range:
                raise ValueError(
                    "class_range: expected none with nuScenes' own classes, whose ranges are "
                    f"official, got {sorted(self.class_range)}"
                )
            return super().compute_metrics(results)
        return self._score_class_list(results)

    def _is_official(self) -> bool:
        meta = self.dataset_meta
        usual = set(meta["classes"]) == set(NUSCENES_CLASSES)
        return usual and meta.get("dataset", "nuscenes") == "nuscenes"

    def _score_class_list(self, results: list[dict]) -> dict[str, float]:
        file = load(self.ann_file)
        evaluation = class_list_evaluation(
            file["data_list"],
            info_classes(file["metainfo"]),
            {result["sample_idx"]: _arrays(result["pred_instances_3d"]) for result in results},
            self._class_ranges(),
            self.eval_detection_configs,
            self.range_m,
        )
        if self.jsonfile_prefix:
            _write_boxes(Path(self.jsonfile_prefix) / "pred_instances_3d", evaluation)
        if self.format_only:
            return {}
        names = ", ".join(self.dataset_meta["classes"])
        print_log(f"scored by nuScenes' rules, without attributes: {names}", "current")
        prefix = "pred_instances_3d_NuScenes"
        detail = _details(score_class_list(evaluation), prefix, self.ErrNameMapping)
        return {**detail, **self._intervals(evaluation, prefix)}

    def _class_ranges(self) -> dict[str, float]:
        """Distance of every class of the data set, in label order."""
        classes = self.dataset_meta["classes"]
        unknown = sorted(set(self.class_range) - set(classes))
        if unknown:
            raise ValueError(f"class_range: expected classes among {list(classes)}, got {unknown}")
        of_nuscenes = self.dataset_meta.get("dataset", "nuscenes") == "nuscenes"
        usual = self.eval_detection_configs.class_range if of_nuscenes else {}
        return {name: self.class_range.get(name, usual.get(name, FAR_M)) for name in classes}

    def _evaluate_single(
        self,
        result_path: str,
        classes: list[str] | None = None,
        result_name: str = "pred_instances_3d",
    ) -> dict[str, float]:
        """The official figures of a result file, and their intervals if asked for."""
        try:
            detail = super()._evaluate_single(result_path, classes, result_name)
        # The devkit asserts that the frames are those of the split.
        except AssertionError as error:
            split = EVALUATED_SPLITS.get(self.version, self.version)
            raise ValueError(
                f"{self.ann_file}: expected the frames of the split {split}, got others or too "
                f"few: {error}"
            ) from error
        if self.bootstrap:
            evaluation = self._open_evaluation(result_path)
            detail.update(self._intervals(evaluation, f"{result_name}_NuScenes"))
        return detail

    def _intervals(
        self, evaluation: DetectionEval | ClassListEvaluation, prefix: str
    ) -> dict[str, float]:
        if not self.bootstrap:
            return {}
        detail: dict[str, float] = {f"{prefix}/frames": len(evaluation.sample_tokens)}
        for name, figures in frame_bootstrap(evaluation, self.bootstrap).items():
            for key in ("low", "high", "std"):
                detail[f"{prefix}/{name}_{key}"] = figures[key]
        return detail

    def _open_evaluation(self, result_path: str) -> DetectionEval:
        """The devkit's evaluation of a result file, its boxes loaded and filtered."""
        nusc = NuScenes(version=self.version, dataroot=self.data_root, verbose=False)
        return DetectionEval(
            nusc,
            config=self.eval_detection_configs,
            result_path=result_path,
            eval_set=EVALUATED_SPLITS[self.version],
            output_dir=str(Path(result_path).parent),
            verbose=False,
        )


def info_classes(metainfo: dict) -> dict[int, str]:
    """Label in an info file -> class name."""
    return {label: name for name, label in metainfo["categories"].items() if label >= 0}


def _arrays(found: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes (M, 9) with gravity centres, scores and labels of one frame."""
    boxes = found["bboxes_3d"]
    rows = torch.cat([boxes.gravity_center, boxes.tensor[:, 3:9]], dim=1)
    return rows.double().numpy(), found["scores_3d"].numpy(), found["labels_3d"].numpy()


def _write_boxes(folder: Path, evaluation: ClassListEvaluation) -> None:
    """The detections in the schema of nuScenes' submissions."""
    wanted = ("sample_token", "translation", "size", "rotation", "velocity")
    wanted += ("detection_name", "detection_score", "attribute_name")
    results = {
        token: [{key: getattr(box, key) for key in wanted} for box in evaluation.pred_boxes[token]]
        for token in evaluation.sample_tokens
    }
    content = json.dumps({"meta": {"use_lidar": True}, "results": results})
    write_atomic(folder / "results_nusc.json", content)


def _details(metrics: DetectionMetrics, prefix: str, short: Mapping[str, str]) -> dict[str, float]:
    """mmdet3d's keys of a summary, of the figures that are defined."""
    summary = metrics.serialize()
    detail = {}
    for name, aps in summary["label_aps"].items():
        detail.update({f"{prefix}/{name}_AP_dist_{d}": round(ap, 4) for d, ap in aps.items()})
        errors = summary["label_tp_errors"][name]
        detail.update({f"{prefix}/{name}_{k}": round(v, 4) for k, v in errors.items()})
    for key, value in summary["tp_errors"].items():
        detail[f"{prefix}/{short[key]}"] = round(value, 4)
    detail = {key: value for key, value in detail.items() if not np.isnan(value)}
    return {**detail, f"{prefix}/NDS": summary["nd_score"], f"{prefix}/mAP": summary["mean_ap"]}
