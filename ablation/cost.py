"""Say what an ablation will cost before it starts, from what the augmented arm took.

Reads   the status of its stages (`dvc --cd ablation status --json`) from standard input; params; the run of the first
        trial's augmented arm in MLflow
Command dvc --cd ablation status --json | python -m ablation.cost
"""

import json
import sys

from ablation.plan import describe_plan
from ablation.policies import KINDS
from stages.cli.params import load_params
from stages.cli.stage import run_stage
from stages.runtime.errors import UserError
from stages.runtime.progress import format_duration


def main() -> None:
    """Print how many trainings there are, how many are to be done, and how long that takes."""
    params = load_params()
    status = sys.stdin.read()
    try:
        stale = sum(name.startswith("train@") for name in json.loads(status))
    except ValueError as error:  # DVC has said why
        raise UserError("DVC cannot say what there is to do. Fix what it says above, then run again.") from error
    total = len(KINDS) * len(params.augment.operations) * len(params.trials)
    print(f"\n{describe_plan(params)}")
    print(f"  {total - stale} are done; " if stale < total else "  ", end="")
    if not stale:
        print("nothing to train\n")
        return
    from stages.tracking.runs import find_duration  # slow to import

    print(f"{describe_cost(stale, find_duration('augmented', params.trials[0]))}\n")


def describe_cost(trainings: int, seconds: float | None) -> str:
    """How long so many trainings take, when one takes so many seconds."""
    if seconds is None:
        return f"{trainings} to do, each as long as the augmented arm takes"
    return (
        f"{trainings} to do at about {format_duration(seconds)} each, as the augmented arm took here: "
        f"about {format_duration(trainings * seconds)}. Ctrl-C stops; the next make ablation goes on"
    )


if __name__ == "__main__":
    run_stage(main)
