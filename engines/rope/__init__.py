"""Rotary position embedding: its frequencies and their scalings, what they do to similarity, and the base they need.

`frequencies` has the angles and every published way of stretching them, `curves` the similarity f_b and the decay
bound over distance, `bases` the exact search for the least base, `digits` the view of RoPE as a number system.
"""

from engines.rope.bases import least_base, passes
from engines.rope.curves import decay_bound, first_negative, similarity, similarity_profile
from engines.rope.frequencies import SCALINGS, attention_factor, inverse_frequencies, yarn_ramp

__all__ = [
    "SCALINGS",
    "attention_factor",
    "decay_bound",
    "first_negative",
    "inverse_frequencies",
    "least_base",
    "passes",
    "similarity",
    "similarity_profile",
    "yarn_ramp",
]
