"""Loading models by name: the small ones that ship with the studio, and known ones of the Hugging Face Hub.

`model, companion = load(name)`: the companion is the tokenizer of a language model or the scheduler of a diffusion model.
Whatever is loaded comes from safetensors at a pinned revision and never runs code of the repository it came from.
"""

import copy
import errno
import gc
import hashlib
import json
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any, NamedTuple

import torch

from engines.arguments import Refusal, quoted
from engines.decoder import Decoder, DecoderConfig
from engines.device import is_memory, resolve
from engines.progress import Progress

ASSETS = Path(__file__).parent.parent / "assets" / "models"
CACHE_BYTES = 8 * 2**30  # of weights kept loaded, apart from the model asked for last
LENT = 70 * 10**9  # bytes of the card that ZeroGPU lends, which the process that asks for it does not see
PATIENCE = 5.0  # seconds for the Hub's first answer
ALLOW = "STUDIO_ALLOW_HUB"  # set to 1 by a host who lets visitors load any pinned model of the Hub

FAMILIES = {
    "diffusion": "a pixel diffusion model (UNet2DModel)",
    "masked": "a masked language model (BERT, RoBERTa or ModernBERT)",
    "causal": "a causal language model with rotary positions",
    "moe": "a mixture-of-experts language model",
    "decoder": "a tiny byte-level decoder",
    "latent": "a text-to-image model of latents (Stable Diffusion, SDXL, SD3 or LCM)",
}

# name -> (family, weight file in assets/models)
EMBEDDED = {
    "ddpm-emoji-32": ("diffusion", "ddpm-emoji-32/unet/diffusion_pytorch_model.safetensors"),
    "ddpm-emoji-32-kinds": ("diffusion", "ddpm-emoji-32-kinds/unet/diffusion_pytorch_model.safetensors"),
    "ddpm-cifar10-32": ("diffusion", "ddpm-cifar10-32/unet/diffusion_pytorch_model.safetensors"),
    "bert-quatrain": ("masked", "bert-quatrain/model.safetensors"),
    "bert-storybook": ("masked", "bert-storybook/model.safetensors"),
    **{
        f"rope-base-{base}": ("decoder", f"rope-decoders/rope-base-{base}.safetensors")
        for base in (100, 1_000, 10_000, 100_000, 1_000_000)
    },
    **{
        f"moe-{rule}": ("decoder", f"moe-decoders/moe-{rule}.safetensors")
        for rule in ("none", "auxiliary", "loss-free")
    },
}

# of the embedded models that have any, in order; the class after them stands for none
CLASSES = {
    "ddpm-emoji-32-kinds": ("person", "face", "animal", "food", "sign", "thing"),
    "ddpm-cifar10-32": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
}

