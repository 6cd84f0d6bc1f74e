"""The loss: embeddings of two views -> a number for each member."""

import torch
from torch import Tensor
from torch.nn.functional import normalize


def cauchy(u: Tensor, v: Tensor, *, width: float | Tensor) -> Tensor:
    """NT-Xent with a Cauchy kernel, whose tail is heavy: far negatives still repel.

    With z the normalised embeddings of both views, i' the other view of i and k the kernel:

        loss = mean_i [ log sum_{j != i} k(z_i, z_j) - log k(z_i, z_i') ]
        k(a, b) = 1 / (1 + |a - b|^2 / width^2)

    Args:
        u, v: (..., images, dim), the views of the same images; leading axes are members.
        width: the distance at which the kernel is a half; positive, one number or one for each member.

    Returns:
        (...), the mean over both views, in nats; lower is better.

    Source:
        Boehm, Berens & Kobak, Unsupervised visualization of image datasets using contrastive learning,
        ICLR 2023, arXiv:2210.09879. They embed into the plane, with width 1; we embed into the sphere.
    """
    z = normalize(torch.cat([u, v], dim=-2), dim=-1)
    squares = torch.as_tensor(width, dtype=z.dtype, device=z.device)[..., None, None] ** 2
    log_kernel = -torch.log1p((2 - 2 * z @ z.mT).clamp(min=0) / squares)
    positive = log_kernel.diagonal(u.shape[-2], -2, -1).mean(-1)
    itself = torch.eye(z.shape[-2], dtype=torch.bool, device=z.device)
    return log_kernel.masked_fill(itself, -torch.inf).logsumexp(-1).mean(-1) - positive
