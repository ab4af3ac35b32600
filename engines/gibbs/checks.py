"""What these samplers must reproduce: kernels against closed forms, the text samplers against distributions that are known."""

from __future__ import annotations

import math

import numpy as np
import torch

from engines.checks import Check
from engines.gibbs import kernels
from engines.gibbs.annealing import cool, two_hills
from engines.gibbs.experiments import edit_laws, scan_laws, weigh
from engines.gibbs.field import mismatch, random_field
from engines.gibbs.masked import TableLM
from engines.gibbs.sampling import pseudo_log_likelihood, walk
from engines.gibbs.unmask import SAMPLERS, toy_distances

LAW = kernels.potts()
TABLES = kernels.conditionals(LAW)
STRINGS = kernels.edit_states()
PI = kernels.edit_law(STRINGS)


def residual(kernel: np.ndarray) -> float:
    """How far one application moves the joint: greatest change of a probability."""
    return float(np.abs(LAW.ravel() @ kernel - LAW.ravel()).max())


def sampled_distance(scan: str) -> float:
    """Total variation between the text sampler, given the toy's conditionals, and the toy: 30,000 draws."""
    start = torch.randint(3, (1000, 3), generator=torch.Generator().manual_seed(0))
    counts = np.zeros(LAW.shape)
    for step in walk(TableLM(LAW), start, torch.arange(3), [1.0] * 35, scan):
        if step.visit == step.visits and step.sweep >= 5:
            np.add.at(counts, tuple(step.ids.T.numpy()), 1)
    return kernels.total_variation(counts / counts.sum(), LAW)


def without_letters() -> float:
    """Total variation between the chain of edits without the letters' probability and π(s) / 2^length."""
    found = edit_laws()
    return kernels.total_variation(found.without_ratio, found.law * [0.5 ** len(s) for s in found.states])


def order_gap(other: float) -> float:
    """Total variation between the distributions of the two sweep orders, p(y | x) having coupling `other` and p(x | y) 1."""
    return scan_laws("mixed", coupling=1.0, other_coupling=other, positions=2).orders


def best_at_rest() -> float:
    """Chance of bbbb after 200 sweeps at T = 1/2 on the two hills of four letters."""
    log_p = two_hills(4)
    law = np.full(log_p.shape, 1 / log_p.size)
    for _ in range(200):
        law = cool(law, log_p, 0.5)
    return float(law[1, 1, 1, 1])


def best_of_squares() -> float:
    """What p² gives bbbb: strings counted by their numbers of a and b, the hills' heights max(a, 2 b - 2)."""
    counts = [
        (math.comb(4, a) * math.comb(4 - a, b), max(a, 2 * b - 2)) for a in range(5) for b in range(5 - a)
    ]  # lead 2, slope 2: the top of the b's is 6
    return math.exp(12) / sum(count * math.exp(2 * height) for count, height in counts)


def product_distance() -> float:
    """Total variation between the joint of four positions and the product of its marginals."""
    law = kernels.potts(4)
    marginals = [law.sum(axis=tuple(j for j in range(4) if j != i)) for i in range(4)]
    return kernels.total_variation(np.einsum("i,j,k,l->ijkl", *marginals), law)


def quatrain_orders() -> float:
    """Total variation between the distributions of two marked words when either is drawn last."""
    *_, last = random_field()
    return last.result.distance


