"""The character model: equal parameters, no look ahead, and a table from a short run."""

import importlib.util
import json

import pytest
import torch

SIZES = ["--steps=4", "--batch=2", "--context=32", "--dim=16", "--layers=1", "--ffn-dim=24"]
SIZES += ["--seeds", "0", "1"]


@pytest.fixture(scope="module")
def char_lm(repo_root):
    spec = importlib.util.spec_from_file_location("char_lm", repo_root / "examples/char_lm.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_short_run_compares_models_of_equal_size(char_lm, tmp_path, capsys):
    path = tmp_path / "figures.json"
    char_lm.main([*SIZES, "--json", str(path)])
    result = json.loads(path.read_text())
    assert result["results"].keys() == {"attention", "PADRe-2", "PADRe-3"}
    counts = [rows[0]["parameters"] for rows in result["results"].values()]
    assert max(counts) < 1.01 * min(counts)
    for rows in result["results"].values():
        assert len(rows) == 2
        assert rows[0]["test_bits"] != rows[1]["test_bits"]
        assert 2 < rows[0]["test_bits"] < 10  # a uniform guess has 7 bits
    assert min(result["characters"]) > 100_000
    assert {"commit", "device", "torch", "threads"} <= result.keys()
    assert result["arguments"]["steps"] == 4
    table = capsys.readouterr().out
    assert len(table.strip().splitlines()) == 5
    assert "| PADRe-3 |" in table
    char_lm.main(["--table", str(path)])
    assert capsys.readouterr().out == table


def test_what_an_interruption_leaves_behind_can_be_read(char_lm, tmp_path, monkeypatch):
    path, run = tmp_path / "figures.json", char_lm.run

    def stopped(mixer, seed, *rest):
        if mixer is not None and seed == 1:
            raise KeyboardInterrupt
        return run(mixer, seed, *rest)

    monkeypatch.setattr(char_lm, "run", stopped)
    with pytest.raises(KeyboardInterrupt):
        char_lm.main([*SIZES, "--json", str(path)])
    rows = json.loads(path.read_text())["results"]
    assert {name: len(of) for name, of in rows.items()} == {"attention": 2, "PADRe-2": 1}


@pytest.mark.parametrize("mixer", [None, dict(type="padre", degree=3, causal=True)])
def test_no_character_sees_the_next(char_lm, mixer):
    torch.manual_seed(0)
    model = char_lm.CharacterModel(16, 2, 24, 32).eval()
    if mixer is not None:
        char_lm.replace_attention(model, mixer)
    text = torch.randint(128, (1, 32))
    other = text.clone()
    other[0, 20] = (other[0, 20] + 1) % 128
    change = (model(text) - model(other)).abs().amax((0, 2))
    assert change[:20].max() < 1e-5
    assert change[20] > 1e-3
