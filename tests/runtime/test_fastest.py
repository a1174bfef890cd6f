"""backend="auto": the fastest that runs, tried once for a folder, a machine and its packages."""

import json

import numpy as np
import pytest

from padre3d.backends.base import BackendError
from padre3d.deploy import Runtime
from padre3d.runtime import fastest
from padre3d.runtime.fastest import fastest_backend, fastest_run


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/padre3d/backends.json"


class Timer:
    """Seconds, or an error, and how often it was asked."""

    def __init__(self, seconds):
        self.seconds, self.calls = seconds, 0

    def __call__(self):
        self.calls += 1
        if isinstance(self.seconds, Exception):
            raise self.seconds
        return self.seconds


def test_the_fastest_is_tried_once(cache):
    timers = {
        "onnxruntime": Timer(0.3),
        "openvino": Timer(0.2),
        "tensorrt": Timer(BackendError("no device")),
    }
    sums = {"model.onnx": "a"}
    assert fastest_backend(timers, sums, None) == "openvino"
    assert fastest_backend(timers, sums, None) == "openvino"
    assert [timer.calls for timer in timers.values()] == [1, 1, 1]
    assert list(json.loads(cache.read_text()).values()) == ["openvino"]
    timers["onnxruntime"].seconds = 0.1
    assert fastest_backend(timers, sums, 2) == "onnxruntime"
    assert fastest_backend(timers, {"model.onnx": "b"}, None) == "onnxruntime"
    assert fastest_backend(timers, sums, None) == "openvino"


def test_values_that_are_no_names_do_not_count(cache):
    timer = Timer(1.0)
    fastest_backend({"openvino": timer}, {}, None)
    cache.write_text(json.dumps(dict.fromkeys(json.loads(cache.read_text()), ["openvino"])))
    assert fastest_backend({"openvino": timer}, {}, None) == "openvino"
    assert timer.calls == 2


def test_a_new_device_is_another_machine(cache, monkeypatch):
    timer = Timer(1.0)
    for devices in ("0", "", ""):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", devices)
        fastest_backend({"openvino": timer}, {}, None)
    assert timer.calls == 2


def test_user_without_a_home(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(fastest.Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no")))
    timer = Timer(1.0)
    assert [fastest_backend({"openvino": timer}, {}, None) for _ in range(2)] == ["openvino"] * 2
    assert timer.calls == 2


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 1}'])
def test_another_cache_file_is_no_obstacle(cache, content):
    cache.parent.mkdir(parents=True)
    cache.write_text(content)
    assert fastest_backend({"openvino": Timer(1.0)}, {}, None) == "openvino"
    assert "openvino" in json.loads(cache.read_text()).values()


def test_a_cache_that_cannot_be_written_is_no_error(cache):
    cache.parent.parent.write_text("a file where a folder is wanted")
    timer = Timer(1.0)
    assert [fastest_backend({"openvino": timer}, {}, None) for _ in range(2)] == ["openvino"] * 2
    assert timer.calls == 2


def test_none_that_runs_is_an_error_with_each_reason(cache):
    timers = {
        "a": Timer(BackendError("no module")),
        "b": Timer(ValueError("no mask")),
        "c": Timer(RuntimeError("cudaMalloc: 2")),
        "d": Timer(ImportError("no onnx")),
    }
    with pytest.raises(BackendError, match="a: no module; b: no mask; c: cudaMalloc: 2; d: no o"):
        fastest_backend(timers, {}, None)
    assert not cache.exists()
    assert fastest_backend({**timers, "e": Timer(1.0)}, {}, None) == "e"


def test_one_run_warms_up():
    runs = []
    assert fastest_run(lambda: runs.append(1)) >= 0
    assert len(runs) == 1 + fastest.RUNS


def test_a_runtime_runs_what_it_found(exported, cache):
    pytest.importorskip("openvino")
    with Runtime(exported.folder, "auto", threads=1) as runtime:
        found = runtime(exported.cloud)
        name = runtime.backend
    assert list(json.loads(cache.read_text()).values()) == [name]
    with Runtime(exported.folder, name, threads=1) as runtime:
        expected = runtime(exported.cloud)
    assert len(expected.scores) > 0
    np.testing.assert_allclose(np.sort(found.scores), np.sort(expected.scores), atol=1e-5)


def test_a_remembered_backend_that_does_not_run_any_more_is_replaced(
    exported_grid, cache, monkeypatch
):
    monkeypatch.setattr("padre3d.runtime.runtime.CANDIDATES", ("onnxruntime", "gone"))
    with Runtime(exported_grid.folder, "auto", threads=1):
        pass
    remembered = json.loads(cache.read_text())
    cache.write_text(json.dumps(dict.fromkeys(remembered, "gone")))
    with Runtime(exported_grid.folder, "auto", threads=1) as runtime:
        assert runtime.backend == "onnxruntime"
        assert len(runtime(exported_grid.cloud).scores) > 0
    assert json.loads(cache.read_text()) == dict.fromkeys(remembered, runtime.backend)
