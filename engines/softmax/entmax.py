"""alpha-entmax: the maps between softmax (alpha = 1), sparsemax (alpha = 2) and beyond, and their losses.

Peters, Niculae, Martins, "Sparse Sequence-to-Sequence Models" (2019), eq. 10:

    entmax(z) = argmax over the simplex of <p, z> + H_alpha(p) = [(alpha - 1) z - tau]_+ ^ (1 / (alpha - 1)),

H_alpha being Tsallis' entropy. Instead of the threshold tau we solve for u = max(p), which is as well scaled for n = 32,000
equal scores and alpha = 4 as for two: with r = alpha - 1 and gap_i = max(z) - z_i,

    p_i(u) = [u^r - r gap_i]_+ ^ (1/r),     sum_i p_i(u) = 1,     sum_i dp_i/du = sum_i (p_i / u)^(2 - alpha) on the support.

For alpha <= 2 the sum is convex and increasing in u, so Newton's method from above never oversteps; for alpha = 2 it ends
after finitely many steps with the exact support. Beyond 2 the slope is infinite where an entry joins the support, and
Newton's steps are kept inside a shrinking bracket.

What makes it fast is that few scores matter: the root for any subset of the scores bounds u from above. The maxima of a few
columns (one pass) give a bound so tight that hardly more than the support lies above it; the rest happens on those scores.
"""

import torch
from torch import Tensor
from torch.autograd import Function

from engines.arguments import Refusal, number
from engines.softmax.scores import check_top, class_indices, distribution, floating, gaps, wide

_GROUP = 32  # scores a maximum is taken over to find the candidates
_SERIAL, _CACHED = 2**15 - 1, 2**21  # numbers worked on at once: where there are few (below 2^19), and many
_FEW, _MANY = 6, 60  # steps that make a bound, and that end at the root


def entmax(scores: Tensor, alpha: float = 1.5, dim: int = -1) -> Tensor:
    """alpha-entmax along `dim`, for 1 <= alpha <= 4: softmax at 1, sparsemax at 2, sparser the larger alpha.

    Exact (to rounding) at every alpha, and at 1, 1.5 and 2 without a power or logarithm beyond softmax's own; differentiable
    (twice too) in the scores. Scores of -inf are masked out. Ties get equal probability.
    Raises ValueError for alpha outside [1, 4] and for rows with NaN, +inf or nothing but -inf.

    Peters, Niculae, Martins 2019, eq. 10; the Jacobian is Peters et al., Prop. 2.
    """
    alpha = number("alpha", alpha, 1, 4)
    # half precisions are left before the map and entered after it, so that the gradient too is computed in float32
    z = gaps(scores, dim) if alpha == 1 else floating("scores", scores, dim)
    return (torch.softmax(z, dim) if alpha == 1 else _Entmax.apply(z, alpha, dim)).to(scores.dtype)


def sparsemax(scores: Tensor, dim: int = -1) -> Tensor:
    """The Euclidean projection of the scores on the simplex: [z - tau]_+. It is entmax at alpha = 2.

    Martins, Astudillo, "From Softmax to Sparsemax" (2016), eq. 2; Jacobian eq. 9.
    """
    return entmax(scores, 2.0, dim)


def tsallis_entropy(probabilities: Tensor, alpha: float = 1.5, dim: int = -1) -> Tensor:
    """Tsallis' entropy (1 - sum p^alpha) / (alpha (alpha - 1)) along `dim`; Shannon's (in nats) at alpha = 1."""
    alpha = number("alpha", alpha, 1, 4)
    p = distribution(probabilities, dim)
    log = torch.where(p > 0, p, 1).log()
    # p - p^alpha, which would cancel near alpha = 1
    total = (p * (-log if alpha == 1 else -torch.expm1((alpha - 1) * log) / (alpha * (alpha - 1)))).sum(dim)
    return total.to(probabilities.dtype)


