"""Resolvable block designs: partitions of N points into blocks of B such that every pair meets equally often.

Known here: B = 2 with N even, by a round robin; and N = p^n, B = p^k with p prime, by the parallel classes of k-flats
of the affine space over F_p that a Singer cycle runs through. For instance, the lines of the affine plane of order 32
put 1,024 images into batches of 32 so that in 33 epochs every pair meets once.

Source:
    Beth, Jungnickel & Lenz, Design Theory, 1999 (affine and Singer designs); a cyclic group that moves every vector to
    every other meets each of them equally often with any subspace.
"""

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

Blocks = NDArray[np.int64]

_LARGEST_FIELD = 2**20
_NEARBY = 4


def parallel_class(num_points: int, *, batch_size: int, index: int) -> Blocks:
    """(N / B, B) blocks of one partition; over indices 0 .. `num_classes` - 1 every pair meets equally often.

    Raises:
        ValueError: no design is known for these sizes.
    """
    check_design(num_points, batch_size=batch_size)
    if batch_size == num_points:
        return np.arange(num_points)[None, :]
    index %= num_classes(num_points, batch_size=batch_size)
    if batch_size == 2:
        return _round(num_points, index)
    prime, dimension = _prime_power(num_points)
    return _flats(prime, dimension, round(math.log(batch_size, prime)), index)


def num_classes(num_points: int, *, batch_size: int) -> int:
    """How many epochs a cycle has; every pair meets in num_classes (B - 1) / (N - 1) of them.

    Raises:
        ValueError: no design is known for these sizes.
    """
    check_design(num_points, batch_size=batch_size)
    if batch_size == num_points:
        return 1
    if batch_size == 2:
        return num_points - 1
    prime, dimension = _prime_power(num_points)
    subspace = round(math.log(batch_size, prime))
    # Where F_B is a subfield the cycle comes back to the same subspace earlier: the lines of a space over F_B.
    field = batch_size if dimension % subspace == 0 else prime
    return (num_points - 1) // (field - 1)


def check_design(num_points: int, *, batch_size: int) -> None:
    """Raise a ValueError that names sizes nearby where no design is known for these."""
    if _is_known(num_points, batch_size):
        return
    others = sorted((abs(n - num_points), n) for n in range(2, 2 * num_points + 4) if _is_known(n, batch_size))
    sizes = [b for b in range(2, num_points + 1) if _is_known(num_points, b)]
    known = [f"{', '.join(str(n) for n in sorted(n for _, n in others[:_NEARBY]))} images" if others else ""]
    known.append(f"batches of {', '.join(str(b) for b in sizes)}" if sizes else "")
    hint = " or ".join(text for text in known if text)
    raise ValueError(
        f"balanced: no design is known of {num_points} images in batches of {batch_size}; possible are {hint}"
    )


def _is_known(num_points: int, batch_size: int) -> bool:
    if not 2 <= batch_size <= num_points:
        return False
    if batch_size == num_points or (batch_size == 2 and num_points % 2 == 0):
        return True
    points, block = _prime_power(num_points), _prime_power(batch_size)
    return num_points <= _LARGEST_FIELD and points[0] == block[0] > 0


def _prime_power(number: int) -> tuple[int, int]:
    """(p, n) with p^n the number; (0, 0) where there is none."""
    for prime in range(2, math.isqrt(number) + 1):
        if number % prime == 0:
            power = round(math.log(number, prime))
            return (prime, power) if prime**power == number else (0, 0)
    return (number, 1) if number > 1 else (0, 0)


def _round(num_points: int, index: int) -> Blocks:
    """Round `index` of a tournament: one player stays, the others turn around it."""
    others, steps = num_points - 1, np.arange(1, num_points // 2)
    pairs = np.column_stack([(index + steps) % others, (index - steps) % others])
    return np.vstack([[[others, index]], pairs])


@cache
def _logarithms(prime: int, dimension: int) -> tuple[Blocks, Blocks]:
    """Powers of a primitive element of F_q, q = p^n, as numbers in base p, and their inverse."""
    size, base = prime**dimension, prime ** np.arange(dimension)
    for number in range(1, size):
        # x^n is this polynomial of lower degree; x is primitive if its powers run through all but 0.
        top = _digits(np.array([number]), prime, dimension)[0]
        power, powers = np.eye(dimension, dtype=np.int64)[0], [1]
        while True:
            power = (np.append(0, power[:-1]) + power[-1] * top) % prime
            value = int(power @ base)
            if value in (0, 1) or len(powers) == size:
                break
            powers.append(value)
        if value == 1 and len(powers) == size - 1:
            logarithms = np.empty(size, dtype=np.int64)
            logarithms[powers] = np.arange(size - 1)
            return np.array(powers), logarithms
    raise AssertionError(f"no primitive polynomial of degree {dimension} over F_{prime}")  # there always is one


def _digits(numbers: Blocks, prime: int, dimension: int) -> Blocks:
    return numbers[:, None] // prime ** np.arange(dimension) % prime


def _flats(prime: int, dimension: int, subspace: int, index: int) -> Blocks:
    """The translates of g^index W: W the subfield F_B where there is one, else spanned by 1, g, ..., g^(k-1)."""
    size, base = prime**dimension, prime ** np.arange(dimension)
    powers, logarithms = _logarithms(prime, dimension)
    if dimension % subspace == 0:
        step = (size - 1) // (prime**subspace - 1)
        members = np.append(0, powers[np.arange(prime**subspace - 1) * step])
    else:
        # 1, g, ..., g^(k-1) are the first unit vectors: their span is the numbers below p^k.
        members = np.arange(prime**subspace)
    turned = np.where(members == 0, 0, powers[(logarithms[members] + index) % (size - 1)])
    offsets = _digits(turned, prime, dimension)
    left = np.ones(size, dtype=bool)
    blocks = []
    for point in range(size):
        if left[point]:
            block = (_digits(np.array([point]), prime, dimension) + offsets) % prime @ base
            left[block] = False
            blocks.append(block)
    return np.array(blocks)
