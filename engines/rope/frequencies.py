"""The angle each pair of dimensions turns by a token, and the ways of scaling it to longer contexts.

Pair i of a head of dimension d turns by θ_i = b^(−2i/d) radians a token (RoFormer, arXiv 2104.09864, §3.2.2).
A scaling changes θ_i so that a model trained to length L reads k·L. All of it in float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch

from engines.arguments import Between, ListOf, Refusal, SomeOf, checked, number, one_of, whole

MOST_HEAD_DIM = 1024
MOST_BASE = 1e15
MOST_LENGTH = 1 << 28
MOST_FACTOR = 1e4

# name -> where it comes from
SCALINGS = {
    "none": "RoFormer, arXiv 2104.09864",
    "linear": "Position Interpolation, arXiv 2306.15595, and kaiokendev",
    "ntk": "NTK-aware scaled RoPE, bloc97; YaRN, arXiv 2309.00071, definition 1",
    "ntk_fixed": "NTK-RoPE-fixed, kexue.fm/archives/9706",
    "ntk_mixed": "NTK-RoPE-mixed, kexue.fm/archives/9706",
    "dynamic": "Dynamic NTK, emozilla; as in transformers",
    "by_parts": "NTK-by-parts, arXiv 2309.00071, definition 2",
    "yarn": "YaRN, arXiv 2309.00071, with the ramp of its released code",
    "llama3": "Llama 3.1, arXiv 2407.21783: by_parts between 1 and 4 turns; as in transformers",
    "longrope": "LongRoPE, arXiv 2402.13753, with given factors",
    "proportional": "p-RoPE, arXiv 2410.06205; as transformers' proportional",
}

# The bounds of the settings that several views share.
HeadDim = Annotated[int, Between(2, 512)]
Base = Annotated[float, Between(2, 1e9)]
Factor = Annotated[float, Between(1, 1024)]
TrainedLength = Annotated[int, Between(128, 131_072)]
Exponent = Annotated[float, Between(0, 1)]
RotaryPart = Annotated[float, Between(0.05, 1)]
Scalings = Annotated[Sequence[str], SomeOf(SCALINGS)]
LongRopeFactors = Annotated[Sequence[float], ListOf(0.1, 1e4, most=MOST_HEAD_DIM // 2)]


def check_head_dim(head_dim: int) -> int:
    """head_dim, if it can be turned in pairs; Refusal otherwise."""
    if whole("head_dim", head_dim, 2, MOST_HEAD_DIM) % 2:
        raise Refusal("{parameter} must be an even number, not {given}.", parameter="head_dim", given=head_dim)
    return int(head_dim)


def check_base(base: float, name: str = "base") -> float:
    """base, if wavelengths grow with it; Refusal otherwise."""
    if number(name, base, 1, MOST_BASE) == 1:
        raise Refusal("{parameter} must be above 1: at 1 all pairs turn alike.", parameter=name)
    return float(base)


def finite(name: str, values: Any) -> torch.Tensor:
    """A number, array or tensor of finite numbers as float64; Refusal otherwise."""
    try:
        # by way of numpy, for torch would round a list of numbers to float32
        given = values if isinstance(values, torch.Tensor) else torch.as_tensor(np.array(values))
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise Refusal("{parameter} must be a number or an array of numbers.", parameter=name) from None
    if given.is_complex() or not bool(given.isfinite().all()):
        raise Refusal("{parameter} must be finite real numbers.", parameter=name)
    return given.to(torch.float64)


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
    beta_fast: float | None = None,
    beta_slow: float | None = None,
    truncate: bool = True,
    factors: Sequence[float] | None = None,
    short_factors: Sequence[float] | None = None,
    exponent: float = 0.625,
    partial_rotary_factor: float = 1.0,
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
      (by default 1) to beta_fast (32)
    - yarn: the same mixture, with γ falling linearly in i between the pairs of beta_fast and beta_slow turns (see
      `yarn_ramp`, also for `truncate`); see also `attention_factor`
    - llama3: by_parts with beta_slow 1 and beta_fast 4, which its configuration calls low_freq_factor and
      high_freq_factor
    - longrope: θ_i / factors_i, and θ_i / short_factors_i where those are given and `length` is at most L
    - proportional: θ_i / k for the first pairs, 0 for the others, as many as partial_rotary_factor says

    partial_rotary_factor p: only the first d' = 2⌊pd/2⌋ dimensions are rotated. All scalings but the last put d' in
    place of d (GPT-NeoX, Phi; as in transformers), proportional keeps d. Pairs that are not rotated stand last, with
    θ = 0; short_factors and factors hold one number for each pair that is.

    Raises Refusal where an argument is out of its range.
    """
    one_of("scaling", scaling, SCALINGS)
    head_dim, base = check_head_dim(head_dim), check_base(base)
    k, trained = number("factor", factor, 1, MOST_FACTOR), whole("context_length", context_length, 1, MOST_LENGTH)
    present = None if length is None else whole("length", length, 1, MOST_LENGTH)
    pairs = int(number("partial_rotary_factor", partial_rotary_factor, 0, 1) * head_dim) // 2
    if not pairs:
        raise Refusal(
            "{parameter} must leave at least one of the {pairs} pairs to rotate.",
            parameter="partial_rotary_factor",
            pairs=head_dim // 2,
        )
    d = head_dim if scaling == "proportional" else 2 * pairs
    theta = base ** -exponents(d)[:pairs]
    if scaling in ("ntk", "dynamic") and d == 2:
        raise Refusal(
            "{parameter} must give at least two pairs for the scaling {scaling}: one cannot be both kept and stretched.",
            parameter="head_dim",
            scaling=scaling,
        )
    match scaling:
        case "linear" | "proportional":
            theta = theta / k
        case "ntk":
            theta = (base * k ** (d / (d - 2))) ** -exponents(d)
        case "dynamic":
            stretch = k * max(present or trained, trained) / trained - (k - 1)
            theta = (base * stretch ** (d / (d - 2))) ** -exponents(d)
        case "ntk_fixed" | "ntk_mixed":
            e = 1.0 if scaling == "ntk_fixed" else number("exponent", exponent, 0, 1)
            digit = torch.arange(1, pairs + 1, dtype=torch.float64)
            theta = theta * torch.exp(-math.log(k) * (digit / pairs) ** e)
        case "by_parts" | "llama3":
            fast, slow = _turns(beta_fast, beta_slow, 32.0 if scaling == "by_parts" else 4.0)
            keep = ((trained * theta / (2 * math.pi) - slow) / (fast - slow)).clamp(0, 1)
            theta = theta * keep + theta / k * (1 - keep)
        case "yarn":
            low, high = yarn_ramp(d, base, trained, beta_fast, beta_slow, truncate)
            keep = 1 - ((torch.arange(pairs, dtype=torch.float64) - low) / (high - low)).clamp(0, 1)
            theta = theta * keep + theta / k * (1 - keep)
        case "longrope":
            short = short_factors is not None and present is not None and present <= trained
            theta = theta / _factors(*(("short_factors", short_factors) if short else ("factors", factors)), pairs)
    return torch.nn.functional.pad(theta, (0, head_dim // 2 - pairs))


def _factors(name: str, values: Any, pairs: int) -> torch.Tensor:
    given = finite(name, [] if values is None else values)
    if given.shape != (pairs,):
        raise Refusal(
            "{parameter} must be {pairs} numbers, one for each pair, not {given}.",
            parameter=name,
            pairs=pairs,
            given=given.numel(),
        )
    if not bool((given > 0).all()):
        raise Refusal("{parameter} must be positive numbers.", parameter=name)
    return given


def _turns(beta_fast: float | None, beta_slow: float | None, usual: float = 32.0) -> tuple[float, float]:
    fast = usual if beta_fast is None else number("beta_fast", beta_fast)
    slow = 1.0 if beta_slow is None else number("beta_slow", beta_slow)
    if not 0 < slow < fast:
        raise Refusal(
            "{parameter} must exceed beta_slow, and both 0, not {fast} and {slow}.",
            parameter="beta_fast",
            fast=fast,
            slow=slow,
        )
    return fast, slow


def yarn_ramp(
    head_dim: int,
    base: float,
    context_length: int = 4096,
    beta_fast: float | None = None,
    beta_slow: float | None = None,
    truncate: bool = True,
) -> tuple[float, float]:
    """Between which pairs YaRN passes from keeping to interpolating: at most the first is kept, from the second on none.

    The pair that makes r turns within L is i = d·ln(L/2πr) / (2·ln b), here for r = beta_fast (32) and beta_slow (1),
    rounded outwards with `truncate` and held to 0 … d−1, as find_correction_range of the released code has it. Where
    holding them would put the first behind the second, or both at 0, the ends are returned as they are: then all pairs
    make more than beta_fast turns, and are kept, or fewer than beta_slow, and are interpolated. The released code (and
    transformers) has no such guard; its ramp runs backwards there, and does the opposite.
    """
    head_dim, base = check_head_dim(head_dim), check_base(base)
    trained = whole("context_length", context_length, 1, MOST_LENGTH)
    fast, slow = _turns(beta_fast, beta_slow)
    if not isinstance(truncate, bool):
        raise Refusal("{parameter} must be True or False.", parameter="truncate")

    def pair(turns: float) -> float:
        return head_dim * math.log(trained / (2 * math.pi * turns)) / (2 * math.log(base))

    ends = pair(fast), pair(slow)
    if truncate:
        ends = math.floor(ends[0]), math.ceil(ends[1])
    low, high = max(ends[0], 0), min(ends[1], head_dim - 1)
    if low >= high:
        low, high = ends
    return low, high + 0.001 if low == high else high


def spread_factors(factors: Sequence[float], pairs: int, name: str = "factors") -> np.ndarray:
    """LongRoPE's factor of each pair, float64 [pairs], from a few spread evenly over them and interpolated by ratio."""
    pairs = whole("pairs", pairs, 1, MOST_HEAD_DIM // 2)
    given = finite(name, factors).flatten()
    if not 1 <= len(given) <= pairs or not bool((given > 0).all()):
        raise Refusal("{parameter} must be 1 to {pairs} positive numbers.", parameter=name, pairs=pairs)
    at = np.linspace(0, pairs - 1, len(given))
    return np.exp(np.interp(np.arange(pairs), at, given.log().numpy()))


def attention_factor(
    scaling: str,
    factor: float = 1.0,
    context_length: int = 4096,
    *,
    attention: float | None = None,
    mscale: float | None = None,
    mscale_all_dim: float | None = None,
) -> float:
    """What cos and sin are multiplied by along with a scaling (1 for most); logits feel its square.

    yarn: 0.1·ln k + 1 (arXiv 2309.00071, eq. 22); with both mscale and mscale_all_dim, which DeepSeek's configurations
    have, (0.1·mscale·ln k + 1) / (0.1·mscale_all_dim·ln k + 1). longrope: √(1 + ln k / ln L) (its released code).
    attention: of these two, an attention_factor that a configuration states itself.
    """
    k, trained = number("factor", factor, 1, MOST_FACTOR), whole("context_length", context_length, 2, MOST_LENGTH)
    one_of("scaling", scaling, SCALINGS)
    own, above, below = (
        None if value is None else number(name, value, 0, 1e3)
        for name, value in (("attention", attention), ("mscale", mscale), ("mscale_all_dim", mscale_all_dim))
    )
    if scaling not in ("yarn", "longrope"):
        return 1.0
    if own is not None:
        return own
    if scaling == "longrope":
        return math.sqrt(1 + math.log(k) / math.log(trained))
    if above and below:
        return (0.1 * above * math.log(k) + 1) / (0.1 * below * math.log(k) + 1)
    return 0.1 * math.log(k) + 1


@dataclass(frozen=True)
class Wavelengths:
    """How many tokens each pair takes for a full turn, under several scalings.

    head_dim: int; dimensions of a head
    base: float; b
    context_length: int, tokens; the training length L
    factor: float; k: the context wanted is k·L tokens
    scalings: tuple [s]; their names
    pair: int64 [d/2]; index of the pair of dimensions
    wavelength: float64 [s, d/2], tokens; 2π/θ, inf for a pair that is not rotated
    turns: float64 [d/2], turns; made within the training length without any scaling
    unseen: bool [s, d/2]; whether the pair meets, before k·L tokens, angles that training never showed it
    incomplete: int64 [s], pairs; how many of those rotated do not complete a turn within the training length
    attention: float64 [s]; what cos and sin are multiplied by
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
    incomplete: np.ndarray
    attention: np.ndarray


@checked
def wavelengths(
    head_dim: HeadDim = 128,
    base: Base = 10_000.0,
    context_length: TrainedLength = 4096,
    factor: Factor = 8.0,
    scalings: Scalings = ("none", "linear", "ntk", "yarn"),
    exponent: Exponent = 0.625,
    longrope_factors: LongRopeFactors = (1.0, 1.0, 2.0, 8.0),
    partial_rotary_factor: RotaryPart = 1.0,
) -> Wavelengths:
    """Wavelengths 2π/θ_i against the training length, for each scaling (YaRN, arXiv 2309.00071, §3.1–3.2).

    dynamic and longrope are taken at their target, factor × context_length, proportional with a factor of 1, which is
    transformers' default: it does not stretch. longrope_factors are LongRoPE's long ones,
    spread evenly over the pairs and interpolated by ratio; one for each rotated pair sets each pair.
    """
    pairs = int(partial_rotary_factor * check_head_dim(head_dim)) // 2
    spread = None
    if "longrope" in scalings:
        spread = spread_factors(longrope_factors, max(pairs, 1), "longrope_factors").tolist()
    reach = int(context_length * factor)

    def angles(scaling: str) -> np.ndarray:
        return inverse_frequencies(
            head_dim,
            base,
            scaling,
            factor=1.0 if scaling == "proportional" else factor,
            context_length=context_length,
            length=reach,
            exponent=exponent,
            factors=spread,
            partial_rotary_factor=partial_rotary_factor,
        ).numpy()

    theta = np.stack([angles(name) for name in scalings])
    with np.errstate(divide="ignore"):
        wavelength = 2 * np.pi / theta
    shown = context_length * angles("none")
    # proportional keeps the whole head's frequencies, the other scalings spread theirs over the rotated part
    plain = context_length * inverse_frequencies(head_dim, base).numpy()
    trained = np.stack([plain if name == "proportional" else shown for name in scalings])
    unseen = (trained < 2 * np.pi) & (context_length * factor * theta > trained * (1 + 1e-9))
    return Wavelengths(
        head_dim=head_dim,
        base=base,
        context_length=context_length,
        factor=factor,
        scalings=tuple(scalings),
        pair=np.arange(head_dim // 2),
        wavelength=wavelength,
        turns=shown / (2 * np.pi),
        unseen=unseen,
        incomplete=((wavelength > context_length) & np.isfinite(wavelength)).sum(axis=1),
        attention=np.array([attention_factor(name, factor, context_length) for name in scalings]),
    )
