"""What a network is asked for: several losses at once, several labels at once, and a test set unlike the training set.

Su Jianlin's posts on multi-task learning (kexue.fm 8870, 8896), multi-label classification (7359, 9064, 9158) and a validation
set nearer to the test set (7805).
"""

from engines.objectives.gradients import (
    RULES,
    cagrad,
    imtl_g,
    log_sum,
    min_norm,
    nash,
    normalised_sum,
    pair_weights,
    pcgrad,
    total,
    upgrad,
)
from engines.objectives.labels import FORMS, LOSSES, bce, circle, focal, multiway, zlpr, zlpr_optimum
from engines.objectives.ratio import density_ratio_gaussian, exact_log_ratio, weighted_mean

__all__ = [
    "FORMS",
    "LOSSES",
    "RULES",
    "bce",
    "cagrad",
    "circle",
    "density_ratio_gaussian",
    "exact_log_ratio",
    "focal",
    "imtl_g",
    "log_sum",
    "min_norm",
    "multiway",
    "nash",
    "normalised_sum",
    "pair_weights",
    "pcgrad",
    "total",
    "upgrad",
    "weighted_mean",
    "zlpr",
    "zlpr_optimum",
]
