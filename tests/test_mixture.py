import pytest
import torch

from robustness.losses import LOSSES
from robustness.losses.mixture import MOST_PAIRS, can_mix, evaluate_mixture, mixes

LINE = ("info_nce", "nt_xent", "dcl", "dhel")
FORMULAS = [LOSSES[name].formula for name in LINE]


def views(num_images, *, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(4, num_images, 6, generator=generator).to(dtype).requires_grad_() for _ in range(2)]


def mixed(u, v, temperature):
    return evaluate_mixture(FORMULAS, u, v, temperature=temperature)


def apart(u, v, temperature):
    values = [LOSSES[name].compute(u[k], v[k], temperature=temperature[k]) for k, name in enumerate(LINE)]
    return torch.stack(values)


# Logits beyond 300 don't fit exponentials that are summed as they are.
@pytest.mark.parametrize("temperatures", [[0.2, 0.1, 0.5, 2.0], [0.001, 0.1, 0.5, 0.002]])
@pytest.mark.parametrize("num_images", [2, 5, 64])
def test_families_as_one_have_the_values_and_gradients_of_each(num_images, temperatures):
    found = []
    for evaluate in (mixed, apart):
        u, v = views(num_images)
        temperature = torch.tensor(temperatures, dtype=torch.float64, requires_grad=True)
        values = evaluate(u, v, temperature)
        values.square().sum().backward()
        found.append((values, u.grad, v.grad, temperature.grad))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_a_member_that_is_not_finite_leaves_the_others_alone():
    u, v = views(8)
    temperature = torch.full((4,), 0.2, dtype=torch.float64)
    expected = mixed(u, v, temperature)
    with torch.no_grad():
        u[1] = torch.nan
    found = mixed(u, v, temperature)
    assert found[1].isnan()
    torch.testing.assert_close(found[[0, 2, 3]], expected[[0, 2, 3]], rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_compared_in_float32(dtype):
    u, v = views(8, dtype=dtype)
    temperature = torch.full((4,), 0.2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = mixed(u, v, temperature)
    torch.testing.assert_close(found, apart(u.float(), v.float(), temperature), rtol=1e-5, atol=1e-6)


def test_the_line_is_what_differs_in_negatives_and_in_the_positive_alone():
    assert {name for name, loss in LOSSES.items() if can_mix(loss.formula)} == set(LINE)


def test_families_are_mixed_where_their_pairs_are_few():
    most = int((MOST_PAIRS / 4) ** 0.5 / 2)
    assert mixes(FORMULAS, num_images=most)
    assert not mixes(FORMULAS, num_images=most + 1)
    assert not mixes([*FORMULAS, LOSSES["kcl_gaussian"].formula], num_images=2)
    assert not mixes([*FORMULAS, lambda u, v: u], num_images=2)
