"""What the tests of replaced attention share: imports that may be missing, training and export."""

import importlib.util
import sys

import pytest
import torch

from padre3d.mixers import PADRe


def onnx_output(model, inputs, path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.onnx.export(model.eval(), inputs, path, dynamo=True)
    session = onnxruntime.InferenceSession(path)
    feeds = {i.name: x.numpy() for i, x in zip(session.get_inputs(), inputs, strict=True)}
    return torch.tensor(session.run(None, feeds)[0])


def check_training_and_export(model, inputs, tmp_path, output=lambda out: out):
    """Gradients reach every parameter of every mixer; the ONNX file gives the same numbers."""
    output(model(*inputs)).square().mean().backward()
    mixers = [m for m in model.modules() if isinstance(m, PADRe)]
    assert mixers
    for mixer in mixers:
        for name, parameter in mixer.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all()
            assert parameter.grad.abs().sum() > 0, name
    with torch.no_grad():
        expected = output(model.eval()(*inputs))
    got = onnx_output(model, inputs, tmp_path / "model.onnx")
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)


def import_or_skip(name):
    """A model library. It imports torchvision, whose compiled operators it does not call here.

    Those are missing where torchvision is a build for CUDA and torch one for the CPU. Declared
    without an implementation, they let the import pass.
    """
    library = name.split(".")[0]
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed: pip install -r requirements/extras.txt")
    try:
        import torchvision  # noqa: F401
    except ImportError:
        pass  # not installed: transformers does without for what is built here
    except RuntimeError:
        for module in [m for m in sys.modules if m.split(".")[0] == "torchvision"]:
            del sys.modules[module]
        for operator in ("nms", "qnms"):
            signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            torch.library.define(f"torchvision::{operator}", signature)
    return importlib.import_module(name)
