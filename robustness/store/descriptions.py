"""What every column of plan, trials and history holds: meaning, unit and range."""

from collections.abc import Mapping

_IDENTITY = {
    "trial_id": "hash of all that decides a result: data, model, training, probes, loss, settings, seed, protocol",
    "pack_id": "the trials that were trained and stored together; also the name of their file",
    "study": "name of the study",
    "design": "how the configuration was chosen: grid, sobol, random, tpe or gp",
    "family": "label of the family in the study file",
    "loss": "name of the loss; `untrained` for the initial weights",
    "status": "ok, or why there are no outcomes: diverged, out_of_memory, timeout, stopped or error",
    "error": "the reason in words; null when ok",
    "trial": "canonical JSON of all that decides a result: what `trial_id` is the hash of",
}
_AXES = {
    "seed": "of all random draws of the trial: weights, order, augmentation, probe",
    "batch_size": "images in a batch, each with two views",
    "projector_dim": "width of the embedding, the last of the projector; null when untrained",
    "batch_policy": "which images meet in a batch, such as `shuffled`, anew in every epoch",
    "learning_rate": "as the study names it, before scaling with the batch size",
    "weight_decay": "of the optimiser",
    "temperature": "divides every similarity; in alpha-CL it scales the distances",
    "bandwidth": "of the kernel: how fast it falls with the squared distance",
    "gamma": "weight of the energy against the alignment in kernel losses",
    "kernel_scale": "length scale of the inverse multiquadric kernel",
    "kernel_order": "power of the distance in Riesz kernels",
    "epsilon": "how much of the positive counts in the log-sum, from 0 (DCL) to 1 (NT-Xent)",
    "margin": "how much farther a negative must be than the positive",
    "slope": "steepness of the sigmoid of `modified_triplet`",
    "exponent": "power of the distance in `align_uniform` and in pair weights",
    "power": "power of the inverse pair weights of `alpha_inverse`",
    "bias": "added to every logit of `siglip`",
    "weight": "of uniformity in `align_uniform`, of the variance penalty in `nt_xent_vrns`",
    "scale": "squared length of the embeddings of `spectral`",
    "redundancy_weight": "of the off-diagonal correlations of `barlow_twins`",
    "invariance_weight": "of the squared distance between views in `vicreg`",
    "variance_weight": "of the hinge on each dimension's deviation in `vicreg`",
    "covariance_weight": "of the off-diagonal covariances in `vicreg`",
    "extra_hyperparameters": "JSON of hyperparameters that no built-in loss has, of losses of installed packages",
}
_CONTEXT = {
    "dataset": "name of the data set, or of the file or folder of images",
    "encoder": "name of the encoder",
    "epoch": "passes over the training images when this row was measured",
    "epochs": "passes over the training images that were done",
    "updates": "optimiser steps that were done",
    "images": "images that were seen: updates times batch size",
}
_OUTCOMES = {
    "linear_top1": "accuracy of a linear probe on frozen representations, test images; share 0..1",
    "linear_top1_validation": "the same probe on the validation images, on which settings are chosen; share 0..1",
    "knn_top1": "accuracy of cosine nearest neighbours on representations; share 0..1",
    "retrieval_top1": "how often one view finds the other among all; share 0..1",
    "linear_sgd_top1": "accuracy of a linear probe trained by SGD as in the papers; share 0..1",
    "z_linear_top1": "accuracy of a linear probe on embeddings; share 0..1",
    "z_knn_top1": "accuracy of nearest neighbours on embeddings; share 0..1",
    "collapse": "of the embeddings: none, dimensional (less than half the attainable effective rank) or complete",
    "h_collapse": "the same of the representations, judged after centring",
    "final_loss": "mean loss over the last epoch (in `history`: over that epoch); not comparable between losses",
}
_GEOMETRY = {
    "alignment": "mean squared distance between two views, unit length; 0..4, lower is better",
    "uniformity": "log mean of exp(-2 squared distance) over pairs, unit length; lower is better",
    "wasserstein": "distance of the inner products of pairs from those of uniform points; 0 is uniform, 1 one point",
    "effective_rank": "exp of the entropy of the singular values, not centred (Roy & Vetterli 2007); from 1",
    "effective_rank_centered": "the same after centring",
    "rankme": "effective rank with 1e-7 added to each share (Garrido et al. 2023)",
    "participation_ratio": "(sum of covariance eigenvalues)^2 / sum of their squares",
    "stable_rank": "sum of covariance eigenvalues / the largest",
    "numerical_rank": "singular values above rounding error",
    "released_rank": "covariance eigenvalues above 1e-5, as the code released with DHEL counts; depends on scale",
    "alpha_req": "how fast covariance eigenvalues 11 to 100 decay: an exponent; NaN where they are too few",
    "lidar": "effective rank of what tells images apart beyond their views (Thilak 2024); NaN where images are too few",
    "mean_norm": "length of the mean vector",
    "total_variance": "trace of the covariance",
    "spectrum": "all singular values, largest first",
}
_SPACES = {"h": "representations h", "z": "embeddings z"}
_COST = {
    "train_seconds": "seconds of training: those of the slice, divided by its members",
    "evaluate_seconds": "seconds of measuring",
    "selection_seconds": "seconds of choosing batches by embeddings; 0 where a policy looks at none",
    "images_per_second": "of training",
    "peak_memory_bytes": "most memory in use on the device",
    "device": "the processor or GPU",
    "threads": "of the processor that the worker used",
    "slice_size": "trials that were trained at once",
    "fused": "whether they were one batched computation",
}
_PROVENANCE = {
    "code_version": "of this package",
    "protocol_version": "raised whenever the same trial would score differently",
    "torch_version": "of PyTorch",
    "finished_at": "when the trial ended, UTC",
}

DESCRIPTIONS: Mapping[str, str] = {
    **_IDENTITY,
    **_AXES,
    **_CONTEXT,
    **_OUTCOMES,
    **{f"{key}_{name}": f"{space}: {text}" for key, space in _SPACES.items() for name, text in _GEOMETRY.items()},
    **_COST,
    **_PROVENANCE,
}
"""Column -> what it holds, in one line."""
