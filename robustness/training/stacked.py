"""Networks of one structure as one: weights stacked on a leading axis, one batched computation for all."""

import copy
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from robustness.models import Network

Images = Float[Tensor, "n channels height width"]


class Stacked:
    """Networks of one structure as one, weights and running statistics stacked on a leading axis.

    From then on the networks' own weights are views into the stacks.
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        self._skeleton = copy.deepcopy(networks[0]).train()
        kept = set(networks[0].state_dict())
        parameters, buffers = stack_module_state(list(networks))
        self._parameters = {name: _laid_out(stack) for name, stack in parameters.items()}
        self._buffers = {name: buffer for name, buffer in buffers.items() if name in kept}
        for place, network in enumerate(networks):
            for name, stack in (self._parameters | self._buffers).items():
                _replace(network, name, stack.detach()[place])
        self._layers = _linear_layers(self._skeleton)
        self._size = len(networks)
        self._members = torch.vmap(self._one, in_dims=(0, 0, None), out_dims=1, randomness="same")

    def __call__(self, images: Images) -> Float[Tensor, "n members dim"]:
        """Embeddings of all images by all members."""
        if self._layers is not None:
            return self._in_turn(self._layers, images)
        embeddings: Tensor = self._members(self._parameters, self._buffers, images)
        return embeddings

    def _in_turn(self, layers: Sequence[tuple[str, nn.Module]], images: Images) -> Tensor:
        """Every layer once for all: at small batches vmap takes half as long again."""
        x = self._skeleton.standardised(images).flatten(1).expand(self._size, -1, -1)
        for name, layer in layers:
            if isinstance(layer, nn.Linear):
                weight, bias = (self._parameters.get(f"{name}.{part}") for part in ("weight", "bias"))
                assert weight is not None
                x = torch.bmm(x, weight.mT) if bias is None else torch.baddbmm(bias.unsqueeze(1), x, weight.mT)
            else:
                x = layer(x)
        return x.transpose(0, 1)

    def _one(self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], images: Images) -> Tensor:
        embeddings: Tensor = functional_call(self._skeleton, (parameters, buffers), (images,))[1]
        return embeddings

    def parameters(self) -> list[Tensor]:
        """Every weight, members on the leading axis."""
        return list(self._parameters.values())

    def buffers(self) -> list[Tensor]:
        """Every running statistic, members on the leading axis."""
        return list(self._buffers.values())

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for weights in self._parameters.values():
            weights.grad = None


def as_it_lies(stack: Tensor) -> Tensor:
    """A stack, or its gradient, with its dimensions in the order of memory.

    Weights of linear layers lie there transposed, as batched products return their gradients: else every step would
    copy them.
    """
    return stack.mT if stack.dim() == 3 else stack


def _linear_layers(network: Network) -> list[tuple[str, nn.Module]] | None:
    """Names and modules of a network that flattens images and has linear layers and ReLUs alone, in their order."""
    inner = [module for module in network.modules() if list(module.children())]
    first, *layers = [(name, module) for name, module in network.named_modules() if not list(module.children())]
    plain = all(isinstance(module, Network | nn.Sequential) for module in inner)
    if not plain or not isinstance(first[1], nn.Flatten):
        return None
    return layers if all(isinstance(module, nn.Linear | nn.ReLU | nn.Identity) for _, module in layers) else None


def _laid_out(stack: Tensor) -> Tensor:
    """The stack, laid out in memory so that `as_it_lies` is contiguous."""
    return as_it_lies(as_it_lies(stack.detach()).contiguous()).requires_grad_()


def _replace(network: nn.Module, name: str, value: Tensor) -> None:
    *path, last = name.split(".")
    owner = network.get_submodule(".".join(path))
    if last in owner._parameters:
        owner._parameters[last] = nn.Parameter(value, requires_grad=False)
    else:
        owner._buffers[last] = value
