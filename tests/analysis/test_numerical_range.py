"""The numerical range of the bases: hand-computable cases and the finding of docs/method.md."""

import math

import pytest

from padre3d.analysis.numerical_range import measure, table


def test_equal_monomials_are_powers():
    """Y ~ N(0, 1): the mean square of Y^i is (2 i - 1)!!, and the maximum is that of Y to the i."""
    rows = measure("monomial", None, 4)
    for row in rows:
        moment = math.prod(range(1, 2 * row.degree, 2))
        assert row.rms == pytest.approx(math.sqrt(moment), rel=0.1)
        assert row.largest == pytest.approx(rows[0].largest ** row.degree)


def test_monomials_overflow_float16_where_the_largest_power_passes_65504():
    rows = measure("monomial", None, 9)
    for row in rows:
        assert (row.overflow > 0) == (row.largest > 65504)
        assert math.isnan(row.error) == (row.overflow > 0)
    assert any(row.overflow for row in rows)
    assert not rows[2].overflow


def test_orthogonal_bases_are_bounded_where_the_factors_are():
    for basis in ("chebyshev", "legendre"):
        bounded = measure(basis, "max", 12, tokens=512)
        assert all(row.largest < 1 + 1e-9 for row in bounded)
        assert measure(basis, None, 12, tokens=512)[-1].overflow > 0


def test_bounded_monomials_vanish_and_chebyshev_does_not():
    """The finding: with independent factors in [-1, 1], only monomials leave float16's range."""
    monomial = measure("monomial", "max", 12, "independent", tokens=512)[-1]
    chebyshev = measure("chebyshev", "max", 12, "independent", tokens=512)[-1]
    assert monomial.underflow > 0.95
    assert chebyshev.underflow < 0.01
    assert chebyshev.overflow == 0


def test_unknown_factors_are_named():
    with pytest.raises(ValueError, match="factors: expected"):
        measure("monomial", None, factors="some")


def test_table_has_a_row_per_case():
    lines = table((2, 3)).splitlines()
    assert len(lines) == 2 + 2 * 3 * 3
    assert "| equal | max | chebyshev | 1 / " in "\n".join(lines)
