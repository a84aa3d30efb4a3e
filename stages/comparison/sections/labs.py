"""The two lab reports whose question this is: their numbers beside ours."""

from statistics import fmean
from typing import Any

from stages.comparison.blocks import Section, Table
from stages.comparison.study import Study

# As published: the first gives weighted averages, the second those of the class dogs
LABS = {
    ("weighted", "original", "lab 1"): ["0.4643", "0.4067", "0.4643", "0.3665"],
    ("weighted", "augmented", "lab 1"): ["0.5000", "0.5000", "0.5000", "0.4556"],
    ("dogs", "original", "lab 2"): ["0.5714", "0.5714", "0.5714", "0.5714"],
    ("dogs", "augmented", "lab 2"): ["0.6071", "0.5789", "0.7857", "0.6667"],
}

LAB_OPERATIONS = "blur, color_jitter, hflip, pad, pad_square, pixelization, random_noise, rotate, saturation, scale"
LAB_PARAMS = {
    "fetch.subset": "test",
    "split.scheme": "folds",
    "split.test_fraction": 0.2,
    "augment.policy": "augly",
    "augment.mode": "copies",
    "augment.copies": 2,
    "augment.operations_per_copy": 3,
    "augment.operations": LAB_OPERATIONS,  # the names; not their magnitudes
    "train.budget": "epochs",
    "model.name": "resnet50",
    "model.weights": None,
    "model.freeze": "none",
    "model.image_size": 224,
    "model.normalization": None,
    "train.epochs": 10,
    "train.batch_size": 32,
    "train.optimizer": "adam",
    "train.learning_rate": 0.001,
    "train.schedule": "constant",
    "train.weight_decay": 0.0,
    "train.label_smoothing": 0.0,
}


def build(study: Study, params: dict[str, Any]) -> Section | None:
    """The labs' published numbers beside means of the same kind; None of other photos. ``params``: dotted names."""
    if study.class_names != ["cats", "dogs"] or study.is_sample:
        return None
    rows = []
    for (averages, arm, source), published in LABS.items():
        prefix = "weighted_" if averages == "weighted" else ""
        keys = ["accuracy", f"{prefix}precision", f"{prefix}recall", f"{prefix}f1"]
        ours = [f"{fmean(getattr(record, key) for record in study.records[arm]):.4f}" for key in keys]
        rows += [[averages, arm, source, *published], [averages, arm, "here", *ours]]
    note = (
        "Both labs tested one trial on 28 photos; each of their gains is a single photo. The first gives averages over "
        "the classes, weighted by their photos, the second the numbers of the class dogs; each stands beside ours of "
        "the same kind."
    )
    operations = {key.split(".")[2] for key in params if key.startswith("augment.operations.")}
    used = params | {"augment.operations": ", ".join(sorted(operations))}
    used["model.image_size"] = params["model.image_size"] or LAB_PARAMS["model.image_size"]  # the labs' network's own
    unused = {"augment.operations", "augment.operations_per_copy"} if used["augment.policy"] != "augly" else set()
    unused |= {"augment.copies"} if used["augment.mode"] == "online" else set()
    changed = [
        f"{key} {_write(used[key])} (labs: {_write(lab)})"
        for key, lab in LAB_PARAMS.items()
        if used[key] != lab and key not in unused
    ]
    if changed:
        note += f" Trained here with other params than the labs': {'; '.join(changed)}."
    header = ["averages", "arm", "from", "accuracy", "precision", "recall", "F1"]
    return Section("Beside the two lab reports", [Table(header, rows, names=3, note=note)], level=3)


def _write(value: object) -> str:
    """As in params.yaml."""
    return "null" if value is None else str(value)
