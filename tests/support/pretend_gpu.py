"""A GPU for tests where there is none: tensors that say they are on one, and compute on the CPU.

What fails on a GPU because of where tensors are fails here: operations on tensors of both devices,
NumPy on a GPU's tensor, a CPU's generator, kernels that processors alone have. Values are a CPU's.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._mode_utils import no_dispatch
from torch.utils._pytree import tree_leaves, tree_map

CPU, DEVICE = torch.device("cpu"), torch.device("cuda", 0)
_MIXED = RuntimeError("Expected all tensors to be on the same device, but found cuda:0 and cpu")
_OTHER = RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
# What may read indices and lengths from the CPU.
_FREE = ("index", "index_put_", "_index_put_impl_", "_ctc_loss", "_ctc_loss_backward")
_MAKING = (nn.functional.one_hot, torch._C._nn.pad_sequence)  # tensors where torch says they are
_ANSWERS = {
    **{"is_available": True, "device_count": 1, "current_device": 0, "is_initialized": True},
    **{"is_bf16_supported": True, "get_device_name": "pretended", "mem_get_info": (1 << 33,) * 2},
    **{"memory_allocated": 0, "memory_reserved": 0, "max_memory_allocated": 1 << 20},
    **dict.fromkeys(("_lazy_init", "set_device", "manual_seed_all", "set_rng_state")),
    **dict.fromkeys(("synchronize", "empty_cache", "reset_peak_memory_stats")),
    "get_rng_state": torch.zeros(16),
}


class GpuTensor(Tensor):
    """A tensor that torch takes for one of the CPU, and Python for one of a GPU."""

    __torch_function__ = torch._C._disabled_torch_function_impl
    device = property(lambda _: DEVICE)
    is_cuda = property(lambda _: True)
    data = property(lambda self: self.detach(), lambda self, new: setattr(self, "own", new.own))

    @staticmethod
    def __new__(cls, own: Tensor) -> GpuTensor:
        like = {"dtype": own.dtype, "layout": own.layout, "storage_offset": own.storage_offset()}
        made = Tensor._make_wrapper_subclass(cls, own.shape, strides=own.stride(), **like)
        made.own = own.detach()
        return made

    def __repr__(self, **_: Any) -> str:
        return f"GpuTensor({self.own})"

    def __reduce_ex__(self, protocol: int) -> Any:
        return self.own.__reduce_ex__(protocol)  # states are read onto the CPU in any case

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        made = GpuTensor(self.own.clone()).requires_grad_(self.requires_grad)
        made.__dict__ |= {k: v for k, v in self.__dict__.items() if k == "_is_param"}
        return memo.setdefault(id(self), made)

    def numpy(self, **_: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def tolist(self) -> Any:
        return self.own.tolist()

    def untyped_storage(self) -> Any:
        return self.own.untyped_storage()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, func._schema.name.partition("::")[2]
        given = tree_leaves((args, kwargs))
        if func.namespace == "mkldnn":
            raise NotImplementedError(f"{func} has no kernel for GPUs")
        if any(isinstance(one, torch.Generator) for one in given):
            raise _OTHER
        others = [t for t in given if isinstance(t, Tensor) and not isinstance(t, cls)]
        free = name == "copy_" or (name in _FREE and isinstance(args[0], cls))
        if not free and any(one.dim() for one in others):
            raise _MIXED
        if torch.Tag.inplace_view in func.tags:
            with no_dispatch():
                func(*args, **kwargs)  # the shape that torch knows
        output = func(*tree_map(_plain, args), **tree_map(_plain, kwargs))
        known = {id(_plain(t)): t for t in given if isinstance(t, Tensor)}
        return tree_map(lambda o: known.get(id(o)) if id(o) in known else _there(o), output)


def _plain(value: Any) -> Any:
    return value.own if isinstance(value, GpuTensor) else value


def _there(value: Any) -> Any:
    return GpuTensor(value) if isinstance(value, Tensor) else value


class _Across(torch.autograd.Function):
    """A copy on the other device; its gradient comes back."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        own = _plain(tensor)
        return own.clone() if own is not tensor else GpuTensor(own.detach().clone())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Across.apply(gradient)