def fenchel_young_loss(scores: Tensor, target: int | Tensor, alpha: float = 1.5, dim: int = -1) -> Tensor:
    """The loss whose gradient in the scores is entmax(scores) - onehot(target); cross-entropy at alpha = 1.

    scores: any shape; target: class indices, of that shape without `dim`, or one for all; none may be masked by -inf.
    Returns that shape, >= 0 and in nats at alpha = 1.
    It is 0 as soon as the target leads by 1 / (alpha - 1); before that cross-entropy of a sparse map would be infinite.

    L(z, y) = <z, p - y> + H_alpha(p), p = entmax(z): Blondel, Martins, Niculae, "Learning with Fenchel-Young Losses" (2020), eq. 14.
    """
    z = floating("scores", scores, dim)
    p = entmax(z, alpha, dim)
    index = class_indices("target", target, z, dim)
    if bool((z.gather(dim, index) == -torch.inf).any()):
        raise Refusal("{parameter} must not name a score that is masked by -inf.", parameter="target")
    onehot = torch.zeros_like(p).scatter(dim, index, 1.0)
    return _FenchelYoung.apply(z, p, onehot, float(alpha), dim).to(scores.dtype)


class _FenchelYoung(Function):
    """The value by Tsallis' entropy, the gradient p - y by Danskin's theorem (p keeps its own graph: second derivatives hold)."""

    @staticmethod
    def forward(ctx, scores, p, onehot, alpha, dim):
        ctx.save_for_backward(p, onehot)
        ctx.dim = dim
        # gaps from the target keep large scores exact, and a masked score (p = 0) out of the sum
        lead = scores - scores.masked_fill(onehot == 0, 0).sum(dim, keepdim=True)
        if alpha == 1:  # log(1 + the others' sum): nothing is lost beside the 1
            others = lead.masked_fill(onehot > 0, -torch.inf).logsumexp(dim)
            return torch.logaddexp(others, torch.zeros_like(others))
        return ((p * torch.where(p > 0, lead, 0)).sum(dim) + tsallis_entropy(p, alpha, dim)).clamp_min(0)

    @staticmethod
    def backward(ctx, grad):
        p, onehot = ctx.saved_tensors
        return grad.unsqueeze(ctx.dim) * (p - onehot), None, None, None, None


class _Entmax(Function):
    @staticmethod
    def forward(ctx, scores, alpha, dim):
        z = scores.movedim(dim, -1)
        shape = z.shape
        z = z.reshape(-1, shape[-1])
        p, index = _probabilities(z, alpha)
        # the padding of `index` points at column 0 and adds 0 there
        full = p if index is None else torch.zeros_like(z).scatter_add_(-1, index, p)
        out = full.reshape(shape).movedim(-1, dim)
        ctx.alpha, ctx.dim, ctx.index = alpha, dim, index
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx, grad):
        (out,) = ctx.saved_tensors
        shape = out.movedim(ctx.dim, -1).shape
        p = out.movedim(ctx.dim, -1).reshape(-1, shape[-1])
        g = grad.movedim(ctx.dim, -1).reshape(-1, shape[-1])
        index = ctx.index
        if index is None:
            gradient = _jacobian_product(p, g, ctx.alpha)
        else:
            inside = _first(index)
            part = _jacobian_product(p.gather(-1, index) * inside, g.gather(-1, index), ctx.alpha)
            gradient = torch.zeros_like(g).scatter_add(-1, index, part)
        return gradient.reshape(shape).movedim(-1, ctx.dim), None, None


def _jacobian_product(p: Tensor, g: Tensor, alpha: float) -> Tensor:
    """J g with J = diag(s) - s s' / sum(s), s = p^(2 - alpha) on the support and 0 off it (Peters et al. 2019, Prop. 2)."""
    product = _steep_product if alpha > 2 else _product
    return torch.cat([product(q, h, alpha) for q, h in zip(_blocks(p), _blocks(g), strict=True)])


