"""Which looks were taken at the same question, and under which plan: metrics/looks.json, which outlives its stage.

An interval holds for one look, or for the looks of a plan that was declared before the first. Whoever looks again,
changes the plan or the margin, or takes other trials instead, must be able to see that in the report; the file is in
git, as all of metrics/.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.base.records import Record
from stages.comparison.study import Study
from stages.runtime.errors import UserError

# params that do not change the question
UNRELATED = ("trials", "report", "evaluate", "train.launcher", "train.threads")
LOOKS = Path("metrics/looks.json")


class SeenLook(Record):
    """That a report was made of these trials, under a plan or none, with this margin."""

    trials: list[int]
    plan: list[int] | None
    margin: float


class History(Record):
    """Looks in the order in which they were taken, by a short hash of the question."""

    questions: dict[str, list[SeenLook]]

    def add(self, question: str, look: SeenLook) -> "History":
        """The same with one more look, unless it is the last one there, or no look: one trial gives no verdict."""
        seen = self.questions.get(question, [])
        if len(look.trials) == 1 or seen[-1:] == [look]:
            return self
        return History(questions=self.questions | {question: [*seen, look]})


@dataclass(frozen=True)
class Caveats:
    """What earlier looks do to the last one, in words; empty where they do nothing.

    looks: to its error rate. margin: that the margin was another.
    """

    looks: str = ""
    margin: str = ""

    @property
    def text(self) -> str:
        """All of it."""
        return " ".join(filter(None, [self.looks, self.margin]))


def load_history(path: Path) -> History:
    """The file's, or an empty one. Raises UserError when it is damaged: unlike other files, no stage makes it again."""
    if not path.exists():
        return History(questions={})
    try:
        return History.load(path)
    except UserError as error:
        reason = re.split(r" (?:Run|Delete the file)", str(error))[0]
        raise UserError(f"{reason} Restore it with git; without it, nobody knows of earlier looks.") from error


def identify_question(study: Study, params: dict[str, Any]) -> str:
    """A hash of photos and params; ``params``: with dotted names."""
    deciding = {key: value for key, value in params.items() if not key.startswith(UNRELATED)}
    photos = [study.first.source, study.first.version, study.photos]
    return hashlib.sha256(json.dumps([photos, deciding], sort_keys=True).encode()).hexdigest()[:12]


def describe_history(seen: list[SeenLook]) -> Caveats:
    """What the looks before the last one do to it."""
    return Caveats(describe_looks(seen), describe_margins(seen)) if seen else Caveats()


def describe_looks(seen: list[SeenLook]) -> str:
    """What looks at fewer, more or other trials do to the error rate; empty where there were none but the plan's."""
    *before, last = seen
    plan = last.plan
    if plan is None:
        earlier = [look for look in before if set(look.trials) != set(last.trials)]
    else:
        earlier = [look for look in before if look.plan != plan or not is_part(look, last)]
    if not earlier:
        return ""
    numbers = [f"{len(look.trials)}{'' if is_part(look, last) else ' other'}" for look in earlier]
    after = f"{', '.join(numbers[:-1])} and {numbers[-1]}" if len(numbers) > 1 else numbers[0]
    if plan is None:
        return (
            f"This question has been looked at before, after {after} trials, without a plan: each further look is "
            "another chance for a false alarm, so that the true error rate is above 5 %. `report.looks` in params.yaml "
            "plans looks that keep it."
        )
    what = "plan was" if all(is_part(look, last) for look in earlier) else "plan, or the trials it looks at, were"
    return (
        f"The {what} declared or changed after looks at {after} trials: it does not account for these, so that the "
        "true error rate is above 5 %."
    )


def is_part(look: SeenLook, last: SeenLook) -> bool:
    """Whether one of two looks had all trials of the other, in whatever order."""
    fewer, more = sorted((set(look.trials), set(last.trials)), key=len)
    return fewer <= more


def describe_margins(seen: list[SeenLook]) -> str:
    """That an earlier look had another margin; empty where none had."""
    *before, last = seen
    margins = sorted({look.margin for look in before} - {last.margin})
    if not margins:
        return ""
    listed = " and ".join(f"±{100 * margin:g}" for margin in margins)
    return (
        f"Earlier looks had a margin of {listed} percentage points: whoever widens it after seeing the interval "
        "can turn almost any open answer into “no practical difference”."
    )
