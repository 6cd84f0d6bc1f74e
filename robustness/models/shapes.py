"""What a network makes of images of some size, found out without weights and without arithmetic."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules import module as registration

from robustness.models.encoders import Encoder, Shape


def refusal(encoder: Callable[[Shape], Encoder], shape: Shape) -> str | None:
    """Why an encoder takes no images of this shape, in torch's words; None if it takes them."""
    try:
        with no_memory(), torch.random.fork_rng(devices=[]):
            module, _ = encoder(shape)
        with torch.no_grad():
            module.eval()(torch.empty(2, *shape, device="meta"))
    except (RuntimeError, ValueError, AssertionError) as error:
        return str(error).splitlines()[0].strip().rstrip(".")
    return None


@contextmanager
def no_memory() -> Iterator[None]:
    """Weights and buffers made within have a shape and no values.

    `torch.device("meta")` would take the values from all tensors, and RegNets read their widths from some.
    """

    def weights(owner: nn.Module, name: str, tensor: Tensor) -> nn.Parameter:
        return nn.Parameter(tensor.to("meta"), requires_grad=tensor.requires_grad)

    def buffer(owner: nn.Module, name: str, tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor.to("meta")

    hooks = [
        registration.register_module_parameter_registration_hook(weights),  # type: ignore[arg-type]
        registration.register_module_buffer_registration_hook(buffer),  # type: ignore[arg-type]
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
