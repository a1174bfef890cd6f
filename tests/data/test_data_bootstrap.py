"""Intervals over frames, held against the devkit: the same frames twice, and each frame once."""

import numpy as np
import pytest
import torch
from mmdet3d.structures import LiDARInstance3DBoxes

from padre3d.data.bootstrap import frame_bootstrap, match_frames, score
from padre3d.data.metric import NuScenesDetectionMetric

KEY = "NuScenes metric/pred_instances_3d_NuScenes/"


@pytest.fixture(scope="module")
def noisy_evaluation(val_dataset, tmp_path_factory):
    """(devkit's evaluation, reported scores) of annotations moved, doubled and partly missed."""
    folder = tmp_path_factory.mktemp("noisy")
    metric = NuScenesDetectionMetric(bootstrap=20, jsonfile_prefix=str(folder))
    metric.dataset_meta = val_dataset.metainfo
    generator = torch.Generator().manual_seed(0)
    for index in range(len(val_dataset)):
        info = val_dataset.get_data_info(index)
        truth = info["eval_ann_info"]
        labels = torch.from_numpy(truth["gt_labels_3d"])
        boxes = truth["gt_bboxes_3d"].tensor[labels >= 0].repeat(3, 1)
        labels = labels[labels >= 0].repeat(3)
        boxes[:, :2] += torch.randn(len(boxes), 2, generator=generator)
        boxes[:, 6] += 0.3 * torch.randn(len(boxes), generator=generator)
        keep = torch.rand(len(boxes), generator=generator) < 0.7
        # Few distinct scores: the order among equals counts, too.
        scores = (torch.rand(len(boxes), generator=generator) * 5).ceil() / 5
        prediction = dict(
            bboxes_3d=LiDARInstance3DBoxes(boxes[keep], box_dim=9),
            scores_3d=scores[keep],
            labels_3d=labels[keep],
        )
        metric.process({}, [dict(pred_instances_3d=prediction, sample_idx=info["sample_idx"])])
    reported = metric.evaluate(len(val_dataset))
    results = str(folder / "pred_instances_3d" / "results_nusc.json")
    return metric._open_evaluation(results), reported


def test_each_frame_once_is_the_official_figure(noisy_evaluation):
    evaluation, _ = noisy_evaluation
    official, _ = evaluation.evaluate()
    once = np.ones(len(evaluation.sample_tokens), int)
    ours = score(match_frames(evaluation), once, evaluation.cfg)
    assert 0 < official.nd_score < 1
    assert ours.nd_score == pytest.approx(official.nd_score, abs=1e-9)
    assert ours.mean_dist_aps == pytest.approx(official.mean_dist_aps, abs=1e-9)
    assert ours.tp_errors == pytest.approx(official.tp_errors, abs=1e-9, nan_ok=True)


def test_repeated_frames_are_what_the_devkit_says_of_copies(noisy_evaluation):
    """Frame 0 three times, frame 1 not at all: boxes copied under new tokens."""
    from nuscenes.eval.common.data_classes import EvalBoxes

    evaluation, _ = noisy_evaluation
    tokens = evaluation.sample_tokens
    counts = np.ones(len(tokens), int)
    counts[:2] = (3, 0)
    expected = score(match_frames(evaluation), counts, evaluation.cfg)
    gt, predicted = evaluation.gt_boxes, evaluation.pred_boxes
    copies = [(t, f"{t}#{i}") for t, c in zip(tokens, counts, strict=True) for i in range(c)]
    try:
        for name, boxes in (("gt_boxes", gt), ("pred_boxes", predicted)):
            copied = EvalBoxes()
            for token, copy in copies:
                copied.add_boxes(copy, [_under(copy, box) for box in boxes[token]])
            setattr(evaluation, name, copied)
        official, _ = evaluation.evaluate()
    finally:
        evaluation.gt_boxes, evaluation.pred_boxes = gt, predicted
    # Copies tie with each other in score, so interpolated errors may differ a little.
    assert expected.mean_ap == pytest.approx(official.mean_ap, abs=0.01)
    assert expected.nd_score == pytest.approx(official.nd_score, abs=0.01)


def _under(token, box):
    fields = box.serialize()
    fields["sample_token"] = token
    fields.pop("ego_translation", None)
    return type(box).deserialize({**fields, "ego_translation": box.ego_translation})


def test_intervals_hold_the_figure_and_repeat(noisy_evaluation):
    evaluation, reported = noisy_evaluation
    first = frame_bootstrap(evaluation, resamples=20)
    assert first == frame_bootstrap(evaluation, resamples=20)
    for name, figures in first.items():
        assert figures["low"] <= figures["high"], name
    assert first["NDS"]["std"] > 0
    assert first["NDS"]["low"] < first["NDS"]["value"] + 0.05
    assert reported[f"{KEY}NDS_low"] == first["NDS"]["low"]
    assert reported[f"{KEY}frames"] == len(evaluation.sample_tokens)


def test_one_resample_is_no_interval(noisy_evaluation):
    with pytest.raises(ValueError, match="at least 2 resamples, got 1"):
        frame_bootstrap(noisy_evaluation[0], 1)
    with pytest.raises(ValueError, match="bootstrap: expected 0 or at least 2"):
        NuScenesDetectionMetric(bootstrap=1)
