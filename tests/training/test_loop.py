"""ResumableTrainLoop on a model of two weights: what it resumes from, and what it steps."""

import copy

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset
from training_runs import same

import padre3d.plugin  # noqa: F401
from padre3d.training.checkpoint import latest_checkpoint, load_checkpoint_file
from padre3d.training.loop import check_batches


class Numbers(Dataset):
    metainfo: dict = {}

    def __init__(self, count=10):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return dict(inputs=torch.tensor([float(index)]))


class Line(BaseModel):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(1, 1)

    def forward(self, inputs, mode="tensor"):
        return dict(loss_line=self.layer(torch.stack(list(inputs))).square().mean())


def runner(work_dir, batch_size=1, epochs=1, counts=1, optimizer="SGD", **settings):
    return Runner(
        Line(),
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=Numbers(),
            batch_size=batch_size,
            num_workers=0,
            sampler=dict(type="DefaultSampler", shuffle=False),
        ),
        optim_wrapper=dict(optimizer=dict(type=optimizer, lr=1e-3), accumulative_counts=counts),
        train_cfg=dict(type="ResumableTrainLoop", max_epochs=epochs),
        default_hooks=dict(
            checkpoint=dict(type="CheckpointHook", interval=1),
            logger=None,
            plain_checkpoint=dict(type="PlainCheckpointHook"),
        ),
        default_scope="mmdet3d",
        experiment_name=f"loop {work_dir} {batch_size} {epochs} {counts}",
        log_level="ERROR",
        **settings,
    )


def test_another_number_of_batches_is_refused_before_the_first_step(tmp_path):
    runner(tmp_path).train()
    path = tmp_path / "epoch_1.pth"
    assert load_checkpoint_file(path)["meta"]["batches_per_epoch"] == 10
    for size, batches in ((2, 5), (5, 2)):
        other = runner(tmp_path, size, epochs=3, load_from=str(path), resume=True)
        with pytest.raises(ValueError, match=f"epochs of 10 batches as .*, got {batches}: the bat"):
            other.train()
    assert sorted(p.name for p in tmp_path.glob("*.pth")) == ["epoch_1.pth"]
    # Its weights are for any training.
    runner(tmp_path, 5, load_from=str(path)).train()
    assert load_checkpoint_file(path)["meta"]["iter"] == 2


def test_a_checkpoint_that_does_not_say_is_believed_where_it_may_be_right():
    check_batches(dict(epoch=2, iter=20), 10)
    check_batches(dict(epoch=2, iter=27), 10)
    with pytest.raises(ValueError, match="expected epochs of 20 / 2 batches .* got 4"):
        check_batches(dict(epoch=2, iter=20), 4)
    with pytest.raises(ValueError, match="expected epochs of 20 / 2 batches .* got 11"):
        check_batches(dict(epoch=2, iter=20), 11)


def test_a_training_that_starts_anew_is_another_one_and_a_resumed_one_is_not(tmp_path):
    long = runner(tmp_path, epochs=3)
    long.train()
    runner(tmp_path).train()
    runs = [load_checkpoint_file(tmp_path / f"epoch_{n}.pth")["meta"]["run"] for n in (1, 2, 3)]
    assert runs == [2, 1, 1]
    found = latest_checkpoint(tmp_path)
    assert found == tmp_path / "epoch_1.pth"
    runner(tmp_path, epochs=2, load_from=str(found), resume=True).train()
    found = latest_checkpoint(tmp_path)
    assert found == tmp_path / "epoch_2.pth"
    assert load_checkpoint_file(found)["meta"]["run"] == 2
    # Going back to an earlier checkpoint leaves the later ones behind, too.
    first = tmp_path / "epoch_1.pth"
    runner(tmp_path / "other", epochs=2, load_from=str(first), resume=True).train()
    assert load_checkpoint_file(tmp_path / "other/epoch_2.pth")["meta"]["run"] == 2
    runner(tmp_path, epochs=2, load_from=str(first), resume=True).train()
    assert load_checkpoint_file(tmp_path / "epoch_2.pth")["meta"]["run"] == 3


def test_accumulated_gradients_do_not_wait_over_a_checkpoint(tmp_path):
    settings = dict(epochs=2, counts=4, optimizer="Adam")
    runner(tmp_path / "whole", **settings).train()
    former = tmp_path / "whole/epoch_1.pth"
    runner(tmp_path / "resumed", **settings, load_from=str(former), resume=True).train()
    whole, resumed = (
        load_checkpoint_file(tmp_path / name / "epoch_2.pth") for name in ("whole", "resumed")
    )
    assert same(resumed["state_dict"], whole["state_dict"])
    assert same(resumed["optimizer"], whole["optimizer"])


def test_every_epoch_ends_with_a_step_of_the_mean_gradient(tmp_path):
    run = runner(tmp_path, epochs=2, counts=4)
    model = copy.deepcopy(run.model)
    run.train()
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    for _ in range(2):
        for batch in torch.arange(10.0).view(-1, 1).split(4):
            optimizer.zero_grad()
            model.layer(batch).square().mean().backward()
            optimizer.step()
    torch.testing.assert_close(dict(run.model.state_dict()), dict(model.state_dict()))
