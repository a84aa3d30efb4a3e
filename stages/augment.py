"""Make augmented copies of the train photos of one trial, or samples of what training draws anew each epoch.

Reads   data/split/<trial>.csv, data/raw/; params seed, augment, train.budget
Writes  data/augmented/<trial>/<class>/*.jpg (or zips of 1,000, where there are more than 10,000 copies),
        data/augmented/<trial>.csv: each copy, its source, its operations
        data/budget/<trial>.json: how often an epoch shows the original arm each photo
Command python -m stages.augment --trial 0   (112 photos, 2 copies each: about 5 seconds on 2 cores)

Every draw follows from (seed, trial, photo, copy), so the bytes do not depend on the number of processes. In online
mode nobody trains on the files: each is what the first epoch sees of a photo, as JPEG.
"""

from pathlib import Path

import pandas as pd

from stages.augmentation.copies import make_copies, plan_copies
from stages.augmentation.params import AugmentParams
from stages.base.files import replace_dir
from stages.base.records import Budget
from stages.cli.params import load_params
from stages.cli.stage import parse_trial, run_stage
from stages.photos.manifest import CopyTable, SplitTable


def main() -> None:
    """Augment one trial."""
    trial = parse_trial(__doc__)
    params = load_params()
    photos = SplitTable.load(Path(f"data/split/{trial}.csv"))
    train = photos[photos["split"] == "train"]
    copies = plan_copies(train, params.augment, params.seed, trial)
    folder = Path(f"data/augmented/{trial}")
    with replace_dir(folder) as partial_folder:
        copies = make_copies(copies, partial_folder, params.augment.max_side)
    CopyTable.save(folder.with_suffix(".csv"), copies)
    plan_budget(params.train.budget, params.augment).save(Path(f"data/budget/{trial}.json"))
    print(f"augment: trial {trial}: {describe(len(train), copies, params.augment.mode)}")


def describe(photos: int, copies: pd.DataFrame, mode: str) -> str:
    """Numbers of images, such as ``112 train photos -> 224 copies, 336 in all``, and of copies made with less."""
    if mode == "online":
        made, name = f"samples of {len(copies)} of {photos} train photos, drawn anew each epoch", "samples"
    else:
        made, name = f"{photos} train photos -> {len(copies)} copies, {photos + len(copies)} in all", "copies"
    limited = int(copies["operations"].str.contains('"drawn_').sum())
    skipped = int((copies["operations"] == "[]").sum())
    notes = [
        f"; weaker operations for small photos in {limited} of {len(copies)} {name}" if limited else "",
        f"; every operation skipped by its p in {skipped} of {len(copies)} {name}" if skipped else "",
    ]
    return made + "".join(notes)


def plan_budget(budget: str, params: AugmentParams) -> Budget:
    """How often an epoch shows the original arm each train photo: once, or as often as the other arm has it.

    Online, the other arm has it once, in another view each epoch: both take as many steps whatever the budget.
    """
    several = budget == "steps" and params.mode == "copies"
    return Budget(budget=budget, repeats=1 + params.copies if several else 1)


if __name__ == "__main__":
    run_stage(main)
