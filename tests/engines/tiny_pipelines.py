"""Text-to-image pipelines of every family, tiny and untrained, saved as the Hub has them."""

import json
from pathlib import Path

import torch

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
STABLE = {**BETAS, "steps_offset": 1, "clip_sample": False}
KINDS = ("sd15", "sd21", "turbo", "sdxl", "sdxl-turbo", "lcm", "sd3")
SIDE = 32  # pixels; latents of 16 x 16


def tokenizer(folder):
    """CLIP's byte-level BPE with a vocabulary of letters and a few merges."""
    from transformers import CLIPTokenizer
    from transformers.models.clip.tokenization_clip import CLIPTokenizer as Kind

    assert Kind is CLIPTokenizer
    letters = [chr(i) for i in (*range(33, 127), *range(161, 173), *range(174, 256))]
    letters += [chr(256 + i) for i in range(256 - len(letters))]
    words = [*letters, *(letter + "</w>" for letter in letters), "ca", "cat</w>", "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\nc a\nca t</w>\n")
    ends = {"bos_token": words[-2], "eos_token": words[-1], "unk_token": words[-1], "pad_token": words[-1]}
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, **ends})
    )
    return CLIPTokenizer.from_pretrained(folder), len(words)


def encoder(words, width, projection=0):
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=words,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=77,
        projection_dim=projection or width,
        bos_token_id=words - 2,
        eos_token_id=words - 1,
        pad_token_id=words - 1,
    )
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config)


def save(kind: str, folder: Path, seed: int = 0):
    """Write a pipeline of one of KINDS into a folder, as `from_pretrained` finds it, and return it."""
    import diffusers

    torch.manual_seed(seed)
    channels = 16 if kind == "sd3" else 4
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 8),
        in_channels=3,
        out_channels=3,
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        latent_channels=channels,
        norm_num_groups=4,
        sample_size=SIDE,
        layers_per_block=1,
        **({"scaling_factor": 1.5305, "shift_factor": 0.0609} if kind == "sd3" else {}),
        **({"scaling_factor": 0.13025, "force_upcast": True} if "sdxl" in kind else {}),
    )
    words, extra = tokenizer(folder / "tokenizer")
    if kind == "sd3":
        pipe = diffusers.StableDiffusion3Pipeline(
            transformer=diffusers.SD3Transformer2DModel(
                sample_size=SIDE // 2,
                patch_size=2,
                in_channels=channels,
                num_layers=2,
                attention_head_dim=8,
                num_attention_heads=2,
                joint_attention_dim=32,
                caption_projection_dim=16,
                pooled_projection_dim=32,
                out_channels=channels,
                pos_embed_max_size=32,
            ),
            scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
            vae=vae,
            text_encoder=encoder(extra, 16, 16),
            tokenizer=words,
            text_encoder_2=encoder(extra, 16, 16),
            tokenizer_2=words,
            text_encoder_3=None,
            tokenizer_3=None,
        )
    else:
        large = "sdxl" in kind
        unet = diffusers.UNet2DConditionModel(
            sample_size=SIDE // 2,
            in_channels=4,
            out_channels=4,
            block_out_channels=(8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=32 if large else 16,
            attention_head_dim=2,
            use_linear_projection=kind != "sd15",
            time_cond_proj_dim=32 if kind == "lcm" else None,
            **(
                {
                    "addition_embed_type": "text_time",
                    "addition_time_embed_dim": 8,
                    "transformer_layers_per_block": 1,
                    "projection_class_embeddings_input_dim": 8 * 6 + 16,
                }
                if large
                else {}
            ),
        )
        trailing = {"timestep_spacing": "trailing"}
        scheduler = {
            "sd15": lambda: diffusers.PNDMScheduler(
                skip_prk_steps=True, set_alpha_to_one=False, **BETAS, steps_offset=1
            ),
            "sd21": lambda: diffusers.DDIMScheduler(set_alpha_to_one=False, prediction_type="v_prediction", **STABLE),
            "turbo": lambda: diffusers.EulerDiscreteScheduler(**BETAS, steps_offset=1, **trailing),
            "sdxl": lambda: diffusers.EulerDiscreteScheduler(**BETAS, steps_offset=1),
            "sdxl-turbo": lambda: diffusers.EulerAncestralDiscreteScheduler(**BETAS, steps_offset=1, **trailing),
            "lcm": lambda: diffusers.LCMScheduler(**STABLE),
        }[kind]()
        parts = {"vae": vae, "tokenizer": words, "unet": unet, "scheduler": scheduler}
        if large:
            pipe = diffusers.StableDiffusionXLPipeline(
                text_encoder=encoder(extra, 16),
                text_encoder_2=encoder(extra, 16, 16),
                tokenizer_2=words,
                force_zeros_for_empty_prompt=True,
                **parts,
            )
        else:
            kind_of = diffusers.LatentConsistencyModelPipeline if kind == "lcm" else diffusers.StableDiffusionPipeline
            pipe = kind_of(
                text_encoder=encoder(extra, 16),
                safety_checker=None,
                feature_extractor=None,
                requires_safety_checker=False,
                **parts,
            )
    pipe.set_progress_bar_config(disable=True)
    for name in ("vae", "unet", "transformer"):
        # an untrained network gives nearly nothing: larger weights make every step count
        net = getattr(pipe, name, None)
        for weight in () if net is None else net.parameters():
            weight.data.mul_(1.5 if weight.ndim > 1 else 1)
    pipe.save_pretrained(folder, safe_serialization=True)
    return pipe
