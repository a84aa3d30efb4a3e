"""What a busy neighbour costs: images/s of training alone, beside a busy process, and two trainings at once.

Each is measured with what stages/runtime does about it and without, in turn, several rounds; and with one thread each.
The trainings are processes that run the product's own loop on made-up pixels: they warm up alone, then start each
measured epoch together. The weights after an epoch must be the same bytes in all of them that have as many threads.

Command  python -m benchmarks.neighbour [--rounds 3] [NAME=VALUE ...]   (3 rounds: about 6 minutes on 2 cores)
         NAME=VALUE is another setting to measure, such as GOMP_SPINCOUNT=1000
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from statistics import median

import stages.runtime  # noqa: F401 - before torch is loaded
from benchmarks.processes import start_busy

STEPS = 2
BARS = {"alone": 0.95, "busy process": 0.40, "two at once": 0.60}
SETTINGS = {
    # what libgomp does where nothing is set: https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html
    "without": {"GOMP_SPINCOUNT": "300000", "TURNS": "0"},
    "with": {},
    "with, train.threads: 1": {"THREADS": "1"},
}
WITHOUT, WITH, ONE_THREAD = SETTINGS

Worker = subprocess.Popen[str]
Rates = dict[str, dict[str, list[float]]]
"""Images/s of every round, by setting and case."""


def main() -> None:
    """Measure, and print the table and the ratios that matter."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--worker", action="store_true", help="train an epoch for every line on stdin")
    parser.add_argument("settings", nargs="*", metavar="NAME=VALUE")
    args = parser.parse_args()
    if args.worker:
        train()
        return
    extra = {setting: dict([setting.split("=", 1)]) for setting in args.settings}
    rates, weights = measure(SETTINGS | extra, args.rounds)
    report(rates)
    same = len(weights) == len({epoch for epoch, _ in weights})
    print(f"weights: {'the same bytes' if same else 'DIFFERENT BYTES'} in every training")


def measure(settings: dict[str, dict[str, str]], rounds: int) -> tuple[Rates, set[tuple[str, str]]]:
    """The rates, and every epoch with the hash of the weights after it where all threads computed."""
    rates: Rates = {name: {case: [] for case in BARS} for name in settings}
    weights: set[tuple[str, str]] = set()
    with ExitStack() as stack:
        workers = {name: [stack.enter_context(start_worker(env)) for _ in range(2)] for name, env in settings.items()}
        for _ in range(rounds):
            for name, (first, second) in workers.items():
                for case in BARS:
                    with start_busy() if case == "busy process" else ExitStack():
                        found = run_epoch([first, second] if case == "two at once" else [first])
                    # the slower one counts for both, as they have worked together until it ended
                    rates[name][case].append(len(found) * min(rate for rate, _, _ in found))
                    weights |= {(epoch, digest) for _, epoch, digest in found if name != ONE_THREAD}
                    print(".", end="", flush=True, file=sys.stderr)
    print(file=sys.stderr)
    return rates, weights


def report(rates: Rates) -> None:
    """A row per setting, median and range in images/s; the bars, by the median of the rounds' ratios."""
    print(f"| setting | {' | '.join(BARS)} |\n|---|{'---:|' * len(BARS)}")
    for name, cases in rates.items():
        cells = (f"{median(case):.1f} ({min(case):.1f} to {max(case):.1f})" for case in cases.values())
        print(f"| {name} | {' | '.join(cells)} |")
    for case, bar in BARS.items():
        ratio = compare(rates[WITH][case], rates[WITHOUT if case == "alone" else WITH]["alone"])
        print(f"{case}: {ratio:.0%} (at least {bar:.0%}: {'met' if ratio >= bar else 'MISSED'})")
    gain = compare(rates[ONE_THREAD]["two at once"], rates[WITH]["two at once"])
    print(f"two at once with one thread each: {gain:.2f} times as fast as two with all threads")


def compare(rates: list[float], others: list[float]) -> float:
    """The median of the rounds' ratios."""
    return median(rate / other for rate, other in zip(rates, others, strict=True))


@contextmanager
def start_worker(setting: dict[str, str]) -> Iterator[Worker]:
    """A training that has warmed up, and waits."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))} | setting
    command = [sys.executable, "-m", "benchmarks.neighbour", "--worker"]
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        run_epoch([worker])
        yield worker


def run_epoch(workers: list[Worker]) -> list[tuple[float, str, str]]:
    """Images/s, the epoch, and the hash of the weights after it, of workers that start it together."""
    for worker in workers:
        assert worker.stdin
        worker.stdin.write("go\n")
        worker.stdin.flush()
    return [read_result(worker) for worker in workers]


def read_result(worker: Worker) -> tuple[float, str, str]:
    """The next result among the lines that the loop prints."""
    assert worker.stdout
    _, rate, epoch, digest = next(line for line in worker.stdout if line.startswith("result")).split()
    return float(rate), epoch, digest


def train() -> None:
    """Train an epoch of `STEPS` steps for every line on stdin."""
    from torch import nn

    from benchmarks.loop import open_trainer
    from stages.model import device
    from stages.model.device import choose_algorithms, select_device, set_threads
    from stages.model.network import compute_weights_sha256

    class Log:
        def __init__(self, model: nn.Module) -> None:
            self.model = model

        def log_epoch(self, epoch: int, metrics: dict[str, float]) -> None:
            rate, digest = metrics["train/images_per_second"], compute_weights_sha256(self.model)
            print("result", rate, epoch, digest, flush=True)
            if not sys.stdin.readline():
                sys.exit()

        def log_file(self, data: bytes, path: str) -> None:
            raise NotImplementedError

    choose_algorithms()
    set_threads(int(os.environ.get("THREADS", "0")) or None)
    if os.environ.get("TURNS") == "0":
        device.Device.take_turn = lambda self: nullcontext()  # type: ignore[method-assign]
    with open_trainer(select_device("auto"), STEPS, epochs=10**6) as trainer:  # ends with stdin
        sys.stdin.readline()
        trainer.run(Log(trainer.model))


if __name__ == "__main__":
    main()
