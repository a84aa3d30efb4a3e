"""How often planned looks err, all looks together, and how soon they end, by simulation: docs/looks.md.

``make calibration`` writes the page. The levels and intervals are those of stages/comparison/ itself.
"""

import itertools
import math
import textwrap
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from scipy import stats

from benchmarks.calibration import (
    COVERAGE,
    FALSE_ALARMS,
    HALVES,
    LEARNERS,
    MARGIN,
    PHOTOS_OF_LEARNER,
    Effects,
    compute_error,
    draw_tested,
    percent,
    render_table,
    run_learner,
)
from stages.comparison.format import format_signed
from stages.comparison.looks import compute_levels
from stages.comparison.statistics import LEVEL, Spread, Values, decide, measure_spread

PAGE = Path(__file__).parent.parent / "docs" / "looks.md"
PLANS = ((5, 10, 20), (5, 10, 20, 40))
FIXED = (10, 20, 40, 50)
FOLLOWED = (*(" ".join(map(str, plan)) for plan in PLANS), "fixed 10", "fixed 20")
"""The ways to decide whose ends are shown."""
DIFFERENCES = (0.0, 0.02, 0.05, 0.1)
PHOTOS = (140, 700, 2000)
STUDIES = 2000
FOREIGN = (*LEARNERS, HALVES)
REGIMES = (
    Effects("55 % correct, trials alike", 0.55, 1, 0, 0),
    Effects("55 % correct, trials differ, photos react", 0.55, 1, 0.3, 0.5),
    Effects("80 % correct, trials alike", 0.8, 1, 0, 0),
    Effects("80 % correct, trials differ, photos react", 0.8, 1, 0.3, 0.5),
    Effects("95 % correct, trials alike", 0.95, 2, 0, 0),
    Effects("95 % correct, trials differ, photos react", 0.95, 2, 0.5, 0.3),
    Effects("98 % correct, trials alike", 0.98, 2, 0, 0),
    Effects("98 % correct, trials differ, photos react", 0.98, 2, 0.5, 0.3),
)


@dataclass(frozen=True)
class Row:
    """How one way to decide fared in one setting. Shares are fractions; trials: the median number at the end."""

    setting: str
    photos: int
    difference: float
    way: str
    studies: int
    coverage: float
    helps: float
    hurts: float
    right: float
    wrong: float
    trials: float

    @property
    def keeps_bars(self) -> bool:
        """Within two standard errors of the simulation."""
        alarms = self.helps + self.hurts if self.difference == 0 else 0.0
        low = COVERAGE - 2 * compute_error(COVERAGE, self.studies)
        return self.coverage >= low and alarms <= FALSE_ALARMS + 2 * compute_error(FALSE_ALARMS, self.studies)


@dataclass(frozen=True)
class End:
    """Where one study ended."""

    verdict: str
    trials: int
    covers: bool


def follow(spreads: dict[int, Spread], looks: tuple[int, ...], levels: list[float], truth: float) -> End:
    """Look by look, until a verdict or the last look; ``spreads``: of the first trials, by their number."""
    for trials, level in zip(looks, levels, strict=True):
        interval = spreads[trials].compute_interval(level)
        if (verdict := decide(interval, MARGIN)) != "cannot tell":
            break
    # a mean of fractions misses a round number by a rounding error
    return End(verdict, trials, interval.low - 1e-12 <= truth <= interval.high + 1e-12)


def is_true(verdict: str, difference: float) -> bool:
    """Whether a verdict holds of the true difference. *Cannot tell* claims nothing."""
    claims = {"helps": difference > 0, "hurts": difference < 0, "no practical difference": abs(difference) <= MARGIN}
    return claims.get(verdict, False)


def measure(values: Values) -> dict[int, Spread]:
    """What every look needs."""
    return {trials: measure_spread(values[:trials], 1) for trials in sorted({*itertools.chain(*PLANS), *FIXED})}


Way = tuple[str, tuple[int, ...], list[float]]


def list_ways() -> list[Way]:
    """Plans, the same looks without one, and fixed numbers of trials: names, looks, levels."""
    name = " ".join
    plans: list[Way] = [(name(map(str, plan)), plan, compute_levels(plan)) for plan in PLANS]
    unplanned: list[Way] = [(f"{text}, no plan", plan, [LEVEL] * len(plan)) for text, plan, _ in plans]
    return plans + unplanned + [(f"fixed {trials}", (trials,), [LEVEL]) for trials in FIXED]