class _Devices(TorchFunctionMode):
    """Makes, and moves, what is asked for on a GPU; of one thread."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in (Tensor.to, Tensor.cuda, Tensor.cpu):
            return _moved(func, *args, **kwargs)
        if func in _MAKING:
            found = func(*tree_map(_plain, args), **kwargs)
            return (
                _there(found) if any(isinstance(t, GpuTensor) for t in tree_leaves(args)) else found
            )
        if kwargs.get("device") is None:
            return func(*args, **kwargs)
        gpu = torch.device(kwargs.pop("device")).type == "cuda"
        if gpu and kwargs.get("generator") is not None:
            raise _OTHER
        made = func(*tree_map(_plain, args), device=CPU, **kwargs)
        return GpuTensor(made).requires_grad_(made.requires_grad) if gpu else made


def _moved(func: Any, tensor: Tensor, *args: Any, copy: bool = False, **kwargs: Any) -> Tensor:
    if func is not Tensor.to:
        device, dtype = (DEVICE if func is Tensor.cuda else CPU), None
    elif args and isinstance(args[0], Tensor):
        device, dtype = args[0].device, args[0].dtype
    else:
        device, dtype, *_ = torch._C._nn._parse_to(*args, **kwargs)
    across = device is not None and device.type != tensor.device.type
    moved = _Across.apply(tensor) if across else tensor
    return Tensor.to(moved, dtype or moved.dtype, copy=copy and not across)


@contextmanager
def pretend_gpu() -> Iterator[None]:
    """Let torch have a GPU while the block runs, in this process and threads that it starts."""
    import peft  # noqa: F401  # it asks what there is where it is first imported
    from accelerate.state import AcceleratorState

    apply, run, cast = nn.Module._apply, threading.Thread.run, torch.autocast.__init__
    enabled, dtype_of, future = (
        torch.is_autocast_enabled,
        torch.get_autocast_dtype,
        torch.__future__,
    )

    def swapping(module: Any, *args: Any, **kwargs: Any) -> Any:
        before = future.get_swap_module_params_on_conversion()
        future.set_swap_module_params_on_conversion(True)
        try:
            return apply(module, *args, **kwargs)
        finally:
            future.set_swap_module_params_on_conversion(before)

    def pinned(tensor: Tensor) -> Tensor:
        if isinstance(tensor, GpuTensor):
            raise RuntimeError("only dense CPU tensors can be pinned")
        return tensor.clone()

    def on_cpu(self: Any, device_type: str, *args: Any, **kwargs: Any) -> None:
        cast(self, "cpu", *args, **kwargs)

    def in_mode(thread: Any) -> None:
        with _Devices():
            run(thread)

    with pytest.MonkeyPatch.context() as patch, _Devices():
        for name, answer in _ANSWERS.items():
            patch.setattr(torch.cuda, name, lambda *_, answer=answer, **__: answer)
        patch.setattr(nn.Module, "_apply", swapping)
        patch.setattr(threading.Thread, "run", in_mode)
        patch.setattr(Tensor, "pin_memory", pinned)
        patch.setattr(torch.autocast, "__init__", on_cpu)
        patch.setattr(torch, "is_autocast_enabled", lambda *_: enabled("cpu"))
        patch.setattr(torch, "get_autocast_dtype", lambda _: dtype_of("cpu"))
        patch.setattr(torch, "inference_mode", lambda *_: torch.no_grad())  # it knows no subclass
        AcceleratorState._reset_state(reset_partial_state=True)
        try:
            yield
        finally:
            AcceleratorState._reset_state(reset_partial_state=True)
