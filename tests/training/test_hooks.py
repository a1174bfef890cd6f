"""Hooks of trainings in several processes."""

from types import SimpleNamespace

import torch
from mmengine.hooks import EMAHook
from torch import nn
from training_runs import in_two_processes

import padre3d.plugin  # noqa: F401
from padre3d.training.hooks import SharedStatisticsHook


class Net(nn.Module):
    """A normalisation, and a table as the detector has them."""

    def __init__(self, mean):
        super().__init__()
        self.norm = nn.BatchNorm1d(2)
        self.norm.running_mean.fill_(mean)
        self.norm.num_batches_tracked += 5
        self.register_buffer("table", torch.tensor([True, False]), persistent=False)


def share(rank, folder):
    """Every process has statistics of its own."""
    model = Net(float(rank))
    average = EMAHook()
    average.ema_model = Net(10.0 + rank)
    runner = SimpleNamespace(model=model, hooks=[average])
    SharedStatisticsHook().after_train_epoch(runner)
    SharedStatisticsHook().before_val_epoch(runner)
    torch.save([dict(m.named_buffers()) for m in (model, average.ema_model)], folder / f"{rank}.pt")


def test_all_processes_have_the_mean_of_the_statistics(tmp_path):
    in_two_processes(share, tmp_path)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    for buffers, mean in zip(first, (0.5, 10.5), strict=True):
        assert buffers["norm.running_mean"].tolist() == [mean, mean]
        assert buffers["norm.running_var"].tolist() == [1.0, 1.0]
        assert buffers["norm.num_batches_tracked"] == 5
        assert buffers["table"].tolist() == [True, False]
    torch.testing.assert_close(second, first)


def test_the_base_config_has_the_hook(repo_root):
    from mmengine.config import Config

    hooks = Config.fromfile(repo_root / "configs/_base_/default_runtime.py").default_hooks
    assert hooks.shared_statistics.type == "SharedStatisticsHook"
