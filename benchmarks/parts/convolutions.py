"""A training step of ResNet-50 against the machine's limits: a matrix product, and its convolutions alone."""

import json

from benchmarks.processes import alternate
from benchmarks.step import Measured
from benchmarks.table import Row
from benchmarks.workspace import Workspace

CONVOLUTIONS_BAR = 0.75


def measure(workspace: Workspace, rounds: int) -> list[Row]:
    """The share of the matrix product's speed, and of what convolutions alone would allow."""
    used = alternate({"step": workspace.plan("python", "-m", "benchmarks.step")}, rounds)["step"]
    results = [Measured(**json.loads(usage.lines[-1][1])) for usage in used]
    step, product = [result.step_flops / 1e9 for result in results], [result.product_flops / 1e9 for result in results]
    shares = [result.convolutions for result in results]
    return [
        Row("training step", "against a matrix product of the same type", "GFLOP/s", step, product),
        Row("training step", "of the speed that convolutions alone allow", "", shares, bar=CONVOLUTIONS_BAR),
    ]
