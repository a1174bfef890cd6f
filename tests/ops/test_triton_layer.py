"""The fused layer (interpreter or GPU) against float64, beside eager code of the same type."""

import pytest
import torch
from triton_cases import Case

pytestmark = pytest.mark.usefixtures("on_kernel_device")


@pytest.fixture(autouse=True)
def _poison(monkeypatch):
    """Every uninitialised buffer starts as NaN: outputs, scratch and what is kept for backward."""
    torch.use_deterministic_algorithms(True)
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    assert torch.empty(3).isnan().all()
    assert torch.empty(3).new_empty(3, dtype=torch.float16).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


def assert_at_most_twice_eager(errors, dtype):
    """Of few values eager code may be exact by luck, which is another one on every processor.

    On top come two spacings of single precision, in which both add their products in orders of
    their own, and half a spacing of the types to which both round the same sums.
    """
    slack = torch.finfo(dtype).eps * (2 if dtype == torch.float32 else 0.5)
    for name, (fused, eager) in errors.items():
        assert fused <= 2 * eager + slack, (name, fused, eager)


@pytest.mark.parametrize(
    ("lengths", "degree", "dtype"),
    [
        ([130, 11], 2, torch.float32),
        ([1], 2, torch.float32),
        ([5, 1], 3, torch.float32),
        ([11, 5], 4, torch.float32),
        ([33, 5], 2, torch.float16),
        ([1, 11], 3, torch.bfloat16),
    ],
    ids=str,
)
def test_output_and_gradients_are_as_exact_as_eager_code(lengths, degree, dtype):
    case = Case(lengths, dim=24, degree=degree)
    assert_at_most_twice_eager(case.errors(dtype), dtype)


def test_short_kernel_and_more_channels_than_a_chunk():
    case = Case([40], dim=40, kernel_size=3)
    assert_at_most_twice_eager(case.errors(torch.float32), torch.float32)
