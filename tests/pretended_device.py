"""A GPU that is not there: tensors that say "cuda", keep their values on the CPU, mix as CUDA's do.

:class:`PretendedTensor` reports the device ``cuda:0``: code that asks for ``x.device``, and torch's
own autocast, treat it as they treat a tensor on a GPU. Inside :class:`PretendedDevice` every
operator, of the forward and of the backward pass, goes through one place, which

- refuses what CUDA refuses: operands on two devices (apart from a CPU number in an element-wise
  operator, and CPU indices), a CPU generator, ``numpy()``;
- counts what makes the host wait for the device, as ``torch.cuda.set_sync_debug_mode`` does: reads
  of values, copies from the host that block, and results whose size depends on values;
- computes with the CPU's kernels, so that decoding, matching and suppression see real values.

It knows nothing of kernels (Triton's, cuDNN's), streams or the accuracy of a GPU.
"""

from __future__ import annotations

import ctypes
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from numbers import Number
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

DEVICE = torch.device("cuda", 0)
# What torch's C++ takes the device for. Autograd cannot record CUDA tensors without CUDA; XLA is a
# device type that CUDA's autocast serves too.
INSIDE_TORCH = torch.device("xla", 0)
AUTOCAST = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCUDA)
XLA, META = 9, 14  # numbers of c10::DeviceType
aten = torch.ops.aten

# Kinds of waits.
READ, UPLOAD, SHAPE = "read", "upload", "shape"
KINDS = (READ, UPLOAD, SHAPE)
# Operators whose result has a size that the host must read first, or that read values themselves.
WAITING_OPS = {
    aten._local_scalar_dense: READ,
    aten.equal: READ,
    aten.allclose: READ,
    aten.bincount: READ,
    aten.nonzero: SHAPE,
    aten.masked_select: SHAPE,
    aten._unique: SHAPE,
    aten._unique2: SHAPE,
    aten.unique_dim: SHAPE,
    aten.unique_consecutive: SHAPE,
    aten.unique_dim_consecutive: SHAPE,
    aten.repeat_interleave: SHAPE,  # unless it is told the size
}
INDEXING = (aten.index, aten._unsafe_index)
INDEX_PUT = (aten.index_put, aten.index_put_, aten._index_put_impl_, aten._unsafe_index_put)
# Not element-wise by their tag, but a CPU number may stand for a tensor.
TAKES_CPU_NUMBER = (aten.masked_fill, aten.masked_fill_, aten.fill_, aten.index_fill_)


class DeviceMismatchError(RuntimeError):
    """What CUDA would refuse."""


class Wait(NamedTuple):
    """One wait of the host: in which stage, of which kind, by which operator, from which line."""

    stage: str
    kind: str
    operator: str
    line: str


class PretendedTensor(Tensor):
    """A tensor on ``DEVICE`` by its own account; ``held`` has the values, on the CPU."""

    held: Tensor
    device = DEVICE
    is_cuda, is_cpu, is_xla = True, False, False
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: Tensor) -> PretendedTensor:
        # In inference mode too: views of parameters have their version counter.
        with torch.inference_mode(False) if torch.is_inference_mode_enabled() else nullcontext():
            return Tensor._make_wrapper_subclass(
                cls,
                held.shape,
                strides=held.stride(),
                storage_offset=held.storage_offset(),
                dtype=held.dtype,
                device=INSIDE_TORCH,
                _extra_dispatch_keys=AUTOCAST,
            )

    def __init__(self, held: Tensor) -> None:
        self.held = held.detach()

    def __repr__(self) -> str:
        return f"PretendedTensor({self.held!r})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise RuntimeError(f"{func}: a pretended tensor is used outside of PretendedDevice")


