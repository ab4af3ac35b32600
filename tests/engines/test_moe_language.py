"""Routing of real text: the embedded models, and tiny models of transformers' own classes."""

import numpy as np
import pytest
import torch

from engines import models
from engines.decoder import Decoder, DecoderConfig
from engines.moe import language
from engines.moe.language import (
    EMBEDDED,
    byte_class,
    byte_labels,
    route_text,
    route_text_on_hub,
    route_text_through,
    send_through_decoder,
    send_through_transformers,
    shown,
)
from engines.moe.texts import PRESETS
from engines.recipes import moe_decoders

SIZES = {
    "vocab_size": 300,
    "hidden_size": 16,
    "intermediate_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "num_experts_per_tok": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.5,
}


PLAIN = {"rope_type": "default", "rope_theta": 10_000.0}


def tiny(family):
    import transformers

    configs = {
        "mixtral": lambda: transformers.MixtralConfig(num_local_experts=6, **SIZES),
        "olmoe": lambda: transformers.OlmoeConfig(num_experts=6, **SIZES),
        "qwen2_moe": lambda: transformers.Qwen2MoeConfig(
            num_experts=6, moe_intermediate_size=8, shared_expert_intermediate_size=8, decoder_sparse_step=1, **SIZES
        ),
        "gpt_oss": lambda: transformers.GptOssConfig(
            num_local_experts=6, head_dim=8, layer_types=["full_attention"] * 2, rope_parameters=PLAIN, **SIZES
        ),
        "deepseek_v3": lambda: transformers.DeepseekV3Config(
            num_local_experts=6,
            n_routed_experts=6,
            moe_intermediate_size=8,
            n_group=1,
            topk_group=1,
            first_k_dense_replace=0,
            q_lora_rank=8,
            kv_lora_rank=8,
            qk_rope_head_dim=4,
            qk_nope_head_dim=4,
            v_head_dim=8,
            **SIZES,
        ),
        "granitemoe": lambda: transformers.GraniteMoeConfig(num_local_experts=6, **SIZES),
        "llama": lambda: transformers.LlamaConfig(**{k: v for k, v in SIZES.items() if k != "num_experts_per_tok"}),
    }
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(configs[family]()).eval()


def routers(model):
    return [module for module in model.modules() if type(module).__name__.lower().endswith("topkrouter")]


@pytest.mark.parametrize("family", ["mixtral", "olmoe", "qwen2_moe", "granitemoe", "gpt_oss", "deepseek_v3"])
def test_what_the_experts_were_given(family):
    model = tiny(family)
    ids = torch.arange(24).view(2, 12) * 7 % 300
    mask = torch.ones(2, 12, dtype=torch.long)
    mask[1, 9:] = 0
    routed = []
    handles = [r.register_forward_hook(lambda _, __, out: routed.append(out)) for r in routers(model)]
    sent = send_through_transformers(model, ids, mask)
    for handle in handles:
        handle.remove()
    padding = mask.flatten() == 0
    assert sent.indices.shape == sent.weights.shape == (2, 24, 2) and sent.probabilities.shape == (2, 24, 6)
    for layer, (logits, weights, indices) in enumerate(routed):
        assert torch.equal(sent.indices[layer][~padding], indices.view(24, 2)[~padding])
        assert torch.allclose(sent.weights[layer][~padding], weights.float().view(24, 2)[~padding])
        assert torch.allclose(sent.probabilities[layer], logits.float().softmax(-1), atol=1e-6)
        assert torch.equal(indices.sort().values, logits.topk(2).indices.sort().values)
    assert (sent.indices[:, padding] == -1).all() and (sent.weights[:, padding] == 0).all()
    assert not any(m._forward_pre_hooks for m in model.modules())


