"""Hubness: why, in high dimension, some points are everyone's neighbour and some are nobody's."""

from engines.hubness.approximate import approximate
from engines.hubness.experiments import (
    boundary,
    compare_reductions,
    concentration,
    skewness_against_dimension,
    survey,
)
from engines.hubness.files import read_points
from engines.hubness.latents import hub_latents, latent_filter
from engines.hubness.measures import antihub_rate, binomial, hub_occurrence, robin_hood, skewness, spearman, top_share
from engines.hubness.nearest import METRICS, k_occurrence, k_occurrence_steps, neighbours
from engines.hubness.reduction import METHODS, reduce, reduced_k_occurrence

__all__ = [
    "METHODS",
    "METRICS",
    "antihub_rate",
    "approximate",
    "binomial",
    "boundary",
    "compare_reductions",
    "concentration",
    "hub_latents",
    "hub_occurrence",
    "k_occurrence",
    "k_occurrence_steps",
    "latent_filter",
    "neighbours",
    "read_points",
    "reduce",
    "reduced_k_occurrence",
    "robin_hood",
    "skewness",
    "skewness_against_dimension",
    "spearman",
    "survey",
    "top_share",
]
