"""Run trials look by look, as report.looks plans, until the answer is clear, the plan ends or the budget is spent.

Sets ``trials`` in params.yaml to what the next look takes, runs what `make repro` runs, and reads the verdict. It can
be ended at any time, and goes on where it was.

Command python -m stages.cli.settle 2h   (make settle BUDGET=2h)
"""

import argparse
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stages.base.sections import flatten
from stages.cli.alone import check_alone
from stages.cli.before_repro import list_commands
from stages.cli.params import PARAMS, Params, find_gap, load_params, read_yaml
from stages.cli.stage import run_stage
from stages.runtime.errors import UserError
from stages.runtime.progress import format_duration
from stages.runtime.root import find_root

COMPARISON, PAGE = Path("metrics/comparison.json"), Path("metrics/report.html")
OPEN = "cannot tell"


def main() -> None:
    """Take the looks that are left."""
    budget = parse_budget(parse_args().budget)
    deadline = time.monotonic() + budget
    check_alone(find_root())
    list_first_trials()
    params = load_params()
    looks = params.report.looks
    if looks is None:
        raise UserError(
            "report.looks in params.yaml is null: there is no plan. Set it to the numbers of trials to look after, "
            "such as [5, 10, 20], before the first trial."
        )
    if len(find_stale()) == len(params.trials):
        print("\nOne trial first, which shows what a trial takes here.", flush=True)
        if not run_commands(list_commands(params, params.trials[0]), deadline - time.monotonic()):
            print(describe_stop(budget))
            return
    seconds: float | None = None  # a trial
    for look in looks[looks.index(len(params.trials)) :]:
        before = load_params().trials
        set_trials(extend_trials(before[:look], look))
        stale = find_stale()
        new = len(stale)
        done = [trial for trial in load_params().trials if f"{trial}" not in stale]
        training = measure_training(done[:1]) if new and seconds is None else None
        print(announce(looks, look, new, seconds, training), flush=True)
        left = deadline - time.monotonic()
        if estimate_seconds(new, seconds, training) > left:
            set_trials(before)
            print(f"It does not fit into what is left of the budget, {format_duration(max(left, 0))}. {GO_ON}")
            return
        started = time.monotonic()
        if not run_commands(list_commands(load_params()), left):
            print(describe_stop(budget))
            return
        seconds = (time.monotonic() - started) / new if new else seconds
        verdict = json.loads(COMPARISON.read_text())["verdict"]
        if verdict != OPEN:
            conclude(f"Settled after {look} trials: {verdict}.")
            return
    conclude(f"After the last look, {looks[-1]} trials, the answer is still open; {PAGE} says what it takes.")


def conclude(result: str) -> None:
    """Print how it ended, how long that took, and that the plan came too late for its error rate, if it did."""
    from stages.comparison.history import LOOKS, describe_history, identify_question, load_history  # slow to import
    from stages.comparison.study import load_study

    params = load_params()
    question = identify_question(load_study(params.trials), flatten(params.model_dump()))
    caveats = describe_history(load_history(LOOKS).questions.get(question, []))
    seconds = measure_training(params.trials)
    spent = f"The {2 * len(params.trials)} trainings took {format_duration(seconds)}." if seconds else ""
    print("\n" + "\n".join(filter(None, [result, spent, caveats.looks, caveats.margin])))


GO_ON = "`make settle` goes on where it was; BUDGET=2h gives it two hours."


def describe_stop(budget: float) -> str:
    """That so many seconds are spent."""
    return f"\nThe budget of {format_duration(budget)} is spent. {GO_ON}"


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("budget", nargs="?", default="", help="time to spend, such as 90m or 2h; no limit if not given")
    return parser.parse_args()


def parse_budget(text: str) -> float:
    """Seconds; infinite if nothing is given. Raises UserError when it is no time."""
    if not text:
        return float("inf")
    found = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?", text)
    hours, minutes = (int(number or 0) for number in found.groups()) if found else (0, 0)
    seconds = 3600 * hours + 60 * minutes
    if not seconds:
        raise UserError(f"BUDGET={text} is no time to spend. Give hours, minutes or both, such as 2h, 90m or 1h30m.")
    return float(seconds)


def list_first_trials() -> None:
    """Set the trials to begin with; where params.yaml is invalid, change nothing: load_params will say why."""
    found = read_yaml(PARAMS)
    if start := find_start(found):
        with suppress(ValidationError):
            Params.model_validate(found | {"trials": start})
            set_trials(start)


