"""Folders that may come from anywhere: one ValueError for what is wrong, and no way out of them."""

import copy
import json
import os
import random
import shutil

import numpy as np
import pytest

from padre3d.runtime.folder import file_inside, is_plain_name, sha256
from padre3d.runtime.grid import Grid
from padre3d.runtime.manifest import Manifest, exported_files, parse_manifest, read_manifest
from padre3d.runtime.tables import load_tables

VALUES = [{"name": "features", "dtype": "float32", "shape": ["pillars", 16]}]
OUTPUTS = [
    {"name": name, "dtype": "float32", "shape": [1, 20, 2], "meaning": "m"}
    for name in (
        *("center", "height", "dim", "rot", "vel", "iou", "heatmap"),
        *("query_heatmap_score", "dense_heatmap", "query_labels", "query_pos"),
    )
]
PART = {"file": "model.onnx", "inputs": VALUES, "outputs": OUTPUTS}
MANIFEST = {
    "format": 3,
    "opset": 20,
    "precision": "fp32",
    "classes": ["car", "bus"],
    "grid": {"range_m": [-3, -2, -5, 3, 2, 3], "cell_m": [0.5, 0.5]},
    "head_grid": {"range_m": [-3, -2, -5, 3, 2, 3], "cell_m": [1.0, 1.0]},
    "decode": {
        "score_thr": 0.0,
        "centre_range_m": [-3, -2, -10, 3, 2, 10],
        "iou_alpha": [0.5, 0.4],
        "nms_classes": [1],
        "nms_iou": 0.2,
        "nms_max": 10,
    },
    "point_columns": 5,
    "layout": "set",
    "set_size": 9,
    "models": [{"pillars": None, "sets": None, "parts": [PART]}],
    "sha256": {},
    "parity": {"max_abs_err": 1e-6, "frames": [{"frame": "a"}]},
}
CELLS = 12 * 8


def arrays():
    """The tables of an encoder of one layer, and of two orders of one shift."""
    rng = np.random.default_rng(0)
    return {
        "weight0": rng.normal(size=(11, 16)).astype(np.float32),
        "shift0": np.zeros(16, np.float32),
        "point_channels0": np.array(11, np.int32),
        "cells": np.stack([np.arange(CELLS), rng.permutation(CELLS)]).astype(np.int32),
        "layout_shift": np.zeros(2, np.int32),
        "windows": np.zeros((1, CELLS), np.int32),
        "window_index": np.arange(CELLS, dtype=np.int32)[None],
    }


def write(folder, manifest):
    (folder / "manifest.json").write_text(
        manifest if isinstance(manifest, str) else json.dumps(manifest)
    )
    return folder


@pytest.fixture
def folder(tmp_path):
    """A valid folder whose ONNX file is one without a field."""
    folder = tmp_path / "exported"
    folder.mkdir()
    np.savez(folder / "tables.npz", **arrays())
    (folder / "model.onnx").write_bytes(b"")
    return write(folder, valid(folder))


def valid(folder):
    manifest = copy.deepcopy(MANIFEST)
    manifest["sha256"] = {n: sha256(folder / n) for n in ("model.onnx", "tables.npz")}
    return manifest


def change(manifest, path, value):
    """A copy with one entry replaced; ``...`` deletes it."""
    manifest = copy.deepcopy(manifest)
    at = manifest
    for key in path[:-1]:
        at = at[key]
    if value is ...:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return manifest


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


