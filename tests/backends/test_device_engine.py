"""The TensorRT runner with a stand-in for CUDA that counts what is allocated and freed."""

import ctypes
from types import SimpleNamespace

import numpy as np
import pytest

from padre3d.backends.tensorrt import DeviceEngine

MOST = 1000


class Cuda:
    """Device memory is host memory; every allocation is known until it is freed."""

    cudaMemcpyKind = SimpleNamespace(cudaMemcpyDeviceToHost=2, cudaMemcpyHostToDevice=1)

    def __init__(self):
        self.held, self.streams, self.mallocs, self.fail_at = {}, set(), 0, None

    def cudaMalloc(self, size):
        self.mallocs += 1
        if self.mallocs == self.fail_at:
            return 2, None
        block = ctypes.create_string_buffer(size)
        self.held[ctypes.addressof(block)] = block
        return 0, ctypes.addressof(block)

    def cudaFree(self, address):
        return (0 if self.held.pop(address, None) else 1,)

    def cudaStreamCreate(self):
        self.streams.add(7 + len(self.streams))
        return 0, max(self.streams)

    def cudaStreamDestroy(self, stream):
        self.streams.remove(stream)
        return (0,)

    def cudaStreamSynchronize(self, stream):
        return (0 if stream in self.streams else 1,)

    def cudaMemcpyAsync(self, target, source, size, kind, stream):
        ctypes.memmove(target, source, size)
        return (0 if stream in self.streams else 1,)


class Context:
    """Doubles x into y."""

    def __init__(self):
        self.shape, self.addresses = None, {}

    def set_input_shape(self, name, shape):
        if shape[0] > MOST:
            return False
        self.shape = shape
        return True

    def get_tensor_shape(self, name):
        return self.shape

    def set_tensor_address(self, name, address):
        self.addresses[name] = address

    def execute_async_v3(self, stream):
        count = int(np.prod(self.shape))
        x, y = (
            np.ctypeslib.as_array((ctypes.c_float * count).from_address(self.addresses[name]))
            for name in "xy"
        )
        y[:] = 2 * x
        return True


class Engine:
    num_io_tensors = 2

    def create_execution_context(self):
        return Context()

    def get_tensor_name(self, i):
        return "xy"[i]

    def get_tensor_mode(self, name):
        return "in" if name == "x" else "out"

    def get_tensor_dtype(self, name):
        return np.float32


TRT = SimpleNamespace(TensorIOMode=SimpleNamespace(INPUT="in"), nptype=lambda kind: kind)


@pytest.fixture
def cuda():
    return Cuda()


@pytest.fixture
def engine(cuda, tmp_path):
    return DeviceEngine(TRT, cuda, Engine(), tmp_path / "model.onnx")


def run(engine, count):
    x = np.arange(count, dtype=np.float32)
    np.testing.assert_array_equal(engine({"x": x})["y"], 2 * x)


def test_buffers_grow_and_are_freed(cuda, engine):
    for count in (4, 4, 2, 9, 3):
        run(engine, count)
    assert (cuda.mallocs, len(cuda.held), len(cuda.streams)) == (4, 2, 1)
    engine.close()
    assert (cuda.held, cuda.streams) == ({}, set())
    engine.close()
    with pytest.raises(ValueError, match="model.onnx: expected an open engine, got one that was"):
        run(engine, 4)


def test_input_outside_of_the_profile_is_an_error_and_no_old_result(engine):
    run(engine, 4)
    with pytest.raises(ValueError, match=r"got x \(1001,\); build another one with tools/build_e"):
        run(engine, MOST + 1)
    run(engine, MOST)


def test_with_block_and_garbage_collection(cuda, tmp_path):
    with DeviceEngine(TRT, cuda, Engine(), tmp_path) as engine:
        run(engine, 5)
        assert len(cuda.held) == 2
    assert (cuda.held, cuda.streams) == ({}, set())
    engine = DeviceEngine(TRT, cuda, Engine(), tmp_path)
    run(engine, 5)
    assert len(cuda.held) == 2
    del engine
    assert (cuda.held, cuda.streams) == ({}, set())


@pytest.mark.parametrize("fail_at", [1, 2, 3, 4])
def test_no_buffer_is_lost_or_freed_twice_when_memory_runs_out(cuda, engine, fail_at):
    cuda.fail_at = fail_at
    with pytest.raises(RuntimeError, match="cudaMalloc: 2"):  # noqa: PT012
        run(engine, 4)
        run(engine, 400)
    assert len(cuda.held) == min(fail_at - 1, 1)
    run(engine, 500)
    assert len(cuda.held) == 2
    engine.close()
    assert cuda.held == {}


def test_missing_input(engine):
    with pytest.raises(ValueError, match=r"model.onnx: expected .* inputs a, got one with \['x'\]"):
        engine({"a": np.zeros(3, np.float32)})
