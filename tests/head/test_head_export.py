"""The head as an ONNX graph: only operators every runtime has, and the same values."""

import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from same_outputs import assert_same_outputs

from padre3d.head import HeadOutputs, PADReTransFusionHead
from padre3d.layers.norms import RowBatchNorm

# Found by trying: TensorRT, onnxruntime, OpenVINO and QNN all take these.
WHITELIST = set(
    re.findall(
        r"\w+",
        """
        Gather GatherElements Gemm MatMul Conv ConvTranspose Add Sub Mul Div Relu Sigmoid Gelu
        Softmax LayerNormalization MaxPool TopK CumSum Concat Slice Reshape Transpose Squeeze
        Unsqueeze Expand Cast Equal Less And Where Mod Floor Abs Sign Constant
        """,
    )
)


@dataclass(frozen=True)
class ExportedHead:
    """A head, its ONNX file, and the outputs for one map."""

    head: PADReTransFusionHead
    bev: torch.Tensor
    outputs: HeadOutputs
    path: Path


PRUNED = [(y, x) for y in range(-3, 4) for x in range(-2, 3) if (y + x) % 2 == 0]
CHOICES = {
    "ours": {},
    "reference": dict(dsvt_compat=True),
    "pruned": dict(window_offsets=PRUNED),
    "others": dict(
        activation="gelu",
        iou_branch=False,
        decode=dict(iou_alpha=None),
        branch_layers=dict(heatmap=3, vel=1),
    ),
}


@pytest.fixture(scope="module", params=CHOICES)
def exported(request, tmp_path_factory):
    """A head with real statistics."""
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    head = PADReTransFusionHead(
        dict(range_m=(-12, -9.6, -5, 12, 9.6, 3), cell_m=(1.2, 1.2)),
        in_channels=6,
        channels=16,
        num_heads=4,
        num_proposals=20,
        ffn_channels=32,
        local_radius=4,
        **CHOICES[request.param],
    ).eval()
    for module in head.modules():
        if isinstance(module, (RowBatchNorm, torch.nn.BatchNorm2d)):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    bev = torch.randn(1, 6, 16, 20)
    with torch.no_grad():
        outputs = head(bev)
    path = tmp_path_factory.mktemp("head") / "head.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            head,
            (bev,),
            path,
            opset_version=20,
            dynamo=True,
            verbose=False,
            input_names=["bev"],
            output_names=list(outputs._fields),
        )
    return ExportedHead(head, bev, outputs, path)


def test_graph_has_only_portable_operators(exported):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(exported.path)
    used = {node.op_type for node in model.graph.node}
    assert used <= WHITELIST, used - WHITELIST
    assert {"TopK", "MaxPool", "Gather", "Softmax"} <= used
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}


def test_onnxruntime_gives_the_same_values(exported):
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(exported.path), providers=["CPUExecutionProvider"])
    values = session.run(None, {"bev": exported.bev.numpy()})
    outputs = HeadOutputs(*map(torch.from_numpy, values))
    assert_same_outputs(outputs, exported.outputs, exported.head, rounding=1e-4)
