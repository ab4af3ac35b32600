"""What networks are asked for: several losses, several labels, another test set."""

from __future__ import annotations

from engines.objectives.checks import CHECKS
from engines.objectives.experiments import directions, multilabel, multiway_descent, shift, valley
from engines.objectives.training import imbalance, two_digits
from engines.objectives.validation import validation
from studio.exhibit import Choice, Exhibit, Numbers, Range, View, each, read_stories
from studio.exhibits.objectives.figures import (
    FORMS,
    LOSSES,
    RULES,
    draw_directions,
    draw_imbalance,
    draw_multilabel,
    draw_multiway,
    draw_two_digits,
    draw_valley,
)
from studio.exhibits.objectives.figures_shift import MODELS, WEIGHTS, draw_shift, draw_validation

AT_A_POINT = {key: name for key, name in RULES.items() if key != "initial"} | {
    "log": "1/L (also 1/L₀, at the first step)"
}
IN_THE_VALLEY = {key: RULES[key] for key in ("sum", "normalised", "min_norm", "pcgrad", "cagrad")}
OF_TWO_TASKS = {key: RULES[key] for key in ("sum", "initial", "log", "normalised", "min_norm", "pcgrad", "cagrad")}
C = Range(
    "c of CAGrad", step=0.05, help="How far from the mean it may look; 0 is the mean.", when={"rules": ["cagrad"]}
)
SEED = Range("Seed", step=1)
SEEDS = Range("Seeds", step=1)

