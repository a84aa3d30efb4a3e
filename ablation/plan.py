"""Refuse what no ablation can be made of, and say what one will train, before the pipeline runs.

Reads   params
Command python -m ablation.plan
"""

from pathlib import Path

from ablation.policies import check_ablation, check_launcher
from stages.augmentation.params import AugmentParams
from stages.cli.alone import check_alone
from stages.cli.params import Params, load_params
from stages.cli.stage import run_stage
from stages.runtime.errors import UserError
from stages.runtime.root import find_root

PAGE = Path("ablation/report.html")  # ablation.rank has the name too, but loads pandas


def main() -> None:
    """Check that no other run is active here, check params.yaml, and announce the trainings."""
    check_alone(find_root())
    params = load_params()
    check_before_repro(params.augment)
    check_launcher(params.train.launcher)
    print(f"\n{describe_plan(params)}, after what the pipeline still has to run\n")


def check_before_repro(params: AugmentParams) -> None:
    """Raise UserError as `check_ablation` does, saying as well that the report of an earlier ablation stays."""
    try:
        check_ablation(params)
    except UserError as error:
        if PAGE.exists():
            raise UserError(f"{error} {PAGE} stays, and is about an earlier ablation.") from error
        raise


def describe_plan(params: Params) -> str:
    """How many trainings an ablation has in all."""
    operations, trials = len(params.augment.operations), len(params.trials)
    return (
        f"Ablation: {operations} operations, each alone and all but it, in {trials} trial{'s' * (trials > 1)}: "
        f"{2 * operations * trials} trainings"
    )


if __name__ == "__main__":
    run_stage(main)
