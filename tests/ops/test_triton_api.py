"""Where the fused kernels run: mixer alone, masks, autocast, backbone; and what is refused."""

import subprocess
import sys

import pytest
import torch
from triton_cases import Case, error, forward

from padre3d.backbone import VoxelBackbone
from padre3d.mixers import build_mixer
from padre3d.ops.padre import padre
from padre3d.structures.grid import PillarGrid
from padre3d.structures.pillars import Pillars
from padre3d.structures.tokens import TokenLayout, TokenPositions

pytestmark = pytest.mark.usefixtures("on_kernel_device")


def mixer_of(impl, dim=16, **arguments):
    torch.manual_seed(1)
    mixer = build_mixer({"type": "padre", "impl": impl, **arguments}, dim)
    for parameter in mixer.parameters():
        if parameter.dim() == 1:  # biases start at zero: masked tokens would stay zero unmasked
            torch.nn.init.normal_(parameter)
    return mixer


def cloud(count=60, cells=16):
    cell = torch.randperm(cells * cells)[:count].sort().values
    first = torch.arange(count) < count // 3
    cell = torch.cat([cell[first].sort().values, cell[~first].sort().values])
    coords = torch.stack([(~first).long(), cell // cells, cell % cells], 1)
    return Pillars(torch.randn(count, 16), coords, 2)


def backbone(impl, **arguments):
    torch.manual_seed(0)
    grid = PillarGrid.of({"range_m": (0.0, 0.0, -5.0, 16.0, 16.0, 3.0), "cell_m": (1.0, 1.0)})
    mixer = {"type": "padre", "preset": "sequence", "impl": impl}
    options = {"dim": 16, "num_blocks": 1, "ffn_dim": 32, "window": (8, 8), "shifts": ((0, 0),)}
    return VoxelBackbone(grid, mixer=mixer, **options, **arguments)


@pytest.mark.parametrize("degree", [2, 3])
def test_mixer_alone_is_the_operator(degree):
    eager, fused = mixer_of("eager", degree=degree).double(), mixer_of("triton", degree=degree)
    mask = torch.arange(20) < torch.tensor([[20], [7]])
    x = torch.randn(2, 20, 16)
    results = []
    for mixer, tokens in ((eager, x.double()), (fused, x.clone())):
        tokens.requires_grad_()
        out = mixer(tokens, None, mask).masked_fill(~mask.unsqueeze(-1), 0.0)
        (out * torch.linspace(-1, 1, 16)).sum().backward()
        gradients = {name: p.grad for name, p in mixer.named_parameters()}
        results.append({"out": out, "x": tokens.grad, **gradients})
    expected, actual = results
    assert actual.keys() == expected.keys()
    for name, tensor in actual.items():
        assert error(tensor, expected[name]) < 16 * torch.finfo(torch.float32).eps, name


def test_masked_tokens_hold_anything_and_change_nothing():
    weights = mixer_of("triton").weights()
    x = torch.randn(2, 20, 16)
    mask = torch.ones(2, 20, dtype=torch.bool)
    mask[0, 4:6] = False
    mask[1, 15:] = False
    with torch.no_grad():
        junk = x.masked_fill(~mask.unsqueeze(-1), float("nan"))
        out = padre(junk, weights, mask, impl="triton")
        alone = padre(x[1:, :15], weights, impl="triton")
        expected = padre(x, weights, mask)
    torch.testing.assert_close(out[mask], expected[mask], rtol=1e-5, atol=1e-5)
    # Other shapes are other products, which may round otherwise.
    torch.testing.assert_close(out[1:, :15], alone, rtol=1e-5, atol=1e-5)
    assert (out[~mask] == 0).all()


def test_a_sample_is_the_same_alone_and_in_a_batch():
    case = Case([9, 30])
    positions = TokenPositions(case.table, case.window_index)
    with torch.no_grad():
        together = forward(case.layer, case.x, positions, case.layout, fused=True)
        index = case.layout.index[:1, :9]
        layout = TokenLayout(index, None, torch.empty(9, dtype=torch.long))
        first = TokenPositions(case.table, case.window_index[:9])
        alone = forward(case.layer, case.x[:9], first, layout, fused=True)
    torch.testing.assert_close(together[:9], alone, rtol=1e-5, atol=1e-5)


def test_evaluation_looks_positions_up_as_training_does():
    case = Case([21])
    positions = TokenPositions(case.table, case.window_index)
    training = forward(case.layer, case.x, positions, case.layout, fused=True)
    with torch.no_grad():
        evaluation = forward(case.layer, case.x, positions, case.layout, fused=True)
    torch.testing.assert_close(evaluation, training, rtol=1e-5, atol=1e-5)


def test_autocast_is_as_exact_as_eager_autocast(kernel_device):
    case = Case([33, 5])
    oracle = case.run(fused=False, dtype=torch.float64)
    with torch.autocast(kernel_device.type, torch.bfloat16):
        fused, eager = case.run(True, torch.float32), case.run(False, torch.float32)
    assert fused["out"].dtype == eager["out"].dtype == torch.float32
    slack = torch.finfo(torch.bfloat16).eps / 2  # eager code may be exact by luck
    for name, tensor in oracle.items():
        assert error(fused[name], tensor) <= 2 * error(eager[name], tensor) + slack, name
    assert error(fused["out"], oracle["out"]) > 1e-5, "products were not in bfloat16"


def test_backbone_runs_fused():
    pillars = cloud()
    features = []
    for impl in ("eager", "triton"):
        model = backbone(impl)
        x = pillars.features.clone().requires_grad_()
        out = model(pillars.replace(x)).features
        out.square().sum().backward()
        embedding = model.position_embeddings[0][0].linear1.weight.grad
        with torch.no_grad():
            features.append((out, x.grad, embedding, model.eval()(pillars).features))
    for eager, fused in zip(*features, strict=True):
        torch.testing.assert_close(fused, eager, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"preset": "paper"}, "token maps A"),
        ({"preset": "text", "degree": 3}, "token maps A"),
        ({"degree": 5}, "degree 5"),
        ({"dims": 2, "size": (2, 4)}, "token maps C"),
        ({"dim": 272}, "272 channels"),
    ],
)
def test_other_structures_are_refused(arguments, named):
    dim = arguments.get("dim", 16)
    with pytest.raises(ValueError, match=rf"preset='sequence'.*got.*{named}"):
        mixer_of("triton", **arguments)(torch.randn(1, 8, dim))


def test_set_form_and_dropout_are_refused():
    with pytest.raises(ValueError, match="tokens='sequence'"):
        backbone("triton", layout="set")(cloud())
    with pytest.raises(ValueError, match="expected dropout 0 in training, got 0.1"):
        backbone("triton", dropout=0.1)(cloud())


def test_other_types_and_devices_are_refused(monkeypatch):
    mixer = mixer_of("triton")
    with pytest.raises(ValueError, match="torch.float64"):
        mixer.double()(torch.randn(1, 8, 16).double())
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(ValueError, match="CUDA device, got cpu"):
        mixer.float().cpu()(torch.randn(1, 8, 16, device="cpu"))


def test_missing_triton_is_named():
    program = """
import sys
sys.modules["triton"] = None
import torch
from padre3d.mixers import build_mixer
from padre3d.ops.padre import padre
mixer = build_mixer(dict(type="padre", impl="triton"), dim=16)
try:
    mixer(torch.randn(1, 8, 16))
except ImportError as error:
    print(error)
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120
    )
    assert "pip install triton" in run.stdout, run.stderr
