import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.func import functional_call, stack_module_state

from robustness.models import ENCODERS, TABLE, build, check, find_encoder
from robustness.models.torchvision_encoders import torchvision_names
from search_spaces.axes import suggestion
from search_spaces.datasets import DATASETS, Dataset


def images_of(*shape: int) -> Dataset:
    """A data set of images of this shape."""
    channels = shape[0]
    return replace(DATASETS["digits"], shape=shape, mean=(0.4,) * channels, deviation=(0.3,) * channels)


def drawn(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def network_for(encoder, *shape, widths=(16, 8), batch_norm=True, seed=0):
    return build(encoder, widths, dataset=images_of(*shape), batch_norm=batch_norm, seed=seed)


def num_parameters(module):
    return sum(weights.numel() for weights in module.parameters())


@pytest.mark.parametrize("encoder", ["mlp", "convnet_small", "convnet", "resnet18"])
def test_members_that_are_stacked_train_as_they_do_alone(encoder):
    members = [network_for(encoder, 3, 16, 16, seed=seed).double() for seed in range(2)]
    weights, buffers = stack_module_state(members)
    skeleton = copy.deepcopy(members[0]).to("meta")
    stacked = torch.vmap(lambda w, b, x: functional_call(skeleton, (w, b), (x,)), in_dims=(0, 0, None))
    num_steps = 1 if encoder == "resnet18" else 2
    for step in range(num_steps):
        images = drawn(2, 3, 16, 16, seed=step).double()
        h, z = stacked(weights, buffers, images)
        (h.square().sum() + z.pow(3).sum()).backward()
        for k, member in enumerate(members):
            h_alone, z_alone = member(images)
            (h_alone.square().sum() + z_alone.pow(3).sum()).backward()
            torch.testing.assert_close((h[k], z[k]), (h_alone, z_alone), rtol=1e-9, atol=1e-9)
            for name, alone in member.named_parameters():
                torch.testing.assert_close(weights[name].grad[k], alone.grad, rtol=1e-9, atol=1e-9)
            for name, alone in member.named_buffers():
                torch.testing.assert_close(buffers[name][k], alone, rtol=1e-9, atol=1e-9)
    counts = [count.tolist() for name, count in buffers.items() if name.endswith("num_batches_tracked")]
    assert counts == [[num_steps] * 2] * sum(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in skeleton.modules())


@pytest.mark.parametrize(
    ("encoder", "width", "parameters"),
    [
        ("mlp", 128, 3072 * 256 + 256 + 256 * 128 + 128),
        ("convnet_small", 64, 9 * (3 * 16 + 16 * 32 + 32 * 64) + 2 * (16 + 32 + 64)),
        ("convnet", 128, 9 * (3 * 32 + 32 * 64 + 64 * 128) + 2 * (32 + 64 + 128)),
        # Torchvision's count, less the classifier, with 3 x 3 instead of 7 x 7 weights in the stem.
        ("resnet18", 512, 11_689_512 - 513 * 1000 - 40 * 3 * 64),
        ("resnet34", 512, 21_797_672 - 513 * 1000 - 40 * 3 * 64),
        ("resnet50", 2048, 25_557_032 - 2049 * 1000 - 40 * 3 * 64),
    ],
)
def test_an_encoder_has_the_width_and_weights_that_it_is_known_for(encoder, width, parameters):
    module, told = ENCODERS[encoder]((3, 32, 32))
    assert (told, num_parameters(module)) == (width, parameters)


@pytest.mark.parametrize("encoder", ["convnet_small", "convnet"])
def test_every_convolution_of_a_convnet_halves_the_image(encoder):
    module, _ = ENCODERS[encoder]((3, 40, 24))
    sizes = []
    for layer in module:
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda *call: sizes.append(tuple(call[2].shape[2:])))
    module(drawn(2, 3, 40, 24))
    assert sizes == [(20, 12), (10, 6), (5, 3)]


@pytest.mark.parametrize(("side", "last"), [(16, 2), (32, 4), (63, 8), (64, 2), (96, 3)])
def test_the_stem_of_a_resnet_keeps_small_images_large(side, last):
    module, _ = ENCODERS["resnet18"]((3, side, side))
    sizes = []
    module.layer4.register_forward_hook(lambda *call: sizes.append(tuple(call[2].shape[2:])))
    module.eval()(drawn(1, 3, side, side))
    assert sizes == [(last, last)]


def test_the_stem_for_small_images_is_drawn_as_torchvision_draws_the_other():
    torch.manual_seed(0)
    module, _ = ENCODERS["resnet18"]((3, 32, 32))
    # He et al. 2015, by the outputs: 2 / (channels out x 3 x 3).
    assert float(module.conv1.weight.detach().var()) == pytest.approx(2 / (64 * 9), rel=0.1)
    assert module.conv1.bias is None


CHEAP = [
    "resnet18", "regnet_x_400mf", "mobilenet_v3_small", "shufflenet_v2_x0_5", "squeezenet1_1", "mnasnet0_5",
    "efficientnet_b0", "googlenet",
]  # fmt: skip
"""One of each kind of torchvision's models that a test can afford."""


