"""Which processor the heavy work runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geoloc_core.errors import ProfileError

if TYPE_CHECKING:
    import torch

CHOICES = ("auto", "cpu", "cuda")


def pick_device(choice: str = "auto") -> torch.device:
    """`auto` is CUDA where there is one and the CPU elsewhere; `cuda` without a GPU is an error that says so."""
    import torch

    if choice not in CHOICES:
        raise ProfileError(f"device {choice!r} is not known; choose one of {', '.join(CHOICES)}")
    if choice == "cuda" and not torch.cuda.is_available():
        raise ProfileError("device 'cuda' was asked for and no CUDA GPU is visible; use device: auto or cpu")
    if choice == "auto":
        choice = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(choice)


def fallback(choice: str) -> str:
    """What to say where the profile would take a GPU, there is none, and it lets the CPU do the work; else nothing."""
    if choice != "auto" or pick_device(choice).type != "cpu":
        return ""
    return "no CUDA GPU is visible: this step runs on the CPU, as `device: auto` allows (`device: cuda` would not)"
