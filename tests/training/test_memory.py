"""Memory that a training on a CPU keeps: seen in the size of a process of its own."""

import ctypes
import os
import subprocess
import sys

import pytest

from padre3d.training.memory import keep_freed_memory

PROGRAM = """
import resource
from padre3d.training.memory import keep_freed_memory

done = {call}
size = 64 << 20
def touch():
    block = bytearray(size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    del block
    block = bytearray(size)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
touch()
print(done, touch())
"""


def page_faults(call):
    """What the call answers, and how many new pages a block takes whose size was freed before."""
    environment = {name: v for name, v in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", PROGRAM.format(call=call)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    answer, faults = done.stdout.split()
    return answer, int(faults)


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs glibc"
)
def test_a_freed_block_is_not_asked_from_the_system_again():
    before, many = page_faults("None")
    done, few = page_faults("keep_freed_memory()")
    assert (before, done) == ("None", "True")
    assert few < many / 4


def test_the_users_own_settings_stand(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: pytest.fail("expected no call of mallopt"))
    assert not keep_freed_memory({"MALLOC_ARENA_MAX": "1"})


def test_another_system_is_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory({})
