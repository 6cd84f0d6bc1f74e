"""Every generator's seed, from the trial's seed and a purpose: the same number on any machine.

No family and no hyperparameter is ever part of a purpose. So all losses see the same initial weights,
the same images in the same order and the same augmentations, and comparisons between them are paired.
"""

from hashlib import blake2b

from robustness.trial import canonical_json


def derive(seed: int, purpose: str, *parts: int | str | tuple[int, ...]) -> int:
    """A 63-bit seed for one purpose.

    Args:
        seed: the trial's seed.
        purpose: `weights`, `order`, `augment`, `layers` or `probe`.
        parts: what else tells this generator from others, for instance batch size, epoch and step.
    """
    text = canonical_json([seed, purpose, *parts])
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
