"""Look by look: what is run next, what it costs, and that a real plan is followed to its end."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stages.base.sections import flatten
from stages.cli.params import PARAMS, load_params, read_yaml
from stages.cli.settle import (
    announce,
    conclude,
    estimate_seconds,
    extend_trials,
    find_start,
    list_first_trials,
    main,
    measure_training,
    parse_budget,
    set_trials,
)
from stages.comparison.history import LOOKS, History, SeenLook, identify_question
from stages.comparison.study import load_study
from stages.model.record import RUN_FILE, get_model_dir
from stages.runtime.errors import UserError
from stages.tracking.journal import Journal, sync_journal
from tests.conftest import ROOT, change_params
from tests.support.clone import SMALL, build_env, call, make_clone
from tests.support.pipeline_files import write_study
from tests.support.records import make_run


@pytest.mark.parametrize(
    ("text", "seconds"), [("", float("inf")), ("2h", 7200), ("90m", 5400), ("1h30m", 5400), ("1m", 60)]
)
def test_a_budget_is_time(text: str, seconds: float) -> None:
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["0", "0h", "0m", "2", "h", "-1h", "2d", "1.5h", "30m1h", " "])
def test_a_budget_of_nothing_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=f"BUDGET={re.escape(text)} is no time to spend"):
        parse_budget(text)


@pytest.mark.parametrize(
    ("trials", "looks", "start"),
    [
        ([0], [5, 10], [0, 1, 2, 3, 4]),
        ([4, 3], [5, 10], [4, 3, 5, 6, 7]),
        ([], [5, 10], [0, 1, 2, 3, 4]),
        ([0, 1, 2, 3, 4], [5, 10], [0, 1, 2, 3, 4]),
        ([0, 1, 2, 3, 4, 5], [5, 10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (list(range(12)), [5, 10], list(range(12))),
    ],
)
def test_it_begins_at_the_next_look(trials: list[int], looks: list[int], start: list[int]) -> None:
    assert find_start({"trials": trials, "report": {"looks": looks}}) == start


@pytest.mark.parametrize(
    "found",
    [
        None,
        [],
        {},
        {"trials": [0]},
        {"trials": ["a"], "report": {"looks": [5]}},
        {"trials": [7, 3], "report": {"looks": [5]}},
    ],
)
def test_an_invalid_file_is_left_to_the_check_of_params(found: object) -> None:
    assert find_start(found) == []


def test_the_trials_of_the_first_look_are_listed(workspace: Path) -> None:
    change_params({"report.looks": [5, 10]})
    list_first_trials()
    assert load_params().trials == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("looks", [[10, 5], [3, 10], [5, 5]])
def test_params_that_are_refused_stay_as_they_are(
    looks: list[int], workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_params({"report.looks": looks})
    before = PARAMS.read_text()
    monkeypatch.setattr("sys.argv", ["settle"])
    with pytest.raises(UserError, match="give increasing numbers of trials"):
        main()
    assert PARAMS.read_text() == before


def test_only_the_line_of_trials_changes(workspace: Path) -> None:
    before = PARAMS.read_text()
    set_trials(extend_trials(load_params().trials, 7))
    after = PARAMS.read_text()
    assert read_yaml(PARAMS)["trials"] == list(range(7))
    differing = [pair for pair in zip(before.splitlines(), after.splitlines(), strict=True) if pair[0] != pair[1]]
    assert len(differing) == 1
    assert differing[0][0].partition("#")[2] == differing[0][1].partition("#")[2], "the comment stays"


@pytest.mark.parametrize("written", ["trials:\n- 0\n- 1", "trials:\n  - 0", "trials: [0,\n  1]", "trials: []"])
def test_trials_are_found_however_they_are_written(written: str, workspace: Path) -> None:
    PARAMS.write_text(PARAMS.read_text().replace("trials: [0]", written))
    set_trials([0, 1, 2])
    assert load_params().trials == [0, 1, 2]
    assert "\ntrials: [0, 1, 2]" in PARAMS.read_text()


@pytest.mark.parametrize("written", ["trials: [0]  # one\ntrials: [1]", "trials:\n  # first\n  - 0", "'trials': [0]"])
def test_trials_in_any_other_form_are_left_alone(written: str, workspace: Path) -> None:
    PARAMS.write_text(PARAMS.read_text().replace("trials: [0]", written))
    before = PARAMS.read_text()
    with pytest.raises(UserError, match="Write them as one line"):
        set_trials([0, 1])
    assert PARAMS.read_text() == before


@pytest.mark.parametrize("looks", [[], [4, 10], [5, 5], [10, 5], [5, 0], ["5"], 5, [5.0]])
def test_looks_that_are_no_plan_are_refused(looks: object, workspace: Path) -> None:
    change_params({"report.looks": looks, "trials": [0, 1, 2, 3, 4]})
    with pytest.raises(UserError, match=r"report\.looks"):
        load_params()


def test_trials_between_two_looks_are_refused(workspace: Path) -> None:
    change_params({"report.looks": [5, 10], "trials": list(range(7))})
    with pytest.raises(UserError, match="looks after 5, 10 trials, and trials lists 7: run `make settle`"):
        load_params()


@pytest.mark.parametrize("trials", [[6, 0, 1, 3, 4], [0, 1, 3, 4, 5, 6], [0, 1, 10**9]])
def test_trials_missing_in_the_middle_of_a_plan_are_refused(trials: list[int], workspace: Path) -> None:
    change_params({"trials": trials})
    load_params()
    change_params({"report.looks": [5, 10]})
    with pytest.raises(UserError, match="trials leaves out 2, which"):
        load_params()


def test_a_look_is_announced_with_its_cost() -> None:
    assert announce([5, 10, 20], 10, 5, 27.0) == "\nLook 2 of 3: 10 trials, 5 to run, about 2 min."
    unknown = "MLflow does not know what a trial takes"
    assert announce([5, 10, 20], 5, 4, None) == f"\nLook 1 of 3: 5 trials, 4 to run; {unknown}."
    assert announce([5, 10, 20], 5, 4, None, 390.0) == ("\nLook 1 of 3: 5 trials, 4 to run, about 26 min of training.")
    assert announce([5, 10, 20], 5, 0, None) == "\nLook 1 of 3: 5 trials, all of them run already."


def test_a_look_is_weighed_against_the_budget_by_whole_trials_or_by_their_trainings() -> None:
    assert estimate_seconds(5, 27.0, 20.0) == 135
    assert estimate_seconds(5, None, 20.0) == 100
    assert estimate_seconds(5, None, None) == estimate_seconds(0, 27.0, None) == 0


def test_the_first_look_costs_what_a_trial_that_is_done_took(workspace: Path) -> None:
    change_params({"trials": [3, 1, 2]})
    now = int(1000 * time.time())
    for arm, seconds in (("original", 60), ("augmented", 150)):
        make_run(arm=arm, trial=1, model_sha256=arm).save(get_model_dir(arm, 1) / RUN_FILE)
        entry = Journal(f"{arm}-1", arm, {}, {"arm": arm, "trial": "1"}, started=now - 1000 * seconds)
        entry.end(arm)
        entry.ended = now
        sync_journal(entry)
    assert measure_training([1]) == pytest.approx(210)
    for arm in ("original", "augmented"):
        make_run(arm=arm, trial=2, model_sha256=f"{arm}-2").save(get_model_dir(arm, 2) / RUN_FILE)
        entry = Journal(f"{arm}-2", f"{arm}-2", {}, {"arm": arm, "trial": "2"}, started=now - 36_000_000, seconds=12)
        entry.end(f"{arm}-2")
        sync_journal(entry)
    assert measure_training([2]) == pytest.approx(24), "pauses of a training that was resumed do not count"
    assert measure_training([]) is None


@pytest.mark.parametrize(("plan", "late"), [([5], False), ([5, 10], True), (None, True)])
def test_a_plan_that_came_late_is_told_at_the_end(
    plan: list[int] | None, late: bool, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_study(workspace, trials=range(5), epochs=1)
    change_params({"report.looks": [5]})
    question = identify_question(load_study(list(range(5))), flatten(load_params().model_dump()))
    looks = (SeenLook(trials=list(range(5)), plan=each, margin=0.02) for each in (plan, [5]))
    History(questions={question: list(looks)}).save(LOOKS)
    conclude("Settled after 5 trials: helps.")
    first, *rest = capsys.readouterr().out.strip().splitlines()
    assert first == "Settled after 5 trials: helps."
    assert len(rest) == late
    assert all("declared or changed after looks at 5 trials" in line for line in rest)


PATIENT = """
from stages.cli import settle
from stages.cli.stage import run_stage
run_stage(lambda: settle.run_commands(["trap '' INT", "echo started", "sleep 60"]))
"""


def test_what_does_not_heed_ctrl_c_ends_by_sigterm() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PATIENT], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "started\n"
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=30)[0] == "", "the pipe ends when all that was started has ended"
        assert process.returncode == 143


SETTLE = f"{sys.executable} -m stages.cli.settle"
PLANNED = SMALL | {
    "train.epochs": 1,
    "augment.copies": 1,
    "augment.operations": {"hflip": {}},
    "augment.operations_per_copy": 1,
    "evaluate.robustness": False,
    "report.looks": [5, 6],
}


@pytest.mark.slow
def test_a_plan_is_followed_to_its_end(tmp_path: Path) -> None:
    folder = make_clone(tmp_path / "project", PLANNED)
    with subprocess.Popen(
        [sys.executable, "-m", "stages.cli.settle"],
        cwd=folder,
        env=build_env(folder),
        start_new_session=True,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        while not (folder / "models/augmented/1/run.json").exists():
            assert process.poll() is None
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        said = process.communicate(timeout=60)[0]
        assert process.returncode == 130
    assert re.search(r"(?s)One trial first.*Look 1 of 2: 5 trials, 4 to run, about \d+ s of training\.", said)
    said = call(folder, SETTLE)
    assert re.search(r"Look 1 of 2: 5 trials, [34] to run, about \d+ s of training\.", said)
    assert re.search(r"The 1[02] trainings took \d+ s\.", said)
    assert re.search(r"Look 2 of 2: 6 trials, 1 to run, about \d+ s\.", said)
    comparison = json.loads((folder / "metrics/comparison.json").read_text())
    assert comparison["trials"] == 6 or comparison["verdict"] != "cannot tell"
    assert "After the last look, 6 trials" in said or "Settled after" in said
    report = (folder / "metrics/report.md").read_text()
    assert "look 2 of 2, " in report
    assert "## Planned looks" in report
    assert "declared or changed" not in report + said
    seen = json.loads((folder / "metrics/looks.json").read_text())["questions"]
    assert list(seen.values()) == [
        [{"trials": list(range(trials)), "plan": [5, 6], "margin": 0.02} for trials in (5, 6)]
    ]
    assert "all of them run already" in call(folder, SETTLE), "it ends where it ended"
