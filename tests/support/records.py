"""Records as the stages write them, with every field filled in."""

from typing import Any

from stages.model.record import Machine, NetworkRecord, TrainRecord


def make_machine(**changes: Any) -> Machine:
    """A machine; ``changes`` replace fields."""
    machine: dict[str, Any] = {
        "device": "cpu",
        "cpu_name": "Intel Xeon",
        "cpu_flags": "AVX512 avx512_f",
        "threads": 2,
        "precision": "bf16",
    }
    return Machine(**(machine | {"versions": {"torch": "2.14.1", "numpy": "2.4.0"}} | changes))


def make_network(**changes: Any) -> NetworkRecord:
    """The labs' network, for images of 32 pixels; ``changes`` replace fields."""
    network: dict[str, Any] = {"name": "resnet50", "weights": None, "freeze": "none", "weights_sha256": ""}
    network |= {"image_size": 32, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    return NetworkRecord(**(network | changes))


def make_run(**changes: Any) -> TrainRecord:
    """A training of two classes; ``changes`` replace fields."""
    run: dict[str, Any] = {
        "arm": "original",
        "trial": 0,
        "class_names": ["cats", "dogs"],
        "network": make_network(),
        "params": {"seed": 0, "model.image_size": 32},
        "repeats": 1,
        "epochs": 2,
        "steps": 4,
        "train_images": 16,
        "samples_seen": 32,
        "initial_weights_sha256": "same",
        "manifests": {},
        "machine": make_machine(precision="fp32", threads=1),
        "model_sha256": "",
    }
    return TrainRecord(**(run | changes))
