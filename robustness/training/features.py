"""What a network makes of images."""

import torch
from torch import Tensor

from robustness.data import as_floats
from robustness.models import Network

Features = tuple[Tensor, Tensor]

_IMAGES_AT_ONCE = 1024


@torch.no_grad()
def features(network: Network, images: Tensor, dtype: torch.dtype) -> Features:
    """Representations and embeddings of images, some at once; on the CPU where the device has no float64."""
    network.eval()
    parts = [network(as_floats(some, dtype)) for some in torch.split(images, _IMAGES_AT_ONCE)]
    h, z = (torch.cat([part[k] for part in parts]) for k in (0, 1))
    return (h.cpu(), z.cpu()) if h.device.type == "mps" else (h, z)