# name -> (family, revision, gigabytes of weights on a card)
HUB = {
    "google/ddpm-cifar10-32": ("diffusion", "267b167dc01f0e4e61923ea244e8b988f84deb80", 0.15),
    "google-bert/bert-base-uncased": ("masked", "86b5e0934494bd15c9632b12f734a8a67f723594", 0.45),
    "google-bert/bert-base-chinese": ("masked", "8f23c25b06e129b6c986331a13d8d025a92cf0ea", 0.42),
    "FacebookAI/roberta-base": ("masked", "e2da8e2f811d1448a5b465c236feacd80ffbac7b", 0.5),
    "answerdotai/ModernBERT-base": ("masked", "8949b909ec900327062f0ebf497f51aef5e6f0c8", 0.6),
    "HuggingFaceTB/SmolLM2-135M": ("causal", "93efa2f097d58c2a74874c7e644dbc9b0cee75a2", 0.27),
    "Qwen/Qwen2.5-0.5B": ("causal", "060db6499f32faf8b98477b0a26969ef7d8b9987", 1.0),
    "ibm-granite/granite-3.0-1b-a400m-instruct": ("moe", "ffec3c35bdfd97a06f0b4cd5fcc92cd9b1584445", 2.7),
    "allenai/OLMoE-1B-7B-0924": ("moe", "6d84c48581ece794365f2b8e9cfb043c68ade9c5", 13.9),
    "Qwen/Qwen1.5-MoE-A2.7B": ("moe", "1a758c50ecb6350748b9ce0a99d2352fd9fc11c9", 28.7),
    "deepseek-ai/DeepSeek-V2-Lite": ("moe", "604d5664dddd88a0433dbae533b7fe9472482de0", 31.4),
    "mistralai/Mixtral-8x7B-v0.1": ("moe", "fc7ac94680e38d7348cfa806e51218e6273104b0", 93.5),
    # 13.8 GB of MXFP4, which transformers unpacks to bfloat16 where its kernels are missing
    "openai/gpt-oss-20b": ("moe", "6cee5e81ee83917806bbde320786a8fb61efebee", 41.8),
    "stable-diffusion-v1-5/stable-diffusion-v1-5": ("latent", "451f4fe16113bff5a5d2269ed5ad43b0592e9a14", 2.3),
    # a copy of stabilityai/stable-diffusion-2-1-base, which its makers took from the Hub in November 2025
    "Manojb/stable-diffusion-2-1-base": ("latent", "0094d483a120f3f33dafbd187ea4aa60d10de75c", 2.8),
    "stabilityai/sd-turbo": ("latent", "b261bac6fd2cf515557d5d0707481eafa0485ec2", 2.8),
    "SimianLuo/LCM_Dreamshaper_v7": ("latent", "a85df6a8bd976cdd08b4fd8f3b73f229c9e54df5", 2.3),
    "stabilityai/stable-diffusion-xl-base-1.0": ("latent", "462165984030d82259a11f4367a4eed129e94a7b", 7.1),
    "stabilityai/sdxl-turbo": ("latent", "71153311d3dbb46851df1931d3ca6e939de83304", 7.1),
    "stabilityai/stable-diffusion-3-medium-diffusers": ("latent", "ea42f8cef0f178587cf766dc8129abd379c90671", 6.1),
}
HALVED = ("causal", "moe", "latent")  # families whose gigabytes are of half precision; a CPU holds them in single
MASKED_TYPES = ("bert", "roberta", "modernbert")
MOE_TYPES = ("olmoe", "mixtral", "granitemoe", "qwen2_moe", "qwen3_moe", "gpt_oss", "deepseek_v2", "deepseek_v3")


class ModelError(Refusal):
    """A model cannot be had; the message says why and what to do."""


class Loaded(NamedTuple):
    """model: in evaluation mode, on the device; companion: its tokenizer or scheduler, or None. Shared: do not change."""

    model: Any
    companion: Any


Key = tuple[str, str | None, torch.device]
_cache: OrderedDict[Key, Loaded] = OrderedDict()
_lock = threading.Lock()  # of the cache
# One load at a time: two visitors asking for one model wait for one copy, and the libraries set torch's default type for all
# threads while they load. Our own decoders, which every page may ask for, wait for no library.
_loading = {"decoder": threading.Lock(), "library": threading.Lock()}
_fetches: dict[str, Future[Path | None]] = {}


def names(family: str | None = None) -> list[str]:
    """Names that `load` takes, embedded ones first, of one family or of all."""
    return [name for table in (EMBEDDED, HUB) for name, row in table.items() if family in (None, row[0])]


def load(name: str, family: str | None = None, device: str | torch.device | None = None) -> Loaded:
    """The named model and its tokenizer or scheduler, on the device, from a cache of bounded size.

    name: one of `names()`; where the host has set STUDIO_ALLOW_HUB=1, also any "owner/name@commit" of the Hub
    family: what is needed, a key of FAMILIES; another kind of model is refused
    Raises ModelError, a ValueError.
    """
    if not isinstance(name, str) or len(name) > 200:
        raise ModelError("model must be the name of a model.")
    if family is not None and family not in FAMILIES:
        raise ModelError("family must be one of {options}.", options=", ".join(FAMILIES))
    device = resolve(device)
    key = (name, family, device)
    found = _kept(key)
    if found is None:
        folder = None
        if name not in EMBEDDED:
            _admit(name, family, device)
            folder = fetch(name)  # before the lock: a Hub that hangs holds up those alone who ask for its models
        kind = "decoder" if name in EMBEDDED and EMBEDDED[name][0] == "decoder" else "library"
        with _loading[kind]:
            found = _kept(key)
            if found is None:
                _make_room(needed(name, device, folder) * 1e9)
                found = (
                    _load_embedded(name, family, device) if folder is None else _load_hub(name, family, device, folder)
                )
                with _lock:
                    _cache[key] = found
                _make_room(0)
    model, companion = found
    # schedulers keep the state of a run: everyone gets their own
    return Loaded(model, copy.deepcopy(companion) if hasattr(companion, "set_timesteps") else companion)