VIEWS = (
    View(
        slug="directions",
        title="Directions",
        caption="The arrows that end in discs are the gradients of the tasks; drag the discs. Grey: the directions in which no task gets worse. On the dotted hull of the gradients a cross marks the min-norm vector's tip. Coloured arrows: the direction u of each rule (the weights step by −u; lengths say nothing). Dotted: the same rule after the first loss is multiplied by a scale and shifted, which changes neither loss in substance. Only 1/‖g‖, IMTL-G and Nash-MTL keep their direction under both changes. Below: degrees turned, and how slowly iterations approach the exact min-norm vector.",
        compute=directions,
        controls={
            "rules": Choice("Rules", AT_A_POINT, several=True),
            "scale": Range("Scale of L₁", log=True),
            "shift": Range("Shift of L₁", step=0.5),
            "c": C,
            "tasks": Range("Tasks", step=1),
            "x": Numbers("First components", help="Of the three gradients; the tips can be dragged."),
            "y": Numbers("Second components"),
            "losses": Numbers("Losses L", help="Of the three tasks; only 1/L reads them."),
        },
        draw=draw_directions,
        scalars={
            "turned by the scale of L₁ (degrees)": lambda r: each(r.rules, r.turned_by_scale),
            "turned by the shift of L₁ (degrees)": lambda r: each(r.rules, r.turned_by_shift),
        },
        seconds=0.2,
    ),
    View(
        slug="valley",
        title="Pareto front",
        caption="CAGrad's toy: two losses of two weights, level lines of their sum, five starts (diamonds) and the path of each rule; discs move "
        "along. The thick line is the Pareto front, where neither loss can fall without the other rising. Open circles: where the "
        "same rule ends when L₁ is not scaled. A rule that is blind to units has its disc in its circle: of the rules "
        "offered here only 1/‖g‖. All rules that arrive are Pareto optimal; which point they reach differs.",
        compute=valley,
        controls={
            "rules": Choice("Rules", IN_THE_VALLEY, several=True),
            "scale": Range("Scale of L₁", log=True),
            "optimiser": Choice("Optimiser", {"adam": "Adam", "sgd": "SGD"}),
            "learning_rate": Range("Learning rate", log=True),
            "steps": Range("Steps", step=500),
            "c": C,
        },
        draw=draw_valley,
        scalars={
            "distance of the end from the Pareto front, mean of the starts": lambda r: each(
                r.rules, r.to_front.mean(1)
            ),
            "end moved by the scale, mean of the starts": lambda r: each(r.rules, r.moved.mean(1)),
        },
        live=False,
        seconds=3,
        brief={"steps": 500},
    ),
    View(
        slug="two-digits",
        title="Change of units",
        caption="A network reads two overlapping digits at once. Pale bars: accuracy with both losses as they are. Full bars: after the left loss is "
        "multiplied and shifted. Error bars are standard errors over seeds. The sum lets the larger loss take the shared layer, min-norm the "
        "smaller one. 1/‖g‖ stays as it was under both changes, 1/L and 1/L₀ under the scale only. With equal units the rules end close together: the table has the figures.",
        compute=two_digits,
        controls={
            "scale": Range("Scale of the left loss", log=True),
            "shift": Range("Shift of the left loss", step=1),
            "rules": Choice("Rules", OF_TWO_TASKS, several=True),
            "steps": Range("Steps", step=100),
            "seeds": SEEDS,
            "rate": Range("Learning rate", log=True),
            "c": C,
            "seed": SEED,
        },
        draw=draw_two_digits,
        scalars={
            "test accuracy at the scale and shift": lambda r: each(r.rules, r.accuracy[:, 1, :, -1].mean((1, 2))),
            "share of steps in which the gradients conflict": lambda r: each(r.rules, r.conflict[:, 1]),
        },
        live=False,
        seconds=6,
        brief={"steps": 100, "seeds": 2},
    ),
    View(
        slug="multilabel",
        title="Multi-label losses",
        caption="Grey bars are scores (drag), ticks their labels t, from 0 to 1. Above: how hard each loss pushes each score. Diamonds mark where a "
        "loss is least for an uncertain label: $\\tfrac12\\log\\frac{t}{1-t}$ for ZLPR, twice that for cross-entropy; a certain label pushes for ever. ZLPR's pulls on "
        "all labels of one kind sum to less than 1, however many there are. Below: for certain labels the exponential of cross-entropy is a "
        "product, and ZLPR keeps its terms of at most one label. The circle loss compares scores with each other: it has no threshold.",
        compute=multilabel,
        controls={
            "losses": Choice("Losses", LOSSES, several=True),
            "scores": Numbers("Scores s"),
            "labels": Numbers("Labels t"),
            "gamma": Range("γ of the focal loss", step=0.25, when={"losses": ["focal"]}),
        },
        draw=draw_multilabel,
        scalars={"loss (nats)": lambda r: each(r.losses, r.value)},
    ),
    View(
        slug="multiway",
        title="m-way form",
        caption="One item, free scores of m classes, gradient descent from 400 random starts. Each point is a start: its loss, and how far the "
        "right score is above the best other. Play the steps: what ends below the line has another class on top. Form 3 of the m-way loss is $\\log(1+e^{\\bar s-s_t})$, "
        "$\\bar s$ being the mean score. Its soft optimum is the softmax, like that of cross-entropy. But it asks only that the right score be far "
        "above the mean: where the starts are wide, the loss comes near 0 while another class is on top. Cross-entropy compares with "
        "each class and ends right.",
        compute=multiway_descent,
        controls={
            "spread": Range("Spread of the first scores", step=0.5),
            "classes": Range("Classes m", step=1),
            "forms": Choice("Forms", FORMS, several=True),
            "steps": Range("Steps", step=10, log=True),
            "rate": Range("Step size", step=0.05),
            "seed": SEED,
        },
        draw=draw_multiway,
        scalars={
            "loss, median (nats)": lambda r: each(r.forms, r.loss[:, -1]),
            "share of the starts that end right": lambda r: each(r.forms, r.right[:, -1]),
        },
        seconds=0.3,
    ),
    View(
        slug="imbalance",
        title="Class imbalance",
        caption="A canvas of tiles holds a few digits; a label is a pair of tile and digit, so nearly all labels are off. Solid: micro-F1 when a label counts as on "
        "from score 0; bands span the seeds. Dotted: with the best threshold. Cross-entropy first pushes every score down, for at the start the "
        "labels that are off pull (n − k)/k times as hard as the k that are on. ZLPR's two pulls are of one size, and 0 serves as its threshold early.",
        compute=imbalance,
        controls={
            "tiles": Range("Tiles", step=1),
            "wanted": Range("Digits on the canvas", step=1),
            "losses": Choice("Losses", LOSSES, several=True),
            "steps": Range("Steps", step=100),
            "seeds": SEEDS,
            "rate": Range("Learning rate", log=True),
            "seed": SEED,
        },
        draw=draw_imbalance,
        scalars={
            "micro-F1 with the best threshold": lambda r: each(r.losses, r.at_best[:, :, -1].mean(1)),
            "micro-F1 with threshold 0": lambda r: each(r.losses, r.at_zero[:, :, -1].mean(1)),
        },
        live=False,
        seconds=6,
        brief={"steps": 100, "seeds": 2, "tiles": 6},
    ),
    View(
        slug="shift",
        title="Density ratio",
        caption="Training examples are standard normal, test examples are shifted in the first coordinate. A classifier D tells them apart. Dashed: the training set reweighted. By D/(1 − D) it looks like the test set; by D alone it stops between the two. Bars: estimates of a test mean, with two standard errors. The more the sets differ, the fewer examples count (effective share), and a linear D cannot learn a ratio with another width.",
        compute=shift,
        controls={
            "mean": Range("Mean of the test set", step=0.1),
            "std": Range("Standard deviation of the test set", step=0.05),
            "samples": Range("Examples of each set", step=50, log=True),
            "dimensions": Range("Dimensions", step=1),
            "features": Choice("Features of D", {"linear": "x", "quadratic": "x and x²"}),
            "seed": SEED,
        },
        draw=draw_shift,
        scalars={
            "estimate of the test loss": lambda r: each((WEIGHTS[name] for name in r.weights), r.estimate),
            "effective share of the examples": lambda r: r.share[1],
            "AUC of the classifier": lambda r: r.auc[1],
        },
        looks={"weight": Choice("Weight shown", WEIGHTS)},
        seconds=0.3,
    ),
    View(
        slug="validation",
        title="Weighted validation",
        caption="Real data, split so that the test set lies further along the first principal component: the true test error is known. Points: the "
        "validation error, plain and weighted by a classifier of test against training examples. In 24 splits at strength 4 the weight D/(1 − D) "
        "comes nearer to the test error on digits and wine, for each of the three models; on the other three sets for none. The sentence at the end says what these "
        "splits show, with an interval. The regret is what choosing the model by that validation error costs on the test set.",
        compute=validation,
        controls={
            "data": Choice(
                "Data",
                {
                    "digits": "digits (10 classes)",
                    "wine": "wine (3 classes)",
                    "cancer": "breast cancer (2 classes)",
                    "diabetes": "diabetes (regression)",
                    "synthetic": "synthetic (regression)",
                },
            ),
            "strength": Range("Strength of the shift", step=0.5),
            "model": Choice("Model", MODELS),
            "splits": Range("Splits", step=1),
            "seed": SEED,
        },
        draw=draw_validation,
        scalars={
            "|validation − test error|, mean of the splits": lambda r: each(
                (WEIGHTS[name] for name in r.weights), r.miss.mean(0)
            ),
            "AUC of the classifier": lambda r: r.auc.mean(),
        },
        live=False,
        seconds=3,
        brief={"splits": 4, "data": "wine"},
    ),
)

