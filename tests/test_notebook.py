"""The notebook runs from its first cell to its last; its cells hold their own assertions."""

import json

import pytest


def test_the_notebook_runs(repo_root, monkeypatch):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("Agg")
    path = repo_root / "notebooks" / "padre_in_five_minutes.ipynb"
    notebook = json.loads(path.read_text())
    monkeypatch.chdir(path.parent)
    names: dict = {"__name__": "__main__"}
    for number, cell in enumerate(notebook["cells"]):
        assert cell.get("outputs", []) == [], "outputs are not committed"
        source = "".join(cell["source"])
        if cell["cell_type"] == "code":
            exec(compile(source, f"{path.name}, cell {number}", "exec"), names)
    assert set(names["modules"]) == {"PADRe-2", "PADRe-3", "softmax attention"}
    pyplot.close("all")
