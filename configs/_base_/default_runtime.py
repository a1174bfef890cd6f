"""Hooks, seed, logging and processes that every config shares."""

default_scope = "mmdet3d"
custom_imports = dict(imports=["padre3d.plugin"], allow_failed_imports=False)

default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=50),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(
        type="CheckpointHook",
        interval=1,
        max_keep_ckpts=3,
        # Files that appear whole or not at all.
        backend_args=dict(backend="padre3d.atomic"),
    ),
    plain_checkpoint=dict(type="PlainCheckpointHook"),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    consistency=dict(type="ConsistencyHook"),
    finite_loss=dict(type="FiniteLossHook"),
    class_transfer=dict(type="ClassTransferHook"),
    shared_statistics=dict(type="SharedStatisticsHook"),
)
visualizer = dict(
    type="Det3DLocalVisualizer", vis_backends=[dict(type="LocalVisBackend")], name="visualizer"
)
env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),
)
randomness = dict(seed=0, deterministic=False)
log_processor = dict(type="LogProcessor", window_size=50, by_epoch=True)
log_level = "INFO"
load_from = None
resume = False
