"""Training ResNet-50 on the photos of trial 0: the stage, against the plain protocol and what timm and torchvision run.

Whole processes, in turn, on the same photos at 224 px, with batches of 32, tested after every epoch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

from benchmarks.processes import Usage, alternate
from benchmarks.table import Row
from benchmarks.workspace import ROOT, Workspace
from stages.model.device import select_device

BATCH = 32  # as params.yaml has it
TIMM = "timm's script"
PLAIN = "the plain protocol"
PLAIN_BAR = 3.0  # times the images per CPU-second of the plain protocol, after so many epochs
EPOCHS = 10
# torchvision's script also tells how often the right class is among the best five, and fails where there are but two
TOP_1 = (
    "import runpy, sys, utils; accuracy = utils.accuracy; del sys.argv[0]; "
    "utils.accuracy = lambda output, target, topk: accuracy(output, target, (1, 1)); "
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)
STAGE = "python -m stages.train --arm original --trial 0 --budget data/budget/0.json data/split/0.csv"


@dataclass(frozen=True)
class Scripts:
    """Checkouts of other libraries' repositories, whose train scripts no package holds; None: not compared with."""

    timm: Path | None = None
    torchvision: Path | None = None


def measure(workspace: Workspace, rounds: int, scripts: Scripts, epochs: int) -> list[Row]:
    """Images/s, images per CPU-second, and memory."""
    workspace.change_params({"model.image_size": 224, "train.epochs": epochs, "train.checkpoint_every": epochs})
    workspace.run("dvc", "repro", "--quiet", "augment@0")
    photos = link_photos(workspace)
    commands = {"stage": workspace.plan(*STAGE.split())} | plan_others(workspace, photos, scripts, epochs)
    used = alternate(commands, rounds)
    split = workspace.load_split()
    return compare(used, int((split["split"] == "train").sum()), epochs)


def compare(used: dict[str, list[Usage]], photos: int, epochs: int) -> list[Row]:
    """A row per figure and other protocol, of which each trained on so many photos."""
    rows = []
    ours, *others = used.items()
    for name, theirs in others:
        what = f"stage against {name}, {epochs} epochs"
        pairs = [ours[1], theirs]
        images = [photos, photos // BATCH * BATCH if name == TIMM else photos]  # it drops a last smaller batch
        wall, cpu = (
            [[epochs * count / cost(usage) for usage in usages] for count, usages in zip(images, pairs, strict=True)]
            for cost in (attrgetter("wall_s"), attrgetter("cpu_s"))
        )
        memory = [[usage.peak_mib for usage in usages] for usages in pairs]
        bar = PLAIN_BAR if name == PLAIN and epochs == EPOCHS else None
        rows += [
            Row("training", what, "images/s", wall[0], wall[1]),
            Row("training", what, "images per CPU second", cpu[0], cpu[1], bar=bar),
            Row("training", f"{what}, memory", "MiB", memory[0], memory[1], more_is_better=False),
        ]
    return rows


def plan_others(workspace: Workspace, photos: Path, scripts: Scripts, epochs: int) -> dict[str, Callable[[], Usage]]:
    """The other protocols, by name, with the settings that were fastest on a CPU, or on a GPU where there is one."""
    plain = str(ROOT / "benchmarks/baselines/training.py")
    others: dict[str, Callable[[], Usage]] = {
        PLAIN: workspace.plan("python", plain, str(photos), "--epochs", str(epochs))
    }
    device = select_device("auto")
    on = device.torch_device.type
    if scripts.timm:
        half = ["--amp", "--amp-dtype", "bfloat16"] if device.precision == "bf16" else []
        options = (
            f"--data-dir {photos} --train-split train --val-split val --model resnet50 --num-classes 2 --device {on} "
            f"--channels-last --no-aug --img-size 224 --batch-size {BATCH} --workers 2 --opt adam --lr 0.001 "
            f"--epochs {epochs} --warmup-epochs 0 --checkpoint-hist 1 --output {photos / 'timm'}"
        ).split()
        others[TIMM] = workspace.plan(
            "python", str(scripts.timm / "train.py"), *options, *half, PYTHONPATH=str(scripts.timm)
        )
    if scripts.torchvision:
        folder = scripts.torchvision / "references/classification"
        options = (
            f"--data-path {photos} --model resnet50 --device {on} --batch-size {BATCH} --workers 2 --opt adamw "
            f"--lr 0.001 --epochs {epochs} --train-crop-size 224 --val-resize-size 224 "
            f"--output-dir {photos / 'torchvision'}"
        ).split()
        half = ["--amp"] if on == "cuda" else []
        others["torchvision's script"] = workspace.plan(
            "python", "-c", TOP_1, str(folder / "train.py"), *options, *half, PYTHONPATH=str(folder)
        )
    return others


def link_photos(workspace: Workspace) -> Path:
    """The photos of trial 0 in the layout that train scripts read: train/ and val/, with a folder per class."""
    folder = workspace.folder / "data/folders"
    for side, name, path in workspace.load_split()[["split", "class", "path"]].itertuples(index=False):
        link = folder / {"train": "train", "test": "val"}[side] / name / Path(path).name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(workspace.folder / path)
    return folder
