"""From the DSVT authors' layout to a PADRe detector and its boxes, by the command lines alone."""

import json

import distill
import infer
import numpy as np
import pytest
import torch

STUDENT = """
_base_ = ["tiny_dsvt.py"]
model = dict(backbone=dict(mixer=dict(_delete_=True, type="padre", {settings}){more}))
"""
FORMS = {"sequence": ("kernel_size=5", ""), "grid": ("layout='grid'", ", pos_embed=None")}


@pytest.mark.parametrize("form", FORMS)
def test_from_the_reference_to_boxes_of_padre(
    form, tool, golden_dir, tiny, tiny_yaml, tiny_nuscenes, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("NUSCENES_ROOT", str(tiny_nuscenes))
    teacher, weights = tmp_path / "tiny_dsvt.py", tmp_path / "tiny_dsvt.pth"
    emit = ["--reference-config", str(tiny_yaml), "--emit-config", str(teacher)]
    tool.main([str(golden_dir / "detector_tiny.pth"), str(weights), *emit])
    student, out = tmp_path / "student.py", tmp_path / "out"
    settings, more = FORMS[form]
    student.write_text(STUDENT.format(settings=settings, more=more))
    quick = ["--frames=2", "--unseen-frames=1", "--layer-steps=4", "--stack-steps=2"]
    command = [*map(str, (teacher, weights, student, f"--out={out}")), *quick]
    assert distill.main([*command, "--finetune-epochs=0"]) == 0
    torch.use_deterministic_algorithms(False)
    errors = json.loads((out / "errors.json").read_text())["errors"]
    start, closed = (np.mean(errors[name]["layers"]) for name in ("start", "closed form"))
    assert closed < start

    points, boxes = tmp_path / "cloud.npy", tmp_path / "boxes.json"
    np.save(points, tiny.arrays["points"][:, 1:])
    arguments = [student, out / "student.pth", points, "--score-thr", "0", "--out", boxes]
    infer.main(list(map(str, arguments)))
    found = json.loads(boxes.read_text())["boxes"]
    assert len(found) > 0
    assert np.isfinite([box["center_m"] for box in found]).all()
