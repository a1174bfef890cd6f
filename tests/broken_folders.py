"""An exported folder by hand, and what can be wrong with it; for the readers in Python and C++."""

import copy
import json

import numpy as np

from padre3d.runtime.folder import sha256

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


def make_folder(folder):
    """A valid folder whose ONNX file is one without a field."""
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
    (("decode", "iou_alpha"), 1.5, "iou_alpha: expected 0 to 1, got 1.5"),
    (("decode", "iou_alpha"), [0.5, -0.1], "iou_alpha: expected 0 to 1, got"),
    (("decode", "score_thr"), "low", "Expected `float`, got `str`"),
    (("decode", "score_thr"), 10**400, "out of range"),
    (("decode",), 4, "Expected `object`, got `int`"),
    (("format",), 1, "expected a manifest of format 2 or 3, got 1"),
    (("format",), 3.0, "expected a manifest of format 2 or 3, got 3.0"),
    (("format",), [3], r"expected a manifest of format 2 or 3, got \[3\]"),
    (("format",), ..., "expected a manifest of format 2 or 3, got None"),
    (("precision",), 16, "Expected `str`, got `int`"),
]

WRONG_JSON = [
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
]


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