def test_a_selection_bias_is_seen():
    """With a bias the top-k of the logits is not the routing: what counts is what the experts got."""
    model = tiny("mixtral")
    bias = torch.tensor([0.0, 0, 0, 0, 0, 9])

    def biased(module, arguments, output):
        logits, _, _ = output
        indices = (logits.softmax(-1) + bias).topk(2).indices
        return logits, logits.softmax(-1).gather(-1, indices), indices

    for router in routers(model):
        router.register_forward_hook(biased)
    sent = send_through_transformers(model, torch.arange(12)[None])
    assert (sent.indices == 5).any(-1).all()
    assert not (sent.probabilities.topk(2).indices == 5).any(-1).all()


def test_a_dense_model_is_refused():
    with pytest.raises(ValueError, match="llama is not a mixture of experts"):
        send_through_transformers(tiny("llama"), torch.arange(5)[None])


def test_a_saved_model_and_its_tokenizer(tmp_path):
    import transformers
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers import models as kinds

    words = {word: i for i, word in enumerate(["[UNK]", "the", "cat", "sat", "on", "mat", "."])}
    tokenizer = Tokenizer(kinds.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]").save_pretrained(tmp_path)
    tiny("granitemoe").save_pretrained(tmp_path)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    result = route_text_through(model, tokenizer, "the cat sat on the mat .", name="tiny")
    assert result.tokens == ("the", "cat", "sat", "on", "the", "mat", ".")
    assert result.indices.shape == (2, 7, 2) and result.experts == 6 and result.history.size == 0
    assert result.load.sum(1) == pytest.approx([1, 1])


def test_stretches_of_a_decoder_are_read_alone_and_padding_is_cut():
    torch.manual_seed(0)
    model = Decoder(DecoderConfig(width=16, heads=2, hidden=8, layers=2, context=8, experts=4)).eval()
    ids = torch.arange(19) * 13 % 256
    sent = send_through_decoder(model, ids)
    assert sent.indices.shape == (2, 19, 2)
    for start in (0, 8, 16):
        alone = send_through_decoder(model, ids[start : start + 8])
        assert torch.equal(sent.indices[:, start : start + 8], alone.indices)
        assert torch.allclose(sent.weights[:, start : start + 8], alone.weights, atol=1e-6)


def test_a_decoders_bias_moves_its_routing():
    torch.manual_seed(0)
    model = Decoder(DecoderConfig(width=16, heads=2, hidden=8, layers=2, context=8, experts=4)).eval()
    for block in model.blocks:
        block.feed.bias[3] = 1.0
    sent = send_through_decoder(model, torch.arange(8))
    assert (sent.indices == 3).any(-1).all()
    assert not (sent.probabilities.topk(2).indices == 3).any(-1).all()


@pytest.mark.parametrize("model", EMBEDDED)
def test_route_text(model):
    result = route_text(model)
    layers, tokens, k = result.indices.shape
    assert tokens == len(result.tokens) == len(result.text.encode()) and k == result.top_k == 2
    assert (result.indices >= 0).all() and (result.indices < result.experts).all()
    assert result.weights.sum(-1) == pytest.approx(1, abs=1e-3)
    assert (result.weights[..., 0] >= result.weights[..., 1]).all()
    assert result.flow.sum() == tokens
    assert result.load.sum(1) == pytest.approx([1] * layers)
    assert ((result.entropy >= 0) & (result.entropy <= 1 + 1e-6)).all()
    assert result.repeat_chance == pytest.approx([1 / 8, 13 / 28])
    assert result.history.shape[0] == len(result.history_rules) == 3 and result.history.shape[2] == layers
    assert result.domains == ("story", "quatrain", "python")
    assert result.domain_share.sum(-1) == pytest.approx(2, abs=1e-4)


def test_the_hub_view_also_reads_an_embedded_model():
    assert (route_text_on_hub("moe-none").indices == route_text("moe-none").indices).all()


def test_typed_text_wins_and_one_byte_is_enough():
    assert route_text(preset="own", text="x").tokens == ("x",)
    assert route_text(preset="own", text="山\n").tokens == ("山", "·", "·", "⏎")