def _product(p: Tensor, g: Tensor, alpha: float) -> Tensor:
    support = p > 0
    s = support.to(p.dtype) if alpha == 2 else torch.where(support, torch.where(support, p, 1) ** (2 - alpha), 0)
    weighted = s * g
    return weighted - s * (weighted.sum(-1, keepdim=True) / s.sum(-1, keepdim=True))


def _steep_product(p: Tensor, g: Tensor, alpha: float) -> Tensor:
    """For alpha > 2, where s grows without bound as p -> 0: in float64, p kept so large that s is finite, and g measured
    from its value at the largest s, so that the difference there does not cancel."""
    q, h = wide(p), wide(g)
    support = q > 0
    least = torch.finfo(q.dtype).tiny ** (1 / 3)
    s = torch.where(support, torch.where(support, q, 1).clamp_min(least) ** (2 - alpha), 0)
    h = h - h.gather(-1, s.argmax(-1, keepdim=True))
    return (s * (h - (s * h).sum(-1, keepdim=True) / s.sum(-1, keepdim=True))).to(g.dtype)


def _first(index: Tensor) -> Tensor:
    """Which slots of a padded index are real: columns ascend, so the padding (column 0 again) is what does not."""
    inside = torch.ones_like(index, dtype=torch.bool)
    inside[:, 1:] = index[:, 1:] > 0
    return inside


