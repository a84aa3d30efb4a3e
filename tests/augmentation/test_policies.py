"""torchvision's policies: bytes follow from the photo and its draw alone, and nothing else is moved by them."""

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from stages import augment, split
from stages.augmentation.draws import draw_operations
from stages.augmentation.operations import apply_operations
from stages.augmentation.params import TORCHVISION_POLICIES
from stages.augmentation.policies import apply_policy
from stages.cli.params import load_params
from stages.photos.manifest import CopyTable
from stages.runtime.errors import UserError
from tests.conftest import ROOT, change_params, make_image

PARAMS = load_params(ROOT / "params.yaml").augment


@pytest.fixture
def two_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def run_augment(monkeypatch: pytest.MonkeyPatch, policy: str) -> pd.DataFrame:
    change_params({"augment.policy": policy})
    monkeypatch.setattr(sys, "argv", ["stage", "--trial", "0"])
    split.main()
    augment.main()
    return CopyTable.load(Path("data/augmented/0.csv"))


@pytest.mark.parametrize("policy", TORCHVISION_POLICIES)
def test_copies_differ_between_photos_and_between_copies(
    policy: str, photos: None, one_process: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = run_augment(monkeypatch, policy)
    assert len(copies) == 32
    assert copies["operations"].str.fullmatch(rf'\[{{"name": "{policy}", "seed": \d+}}\]').all()
    assert copies["operations"].is_unique, "one draw for each copy"
    per_photo = copies.groupby("source_path")["sha256"].nunique()
    # AugMix may mix in nothing, TrivialAugmentWide may draw the identity
    assert (per_photo == 2).sum() >= 15
    assert copies["sha256"].nunique() >= 30


def test_bytes_do_not_depend_on_the_number_of_processes(photos: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """AugMix does arithmetic on tensors, of which sums depend on the threads; workers have fewer."""
    found = {}
    for processes in ("1", "2"):
        monkeypatch.setenv("LOKY_MAX_CPU_COUNT", processes)
        found[processes] = run_augment(monkeypatch, "AugMix")
    pd.testing.assert_frame_equal(found["1"], found["2"])


@pytest.mark.parametrize("policy", TORCHVISION_POLICIES)
def test_a_draw_depends_on_nothing_before_it(policy: str, two_threads: None) -> None:
    image = make_image(96, 64)
    seeds = [0, 1, 2**63 - 1, *range(2, 10)]
    first = {seed: apply_policy(image, policy, seed).tobytes() for seed in seeds}
    torch.manual_seed(9)
    torch.set_num_threads(1)
    assert first == {seed: apply_policy(image, policy, seed).tobytes() for seed in reversed(seeds)}
    assert len(set(first.values())) > 5
    assert {apply_policy(image, policy, seed).size for seed in seeds} == {image.size}


@pytest.mark.parametrize("policy", TORCHVISION_POLICIES)
def test_global_state_is_left_alone(policy: str, two_threads: None) -> None:
    def read_state() -> list[Any]:
        return [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]  # type: ignore[index]

    before = read_state()
    image = make_image(96, 64)
    expected = image.tobytes()
    apply_operations(image, [{"name": policy, "seed": 3}], Path())
    assert read_state() == before
    assert torch.get_num_threads() == 2
    assert image.tobytes() == expected, "the photo serves for the next copy as well"


def test_a_failing_policy_restores_what_it_seeded(two_threads: None) -> None:
    before = torch.get_rng_state()
    with pytest.raises(
        UserError, match=r'cannot apply \[\{"name": "AugMix", "seed": 3\}\] to a.jpg: .*augment\.policy'
    ):
        apply_operations("no image", [{"name": "AugMix", "seed": 3}], Path("a.jpg"))  # type: ignore[arg-type]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == 2


def test_a_policy_is_one_operation_with_the_seed_of_the_copy() -> None:
    params = PARAMS.model_copy(update={"policy": "RandAugment"})
    assert draw_operations(params, 123) == [{"name": "RandAugment", "seed": 123}]


def test_a_policy_needs_no_operations(workspace: Path) -> None:
    change_params({"augment.policy": "AugMix", "augment.operations": {}})
    assert load_params().augment.operations == {}


@pytest.mark.parametrize("operations", [{}, {"hflip": {"p": 0}, "vflip": {"p": 0.0}}])
def test_an_empty_policy_is_one_message(workspace: Path, operations: dict[str, Any]) -> None:
    change_params({"augment.operations": operations, "augment.operations_per_copy": 1})
    with pytest.raises(UserError, match=r"policy augly applies no operation, so every copy would be the photo itself"):
        load_params()


def test_augly_needs_no_torch(photos: None) -> None:
    """It takes seconds to import, in each process."""
    program = (
        "import sys; from stages import augment, split; split.main(); augment.main(); print('torch' in sys.modules)"
    )
    environment = {"PYTHONPATH": str(ROOT), "LOKY_MAX_CPU_COUNT": "1", "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", program, "--trial", "0"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "False"
