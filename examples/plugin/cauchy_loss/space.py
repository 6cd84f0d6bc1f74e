"""What a study sweeps; this module imports no torch."""

from search_spaces import Continuous, Hyperparameter, Space

WIDTH = Hyperparameter(
    dimension=Continuous(0.125, 4.0, "log2"),
    default=1.0,
    above=0.0,
    reason="distances lie in [0, 2]: from a kernel that sees only near neighbours to one that is flat on the sphere",
    source="Boehm et al., ICLR 2023, arXiv:2210.09879 (width 1)",
)
CAUCHY = Space("NT-Xent with a Cauchy kernel", {"width": WIDTH})
