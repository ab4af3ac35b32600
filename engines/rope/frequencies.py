"""The angles a rotary embedding turns by at each step, and the ways of stretching them to longer contexts.

Pair i of a head of dimension d turns by θ_i = b^(−2i/d) radians a token (RoFormer, arXiv 2104.09864, §3.2.2).
A scaling changes θ_i so that a model trained to length L reads k·L. All of it in float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from engines.arguments import items, number, one_of, several_of, whole

MOST_HEAD_DIM = 1024
MOST_BASE = 1e15
MOST_LENGTH = 1 << 24
MOST_FACTOR = 1e4

# name -> where it comes from
SCALINGS = {
    "none": "RoFormer, arXiv 2104.09864",
    "linear": "Position Interpolation, arXiv 2306.15595, and kaiokendev",
    "ntk": "NTK-aware scaled RoPE, bloc97; YaRN, arXiv 2309.00071, definition 1",
    "ntk_fixed": "NTK-RoPE-fixed, kexue.fm/archives/9706",
    "ntk_mixed": "NTK-RoPE-mixed, kexue.fm/archives/9706",
    "dynamic": "Dynamic NTK, emozilla; as in transformers",
    "by_parts": "NTK-by-parts, arXiv 2309.00071, definition 2; with beta_fast 4 it is Llama 3.1's rule",
    "yarn": "YaRN, arXiv 2309.00071, with the ramp of its released code",
    "longrope": "LongRoPE, arXiv 2402.13753, with given factors",
}


def check_head_dim(head_dim: int) -> int:
    """head_dim, if it can be turned in pairs; ValueError otherwise."""
    if whole("head_dim", head_dim, 2, MOST_HEAD_DIM) % 2:
        raise ValueError(f"head_dim must be an even number, not {head_dim}.")
    return int(head_dim)


def check_base(base: float, name: str = "base") -> float:
    """base, if wavelengths grow with it; ValueError otherwise."""
    if number(name, base, 1, MOST_BASE) == 1:
        raise ValueError(f"{name} must be above 1: at 1 all pairs turn alike.")
    return float(base)


def exponents(head_dim: int) -> torch.Tensor:
    """s_i = 2i/d, float64 [d/2], so that θ_i = b^(−s_i)."""
    head_dim = check_head_dim(head_dim)
    return torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim


def inverse_frequencies(
    head_dim: int,
    base: float,
    scaling: str = "none",
    *,
    factor: float = 1.0,
    context_length: int = 4096,
    length: int | None = None,
    beta_fast: float = 32.0,
    beta_slow: float = 1.0,
    truncate: bool = True,
    factors: Sequence[float] | None = None,
    exponent: float = 0.625,
) -> torch.Tensor:
    """θ, float64 [head_dim/2], radians a token: the angle each pair of dimensions turns by from one token to the next.

    With b = base, d = head_dim, k = factor, L = context_length (of training), i = 0 … d/2−1:

    - none: θ_i = b^(−2i/d)
    - linear: θ_i / k, positions squeezed into the trained range
    - ntk: the base becomes b·k^(d/(d−2)), so that the first pair is kept and the last one interpolated
    - ntk_fixed: θ_i · k^(−2(i+1)/d); as digits of base β = b^(2/d), the radix becomes βλ with λ = k^(2/d), and so does
      the period of each digit (the post's eq. for NTK-RoPE-fixed)
    - ntk_mixed: θ_i · exp(−a·(i+1)^e), a = ln k/(d/2)^e, e = exponent: a mixed radix whose low digits are stretched
      more; e = 1 is ntk_fixed, e = 0 is linear, and the post takes e = 0.625
    - dynamic: the base becomes b·(k·n/L − (k−1))^(d/(d−2)) for the present length n = `length` (at least L)
    - by_parts: θ_i·γ + θ_i/k·(1−γ), γ rising linearly from 0 to 1 as the turns within L, Lθ_i/2π, go from beta_slow
      to beta_fast
    - yarn: the same mixture, with γ falling linearly in i between the pairs of beta_fast and beta_slow turns (rounded
      outwards with `truncate`), as the authors' code has it; see also `attention_factor`
    - longrope: θ_i / factors_i

    Raises ValueError where an argument is out of its range.
    """
    one_of("scaling", scaling, SCALINGS)
    head_dim, base = check_head_dim(head_dim), check_base(base)
    theta = base ** -exponents(head_dim)
    k, trained = number("factor", factor, 1, MOST_FACTOR), whole("context_length", context_length, 1, MOST_LENGTH)
    pairs = head_dim // 2
    if scaling in ("ntk", "dynamic") and head_dim == 2:
        raise ValueError(
            f"head_dim must be at least 4 for scaling {scaling!r}: one pair cannot be both kept and stretched."
        )
    match scaling:
        case "linear":
            return theta / k
        case "ntk":
            return (base * k ** (head_dim / (head_dim - 2))) ** -exponents(head_dim)
        case "dynamic":
            present = trained if length is None else max(whole("length", length, 1, MOST_LENGTH), trained)
            stretch = k * present / trained - (k - 1)
            return (base * stretch ** (head_dim / (head_dim - 2))) ** -exponents(head_dim)
        case "ntk_fixed" | "ntk_mixed":
            e = 1.0 if scaling == "ntk_fixed" else number("exponent", exponent, 0, 1)
            digit = torch.arange(1, pairs + 1, dtype=torch.float64)
            return theta * torch.exp(-math.log(k) * (digit / pairs) ** e)
        case "by_parts":
            _check_turns(beta_fast, beta_slow)
            turns = trained * theta / (2 * math.pi)
            keep = ((turns - beta_slow) / (beta_fast - beta_slow)).clamp(0, 1)
            return theta * keep + theta / k * (1 - keep)
        case "yarn":
            low, high = yarn_ramp(head_dim, base, trained, beta_fast, beta_slow, truncate)
            keep = 1 - ((torch.arange(pairs, dtype=torch.float64) - low) / (high - low)).clamp(0, 1)
            return theta * keep + theta / k * (1 - keep)
        case "longrope":
            given = torch.as_tensor([] if factors is None else factors, dtype=torch.float64)
            if given.shape != theta.shape:
                raise ValueError(f"factors must be {pairs} numbers, one for each pair, not {given.numel()}.")
            if not bool(((given > 0) & given.isfinite()).all()):
                raise ValueError("factors must be positive numbers.")
            return theta / given
    return theta


def yarn_ramp(
    head_dim: int,
    base: float,
    context_length: int = 4096,
    beta_fast: float = 32.0,
    beta_slow: float = 1.0,
    truncate: bool = True,
) -> tuple[float, float]:
    """Between which pairs YaRN passes from keeping to interpolating (find_correction_range of its code).

    The pair that makes r turns within L is i = d·ln(L/2πr) / (2·ln b).
    """
    _check_turns(beta_fast, beta_slow)
    check_head_dim(head_dim)

    def pair(turns: float) -> float:
        return head_dim * math.log(context_length / (2 * math.pi * turns)) / (2 * math.log(check_base(base)))

    low, high = pair(beta_fast), pair(beta_slow)
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    return low, high + 0.001 if low == high else high


def _check_turns(beta_fast: float, beta_slow: float) -> None:
    if not 0 < beta_slow < beta_fast < math.inf:
        raise ValueError(f"beta_fast must exceed beta_slow, and both 0, not {beta_fast!r} and {beta_slow!r}.")


def longrope_knots(factors: Sequence[float], most: int) -> tuple[float, ...]:
    """At most `most` of LongRoPE's factors; ValueError otherwise."""
    factors = items("longrope_factors", factors, most)
    return tuple(number("longrope_factors", factor, 1, MOST_FACTOR) for factor in factors)


def spread_factors(factors: Sequence[float], pairs: int) -> np.ndarray:
    """LongRoPE's factor of each pair, float64 [pairs], from a few spread evenly over them and interpolated by ratio."""
    at = np.linspace(0, pairs - 1, len(factors))
    return np.exp(np.interp(np.arange(pairs), at, np.log(factors)))


def attention_factor(scaling: str, factor: float = 1.0, context_length: int = 4096) -> float:
    """What cos and sin are multiplied by along with a scaling (1 for most); logits feel its square.

    yarn: 0.1·ln k + 1 (arXiv 2309.00071, eq. 22); longrope: √(1 + ln k / ln L) (its released code).
    """
    k, trained = number("factor", factor, 1, MOST_FACTOR), whole("context_length", context_length, 2, MOST_LENGTH)
    match one_of("scaling", scaling, SCALINGS):
        case "yarn":
            return 0.1 * math.log(k) + 1
        case "longrope":
            return math.sqrt(1 + math.log(k) / math.log(trained))
    return 1.0


@dataclass(frozen=True)
class Wavelengths:
    """How long each pair takes for a turn, under several scalings.

    head_dim, base, context_length, factor: as asked; lengths in tokens
    scalings: their names, [s]
    pair: index of the pair of dimensions, int [d/2]
    wavelength: tokens a full turn takes, 2π/θ, float64 [s, d/2]
    turns: turns within the training length without any scaling, float64 [d/2]
    unseen: whether the pair meets, before factor × context_length, angles that training never showed it, bool [s, d/2]
    partial: how many pairs never complete a turn within context_length, int [s]
    attention: the attention factor of each scaling, float64 [s]
    """

    head_dim: int
    base: float
    context_length: int
    factor: float
    scalings: tuple[str, ...]
    pair: np.ndarray
    wavelength: np.ndarray
    turns: np.ndarray
    unseen: np.ndarray
    partial: np.ndarray
    attention: np.ndarray


def wavelengths(
    head_dim: int = 128,
    base: float = 10_000.0,
    context_length: int = 4096,
    factor: float = 8.0,
    scalings: Sequence[str] = ("none", "linear", "ntk", "yarn"),
    exponent: float = 0.625,
    longrope_factors: Sequence[float] = (1.0, 1.0, 2.0, 8.0),
) -> Wavelengths:
    """Wavelengths 2π/θ_i against the training length, for each scaling (YaRN, arXiv 2309.00071, §3.1–3.2).

    dynamic is taken at its target, factor × context_length. longrope_factors are LongRoPE's, spread evenly over the
    pairs and interpolated by ratio; give head_dim/2 of them to set each pair.
    """
    head_dim, base = check_head_dim(head_dim), check_base(base)
    factor = number("factor", factor, 1, MOST_FACTOR)
    trained = whole("context_length", context_length, 2, 1 << 20)
    names = tuple(several_of("scalings", scalings, SCALINGS, len(SCALINGS)))
    pairs = np.arange(head_dim // 2)
    knots = longrope_knots(longrope_factors, len(pairs) if "longrope" in names else MOST_HEAD_DIM // 2)
    stretched = spread_factors(knots, len(pairs)).tolist() if "longrope" in names else None
    reach = int(trained * factor)

    def angles(scaling: str) -> np.ndarray:
        return inverse_frequencies(
            head_dim,
            base,
            scaling,
            factor=factor,
            context_length=trained,
            length=reach,
            exponent=exponent,
            factors=stretched,
        ).numpy()

    plain = angles("none")
    theta = np.stack([angles(name) for name in names])
    shown = trained * plain
    unseen = (shown < 2 * np.pi) & (trained * factor * theta > shown * (1 + 1e-9))
    return Wavelengths(
        head_dim=head_dim,
        base=base,
        context_length=trained,
        factor=factor,
        scalings=names,
        pair=pairs,
        wavelength=2 * np.pi / theta,
        turns=trained * plain / (2 * np.pi),
        unseen=unseen,
        partial=(2 * np.pi / theta > trained).sum(axis=1),
        attention=np.array([attention_factor(name, factor, trained) for name in names]),
    )