def test_a_text_of_ones_own_begins_with_something_of_each_language():
    classes = set(byte_class(torch.tensor(list(route_text(preset="own").text.encode()))).tolist())
    assert classes == set(range(len(language.CLASSES)))


def test_presets_can_be_read_at_once():
    for parts in PRESETS.values():
        assert 250 < sum(len(text.encode()) for _, text in parts) <= language.LONGEST


@pytest.mark.parametrize("model", EMBEDDED)
def test_specialisation_on_held_back_text(model):
    result = route_text(model, "held-back")
    assert len(result.tokens) == 3 * 12 * 128 and result.often == 12
    assert result.domain_share.sum(-1) == pytest.approx(2, abs=1e-4)
    assert result.class_share[:, result.class_count > 0].sum(-1) == pytest.approx(2, abs=1e-4)
    assert ((result.apart >= 0) & (result.apart <= 1)).all()
    assert [len(layer) for layer in result.top_tokens] == [result.experts] * 3
    assert (np.diff(result.top_share, axis=-1)[np.isfinite(result.top_share).all(-1)] <= 0).all()


def test_the_loss_is_what_the_recipe_measures():
    model = models.load("moe-loss-free", device="cpu").model
    measured = [moe_decoders.measure(model, sequences)[0] for sequences in language.held_back().values()]
    assert route_text("moe-loss-free", "held-back").loss == pytest.approx(np.mean(measured), rel=1e-5)


def test_the_loss_leaves_out_padding_and_the_first_of_each_stretch():
    torch.manual_seed(0)
    model = Decoder(DecoderConfig(width=16, heads=2, hidden=8, layers=2, context=8, experts=4)).eval()
    ids = torch.arange(19) * 13 % 256
    log_p = [model(ids[start : start + 8][None]).logits[0].log_softmax(-1) for start in (0, 8, 16)]
    each = [-log_p[i // 8][i % 8 - 1, ids[i]] for i in range(19) if i % 8]
    assert send_through_decoder(model, ids).loss == pytest.approx(float(torch.stack(each).detach().mean()), rel=1e-5)


def test_a_bias_moves_the_choice_and_leaves_the_model_as_it_was():
    plain = route_text(preset="held-back")
    moved = route_text(preset="held-back", bias=[0, 0, 1, 0, 0, 0, 0, 0])
    assert (moved.indices == 2).any(-1).all() and not (plain.indices == 2).any(-1).all()
    assert moved.loss > plain.loss
    assert (route_text(preset="held-back").indices == plain.indices).all()


def test_byte_labels_and_classes():
    assert byte_labels("a 山\t".encode()) == ("a", "␣", "山", "·", "·", "⇥")
    assert byte_labels("山".encode()[1:] + b"x" + "山".encode()[:2]) == ("B1", "B1", "x", "E5", "B1")
    kinds = byte_class(torch.tensor(list("aZ7 \n.山".encode())))
    assert kinds.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 7]
    assert shown("antidisestablishment") == "antidisesta…" and shown("\x00") == "□"


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: route_text(text="", preset="own"), "text is empty"),
        (lambda: route_text("moe-none", "own", "  \n"), "text is empty"),
        (lambda: route_text(preset="own", text="\ud800"), "text holds half a character"),
        (lambda: route_text(preset="own", text=5), "text must be a text"),
        (lambda: route_text(preset="own", text="x" * 10**6), "text may have at most 2,048 characters"),
        (lambda: route_text(preset="own", text="山" * 2000), "text is 6,000 bytes in UTF-8"),
        (lambda: route_text_on_hub("Qwen/Qwen2.5-0.5B"), "model must be one of"),
        (lambda: route_text_on_hub(preset="held-back"), "preset must be one of"),
        (lambda: route_text(bias=[0] * 7), "bias must be a list of 8"),
        (lambda: send_through_decoder(Decoder(DecoderConfig()), torch.arange(3)), "with experts"),
    ],
)
def test_what_a_refusal_says(call, says):
    with pytest.raises(ValueError, match=says):
        call()