MODEL = ("models", 0)
FILE = (*MODEL, "parts", 0, "file")
WRONG = [
    (FILE, "../victim.txt", "plain name of a file in the folder, got '../victim.txt'"),
    (FILE, "/etc/passwd", "plain name of a file in the folder, got '/etc/passwd'"),
    (FILE, "sub/model.onnx", "plain name"),
    (FILE, "..", "plain name"),
    (FILE, "", "plain name"),
    (FILE, "a\x00b", "plain name"),
    (FILE, "manifest.json", "plain name"),
    (FILE, "other.onnx", r"expected checksums of all files, none of \['other.onnx'\]"),
    (FILE, 3, "Expected `str`, got `int`"),
    (("sha256", "../victim.txt"), "0" * 64, "plain name"),
    (("sha256", "/tmp/victim.txt"), "0" * 64, "plain name"),
    (("sha256", "model.onnx"), "0" * 63, "64 hexadecimal digits for model.onnx"),
    (("sha256", "model.onnx"), "G" * 64, "64 hexadecimal digits"),
    (("sha256", "tables.npz"), ..., "expected checksums of all files"),
    (("sha256",), ["model.onnx"], "Expected `object`, got `array`"),
    ((*MODEL, "pillars"), -1, "Expected `int` >= 1"),
    ((*MODEL, "pillars"), 0, "Expected `int` >= 1"),
    ((*MODEL, "pillars"), 1e3, "got `float`"),
    ((*MODEL, "pillars"), "many", "got `str`"),
    ((*MODEL, "pillars"), 10**9, "Expected `int` <="),
    ((*MODEL, "sets"), -4, "Expected `int` >= 1"),
    ((*MODEL, "sets"), ..., "missing required field `sets`"),
    ((*MODEL, "parts"), [], "length >= 1"),
    ((*MODEL, "parts", 0, "outputs"), OUTPUTS[1:], r"got no \['center'\]"),
    ((*MODEL, "parts", 0, "inputs"), VALUES * 2, "names of inputs .* got 'features' twice"),
    ((*MODEL, "parts", 0, "inputs", 0, "shape"), [-5, 16], "Expected `int` >= 0"),
    (MODEL[:1], [], "length >= 1"),
    (MODEL[:1], MANIFEST["models"] * 2, "different files of the models, got 'model.onnx' twice"),
    (("classes",), "car", "Expected `array`, got `str`"),
    (("classes",), [], "length >= 1"),
    (("classes",), ["car", "car"], "different classes, got 'car' twice"),
    (("classes",), ["car", 3], "Expected `str`, got `int`"),
    (("classes",), ["car", "b\nus"], "classes: expected printable names, got 'b"),
    (("classes",), ["car"], "expected 1 or 1 values, got 2"),
    (("layout",), "random", "layout: expected one of sequence, set, grid, got 'random'"),
    (("layout",), None, "Expected `str`, got `null`"),
    (("layout",), "sequence", "set_size: expected a number in set form and null otherwise"),
    (("layout",), ..., "missing required field `layout`"),
    (("set_size",), None, "set_size: expected a number in set form"),
    (("set_size",), 0, "Expected `int` >= 1"),
    (("point_columns",), 2, "Expected `int` >= 3"),
    (("point_columns",), True, "Expected `int`, got `bool`"),
    (("grid", "range_m"), [-3, -2, -5, 3, 2], "6 range values and 2 cell sizes, got 5 and 2"),
    (("grid", "range_m"), [3, -2, -5, -3, 2, 3], "minima below maxima"),
    (("grid", "range_m"), [-1e9, -2, -5, 3, 2, 3], "range within 1e5 m"),
    (("grid", "range_m"), "wide", "Expected `array`, got `str`"),
    (("grid", "cell_m"), [0, 0.5], "cells above 0 m"),
    (("grid", "cell_m"), [-0.5, 0.5], "cells above 0 m"),
    (("grid", "cell_m"), [0.7, 0.5], "divide the range"),
    (("grid", "cell_m"), [1e-3, 1e-3], "expected 1 to 16777216 cells, got 6000 x 4000"),
    (("grid", "cell_m"), [1e-300, 1e-300], "expected 1 to 16777216 cells"),
    (("grid",), ..., "missing required field `grid`"),
    (("head_grid", "cell_m"), ..., "missing required field `cell_m`"),
    (("decode", "nms_iou"), ..., "decode: expected .*, nms_iou missing"),
    (("decode", "nms_max"), -1, "nms_classes, nms_max and nms_pre of at least 0"),
    (("decode", "nms_classes"), [-1], "nms_classes, nms_max and nms_pre of at least 0"),
    (("decode", "nms_pre"), -1, "nms_classes, nms_max and nms_pre of at least 0"),
    (("decode", "nms_score_thr"), "low", "Expected `float`, got `str`"),
    (("decode", "nms_classes"), 1, "Expected `array`, got `int`"),
    (("decode", "centre_range_m"), [0, 1], "6 values of centre_range_m"),
    (("decode", "iou_alpha"), [0.1, 0.2, 0.3], "expected 1 or 2 values, got 3"),
    (("decode", "score_thr"), "low", "Expected `float`, got `str`"),
    (("decode", "score_thr"), 10**400, "out of range"),
    (("decode",), 4, "Expected `object`, got `int`"),
    (("format",), 1, "expected a manifest of format 2 or 3, got 1"),
    (("format",), 3.0, "expected a manifest of format 2 or 3, got 3.0"),
    (("format",), [3], r"expected a manifest of format 2 or 3, got \[3\]"),
    (("format",), ..., "expected a manifest of format 2 or 3, got None"),
    (("precision",), 16, "Expected `str`, got `int`"),
]


