"""Diffusion: samplers side by side on exact scores, on images, and models of few steps."""

from __future__ import annotations

import torch

from engines.diffusion import TARGETS as NAMED
from engines.diffusion import convergence, distances, few_steps, image_grid, sampler_panels, vector_field
from engines.diffusion.brightness import terminal_brightness
from engines.diffusion.checks import CHECKS
from engines.diffusion.consistency import consistency
from engines.diffusion.experiments import DETERMINISTIC
from engines.diffusion.identities import identities
from engines.diffusion.images import CLASSES, LABELS, SCHEDULERS
from engines.diffusion.mixture import target_mixture
from engines.diffusion.prompt import FEW, SIDES, prompt_grid
from engines.diffusion.prompt import SCHEDULERS as PROMPTED
from engines.diffusion.variances import step_variances
from studio.exhibit import Choice, Drawing, Exhibit, Former, Numbers, Range, Text, View, each, read_stories
from studio.exhibits.diffusion import figures, figures_exact
from studio.exhibits.diffusion.figures import METHODS, SAMPLERS
from studio.exhibits.diffusion.figures_exact import FAMILY, brightness_rows
from studio.exhibits.diffusion.figures_prompt import SAMPLERS_HERE, draw_prompt
from studio.figure import COLORS
from studio.hub import LATENT

TARGETS = {
    "spiral": "spiral",
    "ring": "ring of eight",
    "moons": "two moons",
    "checkerboard": "checkerboard",
    "two_scales": "two scales",
    "three": "three Gaussians",
    "letter": "letters",
    "drawing": "your drawing",
}
PENCIL = '<g fill="none" stroke="currentColor" stroke-width="2.5"><path d="M6 38c10-18 16 8 24-8"/><path d="M28 30l3-9 11-11 6 6-11 11z"/></g>'


def target_icons() -> dict[str, str]:
    """A target's Gaussians as discs."""
    icons = {"drawing": PENCIL}
    for name in (*NAMED, "letter"):
        target = target_mixture(name)
        discs = torch.cat([24 + 8 * target.means * torch.tensor([1, -1]), 12 * target.scales[:, None]], 1).tolist()
        icons[name] = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r:.1f}"/>' for x, y, r in discs)
    return {
        name: f'<svg viewBox="0 0 48 48" fill="{COLORS[0]}" fill-opacity="0.6">{icon}</svg>'
        for name, icon in icons.items()
    }


TARGET = Choice("Target", TARGETS, icons=target_icons)
PATH = Choice(
    "Path",
    {
        "ve": "variance exploding (Karras)",
        "vp_linear": "variance preserving, linear β",
        "vp_cosine": "variance preserving, cosine",
        "rf": "rectified flow",
    },
    help="The scale of noised data, and the time in which a step is linear.",
)
OWN = {
    "target": TARGET,
    "letter": Text("Letters", help="One to three.", when={"target": ["letter"]}),
    "drawing": Drawing("Drawing", when={"target": ["drawing"]}),
}
SEED = Range("Seed", step=1)
VARIANTS = {
    "ddim_eta": Range("DDIM's η", step=0.05, help="0 is an ODE; 1 is DDPM.", when={"samplers": ["ddim"]}),
    "ddpm_variance": Choice(
        "DDPM's variance",
        {"fixed_small": "small (the posterior's)", "fixed_large": "large (β)", "optimal": "optimal (Analytic-DPM)"},
        when={"samplers": ["ddpm"]},
    ),
}
GRID = {
    "karras": "Karras ρ",
    "time": "uniform in t",
    "quadratic": "quadratic in t",
    "logsnr": "uniform in log-SNR",
    "ays": "Align Your Steps (knots)",
}
GRIDS = Choice("Noise levels", GRID)

OF_THE_HUB = {"model": [name for name in LATENT if name != "none"]}  # the included model has its own guidance and size
PIXEL_MODELS = {
    "ddpm-emoji-32": "emoji",
    "ddpm-emoji-32-kinds": "emoji of six classes",
    "ddpm-cifar10-32": "photographs of ten classes",
    "google/ddpm-cifar10-32": "photographs, google/ddpm-cifar10-32",
}

