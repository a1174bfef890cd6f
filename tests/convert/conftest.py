"""The converter as a tool, and the reference's tiny detector."""

import importlib.util

import pytest
from golden.arrays import Golden
from golden.tiny_reference import reference_settings, write_yaml


@pytest.fixture(scope="session")
def tool(repo_root):
    """The module tools/convert_checkpoint.py; ``tool.main`` takes its arguments."""
    pytest.importorskip("mmdet3d")
    path = repo_root / "tools" / "convert_checkpoint.py"
    spec = importlib.util.spec_from_file_location("convert_checkpoint_tool", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tiny(golden_dir):
    """Arrays of the tiny detector."""
    return Golden(golden_dir / "detector_tiny.npz")


@pytest.fixture
def settings(tiny):
    """Its YAML as a dict."""
    return reference_settings(tiny)


@pytest.fixture
def tiny_yaml(tiny, tmp_path):
    """Its YAML file."""
    return write_yaml(tiny, tmp_path / "tiny.yaml")
