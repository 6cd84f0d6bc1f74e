import itertools

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.ops import StochasticDepth

from robustness.losses import LOSSES
from robustness.training.gradient_cache import backward_in_micro_batches
from search_spaces.families import SPACES

BATCH = 10


def views(batch=BATCH, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.rand(batch, 1, 4, 4, dtype=torch.float64, generator=generator) for _ in range(2))


def network(*layers, seed=0):
    """A tiny network: a linear layer, these, and another linear layer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 12), *layers, nn.Tanh(), nn.Linear(12, 6)).double()


def nt_xent(u, v):
    z = nn.functional.normalize(torch.cat([u, v]), dim=-1)
    similarities = (z @ z.mT / 0.3).masked_fill(torch.eye(len(z), dtype=torch.bool), -torch.inf)
    return nn.functional.cross_entropy(similarities, torch.arange(len(z)).roll(len(u)))


def in_one_graph(net, pair, loss, *, micro_batch):
    """The definition: the same micro-batches, embedded once, all in one graph."""
    starts = range(0, len(pair[0]), micro_batch)
    parts = [net(torch.cat([view[k : k + micro_batch] for view in pair])).chunk(2) for k in starts]
    value = loss(*(torch.cat(halves) for halves in zip(*parts, strict=True)))
    value.backward()
    return value.detach()


def cached(net, pair, loss, *, micro_batch):
    return backward_in_micro_batches(net, pair, loss, embed=net, micro_batch=micro_batch)


def gradients(net):
    return [weights.grad for weights in net.parameters()]


def assert_equal_steps(nets, values, atol=1e-9):
    torch.testing.assert_close(values[0], values[1], rtol=0, atol=atol)
    for one, other in zip(*map(gradients, nets), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=atol)


@pytest.mark.parametrize("micro_batch", [1, 2, 3, 7, 9, 10, 11, 10**30])
@pytest.mark.parametrize("batch", [BATCH, 2])
def test_micro_batches_equal_the_plain_step(micro_batch, batch):
    nets, pair = (network(), network()), views(batch)
    values = nt_xent(*(nets[0](view) for view in pair)), cached(nets[1], pair, nt_xent, micro_batch=micro_batch)
    values[0].backward()
    assert all(float(gradient.abs().max()) > 1e-4 for gradient in gradients(nets[0]))
    assert not values[1].requires_grad
    assert_equal_steps(nets, values)


@pytest.mark.parametrize("name", LOSSES)
def test_micro_batches_equal_the_plain_step_for_every_loss(name):
    hyperparameters = {key: float(axis.default) for key, axis in SPACES[name].hyperparameters.items()}
    hyperparameters |= dict.fromkeys(SPACES[name].bound, 1000.0)

    def loss(u, v):
        return LOSSES[name].compute(u, v, tile=None, **hyperparameters)

    nets, pair = (network(), network()), views()
    values = loss(*(nets[0](view) for view in pair)), cached(nets[1], pair, loss, micro_batch=4)
    values[0].backward()
    assert_equal_steps(nets, values)


RANDOM = {
    "dropout": lambda: nn.Dropout(0.4),
    "stochastic depth": lambda: StochasticDepth(0.4, "row"),
    "randomised leaky ReLU": lambda: nn.RReLU(-0.5, 0.9),
}


@pytest.mark.parametrize("micro_batch", [1, 3, 10])
@pytest.mark.parametrize("layer", RANDOM)
def test_random_layers_draw_the_same_in_both_passes_and_leave_the_generator_as_one_pass_does(layer, micro_batch):
    ends, values, nets = [], [], [network(RANDOM[layer]()) for _ in range(2)]
    for net, step in zip(nets, (in_one_graph, cached), strict=True):
        torch.manual_seed(5)
        values.append(step(net, views(), lambda u, v: nt_xent(u, v) * torch.rand(()), micro_batch=micro_batch))
        ends.append(torch.get_rng_state())
    assert_equal_steps(nets, values)
    assert torch.equal(*ends)


class DrawsInBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        torch.rand(3)
        return gradient


class Drawing(nn.Module):
    def forward(self, x):
        return DrawsInBackward.apply(x)


def test_a_backward_pass_that_draws_does_not_shift_the_next_micro_batch():
    nets = [network(nn.Dropout(0.4)), network(nn.Dropout(0.4), Drawing())]
    values = []
    for net, step in zip(nets, (in_one_graph, cached), strict=True):
        torch.manual_seed(5)
        values.append(step(net, views(), nt_xent, micro_batch=3))
    assert_equal_steps(nets, values)


@pytest.mark.parametrize("micro_batch", [1, 3, 10])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_batch_norm_sees_micro_batches_and_its_running_statistics_move_once_for_each(momentum, micro_batch):
    nets = [network(nn.BatchNorm1d(12, momentum=momentum)) for _ in range(2)]
    steps = zip(nets, (in_one_graph, cached), strict=True)
    values = [step(net, views(), nt_xent, micro_batch=micro_batch) for net, step in steps]
    assert_equal_steps(nets, values)
    assert nets[1][2].num_batches_tracked == -(-BATCH // micro_batch)
    for one, other in zip(nets[0].buffers(), nets[1].buffers(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_batch_norm_in_evaluation_mode_equals_the_plain_step_and_stays():
    nets, pair = [network(nn.BatchNorm1d(12)).eval() for _ in range(2)], views()
    values = nt_xent(*(nets[0](view) for view in pair)), cached(nets[1], pair, nt_xent, micro_batch=3)
    values[0].backward()
    assert_equal_steps(nets, values)
    assert nets[1][2].num_batches_tracked == 0


def test_a_state_that_moves_with_each_pass_is_the_same_in_both():
    nets = []
    for _ in range(2):
        net = network()
        torch.manual_seed(1)
        net[1] = nn.utils.parametrizations.spectral_norm(net[1])
        nets.append(net)
    values = [
        step(net, views(), nt_xent, micro_batch=3) for net, step in zip(nets, (in_one_graph, cached), strict=True)
    ]
    assert_equal_steps(nets, values)
    for one, other in zip(nets[0].buffers(), nets[1].buffers(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


ONE_VIEW = {
    "the first": lambda u, v: u.square().mean(),
    "the second": lambda u, v: v.square().mean(),
    "one that is detached": lambda u, v: nt_xent(u, v.detach()),
    "one row": lambda u, v: v[-1].square().sum(),
}


@pytest.mark.parametrize("which", ONE_VIEW)
def test_a_loss_may_ignore_a_view(which):
    nets, pair = (network(), network()), views()
    values = ONE_VIEW[which](*(nets[0](view) for view in pair)), cached(nets[1], pair, ONE_VIEW[which], micro_batch=4)
    values[0].backward()
    assert_equal_steps(nets, values)


def test_gradients_add_to_those_that_are_there_and_reach_the_loss_and_the_images():
    nets, temperatures, images = [], [], []
    for step in (in_one_graph, cached):
        net, temperature = network(), torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
        pair = tuple(view.requires_grad_() for view in views())
        for weights in net.parameters():
            weights.grad = torch.ones_like(weights)
        step(net, pair, lambda u, v, t=temperature: nt_xent(u, v) / t, micro_batch=4)
        nets.append(net)
        temperatures.append(temperature.grad)
        images.append(pair[1].grad)
    assert_equal_steps(nets, temperatures)
    torch.testing.assert_close(*images, rtol=0, atol=1e-9)


@pytest.mark.parametrize("micro_batch", [4, 10, 11])
def test_views_are_cast_a_micro_batch_at_a_time(micro_batch):
    net, seen = network(), []
    pair = tuple((view * 255).to(torch.uint8) for view in views())

    def embed(images):
        seen.append((images.dtype, len(images), torch.is_grad_enabled()))
        return net(images.double() / 255)

    value = backward_in_micro_batches(net, pair, nt_xent, embed=embed, micro_batch=micro_batch)
    sizes = [8, 8, 4] if micro_batch == 4 else [20]
    passes = [False, True] if micro_batch == 4 else [True]
    assert seen == [(torch.uint8, size, graph) for graph in passes for size in sizes]
    plain = network()
    assert_equal_steps(
        (net, plain), (value, in_one_graph(plain, [x.double() / 255 for x in pair], nt_xent, micro_batch=10))
    )


def test_under_autocast_embeddings_keep_its_type_and_every_weight_has_its_gradient():
    nets = [network().float() for _ in range(2)]
    pair, types = tuple(view.float() for view in views(64)), []

    def loss(u, v):
        types.append((u.dtype, v.dtype))
        return nt_xent(u.float(), v.float())

    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = cached(nets[1], pair, loss, micro_batch=9)
        plain = loss(*nets[0](torch.cat(pair)).chunk(2))
    plain.backward()
    assert set(types) == {(torch.bfloat16, torch.bfloat16)}
    # bfloat16 has 8 bits: gradients of one step in it differ from those in float32 by as much.
    torch.testing.assert_close(value, plain.detach(), rtol=1e-3, atol=0)
    for one, other in zip(*map(gradients, nets), strict=True):
        assert other.dtype == torch.float32
        assert float((one - other).norm() / one.norm()) < 0.02


def test_what_turns_autocast_off_has_a_backward_pass_without_it():
    nets = [network().float() for _ in range(2)]
    pair = tuple(view.float() for view in views())

    def exactly(function):
        def act(*inputs):
            with torch.autocast("cpu", enabled=False):
                return function(*inputs)

        return act

    with torch.autocast("cpu", dtype=torch.bfloat16):
        embed, loss = exactly(nets[1]), exactly(nt_xent)
        value = backward_in_micro_batches(nets[1], pair, loss, embed=embed, micro_batch=4)
    assert_equal_steps(nets, (in_one_graph(nets[0], pair, nt_xent, micro_batch=10), value), atol=1e-6)


class NeverWaits(TorchDispatchMode):
    """Refuses what would make the host wait for a device: values read, and shapes that depend on values."""

    WAITS = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "unique", "item")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name in self.WAITS:
            raise AssertionError(f"{name} waits for the device")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("micro_batch", [3, 10])
def test_nothing_waits_for_the_device(micro_batch):
    net = network(nn.BatchNorm1d(12), nn.Dropout(0.2))
    with NeverWaits():
        with pytest.raises(AssertionError, match="waits"):
            float(torch.ones(()))
        cached(net, views(), lambda u, v: (u - v).square().mean(), micro_batch=micro_batch)


@pytest.mark.parametrize("call", range(7))
def test_an_exception_comes_through_and_leaves_running_statistics_sound(call):
    net, calls = network(nn.BatchNorm1d(12)), itertools.count()

    def stumble(value):
        if next(calls) == call:
            raise RuntimeError("stumbled")
        return value

    with pytest.raises(RuntimeError, match=r"^stumbled$"):
        backward_in_micro_batches(
            net, views(), lambda u, v: stumble(nt_xent(u, v)), embed=lambda x: stumble(net(x)), micro_batch=4
        )
    # Three embeddings, the loss, three embeddings: the running statistics are those of the second pass alone.
    assert net[2].num_batches_tracked == max(0, call - 3)


def test_a_loss_that_is_not_a_number_is_returned_as_such():
    net = network()
    assert cached(net, views(), lambda u, v: (u * torch.inf - v * torch.inf).sum(), micro_batch=4).isnan()
    assert all(gradient.isnan().any() for gradient in gradients(net))
