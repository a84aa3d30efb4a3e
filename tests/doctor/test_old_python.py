"""The doctor runs in a Python that is too old for everything else, as to say that is its task."""

import ast
import subprocess
import sys
from pathlib import Path

OLD = (3, 8)
LIST = """
import sys
del sys.orig_argv  # as before Python 3.10
import stages.doctor.__main__
print(*(module.__file__ for name, module in sys.modules.items() if name.startswith("stages") and module.__file__))
"""


def list_unions(tree: ast.Module) -> list[str]:
    """Annotations such as ``int | None``, which fail before Python 3.10 wherever they are evaluated."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    arguments = [node for node in ast.walk(tree) if isinstance(node, ast.arg | ast.AnnAssign)]
    annotations = [*(node.returns for node in functions), *(node.annotation for node in arguments)]
    return [
        ast.unparse(annotation)
        for annotation in annotations
        if annotation and any(isinstance(part, ast.BitOr) for part in ast.walk(annotation))
    ]


def test_what_the_doctor_loads_at_its_start_runs_in_an_old_python() -> None:
    loaded = subprocess.run([sys.executable, "-c", LIST], capture_output=True, text=True, check=True).stdout.split()
    assert len(loaded) > 8
    for file in loaded:
        text = Path(file).read_text()
        tree = ast.parse(text, feature_version=OLD)
        assert "from __future__ import annotations" in text or not list_unions(tree), file
