"""Ctrl-C before a stage has begun, as its libraries take seconds to load."""

from __future__ import annotations  # the doctor runs in a Python that is too old, to say so

import os
import sys
from types import TracebackType

from stages.runtime.errors import INTERRUPTED


def report_interrupts() -> None:
    """Have this process, if it was started as a command of ours, end by Ctrl-C with one line and no traceback.

    Once a stage runs, `stages.cli.stage.run_stage` sees to it. Of the processes of one training only
    the first one prints.
    """
    arguments = getattr(sys, "orig_argv", [])  # which Python 3.9 does not have
    if arguments[1:2] == ["-m"] and arguments[2].startswith(("ablation.", "stages.")):
        sys.excepthook = _report


def _report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        if os.environ.get("RANK", "0") == "0":
            print(f"{sys.orig_argv[2]}: {INTERRUPTED}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)
