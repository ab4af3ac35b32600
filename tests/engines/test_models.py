"""The shipped weights are the ones their cards tell of; the loader loads them, and refuses clearly."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from engines import models
from engines.models import EMBEDDED, HUB, ModelError, fingerprint, load
from engines.recipes import ddpm_cifar10, ddpm_emoji, masked, moe_decoders, rope_decoders

COMMIT = "0" * 40


@pytest.fixture(autouse=True)
def fresh_cache(monkeypatch):
    monkeypatch.setattr(models, "_cache", type(models._cache)())
    monkeypatch.delenv(models.ALLOW, raising=False)


@pytest.fixture
def no_network(monkeypatch):
    def cut(*args, **kwargs):
        raise ConnectionError("the network is cut")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", cut)


def figures(folder):
    return json.loads((models.ASSETS / folder / "figures.json").read_text())


@pytest.mark.parametrize("name", EMBEDDED)
def test_weights_match_their_card(name):
    folder = EMBEDDED[name][1].split("/")[0]
    card = (models.ASSETS / folder / "README.md").read_text(encoding="utf-8")
    assert fingerprint(name) in card
    for word in (
        "## Data",
        "## Training",
        "python -m engines.recipes.",
        "--seed",
        "steps in",
        "## Measured",
        "## Licence",
    ):
        assert word in card


def test_all_weights_together_are_small():
    assert sum(path.stat().st_size for path in models.ASSETS.rglob("*.safetensors")) <= 72e6


@pytest.mark.parametrize("base", rope_decoders.BASES)
def test_rope_decoders_measure_as_their_card_says(base):
    model, _ = load(f"rope-base-{base}", "decoder", "cpu")
    held = load_file(models.ASSETS / "rope-decoders" / "held-back.safetensors")["tokens"]
    loss = rope_decoders.measure(model, held[:, : model.config.context]).mean()
    assert loss == pytest.approx(figures("rope-decoders")[f"rope-base-{base}"]["loss_within_128"], rel=0.01)
    assert loss < np.log(256) / 2  # it has learned something
    assert model.config.rope_base == base


@pytest.mark.parametrize("rule", moe_decoders.RULES)
def test_moe_decoders_measure_as_their_card_says(rule):
    model, _ = load(f"moe-{rule}", "decoder", "cpu")
    held = load_file(models.ASSETS / "moe-decoders" / "held-back.safetensors")
    for domain in moe_decoders.DOMAINS:
        loss, load_shares = moe_decoders.measure(model, held[domain])
        assert loss == pytest.approx(figures("moe-decoders")[f"moe-{rule}"][f"loss_{domain}"], rel=0.01)
        assert load_shares.shape == (model.config.layers, model.config.experts)
    assert model.blocks[0].feed.bias.any() == (rule == "loss-free")


def test_load_history_is_kept_for_each_rule():
    history = load_file(models.ASSETS / "moe-decoders" / "load-history.safetensors")
    assert set(history) == set(moe_decoders.RULES)
    for shares in history.values():
        torch.testing.assert_close(shares.float().sum(-1), torch.ones(shares.shape[:2]), atol=2e-3, rtol=0)


@pytest.mark.parametrize("name", ["bert-quatrain", "bert-storybook"])
def test_masked_models_measure_as_their_card_says(name):
    model, tokenizer = load(name, "masked", "cpu")
    texts = masked.lines(models.ASSETS / name / "held-back.txt")
    skip = [*tokenizer.all_special_ids, *tokenizer.convert_tokens_to_ids(["，", "。"])]
    skip = tokenizer.all_special_ids if name == "bert-storybook" else skip
    told = figures(name)
    measured = masked.pseudo_likelihood(model, tokenizer, texts[: masked.QUICK], skip)["pseudo_nll"]
    assert measured == pytest.approx(told[f"pseudo_nll_first_{masked.QUICK}"], rel=0.01)
    assert told["pseudo_nll"] < told["unigram_nll"]


def test_the_quatrain_tokenizer_takes_a_character_a_token():
    _, tokenizer = load("bert-quatrain", "masked", "cpu")
    poem = masked.lines(models.ASSETS / "bert-quatrain" / "held-back.txt")[0]
    assert tokenizer.convert_ids_to_tokens(tokenizer(poem)["input_ids"]) == ["[CLS]", *poem, "[SEP]"]
    assert len(tokenizer) == 4_062 + 5 + 2


def test_diffusion_model_measures_as_its_card_says():
    model, scheduler = load("ddpm-emoji-32", "diffusion", "cpu")
    held = load_file(models.ASSETS / "ddpm-emoji-32" / "held-back.safetensors")["images"].numpy()
    loss = ddpm_emoji.measure(model, scheduler, held[: ddpm_emoji.QUICK], 2)
    assert loss == pytest.approx(figures("ddpm-emoji-32")[f"loss_first_{ddpm_emoji.QUICK}"], rel=0.01)
    assert scheduler.config.prediction_type == "v_prediction"


def test_the_model_with_kinds_measures_as_its_card_says():
    model, scheduler = load("ddpm-emoji-32-kinds", "diffusion", "cpu")
    held = load_file(models.ASSETS / "ddpm-emoji-32" / "held-back.safetensors")["images"].numpy()
    labels = load_file(models.ASSETS / "ddpm-emoji-32-kinds" / "held-back.safetensors")["labels"]
    few = ddpm_emoji.QUICK
    loss = ddpm_emoji.measure(model, scheduler, held[:few], 2, labels[:few])
    assert loss == pytest.approx(figures("ddpm-emoji-32-kinds")[f"loss_first_{few}"], rel=0.01)


def test_the_model_of_photographs_measures_as_its_card_says():
    model, scheduler = load("ddpm-cifar10-32", "diffusion", "cpu")
    held = load_file(models.ASSETS / "ddpm-cifar10-32" / "held-back.safetensors")
    images, labels, few = held["images"].numpy(), held["labels"], ddpm_emoji.QUICK
    told, loss = figures("ddpm-cifar10-32"), f"loss_first_{few}"
    assert ddpm_emoji.measure(model, scheduler, images[:few], 2, labels[:few]) == pytest.approx(told[loss], rel=0.01)
    assert told[loss] < told[f"loss_untold_first_{few}"]
    assert model.labels == ddpm_cifar10.CLASSES and labels.unique().tolist() == list(range(10))


def test_one_model_many_schedulers():
    first, second = load("ddpm-emoji-32", device="cpu"), load("ddpm-emoji-32", device="cpu")
    assert first.model is second.model
    assert first.companion is not second.companion  # a scheduler keeps the state of a run


def test_the_cache_is_bounded(monkeypatch):
    monkeypatch.setattr(models, "CACHE_BYTES", 3e6)  # one decoder in float32, not two
    for rule in moe_decoders.RULES:
        load(f"moe-{rule}", device="cpu")
    assert [key[0] for key in models._cache] == ["moe-loss-free"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone", "no sums"])
def test_damaged_weights_are_refused(damage, tmp_path, monkeypatch):
    shutil.copytree(models.ASSETS / "moe-decoders", tmp_path / "moe-decoders")
    monkeypatch.setattr(models, "ASSETS", tmp_path)
    path = tmp_path / "moe-decoders" / "moe-none.safetensors"
    data = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "flipped":
        data[-1000] ^= 1
        path.write_bytes(data)
    else:
        (path if damage == "gone" else path.with_name("SHA256SUMS")).unlink()
    with pytest.raises(ModelError, match="missing" if damage in ("gone", "no sums") else "cut short or altered"):
        load("moe-none", device="cpu")


@pytest.mark.parametrize(
    "name, family, message",
    [
        ("nonsense", None, "There is no model named"),
        ("../../etc/passwd", None, "There is no model named"),
        ("some/model", None, "host can allow others"),
        ("moe-none", "masked", "is a tiny byte-level decoder; a masked language model"),
        ("google/ddpm-cifar10-32", "moe", "is a pixel diffusion model"),
        ("x" * 10_000, None, "name of a model"),
        (7, None, "name of a model"),
        ("moe-none", "poetry", "family must be one of"),
    ],
)
def test_other_names_are_refused_with_a_sentence(name, family, message):
    with pytest.raises(ModelError, match=message):
        load(name, family, "cpu")


def test_a_cut_network_is_said(no_network, monkeypatch):
    monkeypatch.setenv(models.ALLOW, "1")
    with pytest.raises(ModelError, match="cannot be reached"):
        load(f"studio-tests/no-such-model@{COMMIT}", device="cpu")
    with pytest.raises(ModelError, match="Pin the revision"):
        load("studio-tests/no-such-model@main", device="cpu")


def test_a_model_beyond_the_memory_is_refused(monkeypatch):
    monkeypatch.setattr(models, "_memory", lambda device: 10e9)
    with pytest.raises(ModelError, match="needs about 187"):  # single precision on a CPU
        load("mistralai/Mixtral-8x7B-v0.1", device="cpu")


def test_hub_names_are_pinned_to_commits():
    assert all(len(revision) == 40 and int(revision, 16) for _, revision, _ in HUB.values())
    assert {family for family, *_ in HUB.values()} <= set(models.FAMILIES)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A folder that stands for what the Hub would have sent for owner/model."""
    monkeypatch.setenv(models.ALLOW, "1")
    monkeypatch.setattr(models, "_download", lambda repository, revision: str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("inner", [True, False])
def test_both_layouts_of_diffusers(hub, inner):
    ddpm_emoji.build((8, 16)).save_pretrained(hub / "unet" if inner else hub)
    ddpm_emoji.make_scheduler().save_pretrained(hub / "scheduler" if inner else hub)
    model, scheduler = load(f"owner/model@{COMMIT}", "diffusion", "cpu")
    assert model(torch.zeros(1, 3, 32, 32), 5).sample.shape == (1, 3, 32, 32)
    assert scheduler.config.num_train_timesteps == 1_000
    with pytest.raises(ModelError, match="is a pixel diffusion model"):
        load(f"owner/model@{COMMIT}", "masked", "cpu")


def test_a_model_that_another_load_puts_out_of_the_cache_is_loaded_again(hub, monkeypatch):
    ddpm_emoji.build((8, 16)).save_pretrained(hub)
    ddpm_emoji.make_scheduler().save_pretrained(hub)

    class Full:
        """The lock, whose holder before filled the cache."""

        def __enter__(self):
            models._cache.clear()

        def __exit__(self, *_):
            pass

    load(f"owner/model@{COMMIT}", "diffusion", "cpu")
    monkeypatch.setattr(models, "_lock", Full())
    assert load(f"owner/model@{COMMIT}", "diffusion", "cpu").model.config.in_channels == 3


def test_causal_and_mixture_models_of_transformers(hub):
    from transformers import LlamaConfig, LlamaForCausalLM, OlmoeConfig, OlmoeForCausalLM

    size = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "vocab_size": 32,
    }
    _, tokenizer = load("bert-quatrain", "masked", "cpu")
    tokenizer.save_pretrained(hub)
    for kind, family in (
        (LlamaForCausalLM(LlamaConfig(**size)), "causal"),
        (OlmoeForCausalLM(OlmoeConfig(**size, num_experts=4, num_experts_per_tok=2)), "moe"),
    ):
        kind.save_pretrained(hub)
        model, _ = load(f"owner/model@{COMMIT[:-1]}{'1' if family == 'moe' else '2'}", family, "cpu")
        assert type(model) is type(kind) and not model.training
        assert not any(p.requires_grad for p in model.parameters())


def test_folders_without_safetensors_or_of_another_kind_are_refused(hub):
    (hub / "config.json").write_text('{"model_type": "t5"}')
    (hub / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ModelError, match="no weights as safetensors"):
        load(f"owner/model@{COMMIT}", device="cpu")
    (hub / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="none of the kinds"):
        load(f"owner/model@{COMMIT}", device="cpu")
    (hub / "config.json").write_text('{"model_type": "bert", "architectures": ["BertForMaskedLM"]}')
    with pytest.raises(ModelError, match="does not load"):
        load(f"owner/model@{COMMIT}", device="cpu")
