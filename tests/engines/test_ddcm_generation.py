"""Guided codes on a mixture whose classes are known exactly, and through diffusers' UNet2DModel with classes."""

import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from engines import models
from engines.arguments import Refusal
from engines.ddcm import Plan, fitting
from engines.ddcm.codec import decoder, open_model, to_tensor, walk, wrap
from engines.ddcm.gaussian import cosine_schedule
from engines.ddcm.generation import generate
from engines.ddcm.guidance import classify, guide
from engines.ddcm.pictures import held_back
from engines.recipes.ddpm_emoji import build, make_scheduler, save_pipeline

CENTRES = torch.tensor([[1.0], [-1.0]]) * torch.linspace(0.2, 0.6, 48)  # class 0 and class 1
WIDTH = 0.25


class Mixture:
    """Two isotropic Gaussians of equal weight, one a class: the best denoiser in closed form."""

    alphas_cumprod, shape, device, labels = cosine_schedule(), (48,), torch.device("cpu"), ("up", "down")

    def denoise(self, x, t, label=None):
        kept = float(self.alphas_cumprod[t])
        spread = kept * WIDTH**2 + 1 - kept
        gain = math.sqrt(kept) * WIDTH**2 / spread
        means = CENTRES + gain * (x[:, None] - math.sqrt(kept) * CENTRES)  # [n, class, 48]
        if label is not None:
            return means[:, label]
        odds = -(x[:, None] - math.sqrt(kept) * CENTRES).square().sum(-1) / (2 * spread)
        return (odds.softmax(-1)[..., None] * means).sum(1)

    def side(self, x):
        """The share of x that lie nearer to class 0."""
        return float((torch.cdist(x, CENTRES).argmin(1) == 0).float().mean())


def drawn(compared, label=0, count=200, seed=0):
    *_, last = guide(Mixture(), Plan(40, 64), count, label, compared, seed)
    return last.denoised


def test_one_atom_is_no_guidance_and_many_are():
    model = Mixture()
    free = [model.side(drawn(1, label)) for label in (0, 1)]
    assert free[0] == free[1]  # whatever class is asked for
    assert 0.2 < free[0] < 0.8  # the first noise is the same for all, so not quite one half
    assert model.side(drawn(8, 0)) > 0.95 and model.side(drawn(8, 1)) < 0.05


def test_guided_pictures_keep_to_the_class_and_to_its_width():
    spread = float((drawn(2, 0) - CENTRES[0]).square().mean().sqrt())
    assert spread == pytest.approx(WIDTH, rel=0.2)


def test_a_guided_code_is_decoded_without_the_class():
    model, plan = Mixture(), Plan(20, 16)
    moments = list(guide(model, plan, 3, 1, 16))
    told = torch.stack([m.symbols for m in moments[:-1]], 1)
    *_, last = walk(model, plan, 3, decoder(told))
    assert torch.equal(last.denoised, moments[-1].denoised)


def test_the_class_is_found_by_denoising():
    model = Mixture()
    points = torch.cat([c + WIDTH * torch.randn(50, 48, generator=torch.Generator().manual_seed(1)) for c in CENTRES])
    assert torch.equal(classify(model, points), torch.arange(2).repeat_interleave(50))


@pytest.fixture
def classes(tmp_path, monkeypatch):
    """A tiny UNet2DModel with three classes and one for none, loaded from a folder as from the Hub."""
    torch.manual_seed(0)
    save_pipeline(tmp_path, build((8, 16), 4), make_scheduler())
    (tmp_path / "model_index.json").write_text(json.dumps({"id2label": {"1": "b", "0": "a", "2": "face"}}))
    net, scheduler = models._from_folder(tmp_path, "diffusion", torch.device("cpu"))
    model = wrap("tiny", b"12345678", net, scheduler)
    monkeypatch.setattr(fitting, "open_model", lambda name: model)
    return model


def test_classes_are_told_to_the_network(classes):
    assert classes.labels == ("a", "b", "face")
    x = torch.randn(2, 3, 32, 32)
    free, told = classes.denoise(x, 300), [classes.denoise(x, 300, label) for label in range(4)]
    assert torch.equal(free, told[3]) and not torch.equal(free, told[0]) and not torch.equal(told[0], told[1])


def test_guided_codes(classes):
    reports = list(generate("face", compared=(4, 1), count=2, steps=4, model="tiny"))
    assert [r.step for r in reports] == sorted(r.step for r in reports) and reports[-1].step == reports[-1].total
    result = reports[-1].result
    assert result.compared.tolist() == [1, 4] and result.done.all() and result.pictures.shape == (2, 2, 32, 32, 3)
    assert np.isfinite(result.classified).all() and result.payload_bytes.tolist() == [3, 3]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"label": "dragon"}, "label must be one of any, person"),
        ({"label": "animal"}, "has no class animal"),
        ({"compared": ()}, "compared must be a list of 1 to 4"),
        ({"compared": 4}, "compared must be a list"),
        ({"compared": (0,)}, "compared"),
        ({"compared": (10**9,)}, "compared"),
        ({"count": 10**9}, "count"),
        ({"steps": 10**9}, "steps"),
        ({"steps": 200, "count": 8, "compared": (1, 2, 3, 4)}, "take fewer"),
    ],
)
def test_bad_arguments_get_a_sentence(classes, asked, words):
    with pytest.raises(Refusal, match=words):
        next(generate(**asked, model="tiny"))


def test_a_model_without_classes_is_refused():
    with pytest.raises(Refusal, match="has no class"):
        next(generate("face", model="ddpm-emoji-32"))


def test_the_shipped_model_draws_the_kind_asked_for():
    model = open_model("ddpm-emoji-32-kinds")
    assert model.labels == ("person", "face", "animal", "food", "sign", "thing")
    held = load_file(models.ASSETS / "ddpm-emoji-32-kinds" / "held-back.safetensors")["labels"]
    faces = to_tensor(held_back()[(held == model.labels.index("face")).numpy()]).flatten(1)

    def off(compared):
        """The mean distance of drawn pictures to the nearest of five faces that no model has seen."""
        *_, last = guide(model, Plan(20, 64), 4, model.labels.index("face"), compared)
        return float(torch.cdist(last.denoised.flatten(1), faces).amin(1).mean())

    assert off(64) < 0.8 * off(1)


def test_the_shipped_model_is_the_judge_the_page_says():
    """Better than one in six by chance, worse than right for half."""
    model = open_model("ddpm-emoji-32-kinds")
    labels = load_file(models.ASSETS / "ddpm-emoji-32-kinds" / "held-back.safetensors")["labels"][::2]
    right = (classify(model, to_tensor(held_back()[::2])) == labels).float().mean()
    assert 1 / 6 < right < 0.5
