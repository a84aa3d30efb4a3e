"""What a busy neighbour costs: images/s of training alone, beside a busy process, and two trainings at once.

Each is measured with libgomp's own spinning and with the setting of stages/runtime/__init__.py, in turn, in processes
of their own that run the product's training loop on made-up pixels. The trained weights must be the same bytes.

Command  python -m benchmarks.neighbour [--rounds 3]   (about 2 minutes a round on 2 cores)
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import stages.runtime  # noqa: F401 - before torch is loaded

STEPS, BATCH, SIZE = 2, 32, 224  # ResNet-50 as in params.yaml
BARS = {"alone": 0.95, "busy process": 0.40, "two at once": 0.60}
DEFAULT = "libgomp's own"
OURS = "this product's"


def main() -> None:
    """Measure, and print the table and the ratios that matter."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--worker", action="store_true", help="train once and print images/s and the weights' hash")
    args = parser.parse_args()
    if args.worker:
        train_once()
        return
    rates: dict[tuple[str, str], list[float]] = {}
    hashes: set[str] = set()
    for _ in range(args.rounds):
        for setting in (DEFAULT, OURS):
            for case, measure in {"alone": run_alone, "busy process": run_busy, "two at once": run_two}.items():
                found = measure(setting)
                rates.setdefault((setting, case), []).append(sum(rate for rate, _ in found))
                hashes |= {digest for _, digest in found}
                print(".", end="", flush=True, file=sys.stderr)
    print(file=sys.stderr)
    report(rates)
    print(f"weights: {'the same bytes' if len(hashes) == 1 else 'DIFFERENT BYTES'} in every training")


def report(rates: dict[tuple[str, str], list[float]]) -> None:
    """A row per setting, median and range in images/s, and the bars."""
    print(f"| spinning | {' | '.join(BARS)} |\n|---|---:|---:|---:|")
    for setting in (DEFAULT, OURS):
        cells = (rates[setting, case] for case in BARS)
        print(f"| {setting} | {' | '.join(f'{median(c):.1f} ({min(c):.1f} to {max(c):.1f})' for c in cells)} |")
    alone = {setting: median(rates[setting, "alone"]) for setting in (DEFAULT, OURS)}
    for case, bar in BARS.items():
        ratio = median(rates[OURS, case]) / (alone[DEFAULT] if case == "alone" else alone[OURS])
        print(f"{case}: {ratio:.0%} (at least {bar:.0%}: {'kept' if ratio >= bar else 'MISSED'})")


def run_alone(setting: str) -> list[tuple[float, str]]:
    """One training."""
    return [read_result(start_worker(setting))]


def run_busy(setting: str) -> list[tuple[float, str]]:
    """One training beside a process that only counts."""
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        return run_alone(setting)
    finally:
        busy.kill()
        busy.wait()


def run_two(setting: str) -> list[tuple[float, str]]:
    """Two trainings at once."""
    return [read_result(worker) for worker in [start_worker(setting), start_worker(setting)]]


def start_worker(setting: str) -> "subprocess.Popen[str]":
    """Start a training in a process of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    # what libgomp does where nothing is set (https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html)
    spinning = {} if setting == OURS else {"GOMP_SPINCOUNT": "300000"}
    command = [sys.executable, "-m", "benchmarks.neighbour", "--worker"]
    return subprocess.Popen(command, env=kept | spinning, stdout=subprocess.PIPE, text=True)


def read_result(worker: "subprocess.Popen[str]") -> tuple[float, str]:
    """Images/s and the hash of the trained weights."""
    output, _ = worker.communicate()
    rate, digest = output.split()[-2:]
    return float(rate), digest


def train_once() -> None:
    """Train for two epochs of `STEPS` steps; the second is measured, as the first warms up."""
    import numpy as np
    import torch

    from stages.model.dataset import Images
    from stages.model.device import make_deterministic, select_device, set_threads
    from stages.model.network import build_model, encode_weights
    from stages.training.checkpoints import Checkpoints, Stop
    from stages.training.loop import Trainer, TrainSpec
    from stages.training.params import TrainParams

    class Log:
        rates: list[float] = []  # noqa: RUF012

        def log_epoch(self, epoch: int, metrics: dict[str, float]) -> None:
            self.rates.append(metrics["train/images_per_second"])

        def log_file(self, data: bytes, path: str) -> None:
            pass

    make_deterministic()
    set_threads(None)
    pixels = np.random.default_rng(0).integers(0, 256, (STEPS * BATCH, 3, SIZE, SIZE), dtype=np.uint8)
    images = Images(torch.from_numpy(pixels), torch.arange(STEPS * BATCH) % 2)
    few = Images(images.pixels[:2], images.targets[:2])
    params = TrainParams(
        budget="epochs",
        image_size=SIZE,
        epochs=2,
        batch_size=BATCH,
        learning_rate=0.001,
        precision="auto",
        threads=None,
        checkpoint_every=2,
    )
    model, log = build_model(2, seed=0), Log()
    with tempfile.TemporaryDirectory() as folder:
        spec = TrainSpec(images, few, 1, params, 0, select_device("auto"))
        Trainer(model, spec, Checkpoints(Path(folder), Stop())).run(log)
    print(log.rates[-1], hashlib.sha256(encode_weights(model)).hexdigest())


if __name__ == "__main__":
    main()