def simulate_study(effects: Effects, photos: int, difference: float, rng: np.random.Generator) -> Values:
    """Gains `[T, N]` of two arms whose accuracies over all photos and trainings differ by ``difference``."""
    trials = max(FIXED)
    spread = math.sqrt(1 + effects.photo**2 + effects.reaction**2 + effects.trial**2)
    difficulty, tested = rng.normal(0, effects.photo, photos), draw_tested(photos, trials, rng)
    row, column = np.nonzero(tested)
    right = []
    for mean in (effects.accuracy - difference, effects.accuracy):
        level = float(stats.norm.ppf(mean)) * spread + rng.normal(0, effects.trial, trials)
        noise = rng.normal(0, effects.reaction, photos)[column] + rng.normal(size=len(row))
        right.append(level[row] + difficulty[column] + noise > 0)
    values = np.full(tested.shape, np.nan)
    values[row, column] = right[1].astype(float) - right[0]
    return values


def score(setting: str, photos: int, difference: float, studies: list[dict[int, Spread]]) -> list[Row]:
    """Every way to decide on the same studies."""
    rows = []
    for way, looks, levels in list_ways():
        ends = [follow(spreads, looks, levels, difference) for spreads in studies]
        verdicts = Counter(end.verdict for end in ends)
        right = sum(number for verdict, number in verdicts.items() if is_true(verdict, difference))
        wrong = len(ends) - right - verdicts["cannot tell"]
        rows.append(
            Row(
                setting=setting,
                photos=photos,
                difference=difference,
                way=way,
                studies=len(ends),
                coverage=sum(end.covers for end in ends) / len(ends),
                helps=verdicts["helps"] / len(ends),
                hurts=verdicts["hurts"] / len(ends),
                right=right / len(ends),
                wrong=wrong / len(ends),
                trials=float(np.median([end.trials for end in ends])),
            )
        )
    return rows


def score_regime(effects: Effects, photos: int, difference: float) -> list[Row]:
    """One cell of the tables, which has draws of its own, the same in every run."""
    rng = np.random.default_rng([photos, round(1000 * difference), *effects.name.encode()])
    studies = [measure(simulate_study(effects, photos, difference, rng)) for _ in range(STUDIES)]
    return score(effects.name, photos, difference, studies)


def score_learner(index: int) -> list[Row]:
    """Real classifiers whose train sets overlap; a new dataset for every study."""
    learner = FOREIGN[index]
    rng = np.random.default_rng([7, *learner.name.encode()])
    studies = [measure(run_learner(learner, PHOTOS_OF_LEARNER, rng, max(FIXED))) for _ in range(STUDIES)]
    # nobody knows the true difference of unequal arms, but the mean of two thousand datasets is close to it
    truth = 0.0 if learner.equal else float(np.mean([spreads[max(FIXED)].mean for spreads in studies]))
    return score(learner.name, PHOTOS_OF_LEARNER, truth, studies)


def calibrate() -> list[Row]:
    """Simulate everything, on all cores."""
    cells = itertools.product(REGIMES, PHOTOS, DIFFERENCES)
    jobs = [
        *(delayed(score_regime)(*cell) for cell in cells),
        *(delayed(score_learner)(i) for i in range(len(FOREIGN))),
    ]
    return list(itertools.chain.from_iterable(Parallel(n_jobs=-1)(jobs)))


# --- the page ---


def select(rows: list[Row], way: str, photos: int) -> list[Row]:
    """Of all regimes; the classifiers have a table of their own."""
    regimes = {regime.name for regime in REGIMES}
    return [row for row in rows if (row.way, row.photos) == (way, photos) and row.setting in regimes]


def render_errors(rows: list[Row]) -> str:
    """The most false alarms and the lowest coverage of all regimes."""
    cells = []
    for photos in PHOTOS:
        for way, _, _ in list_ways():
            those = select(rows, way, photos)
            alarms = max(row.helps + row.hurts for row in those if row.difference == 0)
            misses = "" if all(row.keeps_bars for row in those) else " ✗"
            cells.append(
                [f"{photos:,}", way, percent(alarms), f"{percent(min(row.coverage for row in those))}{misses}"]
            )
    return render_table(["photos", "looks", "most false alarms", "lowest coverage"], cells, 2)


