"""What the processes of one training agree on before they begin, and what is said when they fail."""

import json
import os
import signal
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

from stages.model.architectures import build_network
from stages.model.device import select_device
from stages.model.record import Machine, list_differences
from stages.runtime.errors import UserError
from stages.training import launcher, ranks
from stages.training.launcher import announce_hosts, explain_failure, parse_launcher, prepare_environment
from stages.training.ranks import ALONE, LOST, Ranks
from tests.support.records import make_machine


@pytest.mark.parametrize("name", ["timm/test_efficientnet", "resnet18"])
def test_batch_norm_on_gpus_is_synchronized_and_else_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """timm's has an activation within, which torch's own conversion drops."""
    model = build_network(name, 2, 64).eval()
    images = torch.rand(2, 3, 64, 64)
    before, names = model(images), list(model.state_dict())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert ALONE.synchronize_norms(model) is model
    assert not [layer for layer in model.modules() if isinstance(layer, torch.nn.SyncBatchNorm)]
    converted = Ranks(0, 2).synchronize_norms(model)
    norms = [layer for layer in converted.modules() if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm)]
    assert norms
    assert all(isinstance(layer, torch.nn.SyncBatchNorm) for layer in norms)
    assert list(converted.state_dict()) == names
    assert torch.equal(converted(images), before)


def test_each_process_needs_a_gpu_where_there_are_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(UserError, match=r"starts 2 processes on this host, more than its GPUs \(1\)"):
        ranks._meet(Ranks(1, 2, 1))


def test_processes_of_one_training_take_no_turns() -> None:
    """The first would wait for the second, which would wait for the cores of the first."""
    assert isinstance(select_device("fp32", alone=False).take_turn(), nullcontext)
    assert not isinstance(select_device("fp32").take_turn(), nullcontext)


def test_cores_are_shared_among_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(launcher, "cpu_count", lambda: 7)
    for given, threads in (("", "3"), ("5", "5")):
        environment = {"OMP_NUM_THREADS": given} if given else {}
        monkeypatch.setattr(os, "environ", environment)
        prepare_environment(2)
        assert environment["OMP_NUM_THREADS"] == threads, "what the user says counts"
        assert environment["LOKY_MAX_CPU_COUNT"] == "3"
    environment = {}
    monkeypatch.setattr(os, "environ", environment)
    prepare_environment(20)
    assert environment["OMP_NUM_THREADS"] == "1"


def test_another_number_of_processes_is_another_machine() -> None:
    one, two = make_machine(), make_machine(processes=2)
    assert list_differences(one, two) == ["processes 1 -> 2"]
    assert "processes" not in one.model_dump(), "run.json is as it was before there could be several"
    assert Machine.model_validate(two.model_dump()) == two


def test_the_first_host_says_what_to_run_on_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "torchrun --nnodes 2 --nproc-per-node 4 --master-addr first --master-port 29500"
    command = ["--no-python", "python", "-m", "stages.train", "--arm", "original"]
    for more, said in (("", True), (" --node-rank 1", False)):
        announce_hosts(words, parse_launcher(words + more, str(tmp_path), command), command)
        out = capsys.readouterr().out
        assert ("PET_NODE_RANK=1 python -m stages.train --arm original\n" in out) == said


def fail(folder: Path, status: int, message: str = "") -> ProcessFailure:
    """A process that ended like this, having left its error or none."""
    file = folder / f"{status}-{len(message)}.json"
    if message:
        file.write_text(json.dumps({"message": message}))
    return ProcessFailure(local_rank=0, pid=42, exitcode=status, error_file=str(file))


def test_of_several_failures_the_cause_is_told(tmp_path: Path) -> None:
    lost, ended = fail(tmp_path, LOST), fail(tmp_path, -signal.SIGTERM)
    killed, wrong = fail(tmp_path, -signal.SIGKILL), fail(tmp_path, 1, "the loss became nan")
    with pytest.raises(UserError, match=r"^the loss became nan$"):
        explain_failure({0: lost, 1: killed, 2: wrong, 3: wrong})
    with pytest.raises(UserError, match=r"rank 1 \(process 42\) was killed by SIGKILL"):
        explain_failure({0: lost, 1: killed, 2: ended})
    with pytest.raises(UserError, match="a rank on another host has ended"):
        explain_failure({0: lost, 1: ended})
    with pytest.raises(SystemExit) as end:
        explain_failure({0: fail(tmp_path, 143), 1: lost})
    assert end.value.code == 143
