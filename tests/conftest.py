"""Fixtures shared by all tests."""

import os
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from pretended_device import DEVICE, PretendedDevice

CUDA = torch.cuda.is_available()
# Without a GPU the fused kernels run in Triton's interpreter. It is chosen when triton is first
# imported, which other libraries may do.
if not CUDA:
    os.environ.setdefault("TRITON_INTERPRET", "1")
NATIVE = os.environ.get("TRITON_INTERPRET") != "1"

pytest_plugins = ["exported_fixtures"]

REPO = Path(__file__).resolve().parent.parent
DEVICES = ("cpu", pytest.param("cuda", marks=pytest.mark.gpu)) if CUDA else ("cpu",)
PRETENDED = "pretended"


def pytest_addoption(parser):
    parser.addoption(
        "--pretended-device",
        action="store_true",
        help="run the tests with a device also on one that is not there (pretended_device.py)",
    )


def pytest_generate_tests(metafunc):
    if "device" in metafunc.fixturenames:
        extra = (PRETENDED,) if metafunc.config.getoption("--pretended-device") else ()
        metafunc.parametrize("device", DEVICES + extra, indirect=True, scope="session")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Fixtures too are made inside the pretended device."""
    pretends = hasattr(item, "callspec") and item.callspec.params.get("device") == PRETENDED
    with PretendedDevice() if pretends else nullcontext():
        return (yield)


@pytest.hookimpl(tryfirst=True)  # before ``-m`` selects
def pytest_collection_modifyitems(items):
    without = pytest.mark.skip(reason="needs a CUDA device")
    for item in items:
        if NATIVE and "kernel_device" in item.fixturenames:
            item.add_marker("gpu")
        if item.get_closest_marker("gpu") and not CUDA:
            item.add_marker(without)


@pytest.fixture(scope="session")
def device(request) -> torch.device:
    """The CPU, then the GPU where there is one."""
    if request.param == PRETENDED:
        return DEVICE
    # Single precision as on a CPU: convolutions would take ten bits of each factor.
    torch.backends.cudnn.allow_tf32 = False
    return torch.device(request.param)


@pytest.fixture(scope="session")
def kernel_device() -> torch.device:
    """Where fused kernels run: the GPU, or the CPU in Triton's interpreter."""
    return torch.device("cuda" if NATIVE else "cpu")


@pytest.fixture
def on_kernel_device(kernel_device):
    """New tensors lie where fused kernels run."""
    torch.backends.cudnn.allow_tf32 = False
    with torch.device(kernel_device):
        yield kernel_device


def _shared(name: str) -> Path:
    path = Path(os.environ.get("PADRE3D_SHARED", REPO.parent / "shared")) / name
    if not path.is_dir():
        pytest.skip(f"{path} is absent: reference arrays and real frames are not shipped")
    return path


@pytest.fixture(scope="session")
def repo_root() -> Path:
    return REPO


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Arrays of the reference implementation."""
    return _shared("golden")


@pytest.fixture(scope="session")
def real_dir() -> Path:
    """Real nuScenes frames."""
    return _shared("real")


@pytest.fixture(scope="session")
def tiny_nuscenes(tmp_path_factory) -> Path:
    """The data set of tests/tiny_nuscenes.py, prepared. Read only."""
    pytest.importorskip("mmdet3d")
    from tiny_nuscenes import write_tiny_nuscenes

    from padre3d.data.prepare import prepare_nuscenes

    root = write_tiny_nuscenes(tmp_path_factory.mktemp("tiny_nuscenes") / "set")
    prepare_nuscenes(root, "v1.0-mini")
    return root
