"""Table 1, measured: what the evidence must show, and that the page shows the evidence."""

import pytest
import torch

from padre3d.analysis.table_1 import (
    measure_degree,
    polynomial_schemes,
    scan_errors,
    table,
    taylor_errors,
)


def test_each_scheme_has_its_degree():
    rows = {row.scheme: row for row in polynomial_schemes()}
    assert {name: row.degree for name, row in rows.items()} == {
        "SimA": 3,
        "Conv2Former": 2,
        "Hyena, N = 1": 2,
        "Hyena, N = 2": 3,
        "Hyena, N = 3": 4,
        "Mamba at a fixed step": 3,
        "Castling-ViT": 3,
        "equal-cost control": 1,
    }
    for row in rows.values():
        assert row.top > 1e-3
        assert row.above < 1e-13
    assert [name for name, row in rows.items() if row.homogeneity > 1e-13] == ["Castling-ViT"]


@pytest.mark.parametrize(
    ("claim", "top", "above"), [(2, True, True), (3, True, False), (4, False, False)]
)
def test_a_wrong_claim_shows(claim, top, above):
    """Of x^3: the differences of a claim that is too low or too high, and its homogeneity."""
    row = measure_degree("cube", claim, lambda x: x**3)
    assert (row.top > 1e-6, row.above > 1e-6) == (top, above)
    assert (row.homogeneity < 1e-13) == (claim == 3)
    exponential = measure_degree("exp", claim, torch.exp)
    assert exponential.above > 1e-6


def test_scan_error_is_of_second_order_in_the_step():
    errors = scan_errors(6)
    ratios = [a / b for a, b in zip(errors[:-1], errors[1:], strict=True)]
    assert ratios == sorted(ratios)
    assert ratios[-1] == pytest.approx(4, abs=0.1)


def test_taylor_error_falls_with_the_degree():
    largest, errors = taylor_errors()
    assert largest > 3
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 1e-2 > 1e-8 > errors[-1]


def test_the_page_shows_this_table(repo_root):
    """Same rows, same words; figures of the size of rounding errors differ between machines."""

    def cells(text):
        return [line.split("|")[1:3] for line in text.splitlines() if line.startswith("|")]

    page = (repo_root / "docs" / "method.md").read_text()
    section = page[page.index("## 4.") : page.index("## 5.")]
    printed = table()
    assert [row for row in cells(printed) if row not in cells(section)] == []
    for line in printed.splitlines()[-3:]:
        assert line in section