def render_ends(rows: list[Row]) -> str:
    """How often a study ends with a right or a wrong verdict, and after how many trials, by true gain."""
    tables = []
    for photos in PHOTOS:
        cells = []
        for regime in REGIMES:
            for way in FOLLOWED:
                those = [row for row in select(rows, way, photos) if row.setting == regime.name]
                ends = [f"{100 * row.right:.0f} / {percent(row.wrong)} ({row.trials:g})" for row in those]
                cells.append([regime.name, way, *ends])
        names = ["regime", "looks", *(f"gain {100 * difference:g}" for difference in DIFFERENCES)]
        tables.append(f"### {photos:,} photos\n\n{render_table(names, cells, 2)}")
    return "\n\n".join(tables)


def render_learners(rows: list[Row]) -> str:
    learners = {learner.name for learner in FOREIGN}
    cells = [
        [
            row.setting,
            row.way,
            format_signed(100 * row.difference, 1),
            percent(row.coverage) + ("" if row.keeps_bars else " ✗"),
            f"{percent(row.helps)} / {percent(row.hurts)}",
        ]
        for row in rows
        if row.setting in learners
    ]
    return render_table(["classifiers", "looks", "true difference", "coverage", "helps / hurts"], cells, 2)


def render(rows: list[Row]) -> str:
    """docs/looks.md."""
    plan = " ".join(map(str, PLANS[0]))
    text = f"""
        # Planned looks: how often do they err, and how soon do they end?

        Who runs more trials until the answer looks clear finds a difference sooner or later, also where there is none.
        `report.looks` in params.yaml plans the numbers of trials at which the answer is read, and `make settle` runs
        them. Each look spends a part of 5 %, as large as its new trials are of all planned ones: with looks after 5, 10
        and 20 trials its interval has a level of 98.75, 98.75 and 97.5 %. These parts add up to 5 %, so all intervals
        hold together with at least 95 %, if each keeps its own level. Whether the whole procedure does is simulated
        here: {STUDIES:,} studies a cell, the regimes and classifiers of [the calibration](calibration.md), each study
        stopped at its first verdict. `make calibration` wrote this page. All numbers are percent.

        ## Errors over all looks

        The most false alarms (*helps* or *hurts* without a difference) and the lowest coverage of the interval at the
        look where a study stopped, of all regimes (55, 80, 95 and 98 % correct; trials alike, and trials that differ
        and photos that react) and, for the coverage, of true gains of 0, 2, 5 and 10 points. The bars: at most
        {100 * FALSE_ALARMS:g} and at least {100 * COVERAGE:g}; ✗ where a row misses one by more than two standard
        errors of the simulation. *No plan*: the same looks, each at 95 %. *Fixed*: one look, at 95 %.

        {{errors}}

        ## Real classifiers

        As in the calibration, with train sets that overlap: 140 rows, a new dataset for each study. The true difference
        of unequal arms is estimated by the mean of all studies. The last pair, two halves of the features, learns
        different things from the same rows: equal over all datasets, one is better on any one of them. More trials on
        the same rows do not reduce this part of the variance, so no plan of looks protects from it:
        [where it falls short](calibration.md#where-it-falls-short).

        {{learners}}

        ## How soon they end

        Percent of studies that end with a right verdict / with a wrong one, and in brackets the median number of trials
        of all studies; by true gain in percentage points. The others end with *cannot tell* after the last look, and
        count in the median, too: where most do, it is the last look's number. *Helps* is right of any
        gain, *no practical difference* of gains up to the margin of {100 * MARGIN:g}, so that of a gain of just
        {100 * MARGIN:g} both are. The plan {plan} stops early where the answer is clear, and pays for that with wider
        intervals where it is not.

        {{ends}}
    """
    tables = {"errors": render_errors(rows), "learners": render_learners(rows), "ends": render_ends(rows)}
    paragraphs = [
        part if part.startswith(("#", "{")) else textwrap.fill(" ".join(part.split()), 120, break_on_hyphens=False)
        for part in textwrap.dedent(text).strip().split("\n\n")
    ]
    page = "\n\n".join(paragraphs) + "\n"
    for name, table in tables.items():
        page = page.replace(f"{{{name}}}", table)
    return page


if __name__ == "__main__":
    PAGE.write_text(render(calibrate()))