CHECKS = (
    Check("Joint on 3 positions, J = 1, h = (0, ½, −½): p(aaa)", "kernels.potts", 0.076137, 5e-7, lambda: LAW[0, 0, 0]),
    Check(
        "The random scan keeps the joint",
        "Geman & Geman 1984",
        0.0,
        1e-12,
        lambda: residual(kernels.random_scan(TABLES)),
    ),
    Check(
        "The sweep keeps the joint",
        "Geman & Geman 1984",
        0.0,
        1e-12,
        lambda: residual(kernels.systematic_scan(TABLES)),
    ),
    Check(
        "The random scan is reversible",
        "detailed balance",
        0.0,
        1e-15,
        lambda: kernels.detailed_balance_gap(kernels.random_scan(TABLES), LAW),
    ),
    Check(
        "The sweep is not reversible: greatest imbalance",
        "detailed balance",
        0.012765,
        1e-6,
        lambda: kernels.detailed_balance_gap(kernels.systematic_scan(TABLES), LAW),
    ),
    Check(
        "All positions at once: total variation from the joint",
        "its stationary distribution",
        0.231208,
        1e-6,
        lambda: kernels.total_variation(kernels.stationary(kernels.parallel_scan(TABLES)), LAW),
    ),
    Check(
        "Conditionals of one joint: both sweep orders have one stationary distribution",
        "Arnold & Press 1989",
        0.0,
        1e-12,
        lambda: order_gap(1.0),
    ),
    Check(
        "Conditionals of two joints: total variation between the sweep orders",
        "their stationary distributions",
        0.313167,
        1e-6,
        lambda: order_gap(-0.5),
    ),
    Check(
        "Edits with the true ratio: detailed balance",
        "CGMH, eqs. 4 to 9",
        0.0,
        1e-15,
        lambda: kernels.detailed_balance_gap(kernels.edit_kernel(STRINGS, PI), PI),
    ),
    Check(
        "Edits without the letters' probability: total variation from π",
        "its stationary distribution",
        0.3531,
        5e-5,
        lambda: edit_laws().distance[1],
    ),
    Check(
        "Edits without the letters' probability keep π(s) / 2^length",
        "detailed balance",
        0.0,
        1e-12,
        without_letters,
    ),
    Check(
        "Edits by CGMH's published code: total variation from π over strings that are not empty",
        "NingMiao/CGMH, key_gen.py; its distribution over a cycle of 20 steps",
        0.21566,
        5e-5,
        lambda: edit_laws().distance[3],
    ),
    Check(
        "BERT of the quatrains, two words of 春风又绿江南岸: total variation between the two orders",
        "0 for a Markov random field",
        0.10939,
        1e-3,
        quatrain_orders,
    ),
    Check(
        "Two hills of four letters, 200 sweeps at T = 1/2: chance of the best string",
        "p², by counting letters",
        best_of_squares(),
        1e-9,
        best_at_rest,
    ),
    Check(
        "Masked diffusion with exact conditionals, one word a pass: total variation from the joint",
        "chain rule, in any order",
        0.0,
        1e-12,
        lambda: toy_distances()[SAMPLERS.index("diffusion"), 3],
    ),
    Check(
        "All four positions in one pass: total variation from the joint",
        "the product of the marginals",
        product_distance(),
        1e-12,
        lambda: toy_distances()[SAMPLERS.index("diffusion"), 0],
    ),
    Check("Rejection from N(0, 4) to N(0, 1) accepts", "closed form", 0.5, 1e-15, lambda: kernels.rejection_rate(0, 2)),
    Check(
        "The same, drawn 10,000 times (standard error 0.005)", "closed form", 0.5, 0.02, lambda: weigh(n=10_000).rate
    ),
    Check(
        "Effective share of its weighted draws",
        "√7 / 4",
        math.sqrt(7) / 4,
        1e-12,
        lambda: kernels.importance_efficiency(0, 2),
    ),
    Check(
        "The text sampler on the joint, left to right: total variation (chance level 0.01)",
        "30,000 draws",
        0.0,
        0.025,
        lambda: sampled_distance("sweep"),
    ),
    Check(
        "The text sampler on the joint, all at once: total variation",
        "30,000 draws",
        0.231208,
        0.025,
        lambda: sampled_distance("parallel"),
    ),
    Check(
        "Conditionals of one joint have no mismatch",
        "Arnold & Press 1989",
        0.0,
        1e-12,
        lambda: mismatch(*np.log(kernels.conditionals(kernels.potts(2))), kernels.potts(2)),
    ),
    Check(
        "Pseudo-log-likelihood of aaa on the joint",
        "Σ log p(x_i | others)",
        float(sum(np.log(t[0, 0, 0]) for t in TABLES)),
        1e-12,
        lambda: pseudo_log_likelihood(TableLM(LAW), torch.zeros(1, 3, dtype=torch.long), torch.arange(3)).item(),
    ),
)
