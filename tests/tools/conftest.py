"""tools/infer.py with a stand-in detector."""

import sys

import pytest
from infer_stub import Stub


@pytest.fixture
def stub():
    return Stub()


@pytest.fixture
def infer(repo_root, monkeypatch, stub, tmp_path):
    """Runs the tool with a config and a checkpoint that exist; returns the module."""
    monkeypatch.syspath_prepend(str(repo_root / "tools"))
    sys.modules.pop("infer", None)
    import infer

    monkeypatch.setattr(infer, "init_model", lambda *_: stub)
    (tmp_path / "c.py").write_text("model = dict()\n")
    (tmp_path / "w.pth").write_bytes(b"weights")

    def run(*arguments):
        infer.main([str(tmp_path / "c.py"), str(tmp_path / "w.pth"), *map(str, arguments)])

    return run
