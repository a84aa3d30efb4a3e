"""Both trainings and their evaluation, logged and not: the same bytes on disk, and in MLflow runs with clear names."""

import re
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from PIL import Image, ImageOps

from stages.base.files import compute_sha256
from stages.photos.manifest import CopyTable, SplitTable
from stages.tracking import store
from tests.conftest import change_params
from tests.support.trainer import TRAIN, make_workspace, read_results, run_trainer, start_stages, wait_for

COMMANDS = [
    TRAIN,
    ["train", "--arm", "augmented", "--trial", "0", "data/split/0.csv", "data/augmented/0.csv"],
    ["evaluate", "--trial", "0"],
]
UNREACHABLE = "http://127.0.0.1:1"


class Broken(BaseHTTPRequestHandler):
    """A server that is something else than MLflow, or an MLflow whose database is down."""

    def do_GET(self) -> None:
        self.answer(200, b"<html>Sign in</html>")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(500, b"out of order")

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def broken() -> Iterator[str]:
    """The address of a server that fails."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Broken) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, broken: str) -> dict[str, Path]:
    """A workspace per way to track, in which both arms of a trial were trained and evaluated."""
    first = make_workspace(tmp_path_factory.mktemp("outputs") / "on")
    folders = {way: first.with_name(way) for way in ("on", "off", "failing")}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(first)
        change_params({"evaluate.robustness": False})
        write_copies()
        for way in ("off", "failing"):
            shutil.copytree(first, folders[way])
        environments = {
            "on": {"DVC_EXP_NAME": "bold-owl"},
            "off": {"MLFLOW_TRACKING_URI": UNREACHABLE, "REQUIRE_TRACKING": ""},
            "failing": {"MLFLOW_TRACKING_URI": broken, "REQUIRE_TRACKING": ""},
        }
        processes = {}
        for way, environment in environments.items():
            patch.chdir(folders[way])
            processes[way] = start_stages(COMMANDS, RESUME_SECONDS="1000", **environment)
        for way, process in processes.items():
            assert wait_for(process) == 0, (way, (folders[way] / "err.txt").read_text())
    return folders


def write_copies() -> None:
    """A mirrored copy of each train photo."""
    rows = []
    for photo in SplitTable.load(Path("data/split/0.csv")).query("split == 'train'").to_dict("records"):
        path = Path("data/augmented/0", photo["class"], Path(photo["path"]).name)
        path.parent.mkdir(parents=True, exist_ok=True)
        ImageOps.mirror(Image.open(photo["path"])).save(path)
        row = {"path": path.as_posix(), "class": photo["class"], "sha256": compute_sha256(path)}
        rows.append({**row, "source_path": photo["path"], "copy": 1, "operations": '[{"name": "hflip"}]'})
    CopyTable.save(Path("data/augmented/0.csv"), pd.DataFrame(rows))


def read_outputs(folder: Path) -> dict[str, bytes]:
    files = [path for kind in ("models", "metrics") for path in (folder / kind).rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_outputs_are_the_same_bytes_with_tracking_on_off_and_failing(folders: dict[str, Path]) -> None:
    logged, *others = (read_outputs(folder) for folder in folders.values())
    assert len(logged) == 2 * (3 + 1 + 1 + 1) + 2, "three files a model, history, metrics, predictions; of both: two"
    for outputs in others:
        assert outputs == logged


def test_what_fails_is_said_once_by_each_training_and_for_each_arm(folders: dict[str, Path], broken: str) -> None:
    assert (folders["on"] / "err.txt").read_text() == ""
    for way, uri in (("off", UNREACHABLE), ("failing", broken)):
        said = (folders[way] / "err.txt").read_text().splitlines()
        assert [line.split(" (")[0].split(": h")[0] for line in said] == [
            "warning: the tracking server is unreachable",
            "warning: the tracking server is unreachable",
            "warning: original, trial 0 is not logged",
            "warning: augmented, trial 0 is not logged",
        ]
        assert all(uri in line for line in said)
        assert "`dvc repro --force --single-item evaluate@0` logs it." in said[-1]


@pytest.fixture
def runs(folders: dict[str, Path]) -> dict[str, Run]:
    """The runs of the trainings, by arm."""
    client = MlflowClient(f"sqlite:///{folders['on']}/mlflow.db")
    found = client.search_runs([client.get_experiment_by_name(store.EXPERIMENT).experiment_id])
    assert len(found) == 2
    return {run.data.tags["arm"]: run for run in found}


def test_a_name_says_arm_trial_experiment_key_and_drawings(runs: dict[str, Run]) -> None:
    for arm, run in runs.items():
        key = run.data.tags["journal"].rpartition("/")[2]
        assert re.fullmatch("[0-9a-f]{16}-1x1", key), "of one process of one thread"
        assert run.info.run_name == f"{arm}-0 bold-owl {key[:6]} (drawings)"
    assert len({run.info.run_name for run in runs.values()}) == 2


def test_evaluate_completes_the_run_of_the_training(runs: dict[str, Run], folders: dict[str, Path]) -> None:
    client = MlflowClient(f"sqlite:///{folders['on']}/mlflow.db")
    for arm, run in runs.items():
        assert run.info.status == "FINISHED"
        assert (run.data.tags["source"], run.data.tags["source_version"]) == ("sample", "1")
        assert {"train/loss", "test/accuracy", "evaluate/accuracy", "evaluate/log_loss"} <= set(run.data.metrics)
        assert [point.step for point in client.get_metric_history(run.info.run_id, "train/loss")] == [1, 2]
        files = {file.path for file in client.list_artifacts(run.info.run_id, "metrics/predictions")}
        assert files == {f"metrics/predictions/{arm}-0.csv"}
        assert run.data.tags["stored_model_sha256"] == run.data.tags["model_sha256"]


def test_train_needs_no_manifest_of_all_photos(photos_to_train: Path, whole: dict[str, bytes]) -> None:
    """It is no dep: what its run says of the source would not follow a change of it."""
    (photos_to_train / "data/manifest.csv").unlink()
    done = run_trainer(RESUME_SECONDS="1000")
    assert (done.status, done.stderr) == (0, "")
    assert read_results() == whole