VIEWS = (
    View(
        slug="samplers",
        title="Samplers side by side",
        caption=(
            "Particles fall from noise onto a target, a square a sampler; all begin at the same places. The denoiser is "
            "a formula here, as the target is a mixture of Gaussians: every error is the sampler's. Compare the "
            "particles with the density beneath them, and W₁, their distance to the target, with chance level, that of "
            "two exact sets, in brackets. Grey lines are trajectories. What a step costs is a call of the denoiser "
            "(NFE); Heun makes two a step. On the variance exploding path particles are drawn as $x/\\sqrt{1+\\sigma^2}$."
        ),
        compute=sampler_panels,
        controls={
            "steps": Range("Steps (or NFE)", step=1),
            **OWN,
            "samplers": Choice("Samplers (up to 4)", SAMPLERS, several=True),
            "match": Choice("Compare at equal", {"steps": "steps", "nfe": "denoiser calls (NFE)"}),
            "grid": GRIDS,
            "path": PATH,
            "rho": Range(
                "Karras' ρ", step=0.5, help="A larger ρ: more steps near the data.", when={"grid": ["karras"]}
            ),
            "knots": Numbers("Knots σ", help="Falling.", when={"grid": ["ays"]}),
            **VARIANTS,
            "particles": Range("Particles", step=1, log=True),
            "seed": SEED,
        },
        draw=figures.draw_panels,
        scalars={
            "sliced W₁ distance (units of the target)": lambda r: each(r.samplers, r.distance),
            "denoiser calls": lambda r: each(r.samplers, r.nfe),
        },
        seconds=0.2,
    ),
    View(
        slug="field",
        title="Vector field",
        caption=(
            "Arrows are the exact field that a network is trained to learn, over the density at one time. Scrub the time, "
            "and drag the diamond, where one particle begins: the red line is its trajectory. In noise all arrows point "
            "to the mean of the target, later to single modes; near the border between two modes a small shift of the "
            "diamond changes where the line ends. The centres of three Gaussians can be dragged too. Orange points are other particles of the flow. The longest arrow of "
            "each time is as long as the spacing."
        ),
        compute=vector_field,
        controls={
            **OWN,
            "field": Choice(
                "Field", {"velocity": "velocity towards the data", "score": "score ∇ log p", "denoised": "D(x) − x"}
            ),
            "path": PATH,
            "x": Range("Particle's start, x", step=0.01),
            "y": Range("Particle's start, y", step=0.01),
            "centres_x": Numbers("Centres, x", help="Or drag the squares.", when={"target": ["three"]}),
            "centres_y": Numbers("Centres, y", when={"target": ["three"]}),
            "seed": SEED,
        },
        draw=figures.draw_field,
        seconds=0.2,
    ),
    View(
        slug="orders",
        title="Orders of convergence",
        caption=(
            "The error at the end of the flow from σ = 80 to 0.002, against an exact solution, over denoiser calls. On "
            "these axes a method of order $p$ falls with slope $-p$; beside each name stands the slope fitted to the "
            "three largest step counts. A method has its order only where the error is small already. The published "
            "third-order DPM-Solver++ stays below its order: its last term is half of Taylor's."
        ),
        compute=convergence,
        controls={
            "samplers": Choice("Samplers", {name: SAMPLERS[name] for name in DETERMINISTIC}, several=True),
            "steps": Numbers("Steps"),
            "target": Choice("Target", {name: TARGETS[name] for name in NAMED}),
            "path": PATH,
            "lms_order": Range("Order of LMS", step=1, when={"samplers": ["lms"]}),
            "seed": SEED,
        },
        draw=figures.draw_convergence,
        scalars={
            "fitted order": lambda r: each(r.samplers, r.fitted),
            "median endpoint error at the last number of steps (units of the target)": lambda r: each(
                r.samplers, r.error[:, -1]
            ),
        },
        live=False,
        seconds=4,
        brief={"samplers": ("euler", "dpmpp_2m"), "steps": (10, 20)},
    ),
    View(
        slug="distances",
        title="Stochastic samplers",
        caption=(
            "The distance between a sampler's particles and the target, over denoiser calls. A sampler that adds noise has "
            "no single right endpoint, so only distributions can be compared. The grey band is the range of exact "
            "samples: inside it nothing can be told apart, whichever line is the lowest."
        ),
        compute=distances,
        controls={
            "samplers": Choice("Samplers (up to 8)", SAMPLERS, several=True),
            "budgets": Numbers("NFE"),
            **OWN,
            "path": PATH,
            "particles": Range("Particles", step=100),
            **VARIANTS,
            "seed": SEED,
        },
        draw=figures.draw_distances,
        scalars={
            "sliced W₁ at the last number of calls (units of the target)": lambda r: each(
                r.samplers, r.wasserstein[:, -1]
            ),
            "energy distance there (units of the target)": lambda r: each(r.samplers, r.energy[:, -1]),
        },
        live=False,
        seconds=4,
        brief={"samplers": ("ddpm",), "budgets": (8, 16)},
    ),
    View(
        slug="variances",
        appendix=True,
        title="Between DDIM and DDPM",
        caption=(
            "The noise that a step adds, as a share of the noise it removes, from noise (left) to data. DDIM adds none; DDPM adds "
            "its small variance, right where the data are one point, or its large one, right where they are N(0, I). The "
            "green line is the best variance for this target, Analytic-DPM's: given $x_t$ the data still vary, and a step that "
            "jumps to their mean must put that back. Below, all four on a Gaussian: with the best variance no step but the "
            "last, which adds no noise, loses any spread."
        ),
        compute=step_variances,
        controls={
            **OWN,
            "steps": Range("Steps", step=1),
            "eta": Range("η of the optimal step", step=0.05, help="Its mean is DDIM's at 0, DDPM's at 1."),
            "std": Range("Width of the Gaussian", step=0.05),
            "grid": GRIDS,
        },
        draw=figures_exact.draw_variances,
        scalars={
            "noise added over noise removed, mean of the steps": lambda r: each(
                (FAMILY[name] for name in r.family), r.share.mean(1)
            ),
            "spread of the samples over that of the data, at most steps": lambda r: each(
                (FAMILY[name] for name in r.family), r.spread[:, -1]
            ),
        },
        seconds=0.1,
    ),
    View(
        slug="brightness",
        appendix=True,
        title="Terminal SNR and brightness",
        caption=(
            "Pictures of random brightness and texture, a column a noise from dark to bright, by an exact denoiser. Compare each "
            "row with the data. Training stops short of pure noise, $\\sqrt{\\bar\\alpha_T}>0$; sampling begins with pure noise all the "
            "same. In a large picture the mean grey is still plain at that level, so the start says medium grey, and all greys "
            "come out near the middle. Leading timesteps begin at a level with even less noise. With zero terminal SNR the "
            "greys are right in the limit of many steps."
        ),
        compute=terminal_brightness,
        controls={
            "schedule": Choice("Schedule", figures_exact.SCHEDULES),
            "steps": Range("Steps", step=1, log=True),
            "side": Range("Pixels a side", step=1, log=True),
            "spread": Range("Spread of the brightness", step=0.05, help="From −1, black, to 1, white."),
            "seed": SEED,
        },
        draw=figures_exact.draw_brightness,
        scalars={"spread of brightness kept": lambda r: each(brightness_rows(r), r.kept)},
        seconds=0.2,
    ),
    View(
        slug="few",
        title="Few steps",
        caption=(
            "Small networks asked for samples in 1, 2, 4 and 8 steps from the same noise, a row a model, beside the exact "
            "flow in as few Euler steps. Look at the first column. Reflow straightens the trajectories, consistency and "
            "shortcut models learn to jump along them; SiD, FGM and the critics match the distribution alone. Points "
            "between the modes are the network's: a smooth map of the plane cannot tear. Five targets have trained "
            "models. For any other, or to see a model learn, choose how much of the training to do now: all of it takes "
            "10 to 30 seconds of one core a model. The penalty on the critic's slope is centred at 1 in WGAN-GP, and in its "
            "reading as ReFlow at 0 with λ = ½: [what such critics measure](?tab=transport&view=critic_flow)."
        ),
        compute=few_steps,
        controls={
            "methods": Choice("Models (up to 6)", METHODS, several=True),
            **OWN,
            "effort": Range("Training done now", step=0.02, help="A share of all; 0 takes the trained models."),
            "alpha": Range("SiD's α", step=0.05, help="Of training done now.", when={"methods": ["sid"]}),
            "penalty": Range(
                "WGAN-GP's λ",
                log=True,
                help="Of training done now: 0.1 in its authors' code for the plane, 10 for pictures.",
                when={"methods": ["wgan_gp"]},
            ),
            "seed": SEED,
        },
        draw=figures.draw_few_steps,
        scalars={
            "W₁ to the target in one step (units of the target)": lambda r: each(r.methods, r.distance[:, 0]),
            "W₁ to the target in eight steps (units of the target)": lambda r: each(r.methods, r.distance[:, -1]),
            "distance to the exact flow in one step (units of the target)": lambda r: each(
                r.methods, r.flow_distance[:, 0]
            ),
        },
        live=False,
        seconds=0.5,
    ),
    View(
        slug="consistency",
        title="Consistency on the line",
        caption=(
            "Where noise $x_1$ goes. A consistency model is trained level by level to agree with itself along lines from data to "
            "noise. With one level it learns the mean, with more it comes near the exact flow (green); what it "
            "lacks in variance is the sum of its squared residuals, exactly. Their lengths bound the error of one step, "
            "$|f(x_1)-x_0|\\le\\sum|f_k-f_{k-1}|$, but that error grows as the samples get better. The exact function is no "
            "field: followed as one, $(x-f)/t$, in many steps it makes the samples of a single Gaussian twice as wide as "
            "the data."
        ),
        compute=consistency,
        controls={
            "levels": Range("Levels of training", step=1, log=True),
            "steps": Range("Euler steps", step=1, log=True),
            "gap": Range("Modes at ±", step=0.05, help="0 makes them one Gaussian."),
            "std": Range("Width of a mode", step=0.05),
        },
        draw=figures_exact.draw_consistency,
        scalars={
            "W₂ to the data, eight levels or steps": lambda r: each(
                ("levels of training", "steps along (x − f)/t", "steps along the exact velocity"), r.distance[:, 3]
            ),
            "variance lost with eight levels": lambda r: r.lost[3],
        },
        seconds=0.3,
    ),
    View(
        slug="identities",
        appendix=True,
        title="SiD's losses on a Gaussian",
        caption=(
            "Gradient flows of a generator $N(m,\\tau^2)$ towards data N(0, 1), over level lines of the Fisher divergence F. Drag "
            "the diamond. L₁ to L₄ have one value, F; trained with the fake model held (stop-gradient) they "
            "have four gradients. L₄'s is ∇F. L₁ can only "
            "make the generator narrower, L₃ makes it a point. L₂ − λL₁ is half of L₄ at λ = ½. At λ = 1 it is half of L₅, "
            "the gradient of F⁺, where places are held. With λ over 1 a generator that is too wide is driven farther off: "
            "the dashed border comes down as λ grows."
        ),
        compute=identities,
        controls={
            "lam": Range("λ", step=0.05),
            "losses": Choice("Losses", figures_exact.LOSSES, several=True),
            "mean": Range("Start, m", step=0.05),
            "std": Range("Start, τ", step=0.05),
            "noise": Range("Noise level σ", step=0.05, log=True),
            "duration": Range("Duration", log=True),
        },
        draw=figures_exact.draw_identities,
        scalars={"loss at the start": lambda r: each(r.losses, r.value), "Fisher divergence at the start": "fisher"},
        seconds=0.1,
    ),
    View(
        slug="images",
        title="Schedulers on images",
        caption=(
            "Images of one trained network, a column a scheduler, a row a number of steps, all from the same noise. "
            "Follow a column down: with more steps a deterministic scheduler's images settle. Nearly all of the cost is "
            "calls of the network (NFE). Each run begins at the noisiest timestep and calls the network at whole "
            "timesteps alone. The steps are our own: several of diffusers' schedulers (0.42) miss the only picture of a "
            "model that knows it, and Heun's long steps in σ fail on this model's cosine schedule. A model with classes "
            "can be asked for one: guidance $w$ goes by $D_\\varnothing+w(D_c-D_\\varnothing)$, two passes of the network "
            "a call. Compare $w=1$ with 3, then guide between two noise levels only: early guidance costs variety, late "
            "guidance does little (Kynkäänniemi et al. 2024)."
        ),
        compute=image_grid,
        controls={
            "schedulers": Choice("Schedulers (up to 4)", {name: SAMPLERS[name] for name in SCHEDULERS}, several=True),
            "steps": Numbers("Steps"),
            "model": Choice("Model", PIXEL_MODELS, help="The last one comes from the Hugging Face Hub."),
            "label": Choice("Class", {name: name for name in LABELS}, when={"model": list(CLASSES)}),
            "guidance": Range("Guidance w", step=0.1, when={"label": LABELS[1:]}),
            "high": Range("Guided below σ", log=True, when={"label": LABELS[1:]}),
            "low": Range("Guided above σ", log=True, when={"label": LABELS[1:]}),
            "count": Range("Images", step=1),
            "seed": SEED,
        },
        draw=figures.draw_images,
        live=False,
        seconds=10,
        brief={"schedulers": ("ddim", "dpmpp_2m"), "steps": (2,), "count": 2},
        gpu=True,
    ),
    View(
        slug="prompt",
        title="Text to image",
        caption=(
            "Pictures of one prompt: a row a scheduler, a column a number of steps, all from the same noise. Scrub to "
            "see what the model takes the picture for on its way. Layout and colours are there after few steps; compare "
            "details. Guidance $g$ takes $u + g(c - u)$ for the prediction, $c$ with the prompt and $u$ without it or "
            "with the negative one: two passes of the network a call. The model that is included knows ten words; those "
            "of the Hugging Face Hub read a whole prompt."
        ),
        compute=prompt_grid,
        controls={
            "model": Choice("Model", LATENT, help="From the Hugging Face Hub, at a pinned commit, when you press Run."),
            "prompt": Text("Prompt", lines=2),
            "steps": Numbers("Steps"),
            "schedulers": Choice(
                "Schedulers (up to 4)", {name: SAMPLERS_HERE[name] for name in PROMPTED}, several=True
            ),
            "guidance": Range("Guidance", step=0.5, when=OF_THE_HUB),
            "beside": Choice(
                "Few-step model beside", {"none": "none"} | {name: LATENT[name] for name in FEW}, when=OF_THE_HUB
            ),
            "negative": Text("Negative prompt", lines=2, when=OF_THE_HUB),
            "side": Choice(
                "Side (pixels)",
                {name: name for name in SIDES} | {"own": "what the model was trained on"},
                when=OF_THE_HUB,
            ),
            "spacing": Choice(
                "Timesteps",
                {"trailing": "trailing: from pure noise", "leading": "leading: as many are published"},
                help="LCM and flow matching have their own.",
                when=OF_THE_HUB,
            ),
            "seed": SEED,
        },
        draw=draw_prompt,
        live=False,
        seconds=30,  # what a card is asked for with a model of the Hub; never measured with one
        brief={"steps": (1, 2), "schedulers": ("euler",)},
        gpu=True,
    ),
)


