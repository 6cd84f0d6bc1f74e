"""What a trial trains: an encoder makes representations h, and a projector makes embeddings z of them."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Network(nn.Module):
    """An encoder and its projector, for images of 0 to 1 that are standardised per channel first.

    Without that, what all images have in common outweighs what tells them apart: the embeddings of fresh
    digits have a mean cosine of .98, and several losses collapse at learning rates that suit the others.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, encoder: nn.Module, projector: nn.Module, *, mean: Sequence[float], deviation: Sequence[float]
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).view(-1, 1, 1), persistent=False)
        self.encoder = encoder
        self.projector = projector

    def forward(
        self, images: Float[Tensor, "n channels height width"]
    ) -> tuple[Float[Tensor, "n h_dim"], Float[Tensor, "n z_dim"]]:
        """Representations and embeddings of a batch of images."""
        h = self.encoder(self.standardised(images))
        return h, self.projector(h)

    def standardised(
        self, images: Float[Tensor, "n channels height width"]
    ) -> Float[Tensor, "n channels height width"]:
        """Images by the data set's mean and deviation of each channel."""
        return (images - self.mean) / self.deviation


def projector(width: int, widths: Sequence[int], *, batch_norm: bool) -> nn.Module:
    """Linear layers of these widths with a ReLU between them.

    Args:
        width: of the representation.
        widths: of every layer, the embedding's last.
        batch_norm: batch normalisation between each layer but the last and its ReLU.
    """
    layers: list[nn.Module] = []
    for hidden in widths[:-1]:
        layers += [nn.Linear(width, hidden), *([nn.BatchNorm1d(hidden)] if batch_norm else []), nn.ReLU()]
        width = hidden
    return nn.Sequential(*layers, nn.Linear(width, widths[-1]))