def _kept(key: Key) -> Loaded | None:
    """What is loaded already, as the one asked for last."""
    with _lock:
        if key in _cache:
            _cache.move_to_end(key)
        return _cache.get(key)


def _make_room(coming: float) -> None:
    """Drop models, those asked for longest ago first, until `coming` bytes fit beside them; the last one stays after its load."""
    with _lock:
        held, dropped = [_bytes(entry.model) for entry in _cache.values()], 0
        while len(held) - dropped > (not coming) and sum(held[dropped:]) + coming > CACHE_BYTES:
            _cache.popitem(last=False)
            dropped += 1
    if dropped:
        gc.collect()


def arriving(name: str, device: str | torch.device | None = None) -> Iterator[Progress]:
    """A report each second until the files of a model are here; they come in a thread of their own, so that whoever waits can
    leave. Raises ModelError."""
    device = resolve(device)
    if name in EMBEDDED or any(kept == name and where == device for kept, _, where in list(_cache)):
        return
    _admit(name, None, device)
    with _lock:
        coming = _fetches.get(name)
        if coming is None or coming.done():
            coming = _fetches[name] = Future()
            threading.Thread(target=_fetch_into, args=(coming, name), daemon=True, name=f"fetch {name}").start()
    while not wait([coming], 1).done:
        yield Progress(0, 0, None)
    coming.result()


def _fetch_into(coming: Future[Path | None], name: str) -> None:
    try:
        coming.set_result(fetch(name))
    except Exception as fault:
        coming.set_exception(fault)


def fetch(name: str) -> Path | None:
    """Bring the files of a Hub model here without loading them: their folder, or None of an embedded one. Raises ModelError."""
    if name in EMBEDDED:
        return None
    _, repository, revision, _ = _row(name, None)
    return Path(_download(repository, revision))


def fingerprint(name: str) -> str:
    """What pins the weights of a name: SHA-256 of an embedded weight file, commit of a Hub model."""
    if name in EMBEDDED:
        return _checked(ASSETS / EMBEDDED[name][1])
    return _row(name, None)[2]


def _bytes(model: torch.nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))


def _need(name: str, has: str, family: str | None) -> None:
    if family is not None and has != family:
        raise ModelError(
            "{name} is {found}; {needed} is needed here.", name=name, found=FAMILIES[has], needed=FAMILIES[family]
        )


def _checked(path: Path) -> str:
    """SHA-256 of an embedded weight file, which must be the one SHA256SUMS tells."""
    folder = next(f for f in path.parents if f.parent == ASSETS)
    told = folder / "SHA256SUMS"
    if not path.exists() or not told.exists():
        raise ModelError(
            "The weights {file} are missing from assets/models: get the project again.", file=path.relative_to(ASSETS)
        )
    sums = dict(reversed(line.split(maxsplit=1)) for line in told.read_text(encoding="utf-8").splitlines())
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sums.get(path.relative_to(folder).as_posix()):
        raise ModelError(
            "The weight file {file} is cut short or altered (its checksum differs from SHA256SUMS): get the project again.",
            file=path.relative_to(ASSETS),
        )
    return found


def _load_embedded(name: str, family: str | None, device: torch.device) -> Loaded:
    has, file = EMBEDDED[name]
    _need(name, has, family)
    path = ASSETS / file
    _checked(path)
    if has != "decoder":
        return _from_folder(ASSETS / name, has, device)
    from safetensors import safe_open

    with safe_open(path, "pt") as weights:
        config = json.loads(weights.metadata()["config"])
        state = {key: weights.get_tensor(key) for key in weights.keys()}  # noqa: SIM118
    config.pop("model_type")
    model = Decoder(DecoderConfig(**config))
    model.load_state_dict(state)
    return Loaded(model.eval().requires_grad_(False).to(device), None)


