"""Folders that may come from anywhere: the C++ runtime refuses what the one in Python refuses."""

import copy
import json
import os
import random
import shutil

import numpy as np
import pytest
from broken_folders import (
    TABLES,
    WRONG,
    WRONG_JSON,
    arrays,
    change,
    make_folder,
    mutated,
    valid,
    write,
)

from padre3d.runtime.manifest import parse_manifest, read_manifest
from padre3d.runtime.tables import load_tables

MUTATIONS = 1000


def answers(cpp, kind, folders):
    """What the C++ runtime says of each folder; "ok" if nothing is wrong."""
    lines = cpp.tool("check", kind, input="".join(f"{folder}\n" for folder in folders)).splitlines()
    assert len(lines) == len(folders)  # one line each
    return lines


def accepts(read):
    try:
        read()
    except (ValueError, FileNotFoundError):
        return False
    return True


def test_wrong_manifests(cpp, tmp_path):
    """One line that names the file, for each of the faults that Python refuses."""
    folders = []
    start = make_folder(tmp_path / "valid")
    manifest = valid(start)
    for number, (path, value, _) in enumerate(WRONG):
        folders.append(shutil.copytree(start, tmp_path / str(number)))
        write(folders[-1], change(manifest, path, value))
    for number, (old, new, _) in enumerate(WRONG_JSON):
        folders.append(shutil.copytree(start, tmp_path / f"json{number}"))
        write(folders[-1], json.dumps(manifest).replace(old, new, 1))
    for kind in ("manifest", "folder"):
        for folder, answer in zip(folders, answers(cpp, kind, folders), strict=True):
            assert answer.startswith(f"{folder / 'manifest.json'}: "), answer
        assert answers(cpp, kind, [start]) == ["ok"]


def test_mutations(cpp, tmp_path):
    """Both accept the same thousand manifests."""
    rng = random.Random(0)
    start = make_folder(tmp_path / "valid")
    manifest, text = valid(start), json.dumps(valid(start))
    folders = []
    for i in range(MUTATIONS):
        folders.append(tmp_path / str(i))
        folders[-1].mkdir()
        if i % 4:
            write(folders[-1], mutated(copy.deepcopy(manifest), rng))
        else:
            at = rng.randrange(len(text))
            changed = text[:at] + chr(rng.randrange(1, 300)) + text[at + rng.randint(0, 9) :]
            (folders[-1] / "manifest.json").write_text(changed, encoding="utf-8")
    expected = [accepts(lambda f=folder: parse_manifest(f)) for folder in folders]
    found = [answer == "ok" for answer in answers(cpp, "manifest", folders)]
    assert [f for f, a, b in zip(folders, expected, found, strict=True) if a != b] == []
    assert 20 < sum(expected) < MUTATIONS / 2


def test_wrong_tables(cpp, tmp_path):
    folders, kinds = [], []
    for number, (name, change_array, _) in enumerate(TABLES):
        for save in (np.savez, np.savez_compressed):
            folder = make_folder(tmp_path / f"{number}-{save.__name__}")
            tables = arrays()
            if change_array is None:
                del tables[name]
            else:
                tables[name] = change_array(tables[name])
            save(folder / "tables.npz", **tables)
            folders.append(folder)
            kinds.append(name)
    for folder, answer in zip(folders, answers(cpp, "tables", folders), strict=True):
        assert answer.startswith(f"{folder / 'tables.npz'}: "), answer


def test_damaged_tables(cpp, tmp_path):
    """A byte anywhere, stored and packed: the checksums of the archive find it, as in Python."""
    folders = []
    for save in (np.savez, np.savez_compressed):
        start = make_folder(tmp_path / save.__name__)
        save(start / "tables.npz", **arrays())
        assert answers(cpp, "tables", [start]) == ["ok"]
        whole = (start / "tables.npz").read_bytes()
        contents = [whole[:-30], whole[:200], b"", b"PK\x03\x04"]
        for at in range(0, len(whole), len(whole) // 150):
            contents.append(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
        for number, content in enumerate(contents):
            folders.append(shutil.copytree(start, tmp_path / f"{save.__name__}{number}"))
            (folders[-1] / "tables.npz").write_bytes(content)
    manifest = parse_manifest(start)
    expected = [accepts(lambda f=f: load_tables(f / "tables.npz", manifest)) for f in folders]
    found = answers(cpp, "tables", folders)
    # The archive says its sizes and names twice, and each reader compares others of them.
    same = [a == (line == "ok") for a, line in zip(expected, found, strict=True)]
    assert sum(same) > 0.95 * len(same)
    assert sum(expected) < len(expected) / 2


def test_nothing_outside_is_read(cpp, tmp_path):
    folder = make_folder(tmp_path / "exported")
    secret = tmp_path / "secret.txt"
    secret.write_text("hidden")
    model = folder / "model.onnx"
    model.write_text("hidden")
    (answer,) = answers(cpp, "folder", [folder])
    assert "damaged or belongs to another export" in answer
    for target in (secret, "../secret.txt", "/etc/passwd", "../gone.txt"):
        model.unlink()
        os.symlink(target, model)
        (answer,) = answers(cpp, "folder", [folder])
        assert answer == f"{model}: expected a file in the folder, got a link that leaves it"
    model.unlink()
    model.mkdir()
    assert "expected a file, got a folder" in answers(cpp, "folder", [folder])[0]
    model.rmdir()
    assert answers(cpp, "folder", [folder]) == [
        f"{model}: named in the manifest, but there is none"
    ]
    assert "found no manifest.json" in answers(cpp, "folder", [tmp_path / "nowhere"])[0]


def test_external_weights(cpp, tmp_path):
    """Weights of an ONNX file in a file that the manifest does not vouch for."""
    onnx = pytest.importorskip("onnx")
    folder = make_folder(tmp_path / "exported")
    tensor = onnx.numpy_helper.from_array(np.zeros(2000, np.float32), "weight")
    graph = onnx.helper.make_graph([], "graph", [], [], [tensor])
    onnx.save(
        onnx.helper.make_model(graph),
        folder / "model.onnx",
        save_as_external_data=True,
        location="other.bin",
    )
    write(folder, valid(folder))
    with pytest.raises(ValueError, match="expected external weights"):
        read_manifest(folder)
    (answer,) = answers(cpp, "folder", [folder])
    assert answer.endswith("expected external weights in files of the manifest, got 'other.bin'")
    (folder / "model.onnx").write_bytes(b"\x3a\xff\xff\xff\x0f")
    write(folder, valid(folder))
    assert "got a damaged file (a field beyond its end)" in answers(cpp, "folder", [folder])[0]
