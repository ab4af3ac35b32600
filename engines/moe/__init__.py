"""Mixtures of experts: who is routed where, and what balancing does to it."""

from engines.moe.rules import (
    GATES,
    RULES,
    Groups,
    Routing,
    Violation,
    gated,
    load,
    load_balancing_loss,
    quantile_balance,
    route,
    shared_expert_scale,
    violation,
)

__all__ = [
    "GATES",
    "RULES",
    "Groups",
    "Routing",
    "Violation",
    "gated",
    "load",
    "load_balancing_loss",
    "quantile_balance",
    "route",
    "shared_expert_scale",
    "violation",
]
