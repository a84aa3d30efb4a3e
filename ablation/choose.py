"""Write down how each policy augments, so that a change of params trains again only the policies that it reaches.

Reads   params augment
Writes  ablation/params/<policy>.json: the section augment of the policy
Command python -m ablation.choose
"""

from pathlib import Path

from ablation.policies import KINDS, choose_operations, name_policy
from stages.augmentation.params import AugmentParams
from stages.base.files import replace_dir, write_json
from stages.cli.params import load_params
from stages.cli.stage import run_stage

FOLDER = Path("ablation/params")


def main() -> None:
    """Write a file per policy."""
    write_policies(load_params().augment)


def write_policies(params: AugmentParams) -> None:
    """Write what `ablation.train` makes of these params: each operation alone, and all but it.

    Raises UserError as `check_ablation` does.
    """
    with replace_dir(FOLDER) as folder:
        for kind in KINDS:
            for operation in params.operations:
                chosen = choose_operations(params, kind, operation)
                write_json(folder / f"{name_policy(kind, operation)}.json", chosen.model_dump())


if __name__ == "__main__":
    run_stage(main)
