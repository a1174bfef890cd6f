"""Pairs of mini detectors, and clouds to fit them on."""

import pytest
from small_detector import MIXERS, build, cloud

pytest.importorskip("mmdet3d")

from padre3d.distill.pair import Pair


@pytest.fixture(scope="session")
def clouds():
    """Clouds to fit on and others to measure on."""
    return [cloud(1500, seed) for seed in range(6)], [cloud(1500, seed) for seed in (20, 21)]


@pytest.fixture
def make_pair():
    """A pair of mini detectors by the names of their mixers, or by settings of the backbone."""

    def make(teacher="attention", student="padre", teacher_seed=0, student_seed=1):
        settings = [MIXERS[m] if isinstance(m, str) else m for m in (teacher, student)]
        seeds = (teacher_seed, student_seed)
        return Pair(*(build(seed, **of) for seed, of in zip(seeds, settings, strict=True)))

    return make
