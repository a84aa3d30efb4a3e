"""Where the numbers come from: photos, seed, hardware, versions, params and models."""

from typing import Any

from stages.comparison.blocks import Details, Section, Table, Text
from stages.comparison.study import ARMS, Study
from stages.photos.origin import describe_source


def build(study: Study, params: dict[str, Any]) -> Section:
    """What the numbers rest on; nothing of git, time, path or host. ``params``: with dotted names."""
    search = "In MLflow (`make ui`) the run of a model is found by searching for `tags.model_sha256 = '…'`."
    return Section(
        "Where the numbers come from",
        [
            tabulate_provenance(study, params),
            Details("Every param", [tabulate_params(params)]),
            Details("Every model, by which MLflow finds its run", [Text(search), tabulate_models(study)]),
        ],
    )


def tabulate_provenance(study: Study, params: dict[str, Any]) -> Table:
    """Photos, seed and machine."""
    machines = [record.trained_on for arm in ARMS for record in study.records[arm]]

    def gather(key: str) -> str:
        return ", ".join(sorted({str(getattr(machine, key)) for machine in machines}))

    libraries = {", ".join(f"{name} {number}" for name, number in each.versions.items()) for each in machines}
    rows = {
        "photos": describe_source(study.first.source, study.first.version),
        "seed": str(params["seed"]),
        "device": f"{gather('device')} ({gather('cpu_name')}), threads: {gather('threads')}",
        "precision": gather("precision"),
        "trained with": "; ".join(sorted(libraries)),
    }
    return Table(["of", "value"], [[key, value] for key, value in rows.items()], names=2)


def tabulate_params(params: dict[str, Any]) -> Table:
    """Every number that a user may change, as it was."""
    return Table(["param", "value"], [[key, str(value)] for key, value in params.items()], names=2)


def tabulate_models(study: Study) -> Table:
    """Every model by its SHA-256."""
    rows = [
        [str(trial), arm, study.records[arm][index].model_sha256]
        for index, trial in enumerate(study.trials)
        for arm in ARMS
    ]
    return Table(["trial", "arm", "model (SHA-256)"], rows, names=3)