def _row(name: str, family: str | None) -> tuple[str | None, str, str, float | None]:
    """(family, repository, revision, gigabytes) of a Hub name, if it may be loaded."""
    if name in HUB:
        has, revision, size = HUB[name]
        return has, name, revision, size
    repository, _, revision = name.partition("@")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise ModelError(
            "There is no model named {name}; the choice is {options}.",
            name=quoted(name),
            options=", ".join(names(family)),
        )
    if os.environ.get(ALLOW) != "1":
        raise ModelError(
            "{repository} is not among the models of this studio ({options}); its host can allow others by setting {variable}=1.",
            repository=repository,
            options=", ".join(names(family)),
            variable=ALLOW,
        )
    if not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise ModelError("Pin the revision: write {repository}@ and the 40 digits of a commit.", repository=repository)
    return None, repository, revision, None


def _admit(name: str, family: str | None, device: torch.device) -> None:
    """Refuse a Hub model that is of another kind, or too large for the device, before anything is fetched."""
    has, _, _, gigabytes = _row(name, family)
    if has is not None:
        _need(name, has, family)
    if gigabytes:
        check_room(name, needed(name, device), device)


def _load_hub(name: str, family: str | None, device: torch.device, folder: Path) -> Loaded:
    if not any(folder.rglob("*.safetensors")):
        raise ModelError(
            "{name} has no weights as safetensors at this revision, and no other kind is loaded.", name=name
        )
    found = _family(folder)
    if found is None:
        raise ModelError(
            "{name} is none of the kinds the studio knows: {kinds}.", name=name, kinds="; ".join(FAMILIES.values())
        )
    # a mixture of experts is a causal model too
    if not (family == "causal" and found == "moe"):
        _need(name, found, family)
    try:
        return _from_folder(folder, found, device)
    except Exception as error:  # the libraries below have a dozen kinds
        if isinstance(error, ModelError) or is_memory(error):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError("{name} was fetched but does not load: {reason}.", name=name, reason=reason) from error


def needed(name: str, device: torch.device, folder: Path | None = None) -> float:
    """Gigabytes that the weights of a model take on a device; of one that is not pinned, those of its files."""
    if name not in HUB:
        files = [ASSETS / EMBEDDED[name][1]] if folder is None else folder.rglob("*.safetensors")
        return sum(file.stat().st_size for file in files if file.exists()) / 1e9
    family, _, gigabytes = HUB[name]
    return gigabytes if device.type == "cuda" or family not in HALVED else 2 * gigabytes


def check_room(name: str, gigabytes: float, device: torch.device) -> None:
    """A ModelError where a device has not so much memory."""
    room = _memory(device) / 1e9
    if gigabytes > 0.9 * room:
        raise ModelError(
            "{name} needs about {needed} GB; the {device} device here has {room} GB.",
            name=name,
            needed=round(gigabytes, 1),
            device=device.type,
            room=round(room),
        )


