"""Random numbers that follow from (seed, epoch, sample) and (seed, iteration) alone.

So a resumed training draws what the uninterrupted one draws, whatever the number of loader
processes, and no random state has to be stored.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from mmengine.registry import DATASETS
from torch.utils.data import BatchSampler, Dataset, Sampler


def seed_everything(*words: int) -> None:
    """Seed torch (all devices), numpy and random by the words together."""
    number = _mix(*words)
    torch.manual_seed(number)
    np.random.seed(number % 2**32)
    random.seed(number)


@contextlib.contextmanager
def seeded(*words: int) -> Iterator[None]:
    """Seed numpy, random and torch's CPU generator, and put back what they were."""
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()
    number = _mix(*words)
    torch.default_generator.manual_seed(number)
    np.random.seed(number % 2**32)
    random.seed(number)
    try:
        yield
    finally:
        torch.set_rng_state(before[0])
        np.random.set_state(before[1])
        random.setstate(before[2])


class SeededSamples(Dataset):
    """A data set whose sample depends on (seed, epoch, index) alone, augmentation included.

    Args:
        dataset: the data set or its config.
    """

    def __init__(self, dataset: Dataset | dict) -> None:
        self.dataset: Any = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        # Shared with loader processes, which live longer than an epoch.
        self._words = torch.zeros(2, dtype=torch.int64).share_memory_()

    @property
    def metainfo(self) -> dict:
        """Of the data set."""
        return self.dataset.metainfo

    def full_init(self) -> None:
        """Load what the data set loads late."""
        if hasattr(self.dataset, "full_init"):
            self.dataset.full_init()

    def start(self, seed: int, epoch: int) -> None:
        """From now on, samples are those of an epoch."""
        self._words[0], self._words[1] = seed, epoch

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict:
        with seeded(*self._words.tolist(), index):
            return self.dataset[index]


class SkippingBatchSampler(BatchSampler):
    """Batches of a sampler; the next pass leaves out the first ``skip`` of them, unread."""

    def __init__(self, sampler: Sampler, batch_size: int, drop_last: bool = False) -> None:
        super().__init__(sampler, batch_size, drop_last)
        self.skip = 0

    def __iter__(self) -> Iterator[list[int]]:
        skip, self.skip = self.skip, 0
        for number, batch in enumerate(super().__iter__()):
            if number >= skip:
                yield batch


def _mix(*words: int) -> int:
    low, high = np.random.SeedSequence([word % 2**64 for word in words]).generate_state(2)
    return int(low) | int(high & 0x7FFFFFFF) << 32
