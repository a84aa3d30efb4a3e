"""One training step of ResNet-50, as params.yaml has it, and a matrix product in the same type.

Command  python -m benchmarks.step [--batch 32] [--fast]   prints JSON; fast: train.deterministic is false
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median

import stages.runtime  # noqa: F401 - before torch is loaded

REPEATS = 4
IN_A_ROW = 20  # steps
SIDE = 4096  # of the matrices


@dataclass(frozen=True)
class Measured:
    """product_flops, step_flops: floating-point operations/s. convolutions: their share of a step's time.

    images_per_second: of steps one after the other, which a GPU is not waited for in between.
    """

    product_flops: float
    step_flops: float
    convolutions: float
    images_per_second: float


def main() -> None:
    """Measure, and print."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from benchmarks.loop import make_step, open_trainer
    from stages.model.device import choose_algorithms, select_device, set_threads

    args = parse_args()
    choose_algorithms(deterministic=not args.fast)
    set_threads(None)
    device = select_device("auto")
    with open_trainer(device, steps=1, batch_size=args.batch) as trainer:
        step = make_step(trainer)
        with FlopCounterMode(display=False) as counter:
            step()
        step_s = measure_seconds(step)
        row_s = measure_seconds(lambda: [step() for _ in range(IN_A_ROW)]) if device.runs_ahead else IN_A_ROW * step_s
        convolutions = measure_convolutions(step)
    dtype = torch.bfloat16 if device.precision == "bf16" else torch.float32
    matrices = (torch.randn(SIDE, SIDE, device=device.torch_device, dtype=dtype) for _ in range(2))
    product_s = measure_seconds(partial(torch.matmul, *matrices))
    rate = IN_A_ROW * args.batch / row_s
    measured = Measured(2 * SIDE**3 / product_s, counter.get_total_flops() / step_s, convolutions, rate)
    print(json.dumps(asdict(measured)))


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32, help="images")
    parser.add_argument("--fast", action="store_true")
    return parser.parse_args()


def measure_convolutions(step: Callable[[], object]) -> float:
    """The share of a step's time that convolutions take, forward and backward."""
    import torch
    from torch.profiler import DeviceType, ProfilerActivity, profile

    on_gpu = torch.cuda.is_available()
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as profiler:
        for _ in range(REPEATS):
            step()
    operators = [event for event in profiler.key_averages() if event.device_type == DeviceType.CPU]
    times = {event.key: event.self_device_time_total if on_gpu else event.self_cpu_time_total for event in operators}
    return float(sum(seconds for name, seconds in times.items() if "conv" in name) / sum(times.values()))


def measure_seconds(action: Callable[[], object]) -> float:
    """Seconds of an action, the median of `REPEATS` after one that does not count."""
    import torch

    seconds = []
    for _ in range(REPEATS + 1):
        started = time.perf_counter()
        action()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return median(seconds[1:])


if __name__ == "__main__":
    main()