def _probabilities(z: Tensor, alpha: float) -> tuple[Tensor, Tensor | None]:
    """The probabilities of rows z [m, n]: p [m, n] and None, or p [m, k] with the columns [m, k] they belong to."""
    m, n = z.shape
    if m == 0:
        return torch.zeros_like(z), None
    columns = n // _GROUP
    if columns < 2:
        top = z.amax(-1, keepdim=True)
        check_top(top)
        return _solve(top - z, alpha, torch.ones_like(top), _MANY)[0], None
    # maxima of column groups: a subset of the scores, the largest among them
    maxima = z[:, : columns * _GROUP].view(m, _GROUP, columns).amax(1)
    if columns * _GROUP < n:
        maxima = torch.cat([maxima, z[:, columns * _GROUP :]], -1)
    top = maxima.amax(-1, keepdim=True)
    check_top(top)
    high = _solve(top - maxima, alpha, torch.ones_like(top), _FEW)[1]
    candidates = z >= top - high ** (alpha - 1) / (alpha - 1) * (1 + 1e-6)
    few = bool(candidates[:, ::_GROUP].float().mean() < 0.5)  # a sample: packing would not pay
    index = _packed(candidates, n // 2) if few else None
    if index is None:
        return _solve(top - z, alpha, high, _MANY)[0], None
    gap = (top - z.gather(-1, index)).masked_fill_(~_first(index), torch.inf)
    return _solve(gap, alpha, high, _MANY)[0], index


def _packed(mask: Tensor, most: int) -> Tensor | None:
    """The columns of each row where mask [m, n] is true, ascending, padded with 0 to the longest row; None beyond `most`."""
    m, n = mask.shape
    flat = mask.view(-1).nonzero().squeeze(-1)
    row = torch.div(flat, n, rounding_mode="floor")
    counts = torch.bincount(row, minlength=m)
    width = int(counts.max())
    if width > most:
        return None
    slot = torch.arange(len(flat), device=mask.device) - (counts.cumsum(0) - counts)[row]
    index = torch.zeros(m, width, dtype=torch.long, device=mask.device)
    index.view(-1)[row * width + slot] = flat - row * n
    return index


def _solve(gap: Tensor, alpha: float, high: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """p [m, k], in the place of gap [m, k] = max(z) - z (some entry 0, inf where absent), and u [m, 1] in [max(p), high].

    With few steps u is an upper bound of max(p), with many it is max(p) to rounding.
    """
    method = _newton if alpha <= 2 else _ridders
    bounds = []
    for g, h in zip(_blocks(gap), _blocks(high, gap), strict=True):
        p, u = method(g, alpha, h, steps)
        g.copy_(p)  # in place: fresh memory costs more than arithmetic
        bounds.append(u)
    return gap, torch.cat(bounds)


def _blocks(x: Tensor, like: Tensor | None = None) -> tuple[Tensor, ...]:
    """Rows of x, a few at a time on a CPU. Little work is cut so small that torch starts no threads for it (starting them takes
    longer), much work so that it stays in the processor's cache.
    """
    whole = x if like is None else like
    size = _SERIAL if whole.numel() < 2**19 else _CACHED
    return x.split(max(1, size // whole.shape[-1])) if x.device.type == "cpu" else (x,)


def _newton(gap: Tensor, alpha: float, u: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    small = torch.finfo(gap.dtype).eps ** 0.75  # the step after a small one ends at rounding
    settled, p, total = False, gap, gap
    for _ in range(steps):
        p, slope = _at(u, gap, alpha)
        total = p.sum(-1, keepdim=True)
        if settled:
            break
        step = (total - 1) / slope
        settled = bool((step <= small * u).all())
        u = u - step.relu()  # a step upwards is rounding
    return p / total, u


def _ridders(gap: Tensor, alpha: float, high: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Ridders' method (1979): where entries join, the slope is infinite and Newton's method of little use."""
    kind = gap.dtype
    gap, high = wide(gap), wide(high)  # for alpha > 2 a rounding of u moves a small p by far more
    low = torch.full_like(high, 1 / gap.shape[-1])
    last, p, total = high, gap, gap
    below = _power(low, gap, alpha).sum(-1, keepdim=True) - 1
    above = _power(high, gap, alpha).sum(-1, keepdim=True) - 1
    for _ in range(steps):
        middle = (low * high).sqrt()
        at_middle = _power(middle, gap, alpha).sum(-1, keepdim=True) - 1
        root = (at_middle.square() - below * above).clamp_min(1e-300 if gap.dtype == torch.float64 else 1e-38).sqrt()
        u = (middle * (low / middle) ** (at_middle / root)).clamp(low, high)
        p = _power(u, gap, alpha)
        total = p.sum(-1, keepdim=True)
        # at the root, or where u is known to rounding: where an entry joins, that alone moves the total by far more
        exact = max(torch.finfo(kind).eps / 8, 5e-16)
        if (((total - 1).abs() <= exact) | ((u - last).abs() <= 5e-16 * u)).all():
            break
        last = u
        for point, value in ((middle, at_middle), (u, total - 1)):
            is_low = value <= 0
            low = torch.where(is_low & (point > low), point, low)
            below = torch.where(is_low, torch.maximum(below, value), below)
            high = torch.where(~is_low & (point < high), point, high)
            above = torch.where(is_low, above, torch.minimum(above, value))
    return (p / total).to(kind), high.to(kind)


def _at(u: Tensor, gap: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """p(u) [m, k] and its summed derivative [m, 1], alpha <= 2."""
    r = alpha - 1
    if alpha == 2:
        p = (u - gap).relu_()
        return p, (p > 0).sum(-1, keepdim=True)
    if alpha == 1.5:
        root = u.sqrt()
        t = (gap * -0.5).add_(root).relu_()
        slope = t.sum(-1, keepdim=True) / root
        return t.square_(), slope
    if alpha < 1.5:  # through log p, without the cancellation of u^r near 1
        base = (gap * -r).add_(torch.expm1(r * u.log())).clamp_(min=-1)
        p = base.log1p().div_(r).exp_()
        base += 1
    else:
        base = (gap * -r).add_(u**r).relu_()
        p = base ** (1 / r)
    base = torch.div(p, base.clamp_(min=torch.finfo(p.dtype).tiny), out=base)
    return p, base.sum(-1, keepdim=True) * u ** (r - 1)


def _power(u: Tensor, gap: Tensor, alpha: float) -> Tensor:
    return (gap * (1 - alpha)).add_(u ** (alpha - 1)).relu_().pow_(1 / (alpha - 1))