EXHIBIT = Exhibit(
    slug="objectives",
    title="Objectives",
    summary="Several losses at once, several labels at once, a test set unlike the training set: what a network is asked for, and what it then does.",
    question="If one loss is measured in other units, which rule forgets a task?",
    theme="training",
    sources=(
        ("Su Jianlin, Multi-task learning 1: in the name of the loss", "https://kexue.fm/archives/8870"),
        ("Su Jianlin, Multi-task learning 2: by the gradients", "https://kexue.fm/archives/8896"),
        ("Su Jianlin, Softmax and cross-entropy for multi-label classification", "https://kexue.fm/archives/7359"),
        ("Su Jianlin, Multi-label softmax and cross-entropy with soft labels", "https://kexue.fm/archives/9064"),
        ("Su Jianlin, A failed try: from multi-label to n m-way classifications", "https://kexue.fm/archives/9158"),
        ("Su Jianlin, How to split a validation set nearer to the test set", "https://kexue.fm/archives/7805"),
        ("Désidéri, Multiple-gradient descent algorithm (2012)", "https://doi.org/10.1016/j.crma.2012.03.014"),
        (
            "Sener, Koltun, Multi-Task Learning as Multi-Objective Optimization (2018)",
            "https://arxiv.org/abs/1810.04650",
        ),
        ("Yu et al., Gradient Surgery for Multi-Task Learning (2020)", "https://arxiv.org/abs/2001.06782"),
        ("Liu et al., Conflict-Averse Gradient Descent (2021)", "https://arxiv.org/abs/2110.14048"),
        ("Navon et al., Multi-Task Learning as a Bargaining Game (2022)", "https://arxiv.org/abs/2202.01017"),
        ("Quinton, Rey, Jacobian Descent for Multi-Objective Optimization (2024)", "https://arxiv.org/abs/2406.16232"),
        ("Su et al., ZLPR: A Novel Loss for Multi-label Classification (2022)", "https://arxiv.org/abs/2208.02955"),
        ("Lin et al., Focal Loss for Dense Object Detection (2017)", "https://arxiv.org/abs/1708.02002"),
        ("Sun et al., Circle Loss (2020)", "https://arxiv.org/abs/2002.10857"),
    ),
    views=VIEWS,
    stories=read_stories(__file__),
    checks=CHECKS,
)
