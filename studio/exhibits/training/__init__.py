"""Training: how a step is made, from the learning rate to the average of the weights."""

from engines.training.averaging import averaging
from engines.training.checks import CHECKS
from engines.training.dropout import child, dropout
from engines.training.inside import MODELS, TENSORS, inside
from engines.training.ladder import ladder
from engines.training.optimisers import assumptions, optimise, schedules
from engines.training.penalties import penalties
from studio.exhibit import Choice, Exhibit, Numbers, Range, Text, View, each, read_stories
from studio.exhibits.training.figures import (
    AVERAGE,
    LAW,
    METHOD,
    RULE,
    TUNING,
    draw_assumptions,
    draw_child,
    draw_dropout,
    draw_inside,
    draw_ladder,
    draw_penalties,
    draw_schedules,
)
from studio.exhibits.training.figures_paths import draw_averaging, draw_optimisers

SEED = Range("Seed", step=1)
SCHEDULE = {"constant": "constant", "linear": "linear decay"}

VIEWS = (
    View(
        slug="dropout",
        title="Gradient dropout",
        caption=(
            "How the update of one weight is spread, simulated at several probabilities $p$ of keeping its gradient, "
            "which is then divided by $p$; the line through the shapes is the mean. Below, mean and variance: lines "
            "are closed forms for a slow second moment, points the simulations, with two standard errors. Under SGD "
            "the mean stays. Adam divides by the root of the mean square, which the dropping raises, so the mean "
            "falls by $\\sqrt p$: a smaller step in disguise. The variance of Adam's update does not fall but rises: "
            "the claim that dropping lowers it does not hold once the averages have run in. Dropping the update "
            "instead keeps the mean. Drag the red point along $p$."
        ),
        compute=dropout,
        controls={
            "p": Range("Probability p of keeping", step=0.01),
            "optimiser": Choice("Optimiser", {"sgd": "SGD", "adam": "Adam"}),
            "drop": Choice("What is dropped", {"gradient": "the gradient", "update": "the update"}),
            "mean": Range("Mean gradient", step=0.1),
            "noise": Range("Its standard deviation", step=0.1),
            "beta1": Range("β₁", step=0.01, when={"optimiser": ["adam"]}),
            "beta2": Range("β₂", when={"optimiser": ["adam"]}),
            "draws": Range("Updates drawn", step=1, log=True),
            "seed": SEED,
        },
        draw=draw_dropout,
        scalars={
            "mean of the simulated updates": lambda r: r.simulated_mean[-1],
            "variance of the simulated updates": lambda r: r.simulated_variance[-1],
        },
        seconds=0.3,
    ),
    View(
        slug="child",
        title="ChildTuning",
        caption=(
            "Accuracy minus that of plain Adam, for a network that knows the digits 0 to 4 and is tuned on a few labels of 5 to 9, "
            "some of them wrong; mean over paired episodes, bands of one standard error. ChildTuning-F drops gradients at random, "
            "ChildTuning-D tunes the weights of largest Fisher information. Compare F with plain Adam at $\\sqrt p$ times the rate "
            "(red). The second figure sets the two side by side, an episode a point. Where they lie on the line, ChildTuning-F is a "
            "smaller learning rate; and where a smaller rate does not help, neither does it."
        ),
        compute=child,
        controls={
            "labels": Range("Labelled images", step=1, log=True),
            "wrong": Range("Share of wrong labels", step=0.05),
            "p": Range("Share p that is kept", step=0.01),
            "learning_rate": Range("Learning rate", log=True),
            "steps": Range("Steps", step=1),
            "episodes": Range("Episodes", step=1),
            "seed": SEED,
        },
        draw=draw_child,
        scalars={
            "test accuracy": lambda r: each((TUNING[name] for name in r.tunings), r.accuracy[:, -1]),
            "accuracy minus plain Adam's": lambda r: each((TUNING[name] for name in r.tunings), r.gain[:, -1]),
        },
        live=False,
        seconds=5,
        brief={"steps": 50, "episodes": 4},
    ),
    View(
        slug="optimisers",
        title="Optimisers",
        caption=(
            "The test loss of a small network on digits, a stronger colour where it is higher, on the plane in which "
            "the weights of one seed move most, and the way that each rule takes from the start. Solid: kernels "
            "stored as they are. Dashed: stored times a factor and divided by it in use, which is the same network. "
            "See whether the two ways of a rule agree. A rule whose steps are measured by the weights does not "
            "notice; AdamW's do not shrink or grow with them. Below, the loss over the steps, mean over seeds. Amos "
            "keeps far fewer numbers than Adam; whether it is faster here, the sentence under that figure says."
        ),
        compute=optimise,
        controls={
            "rules": Choice("Rules", RULE, several=True),
            "scale_exponent": Range("Kernels stored times 2 to the power", step=1),
            "steps": Range("Steps", step=1, log=True),
            "adam_rate": Range("Learning rate of AdamW", log=True, help="SGD takes ten times as much."),
            "relative_rate": Range("Relative rate of LAMB and Su's rule", log=True),
            "amos_rate": Range("Amos's rate ξ", log=True),
            "seeds": Range("Seeds", step=1, help="Networks for each rule; more make smaller intervals."),
            "seed": SEED,
        },
        draw=draw_optimisers,
        scalars={
            "test loss (nats)": lambda r: each(r.rules, r.loss[:, 0, -1]),
            "test accuracy": lambda r: each(r.rules, r.accuracy[:, 0]),
            "greatest difference of the two storages": lambda r: each(r.rules, r.difference),
        },
        live=False,
        seconds=6,
        brief={"rules": ("adamw", "su", "amos-rows"), "steps": 100, "seeds": 2},
    ),
    View(
        slug="schedules",
        title="Schedules",
        caption=(
            "The learning rate over its first value, and below it the weight decay of a step, if weight decay has one "
            "task: to cancel the noise of the step. The error $\\varepsilon$ then shrinks by $\\alpha_t p_t|u_t|$, and "
            "$\\alpha_t\\propto|\\varepsilon_t|^2$. Where the alignment $p=\\cos(u,\\varepsilon)$ stays, the rate falls like "
            "$1/(1+\\alpha_0pt)^2$; where $p$ falls with the error, like $1/(1+2\\alpha_0pt)$. Linear and cosine decay need to know "
            "the last step, these schedules do not. Amos's factors are drawn for gradients of steady size. Drag the "
            "red point to another number of steps."
        ),
        compute=schedules,
        controls={
            "alpha0": Range("Relative learning rate α₀", log=True, help="First step over the first error."),
            "p": Range("Alignment p of step and error", log=True),
            "law": Choice("How the alignment develops", LAW),
            "steps": Range("Steps", step=1, log=True),
            "q": Range("q in θ·ε = q|ε|²", step=0.1, help="Divides the weight decay."),
        },
        draw=draw_schedules,
        scalars={"step of half the learning rate": "half"},
    ),
    View(
        slug="assumptions",
        title="Assumptions",
        caption=(
            "What the derivation of the schedules assumes, measured against the weights $\\theta^*$ where a training run ends, "
            "$\\varepsilon=\\theta-\\theta^*$. First the alignment $p$ of Adam's step with the error: it should stay or fall like "
            "$|\\varepsilon|$ (grey). Then $q=\\theta\\cdot\\varepsilon/|\\varepsilon|^2$, which should be 1. Where $q$ is negative, "
            "weight decay pulls away from where training goes. Give the run some weight decay and look again. Bands: one standard "
            "error over four runs."
        ),
        compute=assumptions,
        controls={
            "weight_decay": Range("Weight decay of AdamW", step=0.01),
            "learning_rate": Range("Learning rate", log=True),
            "schedule": Choice("Schedule", SCHEDULE),
            "steps": Range("Steps", step=1, log=True),
            "seed": SEED,
        },
        looks={"layer": Choice("Layer shown", {"0": "first", "1": "second", "2": "third"})},
        draw=draw_assumptions,
        scalars={
            "cos(u, ε) at the end, mean of the kernels": lambda r: r.p[:, -1].mean(),
            "|ε|/|ε₀| at the end, mean of the kernels": lambda r: r.shrink[:, -1].mean(),
            "test accuracy": "accuracy",
        },
        live=False,
        seconds=3,
        brief={"steps": 500},
    ),
    View(
        slug="ladder",
        title="Ladder side-tuning",
        caption=(
            "What the backward pass must keep in memory for several ways of tuning a small BERT, counted exactly, and the time of one "
            "batch. LoRA and BitFit tune few weights, yet gradients still pass through the whole model. A ladder is a narrow "
            "network beside it, which reads its layers and needs no gradient in them. On a plain stack of linear layers the "
            "ladder saves nothing, for each rung keeps its input (last columns). Choose a task to see what the "
            "saving costs: 800 fragments of stories, 400 held back."
        ),
        compute=ladder,
        controls={
            "methods": Choice("Ways of tuning", METHOD, several=True),
            "task": Choice(
                "Task", {"none": "none: costs alone", "shuffled": "shuffled words", "swapped": "swapped words"}
            ),
            "reduction": Range(
                "Reduction", step=1, help="The ladder is 192 over this wide; LoRA's rank is 32 over it."
            ),
            "rungs": Range("Rungs", step=1),
            "batch": Range("Batch", step=1),
            "length": Range("Length (tokens)", step=1),
            "steps": Range("Steps of the task", step=1, help="None are made without a task."),
            "seed": SEED,
        },
        draw=draw_ladder,
        scalars={
            "bytes kept for the backward pass": lambda r: each(r.methods, r.kept),
            "time of a backward pass (s)": lambda r: each(r.methods, r.backward_seconds),
        },
        live=False,
        seconds=4,
        brief={"methods": ("full", "ladder"), "batch": 1, "length": 16},
    ),
    View(
        slug="penalties",
        title="Input gradients",
        caption=(
            "Both sides of an inequality for 200 test images, over training: the squared gradient of the loss with respect to the "
            "input, weighed by the layers' norms, is at most that with respect to the parameters. Play the steps: every point stays "
            "above the line. The bound is loose at first; later the two sides rise and fall together from image to image. Small steps of SGD "
            "penalise the gradient of the mean loss, not of each example: choose that one, and nothing holds any more. "
            "So the inequality alone does not say that training in large batches makes a smooth function."
        ),
        compute=penalties,
        controls={
            "gradient": Choice("Parameter gradient", {"example": "of each example", "mean": "of the mean loss"}),
            "activation": Choice("Activation", ("tanh", "relu")),
            "widths": Numbers("Hidden layers", help="Widths, up to four."),
            "learning_rate": Range("Learning rate", log=True),
            "steps": Range("Steps", step=1, log=True),
            "seed": SEED,
        },
        draw=draw_penalties,
        scalars={
            "left / right at the end": lambda r: r.ratio[-1],
            "correlation of log left and log right at the end": lambda r: r.correlation[-1],
            "test accuracy": lambda r: r.accuracy[-1],
        },
        live=False,
        seconds=3,
        brief={"steps": 100},
    ),
    View(
        slug="averaging",
        title="Weight averages",
        caption=(
            "The weights of one run over the last part of training, on the plane in which they move most (of the "
            "quadratic, its first two coordinates), and three averages of them; a stronger colour is a higher loss. "
            "Play the steps: with a constant learning rate the last weights jump about; see whether an average does "
            "what decay would. Below, the loss of each over the steps, bands of one standard error over three seeds; "
            "on the quadratic each expected loss has a closed form (crosses). The third figure makes power averages "
            "of any width afterwards from a few stored ones; far from the widths that were stored the two separate. "
            "The fourth shows how each average weighs the steps. Drag the red point to another width."
        ),
        compute=averaging,
        controls={
            "source": Choice("What is trained", {"digits": "a network on digits", "quadratic": "a quadratic"}),
            "schedule": Choice("Schedule", SCHEDULE),
            "decay": Range("Decay of the EMA"),
            "sigma_rel": Range("Width σ_rel of the power average", log=True),
            "snapshots": Range("Snapshots", step=1, help="Of two averages each, σ_rel 0.05 and 0.1."),
            "learning_rate": Range("Learning rate", log=True),
            "optimiser": Choice("Optimiser", {"adam": "Adam", "sgd": "SGD"}, when={"source": ["digits"]}),
            "batch": Range("Batch", step=1, log=True, when={"source": ["digits"]}),
            "steps": Range("Steps", step=1, log=True),
            "seed": SEED,
        },
        draw=draw_averaging,
        scalars={"test loss": lambda r: each((AVERAGE[name] for name in r.averages), r.loss[:, -1])},
        live=False,
        seconds=4,
        brief={"source": "quadratic", "steps": 300},
    ),
    View(
        slug="inside",
        title="Inner tensors",
        caption=(
            "One tensor of a forward pass of a small BERT as a map. All 127 can be looked at by name, without a change of the model: "
            "each function that torch calls is seen as it is called. The second figure has the size of the entries along "
            "the pass; hover for names. Choose a softmax and each row sums to 1: how one token divides its attention."
        ),
        compute=inside,
        controls={
            "text": Text("Text", lines=2, help="At most 32 pieces are read."),
            "tensor": Choice("Tensor", TENSORS),
            "model": Choice("Model", MODELS),
            "most_tokens": Range("Pieces read", step=1),
        },
        looks={"head": Choice("Head shown", ("1", "2", "3", "4"))},
        draw=draw_inside,
        scalars={
            "root mean square of the tensor": lambda r: r.root_mean_square[list(r.names).index(r.tensor)],
            "mean of the tensor": lambda r: r.mean[list(r.names).index(r.tensor)],
        },
        seconds=0.1,
    ),
)

