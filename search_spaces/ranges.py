"""Each hyperparameter of a loss: its range, its default, why, and where they come from.

The range of an axis decides every robustness number, so each one states why it is what it is.
"""

from dataclasses import replace

from search_spaces.dimensions import Continuous
from search_spaces.hyperparameters import Hyperparameter

_KERNELS = "Koromilas et al., Bridging Mini-Batch and Asymptotic Analysis, ICML 2024, arXiv:2405.18045"
_PAIR_WEIGHTS = "Tian, Understanding Deep Contrastive Learning via Coordinate-wise Optimization, NeurIPS 2022, \
arXiv:2201.12680"
_VICREG = "Bardes et al., VICReg, ICLR 2022, arXiv:2105.04906, section 4.2"

TEMPERATURE = Hyperparameter(
    dimension=Continuous(0.02, 5.0, "log"),
    default=0.2,
    above=0.0,
    reason="published choices run from .05 to 1; two to four times beyond both ends shows where a loss breaks",
    source="Chen et al., SimCLR, 2020, arXiv:2002.05709; Koromilas et al., ICML 2024, arXiv:2405.18045",
)
PAIR_WEIGHT_TEMPERATURE = replace(TEMPERATURE, default=0.5, source=_PAIR_WEIGHTS)
SIGMOID_TEMPERATURE = replace(TEMPERATURE, default=0.1, source="Zhai et al., SigLIP, ICCV 2023, arXiv:2303.15343")

GAMMA = Hyperparameter(
    dimension=Continuous(1.0, 64.0, "log2"),
    default=16.0,
    above=0.0,
    levels=4,
    reason="the weight of the energy, from no heavier than the alignment to four times the published one",
    source=_KERNELS,
)
BANDWIDTH = Hyperparameter(
    dimension=Continuous(0.125, 32.0, "log2"),
    default=2.0,
    above=0.0,
    levels=5,
    reason="squared distances lie in [0, 4]: from a kernel that is nearly linear there to one that sees only "
    "near neighbours; bandwidth 1/(2 temperature) matches an InfoNCE temperature of 4 to .016",
    source=_KERNELS,
)
KERNEL_SCALE = Hyperparameter(
    dimension=Continuous(0.125, 8.0, "log2"),
    default=2.0,
    above=0.0,
    levels=4,
    reason="distances lie in [0, 2]: from a kernel much narrower than the sphere to one that is flat on it",
    source=_KERNELS,
)
RIESZ_ORDER = Hyperparameter(
    dimension=Continuous(0.25, 1.75, "linear"),
    default=1.0,
    above=0.0,
    below=2.0,
    levels=4,
    reason="the kernel is conditionally positive definite for orders between 0 and 2 only; an eighth off each end",
    source=_KERNELS,
)
INVERSE_RIESZ_ORDER = Hyperparameter(
    dimension=Continuous(0.25, 2.0, "log2"),
    default=1.0,
    above=0.0,
    levels=4,
    reason="from nearly logarithmic repulsion to the inverse square of the distance",
    source=_KERNELS,
)

EPSILON = Hyperparameter(
    dimension=Continuous(0.0, 1.0, "linear"),
    default=1.0,
    least=0.0,
    levels=5,
    reason="0 leaves the positive out of the log-sum, 1 counts it in; between them lies the whole transition",
    source=_PAIR_WEIGHTS,
)
MARGIN = Hyperparameter(
    dimension=Continuous(0.05, 2.0, "log"),
    default=0.1,
    least=0.0,
    reason="half squared distances lie in [0, 2]: from a margin that few triplets miss to one that all must fill",
    source="Schroff et al., FaceNet, CVPR 2015, arXiv:1503.03832 (.2 on squared distances, which are twice ours)",
)
LOG_MARGIN = replace(
    MARGIN,
    default=1.0,
    source="Oh Song et al., Deep Metric Learning via Lifted Structured Feature Embedding, CVPR 2016, arXiv:1511.06452",
)
SLOPE = Hyperparameter(
    dimension=Continuous(1.0, 32.0, "log2"),
    default=8.0,
    above=0.0,
    reason="differences of half squared distances lie in [-2, 2]: from a sigmoid that is nearly linear to a step",
    source=_PAIR_WEIGHTS,
)
PAIR_WEIGHT_EXPONENT = Hyperparameter(
    dimension=Continuous(1.0, 8.0, "log2"),
    default=4.0,
    above=0.0,
    levels=4,
    reason="2 is the Gaussian weight of the log-sum losses; one step below it, two above",
    source=_PAIR_WEIGHTS,
)
POWER = Hyperparameter(
    dimension=Continuous(0.25, 4.0, "log2"),
    default=1.0,
    above=0.0,
    levels=5,
    reason="two doublings to either side of the inverse distance",
    source=_PAIR_WEIGHTS,
)

_ALIGN_UNIFORM = "Wang & Isola, Alignment and Uniformity on the Hypersphere, ICML 2020, arXiv:2005.10242"
ALIGNMENT_EXPONENT = Hyperparameter(
    dimension=Continuous(1.0, 4.0, "log2"),
    default=2.0,
    above=0.0,
    levels=3,
    reason="the paper compares distances with their squares; as far again above",
    source=_ALIGN_UNIFORM,
)
UNIFORMITY_BANDWIDTH = replace(BANDWIDTH, source=_ALIGN_UNIFORM)
UNIFORMITY_WEIGHT = Hyperparameter(
    dimension=Continuous(0.25, 4.0, "log2"),
    default=1.0,
    least=0.0,
    levels=5,
    reason="two doublings to either side of equal weights",
    source=_ALIGN_UNIFORM,
)
BIAS = Hyperparameter(
    dimension=Continuous(-20.0, 0.0, "linear"),
    default=-10.0,
    levels=5,
    reason="from the logits as they are to twice the published start, which offsets the many negatives",
    source="Zhai et al., Sigmoid Loss for Language Image Pre-Training, ICCV 2023, arXiv:2303.15343",
)
SCALE = Hyperparameter(
    dimension=Continuous(0.5, 16.0, "log2"),
    default=1.0,
    above=0.0,
    reason="the squared length of the embeddings, one doubling below the released code's and four above",
    source="HaoChen et al., Spectral Contrastive Loss, NeurIPS 2021, arXiv:2106.04156",
)
VARIANCE_PENALTY = Hyperparameter(
    dimension=Continuous(1.0, 100.0, "log"),
    default=30.0,
    least=0.0,
    levels=5,
    reason="from no heavier than the loss to three times the published weight",
    source="Lee et al., ICML 2025, arXiv:2506.09781",
)
REDUNDANCY_WEIGHT = Hyperparameter(
    dimension=Continuous(0.0005, 0.5, "log"),
    default=0.005,
    least=0.0,
    levels=4,
    reason="a decade below the published weight and two above",
    source="Zbontar et al., Barlow Twins, ICML 2021, arXiv:2103.03230, figure 5",
)
INVARIANCE_WEIGHT = Hyperparameter(
    dimension=Continuous(6.25, 100.0, "log2"),
    default=25.0,
    least=0.0,
    levels=3,
    reason="two doublings to either side of the published weight",
    source=_VICREG,
)
VARIANCE_WEIGHT = INVARIANCE_WEIGHT
COVARIANCE_WEIGHT = replace(INVARIANCE_WEIGHT, dimension=Continuous(0.25, 4.0, "log2"), default=1.0)
