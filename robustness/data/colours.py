"""Random changes of colour and sharpness, drawn on the CPU and computed for whole batches."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from kornia.filters import gaussian_blur2d
from torch import Tensor

Images = Float[Tensor, "n channels height width"]
Colours = Float[Tensor, "n 3 height width"]
PerImage = Float[Tensor, "n 1 1 1"]


def jitter(images: Colours, *, brightness: float, contrast: float, saturation: float, hue: float) -> Colours:
    """Change brightness, contrast, saturation and hue of each image with probability .8, in a random order.

    Factors are uniform on 1 +- their strength and hues turn by up to `hue` of the circle. The order is drawn once for
    a batch, as in kornia, whose ColorJitter makes more passes over the images.

    Args:
        images: red, green and blue, 0 to 1.
        brightness, contrast, saturation: strengths, 0 to 1.
        hue: the most that hues turn, a share of the circle, 0 to .5.

    Source:
        Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, ICML 2020, appendix A,
        arXiv:2002.05709; each change is defined as in torchvision.
    """
    count = len(images)
    chosen = torch.rand(count) < 0.8
    changes: list[tuple[Callable[[Colours, PerImage], Colours], Tensor]] = [
        (_brightened, 1 + brightness * _symmetric(count)),
        (_contrasted, 1 + contrast * _symmetric(count)),
        (_saturated, 1 + saturation * _symmetric(count)),
        (_turned, hue * _symmetric(count)),
    ]
    order = torch.randperm(len(changes)).tolist()

    def change(some: Colours, which: Int[Tensor, "some"]) -> Colours:
        for k in order:
            act, factors = changes[k]
            some = act(some, factors[which].to(some.device, some.dtype)[:, None, None, None])
        return some

    return _changed(images, chosen, change)


def greyed(images: Colours) -> Colours:
    """Each image without its colours with probability .2."""
    chosen = (torch.rand(len(images)) < 0.2)[:, None, None, None]
    return torch.where(chosen.to(images.device), _grey(images), images)


def blurred(images: Images) -> Images:
    """Each image with probability .5 under a Gaussian of .1 to 2 pixels, cut to about a tenth of the shorter side.

    Source:
        Chen et al., ICML 2020, appendix A, arXiv:2002.05709. A kernel has at least 3 pixels a side.
    """
    chosen = torch.rand(len(images)) < 0.5
    deviations = 0.1 + 1.9 * torch.rand(len(images), 1, dtype=torch.float64).expand(-1, 2)
    side = max(3, 2 * (min(images.shape[-2:]) // 20) + 1)

    def change(some: Images, which: Int[Tensor, "some"]) -> Images:
        own = deviations[which].to(some.device, some.dtype)
        soft: Images = gaussian_blur2d(some, (side, side), own, border_type="reflect")
        return soft.clamp(0, 1)

    return _changed(images, chosen, change)


def _changed(
    images: Images, chosen: Bool[Tensor, "n"], change: Callable[[Images, Int[Tensor, "some"]], Images]
) -> Images:
    """The images, the chosen ones changed; only these are computed, and the device isn't waited for."""
    which = chosen.nonzero()[:, 0]
    if len(which) == 0:
        return images
    places = which.to(images.device)
    return images.index_copy(0, places, change(images[places], which))


def _symmetric(count: int) -> Float[Tensor, "n"]:
    return 2 * torch.rand(count, dtype=torch.float64) - 1


def _grey(images: Colours) -> Float[Tensor, "n 1 height width"]:
    """Brightness as the eye sees it: ITU-R BT.601."""
    red, green, blue = images.unbind(1)
    return (0.299 * red).add_(green, alpha=0.587).add_(blue, alpha=0.114)[:, None]


def _brightened(images: Colours, factor: PerImage) -> Colours:
    return (images * factor).clamp_(0, 1)


def _contrasted(images: Colours, factor: PerImage) -> Colours:
    return torch.lerp(_grey(images).mean((1, 2, 3), keepdim=True), images, factor).clamp_(0, 1)


def _saturated(images: Colours, factor: PerImage) -> Colours:
    return torch.lerp(_grey(images), images, factor).clamp_(0, 1)


def _turned(images: Colours, turn: PerImage) -> Colours:
    """Hues turned by a share of the circle; value and chroma stay.

    A hue h is counted in sixths from red at 0. Each channel is the value, less the chroma times a trapezium of h
    that is 1 where the channel is least: within one sixth of cyan for red, of magenta for green, of yellow for blue.
    """
    red, green, blue = images.unbind(1)
    value, least = images.amax(1), images.amin(1)
    chroma = value - least
    divisor = chroma.clamp_min(torch.finfo(images.dtype).tiny)
    from_green = torch.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor)
    hue = torch.where(value == red, (green - blue) / divisor, from_green)
    hue = hue.add_(6 * turn[:, 0]).remainder_(6)
    turned = torch.empty_like(images)
    for channel, opposite in enumerate((3, 5, 1)):
        # 3 - | |d| - 3 | is the distance around a circle of length 6 for differences d from -6 to 6.
        share = hue.sub(opposite).abs_().sub_(3).abs_().sub_(1).clamp_(0, 1)
        torch.addcmul(value, chroma, share, value=-1, out=turned[:, channel])
    return turned
