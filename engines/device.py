"""Where a computation runs."""

import torch


def resolve(device: str | torch.device | None = None) -> torch.device:
    """The named device, or the best one present (CUDA, then MPS, then CPU)."""
    if device is not None:
        return torch.device(device)
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")
