"""Importance sampling, shared codebooks, and the distances that they are measured by."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from engines.ddcm import books
from engines.ddcm.choices import choice_law, power_law_bits
from engines.ddcm.codec import PixelModel
from engines.ddcm.gaussian import code_normals
from engines.ddcm.gaussian import cosine_schedule as cosine
from engines.ddcm.plan import Plan


def test_the_largest_is_what_the_codec_takes():
    """Its error is that of the codec with fresh codebooks, which draws all the numbers of all atoms."""
    found = choice_law(64, 20)
    for j in (1, 3):
        plan = Plan(20, int(found.codebook_size[j]), variant="reference")
        assert found.error[0, j] == pytest.approx(code_normals(plan, 64, cosine(), 256)[0].mean(), rel=0.04)


def test_importance_sampling_comes_to_the_law_of_ddpm_and_the_largest_does_not():
    found = choice_law(1, 12, seed=3)
    largest, drawn = found.distance.mean(2)
    assert drawn[-1] < 2 * found.chance < 0.5 * largest[-1]
    assert (np.diff(drawn) < 0).all() and largest[-1] > largest[1]
    assert found.least_bits < found.coded_bits[-1] < found.uniform_bits[-1] / 2


def test_a_power_law_is_a_code():
    """Kraft: over all indices the lengths' powers add up to one."""
    for bits in (0.0, 3.0):
        lengths = [power_law_bits(np.array([i]), 9, bits) for i in range(1, 10)]
        assert sum(2.0**-length for length in lengths) == pytest.approx(1)
        assert (np.diff(lengths) > 0).all()


def test_one_codebook_needs_as_many_times_more_atoms_as_its_factor_says():
    found = books.book_distance(16, 40)
    fresh, shuffled, one = found.distance
    assert 30 < found.factor < 39
    ratio = one[4:10] / fresh[4:10]
    assert 0.5 < np.exp(np.log(ratio).mean()) / found.factor < 2
    assert np.abs(np.log(shuffled / fresh)).max() < math.log(2.5)


def test_atoms_have_the_law_of_a_codebook():
    """Mean and covariance drawn by Bartlett, against those of atoms; few atoms leave directions out."""
    rng = np.random.default_rng(0)
    traces = [np.trace(books.atoms(rng, 20, 3)[1]) for _ in range(2000)]
    slow = [np.trace(np.cov(rng.standard_normal((20, 3)).T, bias=True)) for _ in range(2000)]
    assert np.mean(traces) == pytest.approx(3 * 19 / 20, abs=0.06) and np.std(traces) == pytest.approx(
        np.std(slow), rel=0.1
    )
    assert np.linalg.matrix_rank(books.atoms(rng, 4, 8)[1]) == 3


class Shrink(torch.nn.Module):
    """The best denoiser of independent standard normals, for pictures."""

    def __init__(self):
        super().__init__()
        self.alphas_cumprod = torch.nn.Parameter(torch.from_numpy(cosine()).float(), requires_grad=False)

    def forward(self, x, t):
        return SimpleNamespace(sample=self.alphas_cumprod[t].sqrt() * x)


def test_pictures_of_random_codes_are_compared_with_emoji(monkeypatch):
    model = PixelModel("shrink", b"shrink32", Shrink(), cosine(), "sample", 32)
    monkeypatch.setattr(books, "small_model", lambda name: model)
    *_, last = books.book_quality(("one", "fresh"), (1, 8), 16, 30)
    found = last.result
    assert found.done.all() and found.book == ("one", "one", "fresh", "fresh", "ddpm")
    assert found.pictures.shape == (5, 5, 32, 32, 3) and (found.error > 0).all()
    two, many = (found.pictures[i].astype(float) for i in (0, 3))
    assert two.std(0).mean() < many.std(0).mean()  # the mean of two shared atoms is in every picture
    few = books.book_quality(("one",), (1,), 8, 3)
    pictures = list(few)[-1].result.pictures[0]
    assert len({picture.tobytes() for picture in pictures}) <= 4  # two atoms, two choices


def test_kernel_distance_of_one_law_is_nought_on_average_and_its_error_is_right():
    rng = np.random.default_rng(2)
    found = np.array([books.kernel_distance(*rng.standard_normal((2, 30, 4))) for _ in range(300)])
    assert abs(found[:, 0].mean()) < 0.02
    shifted = books.kernel_distance(rng.standard_normal((30, 4)) + 2, rng.standard_normal((30, 4)))[0]
    assert shifted > 5 * found[:, 0].std()