FORMER = {
    "samplers": Former(
        "samplers", values={"target": "ring", "samplers": ("euler", "heun", "dpmpp_2m", "ddpm"), "steps": 20}
    ),
    "field": Former("field", values={"target": "ring"}),
    "orders": Former("orders", names={"order_target": "target", "ode_samplers": "samplers", "step_counts": "steps"}),
    "distances": Former("distances", names={"any_samplers": "samplers"}, values={"target": "ring"}),
    "few": Former(
        "few",
        names={"few_target": "target"},
        values={"target": "ring", "methods": ("exact", "reflow", "consistency_distillation", "shortcut", "sid")},
    ),
    "train": Former(
        "few", names={"method": "methods"}, values={"target": "ring", "methods": ("exact", "reflow"), "effort": 1.0}
    ),
    "images": Former("images", names={"image_steps": "steps"}),
}

EXHIBIT = Exhibit(
    slug="diffusion",
    title="Diffusion",
    summary="Samplers side by side on targets whose score is exact: every error is the sampler's.",
    question="How few steps turn noise into data?",
    theme="generation",
    sources=(
        ("Ho et al., DDPM", "https://arxiv.org/abs/2006.11239"),
        ("Song et al., DDIM", "https://arxiv.org/abs/2010.02502"),
        ("Song et al., Score-based generative modelling through SDEs", "https://arxiv.org/abs/2011.13456"),
        ("Karras et al., EDM", "https://arxiv.org/abs/2206.00364"),
        ("Lu et al., DPM-Solver", "https://arxiv.org/abs/2206.00927"),
        ("Lu et al., DPM-Solver++", "https://arxiv.org/abs/2211.01095"),
        ("Bao et al., Analytic-DPM", "https://arxiv.org/abs/2201.06503"),
        ("Zhang & Chen, DEIS", "https://arxiv.org/abs/2204.13902"),
        ("Zhao et al., UniPC", "https://arxiv.org/abs/2302.04867"),
        ("Liu et al., Rectified flow", "https://arxiv.org/abs/2209.03003"),
        ("Kynkäänniemi et al., Guidance in a limited interval", "https://arxiv.org/abs/2404.07724"),
        ("Lin et al., Common diffusion noise schedules", "https://arxiv.org/abs/2305.08891"),
        ("Sabour et al., Align Your Steps", "https://arxiv.org/abs/2404.14507"),
        ("Ho & Salimans, Classifier-free guidance", "https://arxiv.org/abs/2207.12598"),
        ("Rombach et al., Latent diffusion", "https://arxiv.org/abs/2112.10752"),
        ("Podell et al., SDXL", "https://arxiv.org/abs/2307.01952"),
        ("Sauer et al., Adversarial diffusion distillation", "https://arxiv.org/abs/2311.17042"),
        ("Luo et al., Latent consistency models", "https://arxiv.org/abs/2310.04378"),
        ("Esser et al., Stable Diffusion 3", "https://arxiv.org/abs/2403.03206"),
        ("Song et al., Consistency models", "https://arxiv.org/abs/2303.01469"),
        ("Frans et al., Shortcut models", "https://arxiv.org/abs/2410.12557"),
        ("Zhou et al., SiD", "https://arxiv.org/abs/2404.04057"),
        ("Huang et al., FGM", "https://arxiv.org/abs/2410.19310"),
        ("Gulrajani et al., WGAN-GP", "https://arxiv.org/abs/1704.00028"),
        ("苏剑林, 生成扩散模型漫谈（一）: DDPM", "https://kexue.fm/archives/9119"),
        ("（四）: DDIM", "https://kexue.fm/archives/9181"),
        ("（五）: SDE", "https://kexue.fm/archives/9209"),
        ("（七）: the optimal variance", "https://kexue.fm/archives/9245"),
        ("（二十）: ReFlow, WGAN-GP", "https://kexue.fm/archives/9668"),
        ("（二十五）: SiD", "https://kexue.fm/archives/10085"),
        ("（二十六）: FGM", "https://kexue.fm/archives/10567"),
        ("（二十七）: Shortcut", "https://kexue.fm/archives/10617"),
        ("（二十八）: consistency", "https://kexue.fm/archives/10633"),
    ),
    views=VIEWS,
    stories=read_stories(__file__),
    checks=CHECKS,
    former=FORMER,
)
