"""Wasserstein distances, critics that should measure them, and descent in parameters and in laws.

What the views compute stands in experiments, critic_flow, descent and downhill.
"""

from engines.transport.closed_forms import (
    bures,
    gaussian_batch_distance,
    jko_gaussian,
    ornstein_uhlenbeck,
    svgd_pair,
    two_point_critic,
    uniform_batch_distance,
)
from engines.transport.descent import descent_decay
from engines.transport.matching import Wasserstein, extend, steepest_slope, wasserstein

__all__ = [
    "Wasserstein",
    "bures",
    "descent_decay",
    "extend",
    "gaussian_batch_distance",
    "jko_gaussian",
    "ornstein_uhlenbeck",
    "steepest_slope",
    "svgd_pair",
    "two_point_critic",
    "uniform_batch_distance",
    "wasserstein",
]
