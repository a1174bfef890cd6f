"""One-cycle AdamW, 36 epochs without CBGS: peak 3e-3 for 16 samples a step (4 GPUs x 4).

The rate rises from peak / 10 for 40 % of the training and falls to peak / 1e5; the momentum goes
the other way, .95 -> .85 -> .95. With another batch, ``--auto-scale-lr`` scales the rate by
batch / 16: everything below is relative to the optimizer's own rate.
"""

max_epochs = 36
peak_epoch = 0.4 * max_epochs
peak_lr = 3e-3

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=peak_lr / 10, betas=(0.95, 0.99), weight_decay=0.05),
    clip_grad=dict(max_norm=35, norm_type=2),
)
param_scheduler = [
    dict(
        type="CosineAnnealingLR",
        eta_min_ratio=10,
        begin=0,
        end=peak_epoch,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
    dict(
        type="CosineAnnealingLR",
        eta_min_ratio=1e-4,
        begin=peak_epoch,
        end=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
    dict(
        type="CosineAnnealingMomentum",
        eta_min_ratio=0.85 / 0.95,
        begin=0,
        end=peak_epoch,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
    dict(
        type="CosineAnnealingMomentum",
        eta_min_ratio=1,
        begin=peak_epoch,
        end=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(type="ResumableTrainLoop", max_epochs=max_epochs, val_interval=6)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
auto_scale_lr = dict(enable=False, base_batch_size=16)
custom_hooks = [dict(type="FadeGroundTruthSampling", last_epochs=4)]
