"""Families of models on the Hub, tiny and untrained, in their real formats, against transformers' own answers."""

import numpy as np
import pytest
import torch

from engines import models
from engines.gibbs.bytepair import BytePairLM
from engines.gibbs.models import NAMES
from engines.gibbs.text import sample
from engines.moe.language import HUB, HUB_SIZES, send_through_transformers
from engines.rope.frequencies import attention_factor, inverse_frequencies

COMMIT = "1" * 40

# -- masked models ----------------------------------------------------------------------------------------------------

TEXTS = ["the cat sat on the mat.", "a dog ran", "the dog sat"] * 20


def byte_pairs(folder, special, mask):
    """A byte-level tokenizer, trained on a few words, as RoBERTa's or ModernBERT's."""
    import transformers
    from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers, trainers
    from tokenizers import models as kinds

    tokenizer = Tokenizer(kinds.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        TEXTS,
        trainers.BpeTrainer(vocab_size=290, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    open_, pad, close = special[:3]
    named = {"cls_token": open_, "sep_token": close, "pad_token": pad, "mask_token": AddedToken(mask, lstrip=True)}
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named)
    made.save_pretrained(folder)
    return len(made)


def masked(kind, folder):
    import transformers

    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    size |= {"initializer_range": 0.5, "vocab_size": 300, "max_position_embeddings": 66}
    if kind == "roberta":
        byte_pairs(folder, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"], "<mask>")
        config = transformers.RobertaConfig(**size, pad_token_id=1, bos_token_id=0, eos_token_id=2, type_vocab_size=1)
        made = transformers.RobertaForMaskedLM(config)
    else:
        byte_pairs(folder, ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"], "[MASK]")
        ids = {"pad_token_id": 1, "cls_token_id": 0, "sep_token_id": 2, "bos_token_id": 0, "eos_token_id": 2}
        config = transformers.ModernBertConfig(**size, **ids, local_attention=4, global_attn_every_n_layers=2)
        made = transformers.ModernBertForMaskedLM(config)
    made.eval().save_pretrained(folder)
    return made


@pytest.fixture(scope="module", params=["roberta", "modernbert"])
def pair(request, tmp_path_factory):
    """A model as the studio loads it from the Hub, and the saved one."""
    folder = tmp_path_factory.mktemp(request.param)
    theirs = masked(request.param, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(models.ALLOW, "1")
        patch.setattr(models, "_download", lambda repository, revision: str(folder))
        model, tokenizer = models.load(f"owner/{request.param}@{COMMIT}", "masked", "cpu")
    return BytePairLM(model, tokenizer), theirs


def test_masked_models_answer_as_their_own_forward_pass_does(pair):
    ours, theirs = pair
    ids = ours.frame(torch.tensor([ours.encode("the _ sat on the _."), ours.encode("a _ ran on the mat.")[:7]]))
    at = torch.tensor([[2, 6], [1, 3]])
    with torch.no_grad():
        expected = theirs(input_ids=ids).logits
    found = ours.logits(ids, at)
    for row in range(2):
        allowed = ~ours.forbidden
        torch.testing.assert_close(found[row][:, allowed], expected[row, at[row]][:, allowed], atol=1e-5, rtol=1e-4)
    assert torch.isinf(found[..., ours.forbidden]).all() and int(ours.forbidden.sum()) >= 5 + 10


def test_padding_changes_nothing(pair):
    ours, _ = pair
    short, long = (ours.frame(torch.tensor([ours.encode(text)])) for text in ("a _ ran", "the cat sat on the _."))
    filled = torch.cat([short, torch.full((1, long.shape[1] - short.shape[1]), 7)], 1)
    both = ours.logits(
        torch.cat([filled, long]), torch.tensor([[2], [2]]), torch.tensor([short.shape[1], long.shape[1]])
    )
    torch.testing.assert_close(both[:1], ours.logits(short, torch.tensor([[2]])), atol=1e-5, rtol=1e-4)


def test_texts_go_in_and_come_out_as_they_were(pair):
    ours, _ = pair
    for text in ("the cat sat on the mat.", "The _ sat, _ ran.", "猫 _ é <mask> [SEP]"):
        assert ours.text(ours.encode(text)) == text
    assert ours.encode("the _").count(ours.mask) == 1 and len(ours.encode("the _")) == 2
    result = list(sample(ours, "the _ sat on the _.", sweeps=2, chains=2, scan="random"))[-1].result
    assert all(text.startswith("the") and text.endswith(".") and "_" not in text for text in result.texts)


def test_masked_models_are_pinned():
    assert {name for name in NAMES if "/" in name} == {name for name, row in models.HUB.items() if row[0] == "masked"}


# -- mixtures ---------------------------------------------------------------------------------------------------------

SIZES = {
    "vocab_size": 300, "hidden_size": 16, "intermediate_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2,
    "num_key_value_heads": 2, "num_experts_per_tok": 3, "max_position_embeddings": 64, "moe_intermediate_size": 8,
}  # fmt: skip
LATENT = {"q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 8}
GROUPED = {"n_group": 4, "topk_group": 2, "first_k_dense_replace": 1, "routed_scaling_factor": 2.5}


def grouped(kind):
    import transformers

    torch.manual_seed(0)
    if kind == "deepseek_v2":
        config = transformers.DeepseekV2Config(
            n_routed_experts=8, num_local_experts=8, topk_method="group_limited_greedy", **SIZES, **LATENT, **GROUPED
        )
    else:
        config = transformers.DeepseekV3Config(n_routed_experts=8, num_local_experts=8, **SIZES, **LATENT, **GROUPED)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    for name, parameter in model.named_parameters():
        if "mlp.gate.weight" in name or "embed" in name:
            torch.nn.init.normal_(parameter)
    for name, buffer in model.named_buffers():
        if name.endswith("e_score_correction_bias"):
            buffer.copy_(torch.randn(8) / 4)
    return model


def best(scores, k):
    return np.sort(np.argsort(-scores, kind="stable")[:k])


@pytest.mark.parametrize("kind", ["deepseek_v2", "deepseek_v3"])
def test_groups_and_biases_of_deepseek(kind):
    """The experts used and their weights, against the rule of the paper by hand, from the router's own logits."""
    model = grouped(kind)
    routers = [m for m in model.modules() if type(m).__name__.endswith("TopkRouter")]
    logits = []
    handles = [
        r.register_forward_hook(lambda _, __, out: logits.append(out[0].detach().double().numpy())) for r in routers
    ]
    sent = send_through_transformers(model, torch.arange(14)[None] * 11 % 300)
    for handle in handles:
        handle.remove()
    assert len(logits) == 2 and sent.indices.shape == (2, 14, 3)  # the first layer is dense
    moved = 0
    for layer, rows in enumerate(logits):
        bias = np.zeros(8) if kind == "deepseek_v2" else routers[layer].e_score_correction_bias.double().numpy()
        for t, row in enumerate(rows):
            gate = np.exp(row) / np.exp(row).sum() if kind == "deepseek_v2" else 1 / (1 + np.exp(-row))
            chosen_by = gate + bias
            groups = chosen_by.reshape(4, 2)
            worth = groups.max(1) if kind == "deepseek_v2" else groups.sum(1)  # of V3 the two best of two
            allowed = np.isin(np.arange(8) // 2, best(worth, 2))
            expected = best(np.where(allowed, chosen_by, -np.inf), 3)
            moved += (expected != best(row, 3)).any()
            used, by = sent.indices[layer, t].numpy(), sent.weights[layer, t].numpy()
            order = np.argsort(used)
            assert (used[order] == expected).all()
            weights = gate[expected] * 2.5
            weights = weights / gate[expected].sum() if kind == "deepseek_v3" else weights
            np.testing.assert_allclose(by[order], weights, rtol=1e-4)
        np.testing.assert_allclose(sent.probabilities[layer].sum(-1), 1, rtol=1e-5)
    assert moved > 5  # the plain best of the logits would be other experts


def test_a_mixture_of_the_hub_has_its_sizes():
    assert set(HUB_SIZES) == set(HUB)


# -- rotary positions -------------------------------------------------------------------------------------------------

TINY = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "initializer_range": 0.5, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
SHORT, LONG = [1.0 + 0.1 * i for i in range(8)], [1.5 + i for i in range(8)]
ROTARY = {
    "llama3": (
        "Llama", {"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0,
                  "high_freq_factor": 4.0, "original_max_position_embeddings": 64}, {"factor": 8.0}, "llama3",
    ),
    "yarn": (
        "Llama", {"rope_type": "yarn", "rope_theta": 500.0, "factor": 4.0, "original_max_position_embeddings": 64},
        {"factor": 4.0}, "yarn",
    ),
    "longrope": (
        "Phi3", {"rope_type": "longrope", "rope_theta": 500.0, "short_factor": SHORT, "long_factor": LONG,
                 "original_max_position_embeddings": 64, "factor": 4.0},
        {"factors": LONG, "short_factors": SHORT, "factor": 4.0}, "longrope",
    ),
    "partial": (
        "StableLm", {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.5},
        {"partial_rotary_factor": 0.5}, "none",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ROTARY)
@pytest.mark.parametrize("length", [48, 100])
def test_our_frequencies_in_a_model_give_its_own_logits(name, length):
    import transformers

    kind, told, ours, scaling = ROTARY[name]
    torch.manual_seed(0)
    more = {"partial_rotary_factor": 0.5} if name == "partial" else {}
    if name == "longrope":
        more = {"original_max_position_embeddings": 64}
    config = getattr(transformers, f"{kind}Config")(**TINY, rope_parameters=told, **more)
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    ids = (torch.arange(length) * 7 % 64)[None]
    with torch.no_grad():
        expected = model(ids, use_cache=False).logits
    theta = inverse_frequencies(16, 500.0, scaling, context_length=64, length=length, **ours)
    scale = attention_factor(scaling, ours["factor"], 64) if scaling in ("yarn", "longrope") else 1.0
    turned = theta[theta > 0].float()

    def with_angles(frequencies, by):
        def cos_sin(x, position_ids, *given, **named):
            angles = position_ids[..., None].float() * frequencies
            angles = torch.cat([angles, angles], -1)
            return angles.cos() * by, angles.sin() * by

        rotary = model.model.rotary_emb
        rotary.forward = cos_sin
        with torch.no_grad():
            found = model(ids, use_cache=False).logits
        del rotary.forward
        return found

    torch.testing.assert_close(with_angles(turned, scale), expected, atol=2e-3, rtol=1e-3)
    plain = inverse_frequencies(16, 500.0)[: len(turned)].float()
    assert not torch.allclose(with_angles(plain, 1.0), expected, atol=2e-2)


def test_the_likeness_of_words_of_byte_pairs(pair):
    from engines.gibbs.cgmh import likeness

    ours, _ = pair
    cosines = likeness(ours, [5, 7])
    assert cosines.shape == (2, ours.words) and cosines[0, 5] == pytest.approx(1) and abs(cosines[0, 7]) < 1
