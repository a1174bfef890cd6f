"""Folders that may come from anywhere: one ValueError for what is wrong, and no way out of them."""

import copy
import json
import os
import random
import shutil

import numpy as np
import pytest
from broken_folders import (
    CELLS,
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

from padre3d.runtime.folder import file_inside, is_plain_name, sha256
from padre3d.runtime.grid import Grid
from padre3d.runtime.manifest import Manifest, exported_files, parse_manifest, read_manifest
from padre3d.runtime.tables import load_tables


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "exported")


def test_valid_folder(folder):
    manifest = read_manifest(folder)
    assert isinstance(manifest, Manifest)
    assert manifest.classes == ("car", "bus")
    assert manifest.grid == Grid((-3, -2, -5, 3, 2, 3), (0.5, 0.5))
    assert manifest.decode.alphas(2) == (0.5, 0.4)
    assert manifest.models[0].input_names == {"features"}
    assert manifest.parity["frames"] == [{"frame": "a"}]
    assert exported_files(folder) == {"model.onnx", "tables.npz"}
    encoder, tables = load_tables(folder / "tables.npz", manifest)
    assert (encoder.channels, tables["cells"].shape) == (16, (2, CELLS))
    with pytest.raises(AttributeError):
        manifest.classes = ()


@pytest.mark.parametrize(("path", "value", "message"), WRONG)
def test_wrong_manifests(folder, path, value, message):
    """One line that names the file and what is wrong; also for a new export over the folder."""
    write(folder, change(valid(folder), path, value))
    for read in (read_manifest, parse_manifest, exported_files):
        with pytest.raises(ValueError, match=message) as caught:
            read(folder)
        assert str(caught.value).startswith(f"{folder / 'manifest.json'}: ")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("old", "new", "message"), WRONG_JSON)
def test_wrong_json(folder, old, new, message):
    text = json.dumps(valid(folder))
    assert old in text
    write(folder, text.replace(old, new, 1))
    with pytest.raises(ValueError, match=message) as caught:
        read_manifest(folder)
    assert str(caught.value).startswith(f"{folder / 'manifest.json'}: ")


def test_nothing_outside_is_read(folder, tmp_path):
    """A wrong checksum does not tell that of the file, and a link does not lead to it."""
    secret = tmp_path / "secret.txt"
    secret.write_text("hidden")
    digits = sha256(secret)[:6]
    (folder / "model.onnx").write_text("hidden")
    with pytest.raises(ValueError, match="damaged or belongs to another export") as caught:
        read_manifest(folder)
    assert digits not in str(caught.value)
    for target in (secret, "../secret.txt", "/etc/passwd", "../gone.txt"):
        (folder / "model.onnx").unlink()
        os.symlink(target, folder / "model.onnx")
        for read in (read_manifest, lambda f: file_inside(f, "model.onnx")):
            with pytest.raises(ValueError, match="model.onnx: expected a file in the folder, got"):
                read(folder)
    (folder / "model.onnx").unlink()
    os.symlink("model.onnx", folder / "model.onnx")
    with pytest.raises((ValueError, FileNotFoundError), match="model.onnx"):
        read_manifest(folder)
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").mkdir()
    for read in (read_manifest, exported_files):
        with pytest.raises(ValueError, match="model.onnx: expected a file, got a folder"):
            read(folder)
    (folder / "model.onnx").rmdir()
    with pytest.raises(FileNotFoundError, match="model.onnx: named in the manifest"):
        read_manifest(folder)
    assert exported_files(folder) == {"model.onnx", "tables.npz"}
    os.replace(folder / "manifest.json", tmp_path / "manifest.json")
    os.symlink("../manifest.json", folder / "manifest.json")
    with pytest.raises(ValueError, match="manifest.json: expected a file in the folder"):
        read_manifest(folder)


def test_links_inside_are_fine(folder, tmp_path):
    os.replace(folder / "model.onnx", folder / "model-1.onnx")
    os.symlink("model-1.onnx", folder / "model.onnx")
    os.symlink(folder, tmp_path / "latest")
    assert read_manifest(tmp_path / "latest").sha256.keys() == {"model.onnx", "tables.npz"}


def test_plain_names():
    for name in ("model.onnx", "backbone_8192.onnx", "A-b+c.bin", "0"):
        assert is_plain_name(name)
    for name in (
        "",
        ".",
        "..",
        ".hidden",
        "a/b",
        "a\\b",
        "C:x",
        "a b",
        "a\n",
        "-x",
        "ä",
        "x" * 300,
    ):
        assert not is_plain_name(name)


def test_thousand_mutations(folder):
    """Whatever is in the file: a manifest, a ValueError or a FileNotFoundError."""
    rng = random.Random(0)
    start, text = valid(folder), json.dumps(valid(folder))
    accepted, messages = 0, []
    for i in range(1000):
        if i % 4:
            write(folder, mutated(copy.deepcopy(start), rng))
        else:
            at = rng.randrange(len(text))
            write(folder, text[:at] + chr(rng.randrange(1, 300)) + text[at + rng.randint(0, 9) :])
        try:
            read_manifest(folder)
            accepted += 1
        except (ValueError, FileNotFoundError) as error:
            messages.append(str(error))
    assert not [message for message in messages if "\n" in message]
    assert 20 < accepted < 500


@pytest.mark.parametrize(("name", "make", "message"), TABLES)
def test_wrong_tables(folder, name, make, message):
    tables = arrays()
    if make is None:
        del tables[name]
    else:
        tables[name] = make(tables[name])
    np.savez(folder / "tables.npz", **tables)
    with pytest.raises(ValueError, match=message) as caught:
        load_tables(folder / "tables.npz", parse_manifest(folder))
    assert str(caught.value).startswith(f"{folder / 'tables.npz'}: ")


def test_files_that_are_no_tables(folder):
    path, manifest = folder / "tables.npz", parse_manifest(folder)
    whole = path.read_bytes()
    one, objects = folder / "one.npy", folder / "objects.npz"
    np.save(one, np.zeros(3))
    np.savez(objects, cells=np.array([{"a": 1}], object))
    for content in (b"", b"PK\x03\x04", whole[:-30], whole[:200], b"x" * 100):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="tables.npz: expected the arrays of an export"):
            load_tables(path, manifest)
    for other in (one, objects):
        shutil.copy(other, path)
        with pytest.raises(ValueError, match="tables.npz: expected the arrays of an export"):
            load_tables(path, manifest)
    messages = []
    for at in range(0, len(whole), 97):  # a byte anywhere
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
        try:
            load_tables(path, manifest)
        except ValueError as error:
            messages.append(str(error))
    assert len(messages) > 10
    assert all(str(path) in message for message in messages)
