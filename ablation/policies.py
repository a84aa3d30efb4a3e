"""The policies of the ablation: each augmentation operation alone, and all but one."""

from pathlib import Path
from typing import Literal, get_args

from stages.augmentation.params import AugmentParams, P
from stages.runtime.errors import UserError

Kind = Literal["only", "all_but"]
COPIES_FILE, PREDICTIONS_FILE = "copies.csv", "predictions.csv"
KINDS: tuple[Kind, ...] = get_args(Kind)


def check_ablation(params: AugmentParams) -> None:
    """Raise UserError unless there are operations to leave out, each of which is applied."""
    if params.policy != "augly":
        raise UserError(
            f"augment.policy is {params.policy}, whose operations cannot be chosen. An ablation needs augly: set it in "
            "params.yaml."
        )
    if len(params.operations) < 2:
        raise UserError(
            f"augment.operations lists only {', '.join(params.operations)}, so all but that would be no augmentation. "
            "An ablation needs two or more: add some in params.yaml."
        )
    if unused := [name for name, given in params.operations.items() if given.get(P) == 0]:
        raise UserError(
            f"the p of {', '.join(unused)} is 0, so alone nothing would be applied. Remove what is not wanted from "
            "augment.operations in params.yaml, or give it another p."
        )


def check_launcher(launcher: str | None) -> None:
    """Raise UserError when trainings would be of several processes: an ablation's are many, and none of them long."""
    if launcher:
        raise UserError(
            f"train.launcher is {launcher!r}, and an ablation trains in one process, each policy as the original arm. "
            "Set it to null in params.yaml, which trains the original arm anew."
        )


def choose_operations(params: AugmentParams, kind: Kind, operation: str) -> AugmentParams:
    """The same with one operation only, which every copy gets, or with all operations but one.

    Raises UserError as `check_ablation` does, and when params do not list the operation.
    """
    check_ablation(params)
    if operation not in params.operations:
        raise UserError(f"{operation} is not in augment.operations: {', '.join(params.operations)}. Run make ablation.")
    chosen = {name: given for name, given in params.operations.items() if (name == operation) == (kind == "only")}
    count = min(params.operations_per_copy, len(chosen))
    return params.model_copy(update={"operations": chosen, "operations_per_copy": count})


def name_policy(kind: Kind, operation: str) -> str:
    """As its runs are called: ``only_rotate``, ``all_but_rotate``."""
    return f"{kind}_{operation}"


def get_run_dir(kind: Kind, operation: str, trial: int) -> Path:
    """Where train leaves what it made of a policy."""
    return Path("ablation/runs", name_policy(kind, operation), str(trial))