def find_start(found: Any) -> list[int]:
    """The trials to begin with: those listed, and as many more as the next look takes; none if the file is invalid."""
    try:
        trials, looks = found["trials"], found["report"]["looks"]
        if trials and find_gap(trials):
            return []
        next_look = next((look for look in looks if look >= len(trials)), len(trials))
        return extend_trials(trials, next_look)
    except (LookupError, TypeError):
        return []  # load_params will say what is wrong


def extend_trials(trials: list[int], number: int) -> list[int]:
    """So many trials: these, then the next numbers."""
    more: Iterable[int] = itertools.count(max(trials, default=-1) + 1)
    return [*trials, *itertools.islice(more, max(number - len(trials), 0))]


def set_trials(trials: list[int]) -> None:
    """Change that list in params.yaml, and nothing else. Raises UserError when it is not written as a plain list."""
    text = PARAMS.read_text(encoding="utf-8")
    changed, count = re.subn(r"(?m)^trials:(?: *\[[\d, \n]*\]|(?:\n *- *\d+)+)", f"trials: {trials}", text)
    if count != 1:
        raise UserError(f"{PARAMS}: `make settle` lists trials itself. Write them as one line, such as trials: [0].")
    if changed != text:
        PARAMS.write_text(changed, encoding="utf-8")


def find_stale() -> set[str]:
    """The trials that params.yaml lists and that are not done, as DVC sees it."""
    status = subprocess.run(["dvc", "status", "--json"], stdout=subprocess.PIPE, text=True, check=False)
    try:
        return {name.partition("@")[2] for name in json.loads(status.stdout)} - {""}
    except ValueError as error:  # DVC has said why
        raise UserError("DVC cannot say what there is to do. Fix what it says above, then run again.") from error


def measure_training(trials: list[int]) -> float | None:
    """How many seconds both arms of these trials were trained; None where MLflow has not seen all of it."""
    from stages.tracking.runs import find_duration  # slow to import

    seconds = [find_duration(arm, trial) for trial in trials for arm in ("original", "augmented")]
    known = [duration for duration in seconds if duration is not None]
    return sum(known) if known and len(known) == len(seconds) else None


def estimate_seconds(new: int, seconds: float | None, training: float | None) -> float:
    """At least so long will ``new`` trials take; arguments as in `announce`. 0 where nothing is known."""
    return new * (seconds or training or 0.0)


def announce(looks: list[int], look: int, new: int, seconds: float | None, training: float | None = None) -> str:
    """What comes next, and what it will cost: ``seconds`` a trial or, where not known, those of ``training``."""
    cost = ""
    if seconds:
        cost = f", about {format_duration(new * seconds)}"
    elif training:
        cost = f", about {format_duration(new * training)} of training"
    elif new:
        cost = "; MLflow does not know what a trial takes"
    work = f"{new} to run{cost}" if new else "all of them run already"
    return f"\nLook {looks.index(look) + 1} of {len(looks)}: {look} trials, {work}."


def run_commands(commands: list[str], seconds: float = float("inf")) -> bool:
    """Run `dvc repro` and the like, one after the other. Returns: whether they ended within so many seconds.

    Raises SystemExit with its status when one fails; it has said why.
    """
    shell = " && ".join(["trap : INT", *commands])  # the shell waits for DVC, as in the Makefile
    command = [sys.executable, "-m", "stages.cli.preload", "sh", "-c", shell]
    with subprocess.Popen(command, process_group=0) as process:  # to interrupt all that it starts, as Ctrl-C would
        try:
            status = process.wait(None if seconds == float("inf") else max(seconds, 0))
        except subprocess.TimeoutExpired:
            interrupt(process)
            return False
        except BaseException as error:
            interrupt(process)
            if isinstance(error, KeyboardInterrupt):  # what ran has said that it was interrupted
                raise SystemExit(128 + signal.SIGINT) from None
            raise
    if status:
        raise SystemExit(status)
    return True


def interrupt(process: subprocess.Popen[bytes]) -> None:
    """End a process and all of its group as Ctrl-C would, or, when this process is asked again to end, by SIGTERM."""
    os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait()
    except BaseException:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        raise


if __name__ == "__main__":
    run_stage(main)