EXHIBIT = Exhibit(
    slug="training",
    title="Training",
    summary="How a step is made: learning rate and decay, optimisers, dropped gradients, side networks, averages of weights.",
    question="Which tricks of training do what they promise?",
    theme="training",
    sources=(
        ("Su Jianlin, on Amos and strategies of training", "https://kexue.fm/archives/9344"),
        ("Su Jianlin, on ChildTuning", "https://kexue.fm/archives/8764"),
        ("Su Jianlin, on Ladder Side-Tuning", "https://kexue.fm/archives/9138"),
        ("Su Jianlin, an inequality of gradient penalties", "https://kexue.fm/archives/8796"),
        ("Su Jianlin, intermediate outputs and weight averaging", "https://kexue.fm/archives/6575"),
        ("Tian & Parikh 2022, Amos", "https://arxiv.org/abs/2210.11693"),
        ("Xu et al. 2021, Child-Tuning", "https://arxiv.org/abs/2109.05687"),
        ("Sung et al. 2022, LST", "https://arxiv.org/abs/2206.06522"),
        ("Dherin et al. 2021, geometric occam's razor", "https://arxiv.org/abs/2111.15090"),
        ("Karras et al. 2023, post-hoc EMA", "https://arxiv.org/abs/2312.02696"),
    ),
    views=VIEWS,
    stories=read_stories(__file__),
    checks=CHECKS,
)
