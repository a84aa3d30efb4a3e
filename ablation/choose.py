"""Write down how each policy augments and with which code, so that a change trains again only what it reaches.

Reads   params augment, the files in stages/
Writes  ablation/params/<policy>.json: the section augment of the policy
        ablation/code/<stage>.json: SHA-256 of the files in stages/ that decide what a stage makes
Command python -m ablation.choose
"""

from pathlib import Path

from ablation.policies import KINDS, choose_operations, name_policy
from stages.augmentation.params import AugmentParams
from stages.base.files import compute_sha256, replace_dir, write_json
from stages.cli.params import load_params
from stages.cli.stage import run_stage

FOLDER, CODE = Path("ablation/params"), Path("ablation/code")
AREAS = {
    "train": ("augmentation", "base", "evaluation", "model", "photos", "training"),
    "rank": ("augmentation", "base", "comparison", "evaluation", "model", "photos"),
}
"""Folders in stages/ that decide the bytes of a stage."""


def main() -> None:
    """Write a file per policy, and one per stage."""
    write_policies(load_params().augment)
    write_code()


def write_policies(params: AugmentParams) -> None:
    """Write what `ablation.train` makes of these params: each operation alone, and all but it.

    Raises UserError as `check_ablation` does.
    """
    with replace_dir(FOLDER) as folder:
        for kind in KINDS:
            for operation in params.operations:
                chosen = choose_operations(params, kind, operation)
                write_json(folder / f"{name_policy(kind, operation)}.json", chosen.model_dump())


def write_code() -> None:
    """Write the hashes of the files in `AREAS`.

    As deps the folders would be hashed with the bytecode that Python leaves there, which differs after every checkout:
    they lie outside of the ablation's repository, where its .dvcignore ends.
    """
    with replace_dir(CODE) as folder:
        for stage, areas in AREAS.items():
            found = sorted(path for area in areas for path in Path("stages", area).rglob("*") if path.is_file())
            hashes = {path.as_posix(): compute_sha256(path) for path in found if path.parent.name != "__pycache__"}
            write_json(folder / f"{stage}.json", hashes)


if __name__ == "__main__":
    run_stage(main)
