"""Which sweeps are of one recording: missing clouds and jitter are, pauses are not."""

from types import SimpleNamespace

import numpy as np
import pytest

from padre3d.command.joining import Joiner
from padre3d.io import Cloud
from padre3d.runtime import SweepBuffer


def joined(stamps, sweeps, stride=1, max_lag_s=None):
    """Different lags in the cloud of every stamp, and the stamps at which something is said."""
    join = Joiner(SweepBuffer(sweeps, stride=stride), max_lag_s)
    counts, said = [], []
    for stamp_s in stamps:
        frame = SimpleNamespace(stamp_s=stamp_s, pose=np.eye(4))
        cloud, text = join(Cloud(np.ones((1, 5), np.float32), *cloud_parts()), frame)
        counts.append(len(np.unique(cloud.points[:, 4])))
        said += [stamp_s] if text else []
    return counts, said


def cloud_parts():
    """What a cloud has besides its points; nothing here reads it."""
    return [None] * (len(Cloud.__dataclass_fields__) - 1)


def test_a_missing_cloud_with_jitter_is_no_pause():
    counts, said = joined([0, 0.1, 0.2, 0.3, 0.5001], sweeps=2)
    assert (counts, said) == ([1, 2, 2, 2, 2], [])


@pytest.mark.parametrize("sweeps", [2, 10])
def test_a_pause_at_the_start_is_one(sweeps):
    counts, said = joined([0, 8, 8.1, 8.2], sweeps)
    assert said == [8]
    assert counts[:3] == [1, 1, 2]


def test_a_pause_does_not_become_the_usual_step():
    _, said = joined([0, 0.1, 0.2, 50, 50.1, 100, 100.1], sweeps=3)
    assert said == [50, 100]


def test_a_limit_of_ones_own():
    counts, said = joined([0, 0.1, 0.5, 0.6], sweeps=3, max_lag_s=0.3)
    assert (counts, said) == ([1, 2, 1, 2], [0.5])
