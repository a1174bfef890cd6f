"""The official nuScenes evaluation, on the data set that the loader used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmdet3d.evaluation.metrics import NuScenesMetric
from nuscenes import NuScenes
from nuscenes.eval.detection.evaluate import DetectionEval

from padre3d.data.bootstrap import frame_bootstrap

EVALUATED_SPLITS = {"v1.0-mini": "mini_val", "v1.0-trainval": "val"}


class NuScenesDetectionMetric(NuScenesMetric):
    """mmdet3d's NuScenesMetric that follows the evaluated data set.

    ``data_root`` and ``ann_file`` come from the data set's metainfo unless given, so a config names
    them once. The test split has no annotations: it is written for submission, not scored.

    Args:
        data_root, ann_file: override the data set's.
        bootstrap: resamples of the frames for 95 % intervals of NDS, mAP and the errors, see
            :func:`padre3d.data.bootstrap.frame_bootstrap`; 0 leaves them out.
        **kwargs: as for NuScenesMetric.
    """

    def __init__(
        self,
        data_root: str | None = None,
        ann_file: str | None = None,
        bootstrap: int = 0,
        **kwargs: object,
    ) -> None:
        super().__init__(data_root=data_root, ann_file=ann_file, **kwargs)
        if bootstrap < 0 or bootstrap == 1:
            raise ValueError(f"bootstrap: expected 0 or at least 2 resamples, got {bootstrap}")
        self.bootstrap = bootstrap

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
        return super().compute_metrics(results)

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
            intervals = frame_bootstrap(evaluation, self.bootstrap)
            detail[f"{result_name}_NuScenes/frames"] = len(evaluation.sample_tokens)
            for name, figures in intervals.items():
                for key in ("low", "high", "std"):
                    detail[f"{result_name}_NuScenes/{name}_{key}"] = figures[key]
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