def _memory(device: torch.device) -> int:
    """Bytes of memory of the device."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory if torch.cuda.is_available() else LENT
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _download(repository: str, revision: str) -> str:
    """Folder of a snapshot: weights as safetensors, configuration and vocabulary, nothing that could run."""
    from huggingface_hub import HfApi, errors, snapshot_download

    from engines import latents

    wanted = {
        "repo_id": repository,
        "revision": revision,
        "allow_patterns": ["*.safetensors", "*.json", "*.txt", "tokenizer.model"],
        "ignore_patterns": ["*.fp16.safetensors", "*non_ema*", "onnx/*", "coreml/*", "*.mlpackage/*", "original/*"],
    }
    pictured = {key: value for key, value in wanted.items() if key != "ignore_patterns"}
    try:
        # asked first because it fails at once where the network is cut; the download itself would try for half a minute
        found = HfApi().model_info(repository, revision=revision, timeout=PATIENCE)
        pictures = latents.wanted([file.rfilename for file in found.siblings or ()])
        return snapshot_download(**(wanted if pictures is None else pictured | {"allow_patterns": pictures}))
    except errors.GatedRepoError:
        raise ModelError(
            "{repository} asks its users to agree to terms: log in with an account that did.", repository=repository
        ) from None
    except errors.RepositoryNotFoundError:
        raise ModelError("The Hub has no public model {repository}.", repository=repository) from None
    except errors.RevisionNotFoundError:
        raise ModelError("{repository} has no commit {revision}.", repository=repository, revision=revision) from None
    except Exception as fault:  # connection, time-out, proxy, offline mode: the libraries below raise a dozen kinds
        if getattr(fault, "errno", None) == errno.ENOSPC:
            raise ModelError(
                "{repository} has no room on this machine: its disk is full.", repository=repository
            ) from None
    try:
        folder = snapshot_download(**wanted, local_files_only=True)
        if not _is_whole(Path(folder)):
            raise errors.LocalEntryNotFoundError(folder)
        return folder
    except errors.LocalEntryNotFoundError:
        raise ModelError(
            "{repository} could not be fetched: the Hugging Face Hub cannot be reached from here, and no copy is on this machine. The embedded models work without a network.",
            repository=repository,
        ) from None


def _is_whole(folder: Path) -> bool:
    """Whether the weights of a snapshot are here, each part that its index names: a download may have been cut off."""
    for index in folder.rglob("*.safetensors.index*.json"):
        here = [(index.parent / part).exists() for part in {*read_json(index)["weight_map"].values()}]
        if any(here) and not all(here):  # none: of a part that is not needed
            return False
    return any(folder.rglob("*.safetensors"))


def read_json(path: Path) -> dict:
    """A JSON file of a folder, or {} where there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _family(folder: Path) -> str | None:
    """What a downloaded folder holds, by its configuration."""
    from engines import latents

    if latents.kind_of(folder):
        return "latent"
    config = read_json(folder / "config.json")
    if "UNet2DModel" in (config.get("_class_name"), read_json(folder / "unet" / "config.json").get("_class_name")):
        return "diffusion"
    if config.get("model_type") in MASKED_TYPES or "BertForMaskedLM" in (config.get("architectures") or ()):
        return "masked"
    if config.get("model_type") in MOE_TYPES:
        return "moe"
    return "causal" if "rope_theta" in config or "rope_parameters" in config else None


def _from_folder(folder: Path, family: str, device: torch.device) -> Loaded:
    """Load what lies in a local folder in the format of diffusers or transformers."""
    safe = {"use_safetensors": True, "local_files_only": True}
    if family == "latent":
        from engines import latents

        model, companion = latents.from_folder(folder, device), None
    elif family == "diffusion":
        from diffusers import DDPMScheduler, UNet2DModel

        # two layouts: unet/ and scheduler/, or everything at the root
        inner = (folder / "unet").is_dir()
        model = UNet2DModel.from_pretrained(
            folder / "unet" if inner else folder, torch_dtype=torch.float32, low_cpu_mem_usage=False, **safe
        )
        if model.config.in_channels != 3 or model.config.out_channels != 3:
            raise ModelError("{name} does not work on RGB pixels.", name=folder.name)
        # as diffusers' DiT pipeline keeps them; the class after the last of these stands for any
        names = read_json(folder / "model_index.json").get("id2label") or {}
        model.labels = tuple(str(names[i]) for i in sorted(names, key=int))
        companion = DDPMScheduler.from_pretrained(folder / "scheduler" if inner else folder, local_files_only=True)
    else:
        from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

        kind = AutoModelForMaskedLM if family == "masked" else AutoModelForCausalLM
        # half precision is slow on a CPU; on a GPU large models keep the type they are stored in
        dtype = "auto" if device.type == "cuda" and family != "masked" else torch.float32
        model = kind.from_pretrained(folder, dtype=dtype, trust_remote_code=False, **safe)
        companion = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    return Loaded(model.eval().requires_grad_(False).to(device), companion)
