import pytest
import torch

from robustness.losses import LOSSES
from robustness.losses.mixture import MOST_PAIRS, Family, is_small, line_of, mixture

LINES = {
    "InfoNCE": {name: {"temperature": 0.2} for name in ("info_nce", "nt_xent", "dcl", "dhel")},
    # Logits beyond 300 don't fit exponentials that are summed as they are.
    "InfoNCE, cold": {name: {"temperature": 0.002} for name in ("dcl", "info_nce", "dhel", "nt_xent")},
    "kernel": {
        "kcl_gaussian": {"bandwidth": 2.0, "gamma": 16.0},
        "kcl_log": {"gamma": 4.0, "bandwidth": 0.5},
        "kcl_imq": {"kernel_scale": 0.7, "gamma": 16.0},
        "kcl_riesz": {"kernel_order": 1.0, "gamma": 8.0},
        "kcl_laplace": {"bandwidth": 1.0, "gamma": 2.0},
    },
}
LINE = pytest.mark.parametrize("line", LINES)


def sizes(line):
    """How many members each family has."""
    return [1 + place % 2 for place in range(len(LINES[line]))]


def views(line, num_images, *, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    shape = (sum(sizes(line)), num_images, 6)
    return [torch.randn(shape, generator=generator).to(dtype).requires_grad_() for _ in range(2)]


def own(hyperparameters, size, dtype):
    """Of as many members, a second one's twice the first's."""
    both = {name: [value, 2 * value][:size] for name, value in hyperparameters.items()}
    return {name: torch.tensor(values, dtype=dtype, requires_grad=True) for name, values in both.items()}


def families_of(line, dtype=torch.float64):
    pairs = zip(LINES[line].items(), sizes(line), strict=True)
    return {name: own(values, size, dtype) for (name, values), size in pairs}


def mixed(families, u, v):
    as_one = [Family(LOSSES[name].formula, hyperparameters) for name, hyperparameters in families.items()]
    return mixture(as_one, num_images=u.shape[1])(u, v)


def apart(families, u, v):
    members = [len(next(iter(each.values()))) for each in families.values()]
    pairs = zip(families.items(), u.split(members), v.split(members), strict=True)
    return torch.cat([LOSSES[name].compute(a, b, **hyperparameters) for (name, hyperparameters), a, b in pairs])


@LINE
@pytest.mark.parametrize("num_images", [2, 5, 64])
def test_families_as_one_have_the_values_and_gradients_of_each(line, num_images):
    found = []
    for evaluate in (mixed, apart):
        (u, v), families = views(line, num_images), families_of(line)
        values = evaluate(families, u, v)
        values.square().sum().backward()
        slopes = [parameter.grad for each in families.values() for parameter in each.values()]
        found.append((values, u.grad, v.grad, *slopes))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


@LINE
def test_a_member_that_is_not_finite_leaves_the_others_alone(line):
    u, v = views(line, 8)
    expected = mixed(families_of(line), u, v)
    with torch.no_grad():
        u[1] = torch.nan
    found = mixed(families_of(line), u, v)
    others = [place for place in range(len(u)) if place != 1]
    assert found[1].isnan()
    torch.testing.assert_close(found[others], expected[others], rtol=1e-12, atol=0)


@LINE
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_compared_in_float32(line, dtype):
    u, v = views(line, 8, dtype=dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = mixed(families_of(line, torch.float32), u, v)
    expected = apart(families_of(line, torch.float32), u.float(), v.float())
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_lines_are_what_differs_in_negatives_or_in_the_kernel_alone():
    lines = {name: line_of(loss.formula) for name, loss in LOSSES.items()}
    for line in ("InfoNCE", "kernel"):
        assert {name for name, own_line in lines.items() if own_line == line} == set(LINES[line])
    assert line_of(lambda u, v: u) is None


def test_members_are_mixed_where_their_pairs_are_few():
    most = int((MOST_PAIRS / 4) ** 0.5 / 2)
    assert is_small(4, num_images=most)
    assert not is_small(4, num_images=most + 1)
