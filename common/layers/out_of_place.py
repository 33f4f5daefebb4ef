"""Run a network that was written with in-place operations as if it had none."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_TWINS: dict[str, Callable[..., Any]] = {
    "add_": torch.add,
    "sub_": torch.sub,
    "mul_": torch.mul,
    "div_": torch.div,
    "relu_": torch.relu,
    "clamp_": torch.clamp,
}


class OutOfPlace(TorchFunctionMode):
    """Within this context `out += identity` and `F.relu(x, inplace=True)` make a new tensor.

    Opacus hooks hand each module views of their tensors, and autograd refuses to change a view in place (residual
    sums of torchvision's ResNet, EfficientNet and MobileNet; activations of DenseNet and Inception). A torch.fx
    rewrite would do the same, but while fx traces it replaces `nn.Module.__call__` for the whole process, and so
    breaks the forward pass of any other thread. A function mode is the thread's own, and leaves the modules, their
    names and their state_dict as they are.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        if named.get("inplace"):
            named["inplace"] = False
        twin = _TWINS.get(getattr(func, "__name__", ""), func)
        return twin(*args, **named)


def run_out_of_place(network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """network(images), with every in-place operation on tensors made out of place."""
    with OutOfPlace():
        return network(images)
