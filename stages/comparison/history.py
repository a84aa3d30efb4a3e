"""Which looks were taken at the same question, and under which plan: metrics/looks.json, which outlives its stage.

An interval holds for one look, or for the looks of a plan that was declared before the first. Whoever looks again, or
changes the plan, must be able to see that in the report; the file is in git, as all of metrics/.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from stages.base.records import Record
from stages.comparison.study import Study
from stages.runtime.errors import UserError

UNRELATED = ("trials", "report", "evaluate", "train.threads")  # params that do not change the question
LOOKS = Path("metrics/looks.json")


class SeenLook(Record):
    """That a report was made of so many trials, under a plan or none."""

    trials: int
    plan: list[int] | None


class History(Record):
    """Looks in the order in which they were taken, by a short hash of the question."""

    questions: dict[str, list[SeenLook]]

    def add(self, question: str, trials: int, plan: list[int] | None) -> "History":
        """The same with one more look, unless it is the last one there, or no look: one trial gives no verdict."""
        seen, now = self.questions.get(question, []), SeenLook(trials=trials, plan=plan)
        if trials == 1 or seen[-1:] == [now]:
            return self
        return History(questions=self.questions | {question: [*seen, now]})


def load_history(path: Path) -> History:
    """The file's, or an empty one. Raises UserError when it is damaged: unlike other files, no stage makes it again."""
    if not path.exists():
        return History(questions={})
    try:
        return History.load(path)
    except UserError as error:
        reason = str(error).partition(" Run `dvc repro`")[0]
        raise UserError(f"{reason} Restore it with git; without it, nobody knows of earlier looks.") from error


def identify_question(study: Study, params: dict[str, Any]) -> str:
    """A hash of photos and params; ``params``: with dotted names."""
    deciding = {key: value for key, value in params.items() if not key.startswith(UNRELATED)}
    photos = [study.first.source, study.first.version, study.photos]
    return hashlib.sha256(json.dumps([photos, deciding], sort_keys=True).encode()).hexdigest()[:12]


def describe_history(seen: list[SeenLook]) -> str:
    """What earlier looks do to the error rate of the last; empty where there were none, or all belong to the plan."""
    if not seen:
        return ""
    plan = seen[-1].plan
    earlier = [look for look in seen[:-1] if look.plan != plan or plan is None]
    if not earlier:
        return ""
    numbers = [f"{look.trials}" for look in earlier]
    after = f"{', '.join(numbers[:-1])} and {numbers[-1]}" if len(numbers) > 1 else numbers[0]
    if plan is None:
        return (
            f"This question has been looked at before, after {after} trials, without a plan: each further look is "
            "another chance for a false alarm, so that the true error rate is above 5 %. `report.looks` in params.yaml "
            "plans looks that keep it."
        )
    return (
        f"The plan was declared or changed after looks at {after} trials: it does not account for these, so that the "
        "true error rate is above 5 %."
    )
