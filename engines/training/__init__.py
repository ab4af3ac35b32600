"""How a step is made: schedules, optimisers, dropped gradients, side networks, gradient penalties, averages of weights."""

from engines.training.formulas import (
    dropout_moments,
    ema_variance_factor,
    kept_bytes,
    power_ema_gamma,
    su_recursion,
    su_schedule,
)
from engines.training.rules import amos, slot_count

__all__ = [
    "amos",
    "dropout_moments",
    "ema_variance_factor",
    "kept_bytes",
    "power_ema_gamma",
    "slot_count",
    "su_recursion",
    "su_schedule",
]
