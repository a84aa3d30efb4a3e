"""Publish studies in git: two files each, and the report that follows from them, without photographs.

Command  python -m stages.cli.study --save docs/study/NAME     publish what metrics/ holds now
         python -m stages.cli.study docs/study/NAME [...]      render the reports of published studies again
"""

import argparse
from pathlib import Path

from stages.base.sections import flatten
from stages.cli.params import load_params
from stages.cli.stage import run_stage
from stages.comparison.published import render_published, save_study
from stages.comparison.study import load_study


def main() -> None:
    """Save the study in metrics/, or render saved ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", type=Path, help="write the study in metrics/ to this folder")
    parser.add_argument("folders", type=Path, nargs="*", help="render the reports of these")
    args = parser.parse_args()
    if args.save:
        params = load_params()
        save_study(load_study(params.trials), flatten(params.model_dump()), args.save)
    for folder in [*args.folders, *filter(None, [args.save])]:
        render_published(folder)


if __name__ == "__main__":
    run_stage(main)
