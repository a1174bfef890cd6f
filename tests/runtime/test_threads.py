"""One runtime called from several threads: each gets the boxes of its own cloud."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest

from padre3d.deploy import Runtime

THREADS, CALLS = 3, 6


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_boxes_are_those_of_the_threads_own_cloud(exported_grid, backend):
    pytest.importorskip(backend)
    clouds = [exported_grid.cloud[: 300 * (i + 1)] for i in range(THREADS)]
    with Runtime(exported_grid.folder, backend, threads=1) as runtime:
        expected = [runtime(cloud).scores for cloud in clouds]
        assert all(len(scores) > 0 for scores in expected)
        barrier = Barrier(THREADS)

        def calls(number):
            barrier.wait(60)
            return [runtime(clouds[number]).scores for _ in range(CALLS)]

        with ThreadPoolExecutor(THREADS) as pool:
            found = list(pool.map(calls, range(THREADS)))
    for scores, wanted in zip(found, expected, strict=True):
        for one in scores:
            np.testing.assert_allclose(np.sort(one), np.sort(wanted), atol=1e-6)


@pytest.mark.parametrize("threads", [0, -1])
def test_number_of_threads_is_checked_before_any_file(tmp_path, threads):
    with pytest.raises(ValueError, match=f"threads: expected 1 or more, or None, got {threads}"):
        Runtime(tmp_path, threads=threads)
