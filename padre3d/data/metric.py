"""The official nuScenes evaluation, on the data set that the loader used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmdet3d.evaluation.metrics import NuScenesMetric


class NuScenesDetectionMetric(NuScenesMetric):
    """mmdet3d's NuScenesMetric that follows the evaluated data set.

    ``data_root`` and ``ann_file`` come from the data set's metainfo unless given, so a config names
    them once. The test split has no annotations: it is written for submission, not scored.

    Args:
        data_root, ann_file: override the data set's.
        **kwargs: as for NuScenesMetric.
    """

    def __init__(
        self, data_root: str | None = None, ann_file: str | None = None, **kwargs: object
    ) -> None:
        super().__init__(data_root=data_root, ann_file=ann_file, **kwargs)

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