@pytest.mark.parametrize(("path", "value", "message"), WRONG)
def test_wrong_manifests(folder, path, value, message):
    """One line that names the file and what is wrong; also for a new export over the folder."""
    write(folder, change(valid(folder), path, value))
    for read in (read_manifest, parse_manifest, exported_files):
        with pytest.raises(ValueError, match=message) as caught:
            read(folder)
        assert str(caught.value).startswith(f"{folder / 'manifest.json'}: ")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"score_thr": 0.0', '"score_thr": NaN', "expected JSON, got the number NaN"),
        ('"score_thr": 0.0', '"score_thr": -Infinity', "the number -Infinity"),
        ('"score_thr": 0.0', '"score_thr": 1e999', "the number 1e999"),
        ('"max_abs_err": 1e-06', '"max_abs_err": NaN', "the number NaN"),
        ('"layout": "set"', '"layout": "set", "layout": "set"', "got 'layout' twice"),
        ('"model.onnx": "', '"model.onnx": "0", "model.onnx": "', "got 'model.onnx' twice"),
        ('"car"', '"\\ud800"', "classes: expected printable names"),
        ('"fp32"', "[" * 100_000, "expected JSON"),
        ('"format": 3', '"format": ' + "3" * 5000, "expected JSON"),
        ("{", "", "expected JSON"),
    ],
)
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


def mutated(manifest, rng):
    """One to three entries replaced by something else, exchanged or deleted."""
    for _ in range(rng.randint(1, 3)):
        at = manifest
        while True:
            keys = list(at) if isinstance(at, dict) else range(len(at))
            if not keys:
                break
            key = rng.choice(list(keys))
            if isinstance(at[key], (dict, list)) and rng.random() < 0.8:
                at = at[key]
                continue
            junk = [None, True, -1, 0, 3, 1 << 70, 0.5, -1e300, "", "x", "../x", [], {}, [[]]]
            junk += [[at[key]], {"a": at[key]}, str(at[key]), rng.uniform(-9, 9), "\u2028" * 9]
            if rng.random() < 0.2:
                del at[key]
            else:
                at[key] = copy.deepcopy(rng.choice(junk))
            break
    return manifest


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


TABLES = [
    ("weight0", lambda a: a * np.float32(np.nan), "finite numbers in point"),
    ("shift0", lambda a: a + np.float32(np.inf), "finite numbers in shift"),
    ("weight0", lambda a: a.astype(np.float64), "in float32, got .* float64"),
    ("weight0", lambda a: a[:, :4], r"shape \(11, 16\)"),
    (
        "weight0",
        lambda a: a[:9],
        "layer 0 to take 11 columns of a point and 0 .*, got 9",
    ),
    ("weight0", lambda a: a[0], "expected a matrix"),
    ("weight0", None, "at least one layer"),
    ("shift0", None, "expected the arrays shift0"),
    ("point_channels0", lambda a: a - 50, "to take 11 columns"),
    ("point_channels0", lambda a: a * 1.5, "number of its rows"),
    ("cells", lambda a: a[:, :-1], r"cells: expected shape \(2, 96\)"),
    ("cells", lambda a: a + 1, "cells: expected 0 to 95, got 1 to 96"),
    ("cells", lambda a: a // 2, "every cell once in each order"),
    ("cells", lambda a: a.astype(np.int64), "in int32, got"),
    ("cells", lambda a: a[:0], "orders unless all layers are on the grid"),
    ("windows", lambda a: a - 1, "windows: expected 0 to 95, got -1"),
    ("windows", lambda a: a + (1 << 30), "windows: expected 0 to 95"),
    ("windows", None, "expected the arrays windows"),
    ("window_index", lambda a: a * 9, "window_index: expected 0 to 95, got 0 to 855"),
    ("layout_shift", lambda a: a + 1, "layout_shift: expected 0 to 0, got 1"),
    ("layout_shift", lambda a: np.array(["x", "y"]), "layout_shift: expected"),
]


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
