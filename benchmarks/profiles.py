"""Where the time of a training step of ResNet-50 goes: by kind of operator, as tutorials train it and here.

Command  python -m benchmarks.profiles   prints a table
"""

from collections import Counter
from collections.abc import Callable

import stages.runtime  # noqa: F401 - before torch is loaded

STEPS = 3
KINDS = {  # by what an operator's name contains; the first that fits
    "convolutions": ("conv",),
    "batch norm": ("batch_norm",),
    "activation, pooling": ("relu", "threshold", "pool"),
    "optimizer": ("foreach", "addcmul", "addcdiv", "lerp", "sqrt", "_fused"),
    "copies between layouts": ("copy_", "contiguous", "clone", "to_copy"),
}
OTHERS = "everything else"


def main() -> None:
    """Measure both, in turn, and print seconds per step."""
    from benchmarks.loop import make_step, open_trainer
    from stages.model.device import choose_algorithms, select_device, set_threads

    choose_algorithms()
    set_threads(None)
    device = select_device("auto")
    with open_trainer(device, steps=1) as trainer:
        steps = {"as tutorials train": make_plain_step(), "here": make_step(trainer)}
        seconds = {name: profile_step(step) for name, step in steps.items()}
    print(f"| | {' | '.join(steps)} |\n|---|{'---:|' * len(steps)}")
    for kind in (*KINDS, OTHERS):
        print(f"| {kind} | {' | '.join(f'{own[kind]:.2f} s' for own in seconds.values())} |")
    print(f"| a step | {' | '.join(f'{own.total():.2f} s' for own in seconds.values())} |")


def make_plain_step() -> Callable[[], object]:
    """A step as in benchmarks/baselines/training.py."""
    import torch
    from torch import nn
    from torchvision import models

    model = models.resnet50(num_classes=2)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    images, targets = torch.rand(32, 3, 224, 224), torch.arange(32) % 2

    def step() -> None:
        loss = nn.functional.cross_entropy(model(images), targets)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def profile_step(step: Callable[[], object]) -> Counter[str]:
    """Seconds of the processor by kind of operator, the mean of some steps after one that does not count."""
    from torch.profiler import ProfilerActivity, profile

    step()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(STEPS):
            step()
    seconds: Counter[str] = Counter()
    for event in profiler.key_averages():
        kind = next((kind for kind, parts in KINDS.items() if any(part in event.key for part in parts)), OTHERS)
        seconds[kind] += event.self_cpu_time_total / 1e6 / STEPS
    return seconds


if __name__ == "__main__":
    main()
