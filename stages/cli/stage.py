"""How a stage runs as a command: its arguments, and how it ends - quietly, with one message, or by a signal."""

import argparse
import gc
import os
import signal
import sys
from collections.abc import Callable
from io import TextIOWrapper

from stages.runtime.errors import INTERRUPTED, UserError
from stages.runtime.parent import end_with_parent


def parse_trial(description: str | None) -> int:
    """The trial that the command line names; ``description`` is the script's docstring."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trial", type=int, required=True)
    trial: int = parser.parse_args().trial
    return trial


def run_stage(main: Callable[[], None]) -> None:
    """Run a stage's ``main`` and turn what the user can cause into one line and an exit status.

    Exit status: 1 for a `UserError` or a full disk, 130 for Ctrl-C, 143 for SIGTERM. Both signals unwind
    the stack, so that temporary files are removed and the tracked run is closed.
    """
    gc.freeze()  # what is loaded by now stays until the end
    signal.signal(signal.SIGTERM, _raise_system_exit)
    end_with_parent()
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a log shows each line when it is written, as a terminal does
    module = getattr(sys.modules["__main__"].__spec__, "name", "")
    name = os.environ.get("DVC_STAGE", "").split("@")[0] or module.removesuffix(".__main__")
    try:
        main()
    except UserError as error:
        sys.exit(f"{name}: error: {error}")
    except KeyboardInterrupt:
        print(f"{name}: {INTERRUPTED}", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    gc.freeze()  # else Python looks through all that was loaded for garbage once more, for half a second


def _raise_system_exit(signum: int, _frame: object) -> None:
    raise SystemExit(128 + signum)
