"""How fast the product is, against what people run today: one table, of whole processes measured in turn.

The photos are those in data/downloads/, else those that fetch finds. A figure is a median with its range over the
rounds; a ratio is the median of the rounds' ratios.

Command  python -m benchmarks.bench [--rounds 3] [--only PART ...] [--busy] [--keep FILE] [--timm FOLDER]
         [--torchvision FOLDER]
         FILE keeps the rows as JSON, and beside it all tables as Markdown; where it has some of this machine, the
         table shows them, and what became worse.
         FOLDER is a checkout of pytorch-image-models, or of vision: their train scripts are in no package.
"""

import argparse
import platform
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from joblib import cpu_count

from benchmarks.parts import augmentation, cluster, convolutions, gpu, growth, pipeline, training, trials
from benchmarks.processes import start_busy
from benchmarks.table import Row, load_results, render_table, save_rows
from benchmarks.workspace import Workspace, make_workspace
from stages.model.device import select_device

PARTS = ("training", "convolutions", "augmentation", "pipeline", "growth", "trials", "cluster", "gpu")


def main() -> None:
    """Measure, and print the table."""
    args = parse_args()
    scripts = training.Scripts(args.timm, args.torchvision)
    parts: dict[str, Callable[[Workspace], list[Row]]] = {
        "training": partial(training.measure, rounds=args.rounds, scripts=scripts, epochs=args.epochs),
        "convolutions": partial(convolutions.measure, rounds=args.rounds),
        "augmentation": partial(augmentation.measure, rounds=args.rounds),
        "pipeline": partial(pipeline.measure, rounds=args.rounds),
        "growth": partial(growth.measure, numbers=args.photos),
        "trials": partial(trials.measure, numbers=args.trials),
        "cluster": cluster.measure,
        "gpu": partial(gpu.measure, rounds=args.rounds),
    }
    rows = []
    with start_busy() if args.busy else nullcontext():
        for name in args.only or parts:
            with tempfile.TemporaryDirectory() as folder:
                rows += parts[name](make_workspace(Path(folder) / "workspace"))
    machine = describe_machine(args.busy)
    table = render_table(rows, load_results(args.keep, machine) if args.keep else {})
    print(f"\n{machine}\n\n{table}")
    if args.keep:
        save_rows(rows, machine, args.keep)


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=PARTS)
    parser.add_argument("--epochs", type=int, default=training.EPOCHS, help="how many, for training")
    parser.add_argument("--busy", action="store_true", help="beside a busy process")
    parser.add_argument("--photos", type=int, nargs="+", default=[1_000, 10_000], help="how many, for growth")
    parser.add_argument("--trials", type=int, nargs="+", default=[2, 10, 50], help="how many, for trials")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--timm", type=resolve)
    parser.add_argument("--torchvision", type=resolve)
    return parser.parse_args()


def resolve(folder: str) -> Path:
    """Where a folder is, whatever the folder that a command runs in."""
    return Path(folder).resolve()


def describe_machine(busy: bool) -> str:
    """What the figures depend on."""
    import torch

    device = select_device("auto")
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    beside = ", beside a busy process" if busy else ""
    return (
        f"{name}, {torch.cpu.get_capabilities().get('cpu_name', '')}, {cpu_count()} cores, {device.precision}{beside}"
    )


if __name__ == "__main__":
    main()
