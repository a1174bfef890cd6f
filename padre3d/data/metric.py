"""The official nuScenes evaluation, or the same for another class list."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet3d.evaluation.metrics import NuScenesMetric
from mmengine.fileio import load
from mmengine.logging import print_log
from nuscenes import NuScenes
from nuscenes.eval.common.loaders import (
    add_center_dist,
    filter_eval_boxes,
    load_gt_of_sample_tokens,
    load_prediction_of_sample_tokens,
)
from nuscenes.eval.detection.data_classes import DetectionBox, DetectionConfig
from nuscenes.eval.detection.evaluate import DetectionEval

from padre3d.data.bootstrap import frame_bootstrap
from padre3d.data.class_list import ClassListEvaluation, class_list_evaluation, score_class_list
from padre3d.data.datasets import info_categories
from padre3d.data.lidar_tables import LidarTables, count_points
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

    def _format_lidar_bbox(self, *args: Any, **kwargs: Any) -> str:
        """A result file with the best 500 boxes a frame, as many as the devkit takes."""
        path = super()._format_lidar_bbox(*args, **kwargs)
        most = self.eval_detection_configs.max_boxes_per_sample
        if max((len(r["bboxes_3d"]) for r in args[0]), default=0) > most:
            content = json.loads(Path(path).read_text())
            cut = keep_best(content["results"], most, lambda box: box["detection_score"])
            if cut:
                write_atomic(path, json.dumps(content))
        return path

    def _is_official(self) -> bool:
        meta = self.dataset_meta
        usual = set(meta["classes"]) == set(NUSCENES_CLASSES)
        return usual and meta.get("dataset", "nuscenes") == "nuscenes"

    def _score_class_list(self, results: list[dict]) -> dict[str, float]:
        file = load(self.ann_file)
        evaluation = class_list_evaluation(
            file["data_list"],
            info_classes(file["metainfo"], self.ann_file),
            {result["sample_idx"]: _arrays(result["pred_instances_3d"]) for result in results},
            self._class_ranges(),
            self.eval_detection_configs,
            self.range_m,
        )
        most = self.eval_detection_configs.max_boxes_per_sample
        keep_best(evaluation.pred_boxes.boxes, most, lambda box: box.detection_score)
        if self.jsonfile_prefix:
            _write_boxes(Path(self.jsonfile_prefix) / "pred_instances_3d", evaluation)
        if self.format_only:
            return {}
        names = ", ".join(self.dataset_meta["classes"])
        print_log(f"scored by nuScenes' rules, without attributes: {names}", "current")
        prefix = "pred_instances_3d_NuScenes"
        summary = score_class_list(evaluation).serialize()
        detail = _details(summary, summary["label_aps"], prefix, self.ErrNameMapping)
        detail = {key: value for key, value in detail.items() if not np.isnan(value)}
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
        evaluation = self._open_evaluation(result_path)
        summary = evaluation.main(plot_examples=0, render_curves=False)
        prefix = f"{result_name}_NuScenes"
        wanted = dict.fromkeys(classes or evaluation.cfg.class_names)
        detail = _details(summary, wanted, prefix, self.ErrNameMapping)
        return {**detail, **self._intervals(evaluation, prefix)}

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
        nusc = LidarTables(version=self.version, dataroot=self.data_root, verbose=False)
        tokens = [info["token"] for info in self.data_infos]
        count_points(nusc, [nusc.get("sample", token) for token in tokens])
        arguments = dict(
            config=self.eval_detection_configs,
            result_path=result_path,
            output_dir=str(Path(result_path).parent),
            verbose=False,
        )
        if self.dataset_meta.get("own_splits"):
            return TokensEval(nusc, tokens, **arguments)
        split = EVALUATED_SPLITS[self.version]
        try:
            return DetectionEval(nusc, eval_set=split, **arguments)
        # The devkit asserts that the frames are those of the split.
        except AssertionError as error:
            raise ValueError(
                f"{self.ann_file}: expected the frames of the split {split}, got others or too "
                f"few: {error}"
            ) from error


class TokensEval(DetectionEval):
    """The devkit's evaluation of given samples, as it does for splits of a ``splits.json``.

    Its own takes the scenes of an official split where one of them has the name.
    """

    def __init__(
        self,
        nusc: NuScenes,
        tokens: list[str],
        config: DetectionConfig,
        result_path: str,
        output_dir: str,
        verbose: bool,
    ) -> None:
        self.nusc, self.cfg, self.verbose = nusc, config, verbose
        self.result_path, self.output_dir, self.eval_set = result_path, output_dir, "splits.json"
        self.plot_dir = output_dir
        most = config.max_boxes_per_sample
        found, self.meta = load_prediction_of_sample_tokens(
            result_path, most, DetectionBox, tokens, verbose
        )
        truth = load_gt_of_sample_tokens(nusc, tokens, DetectionBox, verbose)
        self.pred_boxes, self.gt_boxes = (
            filter_eval_boxes(nusc, add_center_dist(nusc, boxes), config.class_range, verbose)
            for boxes in (found, truth)
        )
        self.sample_tokens = self.gt_boxes.sample_tokens


def keep_best(frames: dict[str, list], most: int, score: Callable[[Any], float]) -> int:
    """Cut the boxes of every frame to the best; says so once and returns the frames cut."""
    cut = [token for token, boxes in frames.items() if len(boxes) > most]
    for token in cut:
        # Equal scores keep their order.
        frames[token] = sorted(frames[token], key=score, reverse=True)[:most]
    if cut:
        print_log(f"more than {most} boxes in {len(cut)} frames: the best {most} count", "current")
    return len(cut)


def info_classes(metainfo: dict, path: str = "info file") -> dict[int, str]:
    """Label in an info file -> class name."""
    return {label: name for name, label in info_categories(metainfo, path).items() if label >= 0}


def _arrays(found: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes (M, 9) with gravity centres, scores and labels of one frame."""
    boxes = found["bboxes_3d"]
    rows = torch.cat([boxes.gravity_center, boxes.tensor[:, 3:9]], dim=1)
    return rows.double().numpy(), found["scores_3d"].numpy(), found["labels_3d"].numpy()


def _write_boxes(folder: Path, evaluation: ClassListEvaluation) -> None:
    """The detections in the schema of nuScenes' submissions."""
    wanted = (
        *("sample_token", "translation", "size", "rotation", "velocity"),
        *("detection_name", "detection_score", "attribute_name"),
    )
    results = {
        token: [{key: getattr(box, key) for key in wanted} for box in evaluation.pred_boxes[token]]
        for token in evaluation.sample_tokens
    }
    content = json.dumps({"meta": {"use_lidar": True}, "results": results})
    write_atomic(folder / "results_nusc.json", content)


def _details(
    summary: dict, classes: Iterable[str], prefix: str, short: Mapping[str, str]
) -> dict[str, float]:
    """mmdet3d's keys of a summary, of the figures that are defined."""
    detail: dict[str, float] = {}
    for name in classes:
        for distance, ap in summary["label_aps"][name].items():
            detail[f"{prefix}/{name}_AP_dist_{distance}"] = ap
        for error, value in summary["label_tp_errors"][name].items():
            detail[f"{prefix}/{name}_{error}"] = value
    for error, value in summary["tp_errors"].items():
        detail[f"{prefix}/{short[error]}"] = value
    detail = {key: float(f"{value:.4f}") for key, value in detail.items()}
    return {**detail, f"{prefix}/NDS": summary["nd_score"], f"{prefix}/mAP": summary["mean_ap"]}
