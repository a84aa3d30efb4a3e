"""How often the comparison is wrong, by simulation: studies whose true difference is known.

``make calibration`` writes docs/calibration.md. The intervals are those of stages/comparison/statistics.py itself.
"""

import math
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import stats
from sklearn import config_context
from sklearn.linear_model import SGDClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import ExtraTreeClassifier

from stages.comparison.answer import estimate_difference
from stages.comparison.format import format_signed
from stages.comparison.one_trial import compute_tango_interval
from stages.comparison.statistics import LEVEL, Groups, Interval, Values, decide, estimate_mean
from stages.comparison.textbook import bootstrap_interval, compute_corrected_t_interval

PAGE = Path(__file__).parent.parent / "docs" / "calibration.md"
COVERAGE, FALSE_ALARMS = 0.94, 0.05  # the bars, within two standard errors of the simulation
MARGIN = 0.02
FOLDS, TRIALS = 5, (5, 10)
DIFFERENCES = (0.0, 0.02, 0.05, 0.1)
REPLICATES = 400  # of the bootstrap: a hundredth of the product's or so, since it takes most of the time

Method = Callable[[Values], Interval]
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Effects:
    """What makes predictions vary. Standard deviations are of a latent score; above 0 a prediction is correct."""

    name: str
    accuracy: float  # of the better arm
    photo: float  # how photos differ in difficulty, alike for both arms
    trial: float  # how one training differs from the next, in each arm by itself
    reaction: float  # how photos differ in what an arm makes of them, in every trial
    # beside these, each photo in each trial has noise of 1


SETTINGS = (
    Effects("80 % correct, trials alike", 0.8, 1, 0, 0),
    Effects("80 % correct, trials differ", 0.8, 1, 0.3, 0),
    Effects("80 % correct, trials differ, photos react", 0.8, 1, 0.3, 0.5),
    Effects("98 % correct, trials alike", 0.98, 2, 0, 0),
    Effects("98 % correct, trials differ, photos react", 0.98, 2, 0.5, 0.3),
)
EXTREME = Effects("98 % correct, trials differ very much", 0.98, 3, 1, 0.5)


@dataclass(frozen=True)
class Size:
    """How many photos, and on how many of the studies the bootstrap is tried."""

    photos: int
    bootstrapped: int


SIZES = (Size(28, 200), Size(140, 300), Size(1000, 80))
STUDIES = 2000  # a line of any table
PHOTOS_OF_LEARNER = 140
BOOTSTRAPPED = 250  # where real classifiers, or the extreme, are studied


MEMBERS, SHARED = 5, 0.8  # photos of a group, and the share of what makes predictions vary that they have in common
GROUPS = (28, 200)
GROUPED = (SETTINGS[2], SETTINGS[3], Effects("80 % correct, photos react strongly", 0.8, 1, 0, 1))


@dataclass(frozen=True)
class Study:
    """What an experiment sees, ``values`` `[T, N]`, and the true difference of the two models of its first trial."""

    values: Values
    of_models: float = 0.0


@dataclass(frozen=True)
class Row:
    """How one method fared in one setting. All but counts are fractions."""

    photos: int
    trials: int
    setting: str
    difference: float
    method: str
    studies: int
    coverage: float
    helps: float
    hurts: float
    width: float

    @property
    def false_alarms(self) -> float:
        return self.helps + self.hurts if self.difference == 0 else 0.0

    @property
    def keeps_bars(self) -> bool:
        return self.coverage >= COVERAGE - 2 * compute_error(
            COVERAGE, self.studies
        ) and self.false_alarms <= FALSE_ALARMS + 2 * compute_error(FALSE_ALARMS, self.studies)


def compute_error(share: float, studies: int) -> float:
    """Standard error of a share among simulated studies."""
    return math.sqrt(share * (1 - share) / studies)


# --- methods ---


@cache
def _compute_reach(freedom: int) -> float:
    return float(stats.t.ppf((1 + LEVEL) / 2, freedom))


def compute_paired_t_interval(values: Values) -> Interval:
    means = np.nanmean(values, axis=1)
    mean, half = float(means.mean()), _compute_reach(len(means) - 1) * float(means.std(ddof=1)) / math.sqrt(len(means))
    return Interval(mean - half, mean + half)


