"""The model: the labs' ResNet-50, the same bytes from the same seed, and nothing loaded that is not what was saved."""

import hashlib
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from stages.model.device import Device, select_device, set_threads
from stages.model.network import (
    MODEL_FILE,
    build_model,
    compute_weights_sha256,
    encode_weights,
    list_layers,
    load_model,
    predict_logits,
)
from stages.model.record import TrainRecord, list_differences
from stages.runtime.errors import UserError
from tests.support.records import make_network, make_run

CPU = Device(torch.device("cpu"), "fp32")


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return build_model(make_network(), 2, seed=1)


def describe(data: bytes) -> TrainRecord:
    return make_run(model_sha256=hashlib.sha256(data).hexdigest())


def test_model_is_the_labs(model: nn.Module) -> None:
    layers = list_layers(model)
    assert (len(layers), layers["weights"].sum()) == (161, 23_512_130)
    assert layers["trainable"].all()
    assert layers.iloc[0].tolist() == ["conv1.weight", "64x3x7x7", 9408, True]
    assert layers.iloc[-1].tolist() == ["fc.bias", "2", 2, True]


def test_weights_follow_from_the_seed_alone(model: nn.Module) -> None:
    before = torch.get_rng_state()
    assert compute_weights_sha256(build_model(make_network(), 2, seed=1)) == compute_weights_sha256(model)
    assert compute_weights_sha256(build_model(make_network(), 2, seed=2)) != compute_weights_sha256(model)
    assert torch.equal(torch.get_rng_state(), before)


def test_reloaded_model_predicts_the_same_bytes(model: nn.Module, tmp_path: Path) -> None:
    images = torch.randint(0, 256, (70, 3, 32, 32), dtype=torch.uint8)  # more than one batch
    data = encode_weights(model)
    (tmp_path / MODEL_FILE).write_bytes(data)
    reloaded = load_model(tmp_path, describe(data))
    logits = predict_logits(model, images, make_network(), CPU)
    assert logits.shape == (70, 2)
    assert torch.equal(predict_logits(reloaded, images, make_network(), CPU), logits)
    assert encode_weights(reloaded) == data


def test_changed_byte_is_named(model: nn.Module, tmp_path: Path) -> None:
    data = bytearray(encode_weights(model))
    data[len(data) // 2] ^= 1
    (tmp_path / MODEL_FILE).write_bytes(data)
    with pytest.raises(UserError, match="was changed"):
        load_model(tmp_path, describe(encode_weights(model)))


def test_pickled_code_is_never_run(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "owned",)

    data = pickle.dumps(Attack())
    (tmp_path / MODEL_FILE).write_bytes(data)
    with pytest.raises(UserError, match="is not a resnet50 with 2 classes"):
        load_model(tmp_path, describe(data))
    assert not (tmp_path / "owned").exists()


def test_other_number_of_classes_is_named(tmp_path: Path) -> None:
    data = encode_weights(build_model(make_network(), 3, seed=1))
    (tmp_path / MODEL_FILE).write_bytes(data)
    with pytest.raises(UserError, match="is not a resnet50 with 2 classes"):
        load_model(tmp_path, describe(data))


def test_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        load_model(tmp_path, make_run())


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [({"avx2": True}, "fp32"), ({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16"), ({"bf16": True}, "bf16")],
)
def test_auto_precision_follows_the_hardware(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert select_device("auto").precision == expected
    assert select_device("fp32").precision == "fp32"


def test_bf16_changes_the_numbers_a_little(model: nn.Module) -> None:
    images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    exact = predict_logits(model, images, make_network(), CPU).numpy()
    rounded = predict_logits(model, images, make_network(), Device(torch.device("cpu"), "bf16")).numpy()
    assert not np.array_equal(exact, rounded)
    np.testing.assert_allclose(rounded, exact, rtol=0.05)


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Eight cores for torch and for this process, wherever the test runs."""
    before = torch.get_num_threads()
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    torch.set_num_threads(8)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("files", "threads"),
    [
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "300000 100000\n"}, 3),
        ({"cpu.max": "150000 100000\n"}, 2),  # one thread would leave a third of the quota unused
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({}, 8),
    ],
)
def test_threads_follow_the_quota_of_a_control_group(
    files: dict[str, str], threads: int, cores: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel's files of version 2, and of version 1."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    def redirect(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda path, *rest, **options: function(
            str(path).replace("/sys/fs/cgroup", str(tmp_path)), *rest, **options
        )

    monkeypatch.setattr(os.path, "exists", redirect(os.path.exists))
    monkeypatch.setattr("builtins.open", redirect(open))
    set_threads(None)
    assert torch.get_num_threads() == threads


def test_threads_follow_the_affinity_the_environment_and_the_param(
    cores: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(2)  # as torch does where OMP_NUM_THREADS=2
    set_threads(None)
    assert torch.get_num_threads() == 2
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    set_threads(None)
    assert torch.get_num_threads() == 1, "no more than this process may use"
    set_threads(3)
    assert torch.get_num_threads() == 3, "a number is taken as it is: it decides bytes"
    assert select_device("fp32").describe("resnet50").threads == 3


def test_a_machine_is_its_processor_and_what_that_can_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """AVX-512 with and without AMX: torch calls both "AVX512", and their bf16 kernels differ."""
    capabilities = {"cpu_name": "Intel Xeon", "avx512_f": True, "l2_cache_size": 2097152, "num_sockets": 1}
    machines = []
    for amx in (True, False):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda amx=amx: capabilities | {"amx_bf16": amx})
        machines.append(select_device("fp32").describe("resnet50"))
    assert machines[0].cpu_name == "Intel Xeon"
    assert machines[0].cpu_flags.split()[1:] == ["amx_bf16", "avx512_f", "l2_cache_size=2097152"]
    assert list_differences(*machines) == ["processor features amx_bf16"]


def test_another_network_with_a_library_of_its_own_is_no_other_machine() -> None:
    device = select_device("fp32")
    one, other = device.describe("resnet50"), device.describe("timm/resnet18")
    assert list_differences(one, other) == list_differences(other, one) == []
    other.versions["torch"] = "1.0"
    assert list_differences(one, other) == [f"versions.torch {one.versions['torch']} -> 1.0"]
