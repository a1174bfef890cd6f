"""The compiled pillar encoder in the Python runtime and on the command line."""

import json
import shutil

import numpy as np
import pytest

from padre3d.command.main import main
from padre3d.deploy import Runtime
from padre3d.io import load_points
from padre3d.models import model_folder, sample_cloud
from padre3d.runtime.compiled_encoder import CompiledPillarEncoder


def test_runtime(library):
    """The features of the packaged model, and its boxes, which 16 bit move by millimetres."""
    pytest.importorskip("onnxruntime")
    points = load_points(sample_cloud()[0], time_lag=True)
    plain, compiled = (Runtime(model_folder(), encoder=e) for e in ("numpy", library))
    found, expected = (runtime.encode(points) for runtime in (compiled, plain))
    np.testing.assert_array_equal(found[1], expected[1])
    assert np.abs(found[0] - expected[0]).max() <= 1e-6 * expected[0].max()
    assert isinstance(compiled._encoder, CompiledPillarEncoder)
    boxes, others = (runtime(points).boxes[:, :3] for runtime in (compiled, plain))
    assert compiled.last == plain.last
    assert (np.linalg.norm(boxes[:, None] - others, axis=-1).min(1) < 0.05).mean() > 0.9
    assert len(boxes) > 15


def test_runtime_that_chooses_its_backend(library, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    points = load_points(sample_cloud()[0], time_lag=True)
    for _ in range(2):  # once after a trial, once as remembered
        with Runtime(model_folder(), "auto", threads=1, encoder=library) as runtime:
            assert len(runtime(points).scores) > 15


def test_command(library, tmp_path):
    """padre3d detect --encoder; the library is not written over."""
    pytest.importorskip("onnxruntime")
    words = ["detect", str(sample_cloud()[0]), "--time-lag", "--encoder"]
    out, none = tmp_path / "boxes.json", tmp_path / "none.so"
    main([*words, str(library), "--out", str(out)])
    assert len(json.loads(out.read_text())["boxes"]) > 15
    for path in (str(none), ""):  # an option that a script left empty is not numpy
        with pytest.raises(SystemExit, match=f"error: encoder '{path}': expected"):
            main([*words, path])
    copy = shutil.copy(library, tmp_path)
    with pytest.raises(SystemExit, match="error: --out .*libpadre3d_encoder"):
        main([*words, copy, "--out", copy])
