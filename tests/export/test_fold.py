"""Constants per channel behind a Gemm or Conv go into its weights; nothing else does."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from onnx import helper, numpy_helper  # noqa: E402

from padre3d.export.fold import fold_affine, fold_constants  # noqa: E402

RANDOM = np.random.default_rng(0)


def build(layer, x_shape, constants, extra=()):
    """x -> layer -> Mul by s -> Add of t = y, and further nodes."""
    nodes = [
        layer,
        helper.make_node("Mul", ["s", "a"], ["b"]),
        helper.make_node("Add", ["b", "t"], ["y"]),
        *extra,
    ]
    value = helper.make_tensor_value_info
    outputs = [value(n, 1, None) for n in ("y", *(node.output[0] for node in extra))]
    tensors = [numpy_helper.from_array(v.astype(np.float32), n) for n, v in constants.items()]
    graph = helper.make_graph(nodes, "g", [value("x", 1, x_shape)], outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(model, x):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {"x": x})


def operators_after_folding(model, x_shape):
    x = RANDOM.normal(size=x_shape).astype(np.float32)
    before = run(model, x)
    fold_affine(model)
    for expected, actual in zip(before, run(model, x), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)
    return [node.op_type for node in model.graph.node]


def normal(*shape):
    return RANDOM.normal(size=shape)


@pytest.mark.parametrize("trans_b", [0, 1])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_layer(trans_b, bias):
    inputs = ["x", "w", "c"] if bias else ["x", "w"]
    layer = helper.make_node("Gemm", inputs, ["a"], transB=trans_b)
    weight = normal(4, 6) if trans_b else normal(6, 4)
    constants = {"w": weight, "s": normal(4), "t": normal(4)} | ({"c": normal(4)} if bias else {})
    assert operators_after_folding(build(layer, (5, 6), constants), (5, 6)) == ["Gemm"]


def test_convolution_and_a_single_factor():
    layer = helper.make_node("Conv", ["x", "w"], ["a"], pads=[0, 2, 0, 2], group=4)
    constants = {"w": normal(4, 1, 1, 5), "s": np.float32(0.3), "t": normal(4, 1, 1)}
    assert operators_after_folding(build(layer, (2, 4, 1, 9), constants), (2, 4, 1, 9)) == ["Conv"]


@pytest.mark.parametrize(
    ("case", "kept"),
    [
        ("a is read elsewhere", ["Gemm", "Mul", "Add", "Neg"]),
        ("along the rows", ["Gemm", "Mul", "Add"]),
        ("shared weights", ["Gemm", "Mul", "Add", "Neg"]),
        ("half of the product", ["Gemm", "Mul", "Add"]),
    ],
)
def test_what_must_stay(case, kept):
    alpha = 0.5 if case == "half of the product" else 1.0
    layer = helper.make_node("Gemm", ["x", "w", "c"], ["a"], alpha=alpha)
    scale = normal(4, 1) if case == "along the rows" else normal(4)
    constants = {"w": normal(6, 4), "c": normal(4), "s": scale, "t": normal(4)}
    extra = {
        "a is read elsewhere": [helper.make_node("Neg", ["a"], ["z"])],
        "shared weights": [helper.make_node("Neg", ["w"], ["z"])],
    }.get(case, [])
    model = build(layer, (4, 6), constants, extra)
    assert operators_after_folding(model, (4, 6)) == kept


def test_slices_of_weights_are_constants():
    """A chain of nodes on constants goes; one whose result is larger, and one on x, stay."""
    constants = {
        "starts": np.array([2]),
        "ends": np.array([6]),
        "axes": np.array([0]),
        "wide": np.array([4, 400]),
    }
    weights = numpy_helper.from_array(normal(8, 4).astype(np.float32), "w")
    bias = numpy_helper.from_array(normal(1, 1).astype(np.float32), "c")
    nodes = [
        helper.make_node("Slice", ["w", "starts", "ends", "axes"], ["part"]),
        helper.make_node("Transpose", ["part"], ["turned"]),
        helper.make_node("Gemm", ["x", "turned"], ["a"]),
        helper.make_node("Expand", ["c", "wide"], ["large"]),
        helper.make_node("MatMul", ["a", "large"], ["y"]),
    ]
    value = helper.make_tensor_value_info
    tensors = [weights, bias, *(numpy_helper.from_array(v, n) for n, v in constants.items())]
    graph = helper.make_graph(nodes, "g", [value("x", 1, (3, 4))], [value("y", 1, None)], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    x = normal(3, 4).astype(np.float32)
    (expected,) = run(model, x)
    fold_constants(model)
    assert [node.op_type for node in model.graph.node] == ["Gemm", "Expand", "MatMul"]
    np.testing.assert_allclose(run(model, x)[0], expected, rtol=1e-6)
