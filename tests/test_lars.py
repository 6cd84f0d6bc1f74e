import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from robustness.training.lars import Lars, adapted_gradient

SETTINGS = {"momentum": 0.9, "weight_decay": 0.05, "trust_coefficient": 0.01}
SHAPES = [(3, 4), (4,), (2, 3, 3, 3), (2,)]


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow_lars(weights, gradients, rates, *, momentum, weight_decay, trust_coefficient):
    """Algorithm 1 of arXiv:1708.03888, one number at a time."""
    w, v = [float(x) for x in weights.flatten()], [0.0] * weights.numel()
    for gradient, rate in zip(gradients, rates, strict=True):
        g = [float(x) for x in gradient.flatten()]
        decay, local = 0.0, 1.0
        if weights.dim() > 1:
            decay = weight_decay
            length, slope = math.sqrt(sum(x * x for x in w)), math.sqrt(sum(x * x for x in g))
            local = trust_coefficient * length / (slope + decay * length)
        for i in range(len(w)):
            v[i] = momentum * v[i] + rate * local * (g[i] + decay * w[i])
            w[i] -= v[i]
    return np.array(w).reshape(weights.shape)


def stepped(weights, gradients, rates, **settings):
    weights = [nn.Parameter(w.clone()) for w in weights]
    optimizer = Lars(weights, lr=1.0, **settings)
    for step, rate in enumerate(rates):
        optimizer.param_groups[0]["lr"] = rate
        for w, series in zip(weights, gradients, strict=True):
            w.grad = series[step].clone()
        optimizer.step()
    return weights


def test_lars_is_the_papers_algorithm():
    rates = [0.5, 3.0, 0.1, 2.0, 0.7]
    weights = [drawn(*shape, seed=k) for k, shape in enumerate(SHAPES)]
    gradients = [[drawn(*shape, seed=100 * t + k) for t in range(5)] for k, shape in enumerate(SHAPES, start=7)]
    found = stepped(weights, gradients, rates, **SETTINGS)
    for w, series, now in zip(weights, gradients, found, strict=True):
        np.testing.assert_allclose(now.detach().numpy(), slow_lars(w, series, rates, **SETTINGS), rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_layers_first_step_has_a_length_that_no_scale_of_the_gradient_changes(scale):
    weights, gradient = drawn(5, 7), drawn(5, 7, seed=1)
    (now,) = stepped([weights], [[scale * gradient]], [2.0], momentum=0.9, trust_coefficient=0.01)
    step = weights - now.detach()
    assert float(step.norm()) == pytest.approx(2.0 * 0.01 * float(weights.norm()), rel=1e-9)
    torch.testing.assert_close(step / step.norm(), gradient / gradient.norm())


@pytest.mark.parametrize("scale", [1e-3, 40.0])
def test_a_layer_that_is_scaled_takes_the_same_path_scaled(scale):
    # Where a loss ignores a layer's scale, as before batch normalisation, the gradient falls as the weights grow.
    weights, gradients, rates = drawn(5, 7), [drawn(5, 7, seed=k) for k in range(1, 4)], [2.0, 1.0, 0.5]
    (plain,) = stepped([weights], [gradients], rates, momentum=0.9)
    (scaled,) = stepped([scale * weights], [[g / scale for g in gradients]], rates, momentum=0.9)
    torch.testing.assert_close(scaled.detach(), scale * plain.detach(), rtol=1e-12, atol=0)


def test_biases_and_batch_norm_take_plain_steps_with_momentum():
    bias, gradients = drawn(6), [drawn(6, seed=k) for k in range(1, 5)]
    (lars,) = stepped([bias], [gradients], [0.3] * 4, **SETTINGS)
    plain = nn.Parameter(bias.clone())
    optimizer = torch.optim.SGD([plain], lr=0.3, momentum=0.9)
    for gradient in gradients:
        plain.grad = gradient.clone()
        optimizer.step()
    torch.testing.assert_close(lars, plain)


@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
@pytest.mark.parametrize("gradient", [0.0, 1.0])
def test_a_layer_of_zeros_takes_a_plain_step(gradient, weight_decay):
    weights, slope = torch.zeros(2, 2), torch.full((2, 2), gradient)
    (now,) = stepped([weights], [[slope]], [0.5], weight_decay=weight_decay)
    assert torch.equal(now, -0.5 * slope)


@pytest.mark.parametrize(("weight_decay", "length"), [(0.0, 0.0), (0.05, 0.01)])
def test_without_a_gradient_only_decay_moves_a_layer_and_by_its_trust(weight_decay, length):
    weights = torch.ones(2, 2)
    settings = {"weight_decay": weight_decay, "trust_coefficient": 0.01}
    (now,) = stepped([weights], [[torch.zeros(2, 2)]], [0.5], **settings)
    torch.testing.assert_close(now.detach(), weights - 0.5 * length * weights)


def test_a_gradient_that_is_not_finite_shows_in_the_weights():
    for bad in (math.nan, math.inf):
        (now,) = stepped([torch.ones(2, 2)], [[torch.tensor([[bad, 1.0], [1.0, 1.0]])]], [0.1])
        assert not bool(now.isfinite().all())


def test_weights_without_a_gradient_stay():
    used, unused = nn.Parameter(drawn(2, 2)), nn.Parameter(drawn(2, 2))
    used.grad = torch.ones_like(used)
    Lars([used, unused], lr=0.1).step()
    assert torch.equal(unused, drawn(2, 2))
    assert not torch.equal(used, drawn(2, 2))


def test_a_restored_optimiser_goes_on_as_if_nothing_had_happened(tmp_path):
    def update(network, optimizer, step):
        optimizer.zero_grad()
        network(drawn(8, 3, seed=step)).pow(3).mean().backward()
        optimizer.step()

    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)).double()
    optimizer = Lars(network.parameters(), lr=5.0, **SETTINGS)
    for step in range(3):
        update(network, optimizer, step)
    torch.save({"network": network.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "state.pt")
    other = copy.deepcopy(network)
    restored = Lars(other.parameters(), lr=1.0)
    kept = torch.load(tmp_path / "state.pt", weights_only=True)
    other.load_state_dict(kept["network"])
    restored.load_state_dict(kept["optimizer"])
    for step in range(3, 6):
        update(network, optimizer, step)
        update(other, restored, step)
    for a, b in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_members_that_are_stacked_adapt_each_to_its_own_norm():
    weights, gradients, decay = drawn(4, 3, 5), drawn(4, 3, 5, seed=1), torch.tensor([0.0, 0.1, 1.0, 10.0]).double()
    weights[1] *= 100
    stacked = torch.vmap(lambda w, g, b: adapted_gradient(w, g, weight_decay=b))(weights, gradients, decay)
    for w, g, b, found in zip(weights, gradients, decay.tolist(), stacked, strict=True):
        torch.testing.assert_close(found, adapted_gradient(w, g, weight_decay=b))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": -0.1}, "lr: expected a number at least 0, got -0.1"),
        ({"momentum": 1.0}, "momentum: expected a number from 0 to below 1, got 1.0"),
        ({"weight_decay": math.nan}, "weight_decay: expected a number at least 0, got nan"),
        ({"trust_coefficient": 0}, "trust_coefficient: expected a number above 0, got 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Lars([nn.Parameter(torch.ones(2, 2))], **{"lr": 0.1} | settings)
