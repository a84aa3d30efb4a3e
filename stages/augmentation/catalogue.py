"""AugLy's operations and what each takes, read from AugLy's source: importing it takes a second, parsing 10 ms."""

import ast
import re
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from stages.runtime.errors import UserError

SOURCE = "augly/image/functional.py"
KINDS = {"float": "a number", "int": "a whole number", "bool": "true or false", "str": "text"}
PLUMBING = {"image", "output_path", "metadata", "bboxes", "bbox_format"}
"""What every operation of AugLy takes that is no magnitude."""

UNUSABLE = {
    "apply_lambda": "takes a Python function",
    "apply_pil_filter": "takes a filter of Pillow as a Python object",
    "masked_composite": "takes a Python function",
    "meme_format": "does not work with Pillow 10 or newer",
    "overlay_image": "takes a second image",
    "overlay_onto_background_image": "takes a second image",
    "overlay_text": "draws its text anew whenever AugLy is imported, so no copy could be made again",
}
"""Operations that params.yaml cannot describe, or that do not give the same copy twice."""


class Signature(NamedTuple):
    """What an operation takes.

    ``magnitudes``: per name its type, a key of `KINDS`, or an empty string for what YAML cannot hold.
    ``takes_seed``: whether its random numbers follow from an argument ``seed``.
    """

    magnitudes: dict[str, str]
    takes_seed: bool


def import_augly() -> ModuleType:
    """AugLy's image functions, imported when they are needed: that takes a second."""
    import numpy as np
    import pylibmagic  # noqa: F401  brings libmagic, which AugLy needs at import

    vars(np).setdefault("float", float)  # perspective_transform uses the alias that numpy 1.24 removed
    from augly import image

    module: ModuleType = image
    return module


@cache
def load_catalogue() -> dict[str, Signature]:
    """Every operation of AugLy by name, without those that are `UNUSABLE`. Raises UserError when AugLy is missing."""
    spec = find_spec("augly")
    if spec is None or spec.origin is None:
        raise UserError("AugLy is not installed, so augment.operations cannot be checked. Run `make` to install it.")
    module = ast.parse((Path(spec.origin).parents[1] / SOURCE).read_text(encoding="utf-8"))
    functions = (node for node in module.body if isinstance(node, ast.FunctionDef))
    return {function.name: _read_signature(function) for function in functions if function.name not in UNUSABLE}


def find_signature(name: str) -> Signature:
    """What the operation takes. Raises ValueError when AugLy has none of that name, or none that can be used."""
    if name in UNUSABLE:
        raise ValueError(f"{name} cannot be used: it {UNUSABLE[name]}. Remove it")
    catalogue = load_catalogue()
    if name not in catalogue:
        near = get_close_matches(name, catalogue)
        hint = f"; near it are {', '.join(near)}" if near else ""
        raise ValueError(
            f"{name} is not an operation of AugLy{hint}. Its functions in {SOURCE} are the catalogue "
            "(https://github.com/facebookresearch/AugLy)"
        )
    return catalogue[name]


def _read_signature(function: ast.FunctionDef) -> Signature:
    arguments = {argument.arg: argument.annotation for argument in function.args.args}
    magnitudes = {name: _read_kind(name, kind) for name, kind in arguments.items() if name not in {*PLUMBING, "seed"}}
    return Signature(magnitudes, "seed" in arguments)


def _read_kind(name: str, annotation: ast.expr | None) -> str:
    if name.endswith(("_file", "path")):  # a file outside the repository, which no stage depends on
        return ""
    kind = re.fullmatch(r"(?:Optional\[)?(\w+)\]?", ast.unparse(annotation) if annotation else "")
    return kind[1] if kind and kind[1] in KINDS else ""
