"""Start the processes of one training by torchrun, here in this process, and say how they ended.

This process waits for them. They run the same command as it does, and find in their environment that they are ranks.
"""

import io
import logging
import os
import signal
import sys
import tempfile
from argparse import Namespace
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NoReturn

import torch
from joblib import cpu_count
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.run import determine_local_world_size, parse_args, parse_min_max_nnodes, run

from stages.runtime.errors import UserError
from stages.runtime.parent import LAUNCHER
from stages.training.params import split_launcher
from stages.training.ranks import COMPLETE, LOST

SHUTDOWN_SECONDS = 20  # for the other ranks, to save a checkpoint or to notice that one has died; then they are killed


def launch(launcher: str) -> None:
    """Run this process's command in as many processes as ``launcher`` says, such as ``torchrun --nproc-per-node 2``.

    Raises UserError when torchrun refuses its options or a rank fails, SystemExit when a signal has ended them.
    """
    module = sys.modules["__main__"].__spec__
    assert module, "a stage is run as a module"
    command = ["--no-python", sys.executable, "-m", module.name, *sys.argv[1:]]
    with tempfile.TemporaryDirectory() as logs:
        args = parse_launcher(launcher, logs, command)
        ranks = count_local_ranks(launcher, args)
        announce_hosts(launcher, args, command)
        prepare_environment(ranks)
        if "LOGLEVEL" not in os.environ:  # by which torchrun can be asked for more
            logging.disable()
        try:
            run(args)  # type: ignore[no-untyped-call]
        except SignalException as end:
            if len(list(Path(logs).rglob(COMPLETE))) < ranks:
                raise SystemExit(128 + end.sigval) from None
        except ChildFailedError as error:
            explain_failure(error.failures)
        except Exception as error:  # such as a host that cannot be reached
            raise _refuse(launcher, str(error) or type(error).__name__) from error


def parse_launcher(launcher: str, logs: str, command: list[str]) -> Namespace:
    """torchrun's arguments for a command, with its files in the folder ``logs``. Raises UserError as torchrun does."""
    said = io.StringIO()
    ours = ["--shutdown-timeout", str(SHUTDOWN_SECONDS), "--log-dir", logs]
    try:
        with redirect_stdout(said), redirect_stderr(said):
            words = [*ours, *split_launcher(launcher)[1:], *command]
            args: Namespace = parse_args(words)  # type: ignore[no-untyped-call]
    except SystemExit:
        raise _refuse(launcher, said.getvalue().strip().splitlines()[-1].split(": error: ")[-1]) from None
    if args.training_script != command[1]:
        raise UserError(
            f"train.launcher is {launcher!r}, and {args.training_script} is no option of torchrun. Give options only: "
            "what is run is the training."
        )
    return args


def count_local_ranks(launcher: str, args: Namespace) -> int:
    """Processes on this host. Raises UserError when they or the hosts cannot be counted, or have no fixed order."""
    try:
        ranks: int = determine_local_world_size(args.nproc_per_node)
        hosts = parse_min_max_nnodes(args.nnodes)[1]
    except (ValueError, RuntimeError) as error:
        raise _refuse(launcher, str(error)) from None
    if ranks < 1:
        raise _refuse(launcher, f"--nproc-per-node is {ranks}, which is less than 1")
    if hosts > 1 and args.rdzv_backend != "static":
        raise UserError(
            f"train.launcher is {launcher!r}, where any host may become the first, and only the first one writes. "
            "Name it: --master-addr and --master-port in place of --rdzv-… (docs/scale.md)."
        )
    return ranks


def announce_hosts(launcher: str, args: Namespace, command: list[str]) -> None:
    """Say on the first of several hosts what to run on the others."""
    others = parse_min_max_nnodes(args.nnodes)[1] - 1
    if others and args.node_rank == 0:
        print(
            f"waiting for {others} other host{'s' * (others > 1)}. On each, in its clone, with a number from 1:\n"
            f"  PET_NODE_RANK=1 python {' '.join(command[2:])}"
        )


def prepare_environment(ranks: int) -> None:
    """Share the cores among so many ranks, unless the user did; torchrun would give each a single thread."""
    cores = max(1, min(torch.get_num_threads(), cpu_count()) // ranks)
    for name in ("OMP_NUM_THREADS", "LOKY_MAX_CPU_COUNT"):
        os.environ.setdefault(name, str(cores))
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # a warning of each rank about what `Ranks` asks for
    os.environ[LAUNCHER] = str(os.getpid())


def explain_failure(failures: dict[int, ProcessFailure]) -> NoReturn:
    """Say once why ranks have failed, by number: the error of the first that has one to tell.

    Raises UserError, or SystemExit when they were asked to end.
    """
    statuses = {rank: failure.exitcode for rank, failure in failures.items()}
    for _, failure in sorted(failures.items()):
        if "message" in failure.error_file_data and failure.error_file != "<N/A>":
            raise UserError(failure.message.strip())
    for rank, status in sorted(statuses.items()):
        if status < 0 and status != -signal.SIGTERM:
            raise UserError(
                f"rank {rank} (process {failures[rank].pid}) was killed by {signal.Signals(-status).name}, and the "
                "training ended with it. Run the same command again: it resumes from the last checkpoint."
            )
    own = [status for status in statuses.values() if status not in (LOST, -signal.SIGTERM)]
    if not own:
        raise UserError("a rank on another host has ended, and the training with it. What is printed there says why.")
    raise SystemExit(own[0])


def _refuse(launcher: str, reason: str) -> UserError:
    reason = " ".join(reason.split()).rstrip(".")
    return UserError(f"train.launcher in params.yaml is {launcher!r}, and torchrun says: {reason}.")
