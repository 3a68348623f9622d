"""A device that computes on the processor and refuses what GPUs refuse: tensors of two places, foreign generators,
float64 (as MPS does).

No GPU is at hand where these tests run. Tensors of this one say that they are on another device, so that the package
takes the ways that it has for those; every operation runs on the processor's tensor within, whose layout they have.
Importing this changes torch for the whole process: for processes of their own only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

aten = torch.ops.aten
# Those that may have tensors of both places.
BETWEEN = {
    aten.copy_.default,
    aten._to_copy.default,
    aten.index.Tensor,
    aten.index_put_.default,
    aten.index_put.default,
    aten._index_put_impl_.default,
    aten.set_.source_Tensor,
}
# Those whose answer, or whose size, the host has to wait for; so it has to for copies between both places.
ASKING = {
    aten._local_scalar_dense.default,
    aten.equal.default,
    aten.masked_select.default,
    aten.nonzero.default,
    aten._unique2.default,
    aten.unique_dim.default,
    aten.unique_consecutive.default,
    aten.bincount.default,
    aten.repeat_interleave.Tensor,
}
waits: list[Any] = []  # operations that a host with a GPU would have waited in


class _Backend(_DummyBackendModule):
    """What torch asks of a device's module. Like a GPU it draws from a generator of its own."""

    def __init__(self) -> None:
        self.state = torch.Generator().get_state()

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]

    def device(self, device: Any) -> AbstractContextManager[None]:
        return nullcontext()

    def manual_seed_all(self, seed: int) -> None:
        self.state = torch.Generator().manual_seed(seed).get_state()

    def get_rng_state(self, device: Any = None) -> Tensor:
        return self.state.clone()

    def set_rng_state(self, state: Tensor, device: Any = None) -> None:
        self.state = state.clone()


BACKEND = _Backend()
_setup_privateuseone_for_python_backend("pretended", BACKEND)
DEVICE = torch.device("pretended", 0)
_tensor, _load = torch.tensor, torch.load


def _tensor_there(data: Any, *args: Any, device: Any = None, **kwargs: Any) -> Tensor:
    """``torch.tensor``, which allocates before anybody can step in."""
    place = torch.empty(0).device if device is None else torch.device(device)  # of a with torch.device()
    there = place.type == DEVICE.type
    made = _tensor(data, *args, device="cpu" if there else place, **kwargs)
    return made.to(place) if there else made


def _enter(self: Any) -> None:
    self.without_gradient = torch.no_grad()
    self.without_gradient.__enter__()


def _load_here(file: Any, map_location: Any = None, **kwargs: Any) -> Any:
    """``torch.load`` onto the processor, whose storages alone there are."""
    return _load(file, map_location="cpu" if map_location is not None else None, **kwargs)


torch.tensor = _tensor_there
torch.load = _load_here
# Wrapped tensors cannot be made in inference mode.
torch.inference_mode.__enter__ = _enter  # type: ignore[method-assign]
torch.inference_mode.__exit__ = lambda self, *error: self.without_gradient.__exit__(*error)  # type: ignore[method-assign]


class There(Tensor):
    """A tensor on the device; ``here`` is what it computes with."""

    here: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, here: Tensor) -> There:
        made = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            here.size(),
            strides=here.stride(),
            storage_offset=here.storage_offset(),
            dtype=here.dtype,
            layout=here.layout,
            device=DEVICE,
        )
        made.here = here
        return made  # type: ignore[no-any-return]

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(function, args, kwargs or {})

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"There({self.here})"

    def __deepcopy__(self, memo: dict[int, Any]) -> There:
        copy = There(self.here.clone()).requires_grad_(self.requires_grad)
        copy._is_param = getattr(self, "_is_param", False)  # type: ignore[attr-defined]
        memo[id(self)] = copy
        return copy  # type: ignore[return-value]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.here.__reduce_ex__(protocol)  # a file is read onto the processor, as Accelerate does

    def tolist(self) -> Any:
        waits.append("tolist")
        return self.here.tolist()

    def numpy(self, **_: Any) -> Any:  # type: ignore[override]
        raise TypeError("a tensor of the device is no array: copy it first")

    @property
    def data(self) -> Tensor:  # type: ignore[override]
        return There(self.here)

    @data.setter
    def data(self, new: Tensor) -> None:
        """A module that is moved to where it is keeps its weights, which optimizers hold."""
        torch.Tensor.data.__set__(self, new)  # type: ignore[attr-defined]
        self.here = _here(new)

    def data_ptr(self) -> int:
        return self.here.data_ptr()

    def untyped_storage(self) -> torch.UntypedStorage:
        return self.here.untyped_storage()


