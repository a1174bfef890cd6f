"""The converter as a tool, and the reference's tiny detector."""

import importlib.util

import pytest
import yaml
from golden.arrays import Golden
from golden.tiny_reference import reference_settings, write_yaml

from padre3d.convert.reference_config import read_reference_config


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


def put(settings, name, value):
    """Set or, with None, remove a setting given by its full name."""
    *parents, last = [int(part) if part.isdigit() else part for part in name.split(".")]
    for part in parents:
        settings = settings[part]
    if value is None:
        del settings[last]
    else:
        settings[last] = value


@pytest.fixture
def read(settings, tmp_path):
    """Read the YAML of the tiny detector with some settings changed."""

    def run(changes):
        for name, value in changes.items():
            put(settings, name, value)
        path = tmp_path / "changed.yaml"
        path.write_text(yaml.safe_dump(settings))
        return read_reference_config(path)

    return run
