"""A small classifier that judges samples: does it name what they were asked to be, and how far are they from photographs.

The distance is Fréchet's between normal distributions of the classifier's last features, |m − m'|² + tr(C + C' − 2 √(C C')) (Heusel et
al. 2017, arXiv 1706.08500, eq. 6), with this classifier in place of Inception: good for comparing models that one judge has
seen, not with published figures.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engines.recipes.ddpm_emoji import to_model
from engines.recipes.training import descend, optimizers

EPOCHS = 12
BATCH = 512
RATE = 2e-3
AT_ONCE = 1_000


class Judge(nn.Module):
    """A residual network of eight 3 x 3 convolutions on 32 x 32 pixels: `forward` gives (logits, features)."""

    def __init__(self, classes: int, width: int = 64):
        super().__init__()

        def block(inputs: int, outputs: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
            )

        self.first = nn.Sequential(block(3, width), block(width, 2 * width), nn.MaxPool2d(2))
        self.same = nn.Sequential(block(2 * width, 2 * width), block(2 * width, 2 * width))
        self.second = nn.Sequential(block(2 * width, 4 * width), nn.MaxPool2d(2), block(4 * width, 4 * width))
        self.last = nn.Sequential(block(4 * width, 4 * width), block(4 * width, 4 * width))
        self.head = nn.Linear(4 * width, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.first(x)
        x = self.second(x + self.same(x))
        features = (x + self.last(x)).mean((2, 3))
        return self.head(features), features


def fit_judge(images: np.ndarray, labels: np.ndarray, device: str, epochs: int = EPOCHS, width: int = 64) -> Judge:
    """A classifier of uint8 images [n, 32, 32, 3], shown mirrored and moved by up to four pixels."""
    torch.manual_seed(0)
    where, batch = torch.device(device), min(BATCH, len(images))
    classes = int(labels.max()) + 1
    judge = Judge(classes, width).to(where, memory_format=torch.channels_last).train()
    steppers = optimizers(judge, RATE)
    pixels, told = (torch.from_numpy(x).to(where) for x in (images, labels))
    generator = torch.Generator().manual_seed(0)
    steps = max(1, epochs * len(images) // batch)
    for step in range(steps):
        picked = torch.randint(len(images), (batch,), generator=generator).to(where)
        x = pixels[picked].permute(0, 3, 1, 2).float() / 127.5 - 1
        x = x.flip(-1) if torch.rand((), generator=generator) < 0.5 else x
        top, left = torch.randint(9, (2,), generator=generator).tolist()
        x = F.pad(x, (4, 4, 4, 4), mode="reflect")[:, :, top : top + 32, left : left + 32]
        with torch.autocast(where.type, torch.bfloat16, enabled=where.type == "cuda"):
            logits = judge(x.contiguous(memory_format=torch.channels_last))[0]
        descend(
            judge,
            steppers,
            F.cross_entropy(logits.float(), told[picked], label_smoothing=0.1),
            RATE * (1 - step / steps),
        )
    return judge.eval()


@torch.no_grad()
def look(judge: Judge, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(the classes it names, int64 [n]; its features, float64 [n, d]) of uint8 images [n, 32, 32, 3]."""
    device = next(judge.parameters()).device
    seen = [judge(to_model(images[i : i + AT_ONCE]).to(device)) for i in range(0, len(images), AT_ONCE)]
    named = torch.cat([logits.argmax(1) for logits, _ in seen])
    return named.cpu().numpy(), torch.cat([features.double() for _, features in seen]).cpu().numpy()


def frechet(one: np.ndarray, other: np.ndarray) -> float:
    """The Fréchet distance (squared, as is usual) of normal distributions with the means and covariances of two sets [n, d]."""
    gap = one.mean(0) - other.mean(0)
    a, b = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    # tr √(A B) = tr √(√A B √A): symmetric, so by eigenvalues
    values, vectors = np.linalg.eigh(a)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    mixed = np.sqrt(np.linalg.eigvalsh(root @ b @ root).clip(0)).sum()
    return float(gap @ gap + np.trace(a) + np.trace(b) - 2 * mixed)
