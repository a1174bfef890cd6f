"""Transposed convolutions without overlap are 1 x 1 convolutions: the same numbers."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
from onnx import helper, numpy_helper  # noqa: E402

from padre3d.export.transposed import as_convolutions  # noqa: E402


def model_of(kernel, bias, x_shape, weight_kernel=None, **attributes):
    """A model of one transposed convolution from 3 to 5 channels, and a ReLU behind it."""
    random = np.random.default_rng(0)
    w = random.normal(size=(3, 5, *(weight_kernel or kernel))).astype(np.float32)
    constants = [numpy_helper.from_array(w, "w")]
    if bias:
        constants.append(numpy_helper.from_array(random.normal(size=5).astype(np.float32), "b"))
    inputs = ["x", "w", "b"][: 2 + bias]
    nodes = [
        helper.make_node("ConvTranspose", inputs, ["t"], "up", strides=kernel, **attributes),
        helper.make_node("Relu", ["t"], ["y"], "relu"),
    ]
    ends = [
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)]
        for name, shape in (("x", x_shape), ("y", ["n", "c", "h", "w"]))
    ]
    return helper.make_model(
        helper.make_graph(nodes, "g", *ends, constants),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )


def run(model, x):
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize("kernel", [(1, 1), (2, 2), (4, 4), (2, 3)])
@pytest.mark.parametrize("bias", [False, True])
def test_the_same_numbers(kernel, bias):
    x = np.random.default_rng(1).normal(size=(1, 3, 4, 6)).astype(np.float32)
    model = model_of(kernel, bias, x.shape)
    expected = run(model, x)
    rewritten = as_convolutions(model)
    operators = [node.op_type for node in rewritten.graph.node]
    assert "ConvTranspose" not in operators
    assert len(operators) == (2 if kernel == (1, 1) else 5)
    onnx.checker.check_model(rewritten)
    np.testing.assert_allclose(run(rewritten, x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "changes"),
    [
        ([1, 3, 4, 6], dict(weight_kernel=(3, 3))),
        ([1, 3, 4, 6], dict(pads=[1, 1, 1, 1])),
        ([1, 3, 4, 6], dict(output_padding=[1, 1])),
        ([2, 3, 4, 6], {}),
        ([1, 3, "h", 6], {}),
    ],
)
def test_others_stay(shape, changes):
    model = model_of((2, 2), True, shape, **changes)
    before = model.SerializeToString()
    assert as_convolutions(model).SerializeToString() == before