METHODS: dict[str, Method] = {
    "paired t": compute_paired_t_interval,
    "Nadeau–Bengio t": lambda values: compute_corrected_t_interval(
        values, train_photos=round(values.shape[1] * (1 - 1 / FOLDS))
    ),
    "bootstrap": lambda values: bootstrap_interval(values, REPLICATES),
    "ours": lambda values: estimate_mean(values).interval,
}


def score(method: str, values: list[Values], truth: float) -> tuple[int, float, float, float, float]:
    """Studies; the shares of them in which the interval holds the truth, the verdict is helps, is hurts; mean width."""
    intervals = [METHODS[method](each) for each in values]
    verdicts = [decide(interval, MARGIN) for interval in intervals]
    return (
        len(intervals),
        # a mean of fractions misses a round number by a rounding error
        sum(interval.low - 1e-12 <= truth <= interval.high + 1e-12 for interval in intervals) / len(intervals),
        verdicts.count("helps") / len(verdicts),
        verdicts.count("hurts") / len(verdicts),
        sum(interval.high - interval.low for interval in intervals) / len(intervals),
    )


def score_all(values: list[Values], setting: str, difference: float, bootstrapped: int) -> Iterator[Row]:
    """Every method on every number of trials, the bootstrap on the first studies only.

    Fewer trials are the first ones of the same studies.
    """
    photos = values[0].shape[1]
    for trials in TRIALS:
        cut = [each[:trials] for each in values]
        for method in METHODS:
            used = cut[:bootstrapped] if method == "bootstrap" else cut
            if used:
                yield Row(photos, trials, setting, difference, method, *score(method, used, difference))


# --- studies with random effects ---