class PretendedDevice:
    """A context in which pretended tensors work; ``waits`` lists the waits of the host.

    Autocast for CUDA works inside. A stage is named with :meth:`stage` or :meth:`watch`.
    """

    def __init__(self) -> None:
        self.waits: list[Wait] = []
        self._stages = ["outside"]
        self._context = ExitStack()

    def __enter__(self) -> PretendedDevice:
        _give_device_a_guard()
        enter = self._context.enter_context
        never = "torch.cuda.amp.common.amp_definitely_not_available"
        enter(mock.patch(never, return_value=False))
        enter(mock.patch("torch.cuda.is_bf16_supported", return_value=True))
        # On the calling thread: torch started no other for a device it does not have.
        enter(torch.autograd.set_multithreading_enabled(False))
        enter(_Constructors(self))
        enter(_Operators(self))
        return self

    def __exit__(self, *error: object) -> None:
        self._context.close()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Waits inside belong to ``name``; of stages in one another the innermost counts."""
        self._stages.append(name)
        try:
            yield
        finally:
            self._stages.pop()

    def watch(self, owner: object, method: str, name: str) -> None:
        """Make a method of an object a stage, for good."""
        function = getattr(owner, method)

        def run(*args: Any, **kwargs: Any) -> Any:
            with self.stage(name):
                return function(*args, **kwargs)

        setattr(owner, method, run)

    def counts(self) -> Counter[tuple[str, str]]:
        """Waits by (stage, kind)."""
        return Counter((wait.stage, wait.kind) for wait in self.waits)

    def wait(self, kind: str, operator: object) -> None:
        """Note a wait."""
        self.waits.append(Wait(self._stages[-1], kind, str(operator), _calling_line()))


class _Operators(TorchDispatchMode):
    """Every operator: its operands' devices, its waits, its result by the CPU's kernel."""

    def __init__(self, device: PretendedDevice) -> None:
        super().__init__()
        self.wait = device.wait

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is not aten.detach.default and _is_composite(func):
            with self:  # inference mode hands these on undivided
                return func.decompose(*args, **kwargs)
        ours, foreign = _by_device(args, kwargs)
        asked = kwargs.get("device")
        on_device = bool(ours) if asked is None else _is_ours(asked)
        if func.overloadpacket in (aten._to_copy, aten.copy_):
            on_device = self._copy(func, args, kwargs, on_device)
        elif ours:
            self._check_devices(func, args, kwargs, foreign)
            self._count(func, args, kwargs)
        _check_generator(func, args, kwargs, on_device)
        if asked is not None:
            kwargs = {**kwargs, "device": torch.device("cpu")}
        held_args, held_kwargs = tree_map_only(PretendedTensor, lambda t: t.held, (args, kwargs))
        out = func(*held_args, **held_kwargs)
        if not on_device:
            return out
        out = tree_map_only(Tensor, PretendedTensor, out)
        return return_and_correct_aliasing(func, args, kwargs, out)

    def _copy(self, func, args, kwargs, on_device: bool) -> bool:
        """Whether the result lies on the device; a copy to or from it waits unless told not to."""
        blocks = not kwargs.get("non_blocking", len(args) > 2 and args[2])
        source, *_ = args
        if func.overloadpacket is aten.copy_:
            target, source = args[:2]
            on_device = isinstance(target, PretendedTensor)
        if blocks and isinstance(source, PretendedTensor) != on_device:
            self.wait(UPLOAD if on_device else READ, func)
        return on_device

    def _check_devices(self, func, args, kwargs, foreign: list[Tensor]) -> None:
        packet = func.overloadpacket
        if packet in INDEXING + INDEX_PUT and isinstance(args[0], PretendedTensor):
            foreign = [t for t in foreign if not any(t is index for index in args[1])]
            if packet in INDEX_PUT and args[2].dim() == 0:
                foreign = [t for t in foreign if t is not args[2]]
        elif torch.Tag.pointwise in func.tags or packet in TAKES_CPU_NUMBER:
            written = _written(func, args, kwargs)
            foreign = [t for t in foreign if t.dim() or any(t is w for w in written)]
        if foreign:
            raise DeviceMismatchError(
                f"{func}: expected all tensors to be on {DEVICE}, got shapes "
                f"{[tuple(t.shape) for t in foreign]} on cpu at {_calling_line()}"
            )

    def _count(self, func, args, kwargs) -> None:
        packet = func.overloadpacket
        if packet in WAITING_OPS and kwargs.get("output_size") is None:
            self.wait(WAITING_OPS[packet], func)
        if packet not in INDEXING + INDEX_PUT:
            return
        indices = [t for t in args[1] if t is not None]
        number = packet in INDEX_PUT and not isinstance(args[2], PretendedTensor)
        masks = [t for t in indices if t.dtype in (torch.bool, torch.uint8)]
        if number and len(masks) == len(indices) == 1:
            return  # becomes masked_fill, which takes the number along
        for _ in masks:
            self.wait(SHAPE, func)
        for _ in range(sum(not isinstance(t, PretendedTensor) for t in indices) + number):
            self.wait(UPLOAD, func)


class _Constructors(TorchFunctionMode):
    """What torch's Python layer would ask a real device for before any operator runs."""

    def __init__(self, device: PretendedDevice) -> None:
        super().__init__()
        self.wait = device.wait

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        ours = bool(args) and isinstance(args[0], PretendedTensor)
        if func in (Tensor.numpy, Tensor.__array__) and ours:
            raise DeviceMismatchError(f"can't convert {DEVICE} device type tensor to numpy")
        if func is Tensor.cuda:
            return _move(args[0], DEVICE)
        if func is Tensor.to:
            return self._to(*args, **kwargs)
        if func is Tensor.tolist and ours:
            self.wait(READ, "tolist")
            return args[0].held.tolist()
        if func in (Tensor.__getitem__, Tensor.__setitem__) and ours:
            args = (args[0], _index_tensors(args[1]), *args[2:])
        if func is Tensor.__setitem__ and ours and isinstance(args[2], Number):
            # So it reaches a CUDA device, and only that.
            args = (*args[:2], torch.tensor(args[2], dtype=args[0].dtype))
        if func is Tensor.new_tensor and ours:
            kwargs.setdefault("dtype", args[0].dtype)
            return _move(torch.tensor(*args[1:], **kwargs), DEVICE)
        if kwargs.get("device") is None or not _is_ours(kwargs["device"]):
            return func(*args, **kwargs)
        del kwargs["device"]
        if func in (torch.tensor, torch.as_tensor, torch.asarray):
            return _move(func(*args, **kwargs), DEVICE)
        gradient = kwargs.pop("requires_grad", False)
        _check_generator(func, args, kwargs, on_device=True)
        out = func(*args, **kwargs)
        out = out if isinstance(out, PretendedTensor) else PretendedTensor(out)
        return out.requires_grad_(gradient)

    @staticmethod
    def _to(tensor: Tensor, *args: Any, copy: bool = False, **kwargs: Any) -> Tensor:
        other = kwargs.pop("other", args[0] if args else None)
        if isinstance(other, Tensor):
            kwargs |= dict(device=other.device, dtype=other.dtype)
            args = args[1:]
        device, dtype, non_blocking, memory_format = torch._C._nn._parse_to(*args, **kwargs)
        return _move(tensor, device, dtype, non_blocking, memory_format, copy)


