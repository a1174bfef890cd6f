"""Several processes without a GPU: what mmengine leaves out of its launchers.

mmengine calls CUDA in every launcher and hands a device to DistributedDataParallel, which refuses
one for a model on the CPU. :func:`prepare_processes` makes the group beforehand in that case, which
mmengine then uses, and names a wrapper that keeps no device.
"""

from __future__ import annotations

import datetime
import os

import torch
from mmengine.config import Config
from mmengine.dist import all_reduce, is_distributed
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import MODEL_WRAPPERS
from torch import distributed, nn

from padre3d.training.memory import keep_freed_memory

CPU_BACKEND = "gloo"


@MODEL_WRAPPERS.register_module()
class CPUDistributedDataParallel(MMDistributedDataParallel):
    """mmengine's wrapper for a model on the CPU: it has no device to pin.

    Args:
        module: the model.
        device_ids: ignored; mmengine passes the local rank.
        **kwargs: as for :class:`torch.nn.parallel.DistributedDataParallel`.
    """

    def __init__(self, module: nn.Module, device_ids: object = None, **kwargs: object) -> None:
        kwargs.setdefault("broadcast_buffers", False)
        super().__init__(module=module, **kwargs)


def largest(*numbers: int) -> list[int]:
    """The largest of each number over all processes, which all must ask; alone, the numbers."""
    if not is_distributed():
        return list(numbers)
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    values = torch.tensor(numbers, device=device)
    all_reduce(values, "max")
    return values.tolist()


def prepare_processes(cfg: Config) -> None:
    """Join the processes' group if ``cfg.launcher`` asks for one and there is no GPU.

    For a deterministic run cuBLAS gets the workspace without which torch refuses products on a GPU.
    Without a GPU the memory of freed tensors is kept.

    Args:
        cfg: the config; its backend and its model wrapper are replaced in that case. With a GPU, or
            with one process, they are not.

    Raises:
        ValueError: for a launcher that needs GPUs, or synchronised normalisation, which torch has
            on GPUs only.
    """
    if (cfg.get("randomness") or {}).get("deterministic"):
        # Read when the first product makes the workspace.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if not torch.cuda.is_available():
        keep_freed_memory()
    if cfg.get("launcher", "none") == "none" or torch.cuda.is_available():
        return
    if cfg.launcher != "pytorch":
        raise ValueError(f"launcher: expected 'pytorch' without a GPU, got {cfg.launcher!r}")
    if cfg.get("sync_bn"):
        raise ValueError(f"sync_bn: expected none without a GPU, got {cfg.sync_bn!r}")
    cfg.setdefault("env_cfg", {})
    cfg.env_cfg.dist_cfg = {**cfg.env_cfg.get("dist_cfg", {}), "backend": CPU_BACKEND}
    cfg.model_wrapper_cfg = dict(
        type=CPUDistributedDataParallel.__name__,
        find_unused_parameters=cfg.get("find_unused_parameters", False),
    )
    if distributed.is_initialized():
        return
    missing = [name for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR") if name not in os.environ]
    if missing:
        raise ValueError(f"launcher 'pytorch': expected to run under torchrun, missing {missing}")
    seconds = cfg.env_cfg.dist_cfg.get("timeout", 1800)
    distributed.init_process_group(CPU_BACKEND, timeout=datetime.timedelta(seconds=seconds))