class Pretending(TorchDispatchMode):
    """Within, ``.to(DEVICE)`` and ``device=DEVICE`` lead to :class:`There`."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(function, args, kwargs or {})


def run(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """The operation on the processor.

    Raises:
        RuntimeError: on a GPU it would be one.
    """
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    there = [tensor for tensor in tensors if isinstance(tensor, There)]
    if function is aten._has_compatible_shallow_copy_type.default:  # or a weight must be another object, once moved
        return len(there) in (0, 2)
    elsewhere = [tensor for tensor in tensors if not isinstance(tensor, There)]
    if there and function not in BETWEEN and any(tensor.ndim for tensor in elsewhere):
        raise RuntimeError(
            f"{function}: tensors of two devices, of shapes {[tuple(tensor.shape) for tensor in tensors]}"
        )
    _check_indices(function, args, bool(there))
    if _asks(function, args, kwargs, bool(there)):
        waits.append(function)
    place = None if kwargs.get("device") is None else torch.device(kwargs["device"])
    if place is not None and place.type != "meta":
        kwargs = {name: value for name, value in kwargs.items() if name != "pin_memory"} | {"device": "cpu"}
    on_device = place.type == DEVICE.type if place is not None else bool(there)
    if on_device and isinstance(kwargs.get("generator"), torch.Generator):
        raise RuntimeError(f"{function}: a generator of the processor's for a tensor of the device")
    draws = on_device and torch.Tag.nondeterministic_seeded in function.tags
    with _drawing() if draws else nullcontext():
        result = IN_PARTS.get(function, function)(*tree_map(_here, args), **tree_map(_here, kwargs))
    if function is aten._to_copy.default and not result.is_meta and result.data_ptr() == _here(args[0]).data_ptr():
        result = result.clone()
    if function is aten.copy_.default:
        return args[0]

    def back(made: Any) -> Any:
        if not isinstance(made, Tensor) or function in (aten._local_scalar_dense.default, aten.equal.default):
            return made
        given = next((tensor for tensor in tensors if _here(tensor) is made), None)  # in place
        if given is not None:
            return given
        if on_device and made.dtype in (torch.float64, torch.complex128):
            raise TypeError(f"{function}: float64, which not every device has (MPS)")
        # A conjugate that is still to be computed would be known within alone.
        return There(made.resolve_conj().resolve_neg()) if on_device else made

    return tree_map(back, result)


def _asks(function: Any, args: Any, kwargs: dict[str, Any], there: bool) -> bool:
    if function is aten._to_copy.default and kwargs.get("device") is not None:
        return isinstance(args[0], There) != (torch.device(kwargs["device"]).type == DEVICE.type)
    if function is aten.copy_.default:
        return isinstance(args[0], There) != isinstance(args[1], There)
    if function is aten.index.Tensor and there:
        return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])
    return there and function in ASKING


@contextmanager
def _drawing() -> Iterator[None]:
    before = torch.get_rng_state()
    torch.set_rng_state(BACKEND.state)
    try:
        yield
    finally:
        BACKEND.state = torch.get_rng_state()
        torch.set_rng_state(before)


def _check_indices(function: Any, args: Any, there: bool) -> None:
    if function is aten.index.Tensor and there and not isinstance(args[0], There):
        raise RuntimeError("indices of the device for a tensor of the processor's")
    puts = function in (aten.index_put_.default, aten.index_put.default, aten._index_put_impl_.default)
    if puts and there and not (isinstance(args[0], There) and (isinstance(args[2], There) or not args[2].ndim)):
        raise RuntimeError("put by indices from one device to another")


def _here(leaf: Any) -> Any:
    return leaf.here if isinstance(leaf, There) else leaf


def _lstm_cell(
    of_input: Tensor, of_hidden: Tensor, cell: Tensor, *biases: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    gates = of_input + of_hidden + sum(bias for bias in biases if bias is not None)
    take, keep, new, give = _activated(gates)
    cell = keep * cell + take * new
    return give * cell.tanh(), cell, gates


def _lstm_cell_backward(
    of_output: Tensor | None, of_cell: Tensor | None, before: Tensor, cell: Tensor, gates: Tensor, has_bias: bool
) -> tuple[Tensor, Tensor, Tensor]:
    take, keep, new, give = _activated(gates)
    of_output = torch.zeros_like(cell) if of_output is None else of_output
    of_cell = torch.zeros_like(cell) if of_cell is None else of_cell
    of_cell = of_cell + of_output * give * (1 - cell.tanh().square())
    parts = (
        of_cell * new * take * (1 - take),
        of_cell * before * keep * (1 - keep),
        of_cell * take * (1 - new.square()),
        of_output * cell.tanh() * give * (1 - give),
    )
    of_gates = torch.cat(parts, dim=1)
    return of_gates, of_cell * keep, of_gates.sum(dim=0) if has_bias else of_gates.new_zeros(0)


def _activated(gates: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    take, keep, new, give = gates.chunk(4, dim=1)
    return take.sigmoid(), keep.sigmoid(), new.tanh(), give.sigmoid()


# A step of an LSTM, which devices have in one operation, and processors do not.
IN_PARTS = {
    aten._thnn_fused_lstm_cell.default: _lstm_cell,
    aten._thnn_fused_lstm_cell_backward_impl.default: _lstm_cell_backward,
}