def _index_tensors(index: Any) -> Any:
    """An index with lists and ranges as what they become: tensors on the CPU."""
    if isinstance(index, (list, range)):
        return torch.tensor(list(index))
    return tuple(map(_index_tensors, index)) if isinstance(index, tuple) else index


def _move(
    tensor: Tensor,
    device: torch.device | None,
    dtype: torch.dtype | None = None,
    non_blocking: bool = False,
    memory_format: torch.memory_format | None = None,
    copy: bool = False,
) -> Tensor:
    """``tensor.to(...)``, without initialising CUDA."""
    ours = isinstance(tensor, PretendedTensor) if device is None else _is_ours(device)
    same = ours == isinstance(tensor, PretendedTensor) and dtype in (None, tensor.dtype)
    if same and not copy and memory_format is None:
        return tensor
    options = dict(
        device=INSIDE_TORCH if ours else torch.device("cpu"),
        non_blocking=non_blocking,
        memory_format=memory_format,
    )
    return aten._to_copy.default(tensor, dtype=dtype or tensor.dtype, **options)


def _give_device_a_guard() -> None:
    """Let autograd record tensors of a device that torch has no support for.

    It asks every device for a guard (current stream, current device). The place of ours in torch's
    table is empty; it gets the guard of the meta device, which does nothing.
    """
    library = ctypes.CDLL(str(next((Path(torch.__file__).parent / "lib").glob("libc10.*"))))
    table = "_ZN3c104impl26device_guard_impl_registryE"
    guards = (ctypes.c_void_p * (META + 1)).in_dll(library, table)
    guards[XLA] = guards[XLA] or guards[META]


def to_pretended(module: nn.Module) -> nn.Module:
    """Move a module's parameters and buffers onto the pretended device, in place."""
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            moved = nn.Parameter(PretendedTensor(parameter.detach()), parameter.requires_grad)
            part.register_parameter(name, moved)
        for name, buffer in part.named_buffers(recurse=False):
            setattr(part, name, PretendedTensor(buffer))
    return module


def held(tree: Any) -> Any:
    """The values of all pretended tensors in nested containers, without counting a wait."""
    return tree_map_only(PretendedTensor, lambda t: t.held, tree)


def _is_ours(device: torch.device | str | int) -> bool:
    return torch.device(device).type in (DEVICE.type, INSIDE_TORCH.type)


def _by_device(args: Any, kwargs: Any) -> tuple[list[Tensor], list[Tensor]]:
    tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
    ours = [t for t in tensors if isinstance(t, PretendedTensor)]
    return ours, [t for t in tensors if not isinstance(t, PretendedTensor)]


def _is_composite(func: Any) -> bool:
    return torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd")


def _written(func: Any, args: Any, kwargs: Any) -> list[Tensor]:
    """Arguments that the operator writes to."""
    named = list(zip(func._schema.arguments, args, strict=False))
    named += [(a, kwargs[a.name]) for a in func._schema.arguments if a.name in kwargs]
    return [
        tensor
        for argument, given in named
        if argument.alias_info is not None and argument.alias_info.is_write
        for tensor in tree_leaves(given)
    ]


def _check_generator(func: Any, args: Any, kwargs: Any, on_device: bool) -> None:
    generators = [g for g in tree_leaves((args, kwargs)) if isinstance(g, torch.Generator)]
    if on_device and generators:
        raise DeviceMismatchError(f"{func}: expected a generator of {DEVICE}, got one of cpu")


def _calling_line() -> str:
    """File and line nearest to the operator that are neither torch's nor this file's."""
    for frame in reversed(traceback.extract_stack()):
        if "/torch/" not in frame.filename and frame.filename != __file__:
            return f"{Path(frame.filename).name}:{frame.lineno}"
    return "unknown"