def draw_tested(photos: int, trials: int, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Which photos each trial tests `[T, N]`: five folds, drawn anew every five trials."""
    rounds = [rng.permutation(photos) % FOLDS for _ in range(math.ceil(trials / FOLDS))]
    return np.stack([rounds[trial // FOLDS] == trial % FOLDS for trial in range(trials)])


def simulate_study(effects: Effects, photos: int, difference: float, rng: np.random.Generator) -> Study:
    """Correct predictions of both arms, whose accuracies over all photos and trainings differ by ``difference``."""
    trials = max(TRIALS)
    within = math.sqrt(1 + effects.photo**2 + effects.reaction**2)
    spread = math.hypot(within, effects.trial)
    difficulty = rng.normal(0, effects.photo, photos)
    right, accuracy = [], []
    for mean in (effects.accuracy - difference, effects.accuracy):
        level = stats.norm.ppf(mean) * spread + rng.normal(0, effects.trial, (trials, 1))
        noise = rng.normal(0, effects.reaction, photos) + rng.normal(size=(trials, photos))
        right.append(level + difficulty + noise > 0)
        accuracy.append(float(stats.norm.cdf(level[0, 0] / within)))
    values = right[1].astype(float) - right[0]
    values[~draw_tested(photos, trials, rng)] = np.nan
    return Study(values, accuracy[1] - accuracy[0])


def simulate(effects: Effects, photos: int, difference: float, studies: int) -> list[Study]:
    # every cell of the tables has its own draws, the same in every run: those published when names said "right"
    name = effects.name.replace("correct", "right")
    rng = np.random.default_rng([photos, round(1000 * difference), *name.encode()])
    return [simulate_study(effects, photos, difference, rng) for _ in range(studies)]


# --- groups of photos ---


@dataclass(frozen=True)
class Grouped:
    """How the report's interval fared on photos in groups, when photos are counted, and when groups are. Fractions."""

    setting: str
    groups: int
    trials: int
    difference: float
    coverage: tuple[float, ...]
    excludes: tuple[float, ...]  # how often the interval is wholly above or below 0
    width: tuple[float, ...]


def draw_alike(rng: np.random.Generator, deviation: float, shape: tuple[int, ...]) -> Array:
    """Normal draws of one per photo, the last axis, of which the photos of a group have a share in common."""
    own = rng.normal(0, deviation, shape)
    common = rng.normal(0, deviation, (*shape[:-1], shape[-1] // MEMBERS)).repeat(MEMBERS, axis=-1)
    alike: Array = math.sqrt(SHARED) * common + math.sqrt(1 - SHARED) * own
    return alike


def simulate_grouped(effects: Effects, groups: int, difference: float, rng: np.random.Generator) -> Study:
    """As `simulate_study`, of photos in groups, each of which is tested as a whole."""
    trials, photos = max(TRIALS), groups * MEMBERS
    within = math.sqrt(1 + effects.photo**2 + effects.reaction**2)
    spread = math.hypot(within, effects.trial)
    difficulty, right, accuracy = draw_alike(rng, effects.photo, (photos,)), [], []
    for mean in (effects.accuracy - difference, effects.accuracy):
        level = float(stats.norm.ppf(mean)) * spread + rng.normal(0, effects.trial, (trials, 1))
        noise = draw_alike(rng, effects.reaction, (photos,)) + draw_alike(rng, 1, (trials, photos))
        right.append(level + difficulty + noise > 0)
        accuracy.append(float(stats.norm.cdf(level[0, 0] / within)))
    values = right[1].astype(float) - right[0]
    values[~draw_tested(groups, trials, rng).repeat(MEMBERS, axis=1)] = np.nan
    return Study(values, accuracy[1] - accuracy[0])


def score_grouped(effects: Effects, groups: int, difference: float, studies: int) -> list[Grouped]:
    """Both ways to count on the same studies, a line for each number of trials; of one, about its two models."""
    rng = np.random.default_rng([groups, MEMBERS, round(1000 * difference), *effects.name.encode()])
    drawn = [simulate_grouped(effects, groups, difference, rng) for _ in range(studies)]
    ways: list[Groups | None] = [None, np.arange(groups).repeat(MEMBERS)]
    rows = []
    for trials in (1, *TRIALS):
        truths = [study.of_models if trials == 1 else difference for study in drawn]
        found = [[estimate_difference(study.values[:trials], way).interval for study in drawn] for way in ways]
        covered = [
            sum(e.low - 1e-12 <= truth <= e.high + 1e-12 for e, truth in zip(each, truths, strict=True))
            for each in found
        ]
        rows.append(
            Grouped(
                effects.name,
                groups,
                trials,
                difference,
                tuple(number / studies for number in covered),
                tuple(sum(not e.contains(0) for e in each) / studies for each in found),
                tuple(sum(e.high - e.low for e in each) / studies for each in found),
            )
        )
    return rows


# --- one trial ---


@dataclass(frozen=True)
class OneTrial:
    """How Tango's interval fared on the first trial alone."""

    setting: str
    tested: int
    studies: int
    of_models: float  # how often it holds the true difference of the two models it was computed from
    of_augmentation: float  # how often it holds the difference over all trainings
    false_alarms: float | None  # how often it excludes 0 when that is the difference over all trainings


@cache
def _compute_tango(b: int, c: int, n: int) -> Interval:
    return compute_tango_interval(b, c, n)


def score_one_trial(studies: list[Study], setting: str, difference: float) -> OneTrial:
    first = [study.values[0][np.isfinite(study.values[0])] for study in studies]
    intervals = [_compute_tango(int((each > 0).sum()), int((each < 0).sum()), len(each)) for each in first]
    pairs = list(zip(intervals, studies, strict=True))
    return OneTrial(
        setting,
        len(first[0]),
        len(studies),
        sum(interval.contains(study.of_models) for interval, study in pairs) / len(pairs),
        sum(interval.contains(difference) for interval in intervals) / len(pairs),
        sum(not interval.contains(0) for interval in intervals) / len(pairs) if difference == 0 else None,
    )


# --- studies with a real learner ---

FEATURES = 20


def draw_dataset(photos: int, rng: np.random.Generator) -> tuple[Array, npt.NDArray[np.int64]]:
    """Two classes that differ in the first three features of each half; both halves are equally informative."""
    target = np.arange(photos) % 2
    signal = np.tile(np.arange(FEATURES // 2) < 3, 2) * 0.45
    return rng.normal(size=(photos, FEATURES)) + np.where(target[:, None], signal, -signal), target


Fit = Callable[[Array, npt.NDArray[np.int64], int, int], Callable[[Array], npt.NDArray[np.int64]]]
"""From a train set, an arm and a seed to what predicts."""


def fit_tree(x: Array, y: npt.NDArray[np.int64], arm: int, seed: int) -> Callable[[Array], npt.NDArray[np.int64]]:
    predict: Callable[[Array], npt.NDArray[np.int64]] = ExtraTreeClassifier(random_state=seed).fit(x, y).predict
    return predict


def fit_line(x: Array, y: npt.NDArray[np.int64], arm: int, seed: int) -> Callable[[Array], npt.NDArray[np.int64]]:
    model = SGDClassifier(max_iter=3, tol=None, random_state=seed)
    predict: Callable[[Array], npt.NDArray[np.int64]] = model.fit(x, y).predict
    return predict


def augmented(fit: Fit) -> Fit:
    """The second arm trains on two blurred copies of everything as well."""

    def fit_copies(x: Array, y: npt.NDArray[np.int64], arm: int, seed: int) -> Callable[[Array], npt.NDArray[np.int64]]:
        if not arm:
            return fit(x, y, arm, seed)
        noise = np.random.default_rng(seed).normal(0, 0.5, (2, *x.shape))
        return fit(np.concatenate([x, x + noise[0], x + noise[1]]), np.tile(y, 3), arm, seed)

    return fit_copies


def fit_half(x: Array, y: npt.NDArray[np.int64], arm: int, seed: int) -> Callable[[Array], npt.NDArray[np.int64]]:
    """Nearest neighbour: one arm knows the first half of the features, the other one the second."""
    half = slice(arm * FEATURES // 2, (arm + 1) * FEATURES // 2)
    model = KNeighborsClassifier(1, algorithm="brute").fit(x[:, half], y)
    return lambda test: np.asarray(model.predict(test[:, half]))


@dataclass(frozen=True)
class Learner:
    """A pair of arms; ``equal`` when neither is better on average over all data sets."""

    name: str
    fit: Fit
    equal: bool


LEARNERS = (
    Learner("random tree: two seeds", fit_tree, True),
    Learner("linear SGD: two seeds", fit_line, True),
    Learner("random tree: without and with copies", augmented(fit_tree), False),
    Learner("linear SGD: without and with copies", augmented(fit_line), False),
)
HALVES = Learner("nearest neighbour: two halves of the features", fit_half, True)


def run_learner(learner: Learner, photos: int, rng: np.random.Generator, trials: int = max(TRIALS)) -> Values:
    """One study on a dataset of its own: the difference of correct predictions `[T, N]`."""
    x, y = draw_dataset(photos, rng)
    tested = draw_tested(photos, trials, rng)
    values = np.full(tested.shape, np.nan)
    with config_context(assume_finite=True, skip_parameter_validation=True):  # checks take half of the time
        for trial, test in enumerate(tested):
            seeds = [int(seed) for seed in rng.integers(2**31, size=2)]
            models = [learner.fit(x[~test], y[~test], arm, seed) for arm, seed in enumerate(seeds)]
            original, other = (model(x[test]) == y[test] for model in models)
            values[trial, test] = other.astype(float) - original
    return values


def score_learner(learner: Learner) -> list[Row]:
    rng = np.random.default_rng([PHOTOS_OF_LEARNER, *learner.name.encode()])
    values = [run_learner(learner, PHOTOS_OF_LEARNER, rng) for _ in range(STUDIES)]
    # nobody knows the true difference of unequal arms, but the mean of two thousand datasets is close to it
    truth = 0.0 if learner.equal else float(np.mean([np.nanmean(each) for each in values]))
    return list(score_all(values, learner.name, truth, BOOTSTRAPPED))


# --- the page ---


@dataclass(frozen=True)
class Calibration:
    """All that the page shows."""

    rows: list[Row]
    one_trial: list[OneTrial]
    learners: list[Row]
    limits: list[Row]
    grouped: list[Grouped]
    studies: int
    seconds: float


def calibrate() -> Calibration:
    """Simulate everything, in some minutes of one core."""
    start, rows, one_trial = time.process_time(), list[Row](), list[OneTrial]()
    for size in SIZES:
        for effects in SETTINGS:
            for difference in DIFFERENCES:
                studies = simulate(effects, size.photos, difference, STUDIES)
                rows += score_all([each.values for each in studies], effects.name, difference, size.bootstrapped)
                one_trial.append(score_one_trial(studies, effects.name, difference))
    learners = [row for learner in LEARNERS for row in score_learner(learner)]
    limits = [*score_learner(HALVES), *score_extreme()]
    grouped = [
        row
        for groups in GROUPS
        for effects in GROUPED
        for difference in (0.0, 0.1)
        for row in score_grouped(effects, groups, difference, STUDIES)
    ]
    number = (
        sum(each.studies for each in one_trial)
        + STUDIES  # of the extreme
        + STUDIES * len(grouped) // (len(TRIALS) + 1)
    )
    return Calibration(rows, one_trial, learners, limits, grouped, number, time.process_time() - start)


def score_extreme() -> list[Row]:
    values = [each.values for each in simulate(EXTREME, 1000, 0.1, STUDIES)]
    return list(score_all(values, EXTREME.name, 0.1, BOOTSTRAPPED))


def render_table(header: Iterable[str], rows: Iterable[Iterable[object]], texts: int) -> str:
    """A Markdown table whose first ``texts`` columns are left-aligned."""
    names = list(header)
    lines = [names, ["---"] * texts + ["---:"] * (len(names) - texts), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def percent(share: float) -> str:
    """One digit; equal shares give equal text, however they were computed."""
    return f"{round(100 * share, 9):.1f}"


PHOTOS = "photos in all (tested per trial)"


def name_size(photos: int) -> str:
    return f"{photos:,} ({math.ceil(photos / FOLDS)})"


def render_promises(rows: list[Row]) -> str:
    """Each method's lowest coverage and most false alarms over all settings."""

    def worst(photos: int, trials: int, method: str) -> str:
        those = [row for row in rows if (row.photos, row.trials, row.method) == (photos, trials, method)]
        misses = "" if all(row.keeps_bars for row in those) else " ✗"
        low, alarms = min(row.coverage for row in those), max(row.false_alarms for row in those)
        return f"{percent(low)} / {percent(alarms)}{misses}"

    cells = (
        [name_size(size.photos), k, *(worst(size.photos, k, each) for each in METHODS)]
        for size in SIZES
        for k in TRIALS
    )
    return render_table([PHOTOS, "trials", *METHODS], cells, 0)


def render_finds(rows: list[Row]) -> str:
    """How often our verdict is helps, in each setting by itself, for each true difference."""

    def show(effects: Effects, photos: int, trials: int) -> str:
        key = (effects.name, photos, trials, "ours")
        those = [row for row in rows if (row.setting, row.photos, row.trials, row.method) == key]
        return " / ".join(f"{100 * row.helps:.0f}" for row in those if row.difference)

    sizes = [(size.photos, trials) for size in SIZES for trials in TRIALS]
    cells = ([effects.name, *(show(effects, *each) for each in sizes)] for effects in SETTINGS)
    return render_table(["setting", *(f"{photos:,} photos, {k} trials" for photos, k in sizes)], cells, 1)


def render_one_trial(found: list[OneTrial]) -> str:
    tested = sorted({each.tested for each in found})

    def pool(setting: str, n: int) -> list[str]:
        those = [each for each in found if (each.setting, each.tested) == (setting, n)]
        weights = [each.studies for each in those]
        return [
            percent(float(np.average([each.of_models for each in those], weights=weights))),
            percent(float(np.average([each.of_augmentation for each in those], weights=weights))),
            percent(next(each.false_alarms for each in those if each.false_alarms is not None)),
        ]

    cells = ([each.name, *(" / ".join(pool(each.name, n)) for n in tested)] for each in SETTINGS)
    return render_table(["setting", *(f"{n} test photos" for n in tested)], cells, 1)


def render_grouped(rows: list[Grouped]) -> str:
    """Coverage / the interval excludes 0 (width) by photos and by groups; ✗ where a bar is missed."""

    def show(row: Grouped, way: int) -> str:
        coverage, excludes = row.coverage[way], row.excludes[way]
        low = COVERAGE - 2 * compute_error(COVERAGE, STUDIES)
        high = FALSE_ALARMS + 2 * compute_error(FALSE_ALARMS, STUDIES)
        misses = "" if coverage >= low and (row.difference or row.trials == 1 or excludes <= high) else " ✗"
        return f"{percent(coverage)} / {percent(excludes)} ({percent(row.width[way])}){misses}"

    cells = (
        [
            row.setting,
            f"{row.groups} × {MEMBERS}",
            row.trials,
            format_signed(100 * row.difference, 1) if row.difference else "0",
            *(show(row, way) for way in range(2)),
        ]
        for row in rows
    )
    return render_table(["setting", "groups × photos", "trials", "true difference", "by photo", "by group"], cells, 1)


def render_rows(rows: list[Row]) -> str:
    """Coverage / helps or hurts (width) of every method, a line for each setting."""
    cells = []
    for first in (row for row in rows if row.method == "paired t"):
        key = (first.photos, first.trials, first.setting, first.difference)
        those = [row for row in rows if (row.photos, row.trials, row.setting, row.difference) == key]
        results = [
            f"{percent(row.coverage)} / {percent(row.helps + row.hurts)} ({percent(row.width)})" for row in those
        ]
        truth = format_signed(100 * first.difference, 1) if first.difference else "0"
        cells.append([first.setting, name_size(first.photos), first.trials, truth, *results])
    return render_table(["setting", PHOTOS, "trials", "true difference", *METHODS], cells, 1)


def render_studies() -> str:
    """How many studies the table of one trial rests on."""
    return f"{STUDIES * len(DIFFERENCES):,} studies, the false alarms on the {STUDIES:,} of them without a difference"


def render_bars(rows: list[Row]) -> str:
    """In how many of its lines each method keeps both bars."""
    kept = {each: [row.keeps_bars for row in rows if row.method == each] for each in METHODS}
    return ", ".join(f"{name} in {sum(each)} of {len(each)}" for name, each in kept.items())


def render_settings() -> str:
    cells = ([each.name, each.accuracy, each.photo, each.trial, each.reaction] for each in (*SETTINGS, EXTREME))
    return render_table(["setting", "accuracy", "photos", "trials", "reaction"], cells, 1)


def render_ratio(rows: list[Row]) -> str:
    """How much wider Nadeau and Bengio's interval is than ours, on 140 photos."""
    widths = {
        (k, name): np.mean([row.width for row in rows if (row.photos, row.trials, row.method) == (140, k, name)])
        for k in TRIALS
        for name in ("ours", "Nadeau–Bengio t")
    }
    return " and ".join(f"{widths[k, 'Nadeau–Bengio t'] / widths[k, 'ours']:.1f} ({k} trials)" for k in TRIALS)


def fill(page: str) -> str:
    """Lines as long as they may be; tables, lists and headings stay as they are."""
    blocks = page.split("\n\n")
    return "\n\n".join(
        block if block.startswith(("|", "#", "- ")) else textwrap.fill(block, 120, break_on_hyphens=False)
        for block in blocks
    )


def render_page(found: Calibration) -> str:
    """docs/calibration.md."""
    sizes = ", ".join(f"{each.bootstrapped} with {each.photos:,} photos" for each in SIZES)
    largest = SIZES[-1]
    ratio = render_ratio(found.rows)
    luck = [percent(2 * compute_error(COVERAGE, number)) for number in (STUDIES, largest.bootstrapped)]
    text = f"""
# Calibration: how often is the method wrong?

The report's 95 % interval should cover the true difference in 95 of 100 studies, and its verdict should say *helps*
or *hurts* in at most 5 of 100 when there is no difference. The truth about real photos is unknown, so this is checked
by simulation: {found.studies:,} studies drawn from a model, and {STUDIES:,} datasets for each of
{len(LEARNERS) + 1} pairs of real classifiers. `make calibration` wrote this page in {found.seconds:.0f} seconds of
one core. All numbers are percent or percentage points.

**The bars:** coverage of at least {percent(COVERAGE)} and false alarms of at most {percent(FALSE_ALARMS)}, within two
standard errors: the Monte Carlo error of so many studies. Of all rows below, except those under "where it falls
short", these meet both: {render_bars(found.rows + found.learners)}.

## What is compared

- *paired t*: Student's t on the trials' differences, the usual choice.
- *Nadeau–Bengio t*: the textbook's correction for overlapping train sets.
- *bootstrap*: trials and photos resampled, percentile interval ({REPLICATES} replicates).
- *ours*: the headline of the report, `estimate_mean`. It treats trials and photos as two-way clusters (predictions of
  one trial are correlated, and so are predictions for one photo), and is never narrower than the photos alone allow.

*Ours* was chosen as the narrowest method that meets the bars in all these rows, so that it does so is no independent
test; of the rows where it falls short, those of two halves do not meet them. On 140 photos Nadeau and Bengio's interval
is wider by a factor of {ratio}. On 28 photos that are nearly all classified correctly, the arms differ on none or one,
and every method but ours mistakes that for certainty.

## Coverage and false alarms

The lowest coverage / the most false alarms of all settings at that size; ✗ where a row misses a bar by more than two
standard errors. The bootstrap, being slow, was run on fewer studies, so its Monte Carlo error is larger: two standard
errors of its coverage are {luck[1]} percentage points on {largest.photos:,} photos, of the other methods {luck[0]}. The
labs' experiment, where neither arm is clearly above the baseline, is a regime of [planned looks](looks.md): 140 photos,
55 % correct, fixed 10.

{render_promises(found.rows)}

## Power

How often our verdict is *helps* when augmentation adds 2 / 5 / 10 percentage points. The settings differ so much that a
mean over them would be no one's power; for a study of your own the report computes it from what its photos and trials
showed. The other methods, and the widths, are [below](#every-setting).

{render_finds(found.rows)}

## One trial

With one trial the verdict is always *cannot tell*, and the interval (Tango's, for two models on the same photos) is
about the two trained models only. How often it covers the true difference of these two models / that of augmentation
over all trainings / how often it would give a false alarm about augmentation. Where trainings vary, it would: that is
why there is no verdict. The columns rest on {render_studies()}.

{render_one_trial(found.one_trial)}

## Real classifiers

scikit-learn on {PHOTOS_OF_LEARNER} rows of {FEATURES} features, two classes, a new dataset for each study, five folds
with overlapping train sets. Two seeds of one algorithm do not differ; where the second arm learns from two blurred
copies as well, the true difference is estimated by the mean of all studies. {STUDIES:,} studies a line, {BOOTSTRAPPED}
of the bootstrap. Coverage / *helps* or *hurts* (width):

{render_rows(found.learners)}

## Groups of photos

Near-duplicates, and photos of one patient or scene (`split.groups`), are alike, and new photos come in new groups. Here
{MEMBERS} photos of a group have {
        100 * SHARED:g} % of the variance of every effect in common, and are tested in the same
trials. *By group* is what the report does: a group is a cluster, and the floors count groups. *By photo* takes every
photo for a cluster of its own. Of one trial it is about its two models, and the counts that Tango's interval takes
are divided by the design effect. {STUDIES:,} studies a line; coverage / interval excludes 0 (width), ✗ where a
bar is missed:

{render_grouped(found.grouped)}

Among five trials, which test each photo once, what groups have in common shows as a difference between trials, so that
counting photos seldom errs. With more trials it does, and of one trial, where nothing but the photos shows what is
chance, most of all.

## Where it falls short

All trials share one dataset, and no number of trials shows how results vary between datasets. That matters little to
arms that learn the same from the same photos, as above. It matters when they learn different things: below, nearest
neighbour on one half of the features against nearest neighbour on the other half. Averaged over all datasets they are
equal; on any one of them, one is better by chance, a part of the variance that more trials do not reduce. There, the
corrected t that the report prints beside our interval is the one to read.

Accuracies close to 100 % that jump from one training to the next are skewed; with them coverage falls to about the
bar. Coverage / *helps* or *hurts* (width):

{render_rows(found.limits)}

## Every setting

A prediction is correct when a latent score is above 0: the sum of the arm's level, the photo's difficulty, the
training's random effect, the photo's reaction to the arm, and noise of standard deviation 1. These are the standard
deviations of the others, and the accuracy of the better arm:

{render_settings()}

{STUDIES:,} studies a line, of which the bootstrap, being slow, was run on the first ones: {sizes}. Coverage /
*helps* or *hurts* (width):

{render_rows(found.rows)}
"""
    return fill(text.strip()) + "\n"


if __name__ == "__main__":
    page = render_page(calibrate())
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page)
    print(page)
