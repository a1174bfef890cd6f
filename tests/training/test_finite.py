"""A loss that is no number stops the training before anything is saved."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.optim import AmpOptimWrapper
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch import nn
from torch.utils.data import Dataset
from training_runs import in_two_processes

import padre3d.plugin  # noqa: F401
from padre3d.training.finite import FiniteLossHook


class Frames(Dataset):
    """Five frames, of which the fourth spoils the loss."""

    def __len__(self):
        return 5

    def get_data_info(self, index):
        return dict(sample_idx=index, token=f"token {index}")

    def __getitem__(self, index):
        value = torch.tensor([float("nan") if index == 3 else 1.0])
        sample = BaseDataElement(metainfo=dict(sample_idx=index))
        return dict(inputs=value, data_samples=sample)


def collate(samples):
    return dict(
        inputs=torch.stack([s["inputs"] for s in samples]),
        data_samples=[s["data_samples"] for s in samples],
    )


class Line(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, inputs, data_samples, mode="tensor"):
        return dict(loss_line=self.layer(inputs).square().mean())


def test_the_frames_are_named_and_nothing_is_saved_over_the_good_checkpoint(tmp_path):
    loader = torch.utils.data.DataLoader(Frames(), batch_size=2, collate_fn=collate)
    run = Runner(
        Line(),
        work_dir=str(tmp_path),
        train_dataloader=loader,
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
        train_cfg=dict(by_epoch=False, max_iters=3),
        default_hooks=dict(
            checkpoint=dict(type="CheckpointHook", interval=1, by_epoch=False),
            finite_loss=dict(type="FiniteLossHook"),
        ),
        default_scope="mmdet3d",
        experiment_name="finite",
    )
    message = "iteration 2: expected finite losses, got loss.* nan.*the frames token 2, token 3; no"
    with pytest.raises(ValueError, match=message):
        run.train()
    assert [p.name for p in tmp_path.glob("*.pth")] == ["iter_1.pth"]
    saved = torch.load(tmp_path / "iter_1.pth", weights_only=False)["state_dict"]
    assert all(torch.isfinite(value).all() for value in saved.values())


class Scaled(AmpOptimWrapper):
    def __init__(self):
        """No GPU needed."""


def scaled_run(model):
    dataset = SimpleNamespace(dataset=Frames())
    return SimpleNamespace(optim_wrapper=Scaled(), iter=7, train_dataloader=dataset, model=model)


def test_a_scaler_of_half_precision_may_skip_some_steps():
    hook, run = FiniteLossHook(amp_patience=2), scaled_run(nn.Linear(1, 1))
    hook.before_train(run)
    bad, good = dict(loss=torch.tensor(float("inf"))), dict(loss=torch.tensor(1.0), acc=3.0)
    for outputs in (bad, bad, good, bad, bad):
        hook.after_train_iter(run, 0, dict(data_samples=[]), outputs)
    with pytest.raises(ValueError, match="iteration 8: expected finite losses, got loss inf"):
        hook.after_train_iter(run, 0, dict(data_samples=[]), bad)


def meet_nan(rank, folder):
    """One of two processes, of which the second has a loss that is no number; its error."""
    outputs = dict(loss=torch.tensor(float("nan") if rank else 1.0))
    try:
        FiniteLossHook().after_train_iter(SimpleNamespace(iter=4), 0, {}, outputs)
    except ValueError as error:
        (folder / f"{rank}.txt").write_text(str(error))


def test_all_processes_stop_whichever_had_the_loss(tmp_path):
    in_two_processes(meet_nan, tmp_path)
    said = [(tmp_path / f"{rank}.txt").read_text() for rank in range(2)]
    expected = "iteration 5: expected finite losses, got "
    assert said[0].startswith(f"{expected}others in another process; no checkpoint of this step")
    assert said[1].startswith(f"{expected}loss nan with the frames")


def test_a_skipped_step_leaves_no_trace_in_the_running_statistics():
    torch.manual_seed(0)
    model, twin = (nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3)) for _ in range(2))
    hook, run = FiniteLossHook(), scaled_run(model)
    hook.before_train(run)
    for spoilt in (True, False, True, False):
        x = torch.randn(2, 3, 4, 4)
        if not spoilt:
            twin(x)
        x[0, 1, 0, 0] = float("inf") if spoilt else 0.0
        loss = model(x).square().mean()
        assert loss.isfinite() != spoilt
        hook.after_train_iter(run, 0, dict(data_samples=[]), dict(loss=loss.detach()))
    for name, value in model.state_dict().items():
        assert value.isfinite().all(), name
    assert model[0].running_var[0] == twin[0].running_var[0]


def test_the_base_config_has_the_hook(repo_root):
    from mmengine.config import Config

    hooks = Config.fromfile(repo_root / "configs/_base_/default_runtime.py").default_hooks
    assert hooks.finite_loss.type == "FiniteLossHook"
    assert hooks.class_transfer.type == "ClassTransferHook"