@pytest.mark.parametrize("encoder", CHEAP)
def test_grey_images_are_seen_as_three_equal_channels(encoder):
    grey, colour = (network_for(encoder, channels, 32, 32).eval() for channels in (1, 3))
    images = drawn(2, 1, 32, 32)
    torch.testing.assert_close(grey(images)[0], colour(images.repeat(1, 3, 1, 1))[0], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("encoder", CHEAP)
def test_a_torchvision_model_gives_what_its_classifier_would_see_and_draws_nothing(encoder):
    module, width = find_encoder(encoder)((3, 32, 32))
    images, before = drawn(4, 3, 32, 32), torch.random.get_rng_state()
    h = module(images)
    assert h.shape == (4, width)
    assert width != 1000
    assert torch.equal(h, module(images))
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_representation_of_a_torchvision_model_is_the_input_of_its_last_layer():
    module, width = find_encoder("mobilenet_v3_small")((3, 32, 32))
    assert width == 1024
    assert [type(layer) for layer in module.classifier] == [nn.Linear, nn.Hardswish, nn.Identity, nn.Identity]


@pytest.mark.parametrize("encoder", ["resnet101", "vit_b_16", "swin_t", "convnext_tiny", "inception_v3"])
def test_torchvision_models_take_the_images_that_they_were_made_for(encoder):
    assert encoder in torchvision_names()
    assert encoder not in ENCODERS
    check(encoder, images_of(3, 224, 224))


def test_a_vision_transformer_takes_squares_of_whole_patches():
    check("vit_b_16", images_of(3, 96, 96))
    for shape in ((3, 96, 112), (3, 90, 90)):
        with pytest.raises(ValueError, match=f"vit_b_16 takes no images of 3 x {shape[1]} x {shape[2]} "):
            check("vit_b_16", images_of(*shape))


def takes(encoder, shape):
    try:
        find_encoder(encoder)(shape)[0].eval()(drawn(2, *shape))
    except RuntimeError:
        return False
    return True


@pytest.mark.parametrize("side", [8, 16, 17, 18, 32])
def test_check_refuses_exactly_the_sizes_that_would_fail(side):
    shape, accepted = (3, side, side), True
    try:
        check("squeezenet1_1", images_of(*shape))
    except ValueError:
        accepted = False
    assert accepted == takes("squeezenet1_1", shape)


@pytest.mark.parametrize("encoder", sorted(set(ENCODERS) - {TABLE}))
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (3, 96, 96), (3, 20, 50)])
def test_registered_encoders_take_images_of_any_size(encoder, shape):
    check(encoder, images_of(*shape))


@pytest.mark.parametrize(
    ("encoder", "shape", "message"),
    [
        ("mpl", (1, 8, 8), "no encoder of this name; did you mean 'mlp'?"),
        ("resnet_50", (1, 8, 8), "no encoder of this name; did you mean 'resnet50'?"),
        ("efficientnetb0", (1, 8, 8), "no encoder of this name; did you mean 'efficientnet_b0'?"),
        ("", (1, 8, 8), f"no encoder of this name{suggestion('', list(ENCODERS))}, or a classification model"),
        ("alexnet", (3, 32, 32), "alexnet takes no images of 3 x 32 x 32 ("),
        ("alexnet", (3, 32, 32), "); it takes 64 x 64"),
        ("resnet18", (2, 32, 32), "resnet18 takes no images of 2 x 32 x 32 (expected images of 1 or 3 channels"),
    ],
)  # fmt: skip
def test_what_no_encoder_takes_is_refused_in_one_line(encoder, shape, message):
    with pytest.raises(ValueError, match="no ") as error:
        check(encoder, images_of(*shape))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_checking_draws_nothing_and_leaves_modules_with_memory():
    before = torch.random.get_rng_state()
    check("vit_b_32", images_of(3, 64, 64))
    assert torch.equal(before, torch.random.get_rng_state())
    assert nn.Linear(2, 2).weight.device.type == "cpu"


def test_networks_of_equal_weights_share_none():
    first, second = network_for("convnet_small", 3, 8, 8), network_for("convnet_small", 3, 8, 8)
    as_drawn = {name: tensor.clone() for name, tensor in first.state_dict().items()}
    with torch.no_grad():
        for tensor in first.state_dict().values():
            tensor += 1
    third = network_for("convnet_small", 3, 8, 8)
    for name, tensor in as_drawn.items():
        assert torch.equal(second.state_dict()[name], tensor)
        assert torch.equal(third.state_dict()[name], tensor)


def test_weights_depend_on_nothing_that_was_drawn_before():
    torch.manual_seed(5)
    first = network_for("resnet18", 3, 16, 16)
    network_for("mlp", 3, 16, 16)
    torch.manual_seed(6)
    again = network_for("resnet18", 3, 16, 16)
    for a, b in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
