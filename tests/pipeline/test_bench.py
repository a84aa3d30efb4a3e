"""The table of benchmarks: ratios within rounds, bars, and what became worse."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.parts.pipeline import measure_stages
from benchmarks.processes import Usage, run
from benchmarks.table import Row, is_worse, load_machines, load_results, name_row, render_page, render_table, save_rows
from tests.conftest import ROOT

ROW = Row("training", "stage against the loop", "images/s", [30.0, 8.0, 9.0], [10.0, 4.0, 9.0], bar=2.5)


def test_a_ratio_is_taken_round_by_round() -> None:
    assert ROW.result == 2, "of the medians it would be 1"
    assert replace(ROW, others=None).result == 9


@pytest.mark.parametrize(("bar", "more_is_better", "met"), [(2.0, True, True), (2.1, True, False), (1.9, False, False)])
def test_a_bar_that_is_missed_is_said(bar: float, more_is_better: bool, met: bool) -> None:
    row = replace(ROW, bar=bar, more_is_better=more_is_better)
    assert row.met == met
    assert ("**missed**" in render_table([row], {})) == (not met)


def test_rows_are_kept_for_the_same_machine_and_show_what_became_worse(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    assert load_results(file, "here") == {}
    save_rows([ROW], "here", file)
    assert load_results(file, "there") == {}
    before = load_results(file, "here")
    assert before == {name_row(ROW): 2.0}
    slower = replace(ROW, values=[30.0, 7.0, 9.0])
    assert (is_worse(ROW, 2.0), is_worse(slower, 2.0)) == (False, True)
    assert is_worse(replace(slower, more_is_better=False), 1.4)
    assert "**worse**" in render_table([slower], before)
    assert "**worse**" not in render_table([ROW], before)


@pytest.mark.parametrize(("seconds", "worse"), [(13.0, False), (16.0, True), (5.0, False)])
def test_seconds_that_nothing_is_compared_with_may_drift(seconds: float, worse: bool) -> None:
    row = Row("start", "stages/train.py", "s", [seconds], more_is_better=False)
    assert is_worse(row, 10.0) is worse
    assert is_worse(replace(row, unit="MiB"), 10.0) is (seconds > 11)


def test_a_part_that_is_measured_alone_leaves_the_others(tmp_path: Path) -> None:
    file, other = tmp_path / "bench.json", replace(ROW, part="growth")
    save_rows([ROW, other], "here", file)
    save_rows([replace(other, others=None)], "here", file)
    assert load_results(file, "here") == {name_row(ROW): 2.0, name_row(other): 9.0}
    save_rows([other], "there", file)
    assert load_results(file, "there") == {name_row(other): 2.0}
    assert load_results(file, "here") == {name_row(ROW): 2.0, name_row(other): 9.0}, "beside another machine's"


def test_the_published_tables_are_those_of_the_numbers() -> None:
    file = ROOT / "benchmarks/results.json"
    assert file.with_suffix(".md").read_text() == render_page(load_machines(file))


def test_a_stage_lasts_until_dvc_has_recorded_what_is_new_or_goes_on() -> None:
    lines = [
        (1.0, "Stage 'fetch' didn't change, skipping"),
        (1.2, "Running stage 'split@0':"),
        (2.0, "Running stage 'train_original@0':"),
        (9.0, "Updating lock file 'dvc.lock'"),
        (9.5, "Running stage 'report':"),
        (12.0, "Updating lock file 'dvc.lock'"),
    ]
    assert measure_stages(Usage(12.5, 20.0, 900.0, lines)) == {
        "split": pytest.approx(0.8),
        "train_original": 7.0,
        "report": 2.5,
    }


def test_a_process_is_measured_with_those_it_waits_for_and_a_failure_is_told(tmp_path: Path) -> None:
    child = "import time; t = time.process_time()\nwhile time.process_time() < t + 0.3: pass"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True); print('done')"
    used = run([sys.executable, "-c", parent], tmp_path, {})
    assert used.cpu_s >= 0.3
    assert 5 < used.peak_mib < 60, "not that of the process that measures"
    assert [line for _, line in used.lines] == ["done"]
    with pytest.raises(RuntimeError, match=r"exit status 3\nno"):
        run([sys.executable, "-c", "print('no'); raise SystemExit(3)"], tmp_path, {})
