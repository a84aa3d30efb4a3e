"""What would settle an open question, and what a settled one leaves open, in words."""

from stages.comparison.answer import Answer
from stages.comparison.format import format_rough


def describe_need(answer: Answer) -> str:
    """What would settle a question that is open, by what the trials show; when settled, what is not."""
    if answer.trials == 1:
        return (
            "Another pair of models, from other initial weights, may differ the other way; only more trials show by "
            "how much. Set `trials: [0, 1, 2, 3, 4]` in params.yaml. "
            f"Detecting a difference of {100 * answer.margin:g} percentage points "
            f"between just two models takes about {format_rough(answer.photos_needed or 0)} test photos."
        )
    if answer.verdict != "cannot tell":
        return describe_doubt(answer)
    power = describe_power(answer) + describe_reach(answer)
    if len(answer.looks) < len(answer.plan):
        more = answer.plan[len(answer.looks)]
        return f"{power}The next look is planned after {more} trials: `make settle` runs them."
    trials = f"at least about {answer.trials_needed:,} trials on these photos" if answer.trials_needed else ""
    photos = (
        f"{answer.trials} trials with about {format_rough(answer.photos_needed)} photos" if answer.photos_needed else ""
    )
    needed = " or ".join(filter(None, [trials, photos])) or "both more trials and more photos"
    return (
        f"{power}By a rough estimate from these {answer.trials} trials, settling it takes {needed}: then the interval "
        "excludes 0 with a probability of about 80 %, if the difference seen is the true one, or is too narrow to "
        "leave the question open; fewer are enough where the true difference is near 0."
        + (" More photos also mean larger train sets, and with them perhaps another difference." if photos else "")
    )


def describe_power(answer: Answer) -> str:
    """How large a difference has to be, and where no gain can be as large; empty where that is not known."""
    if not answer.detectable:
        return ""
    only_loss = (
        f", which can only be a loss: the original arm leaves {100 * answer.room:.1f} to gain"
        if answer.detectable > answer.room
        else ""
    )
    return (
        f"Trials and photos like these find a true difference of about {100 * answer.detectable:.1f} percentage points "
        f"with a probability of about 80 %{only_loss}. "
    )


def describe_reach(answer: Answer) -> str:
    """That the photos are too few for *no practical difference*; empty where they are not."""
    if answer.photos >= answer.photos_least:
        return ""
    return (
        f"No practical difference within ±{100 * answer.margin:g} is out of reach on {answer.photos:,} photos, however "
        f"many trials: it takes at least {answer.photos_least:,}. "
    )


def describe_doubt(answer: Answer) -> str:
    """That a clear effect may be too small to matter, and another seed call it so; empty where it is not so."""
    least = min(abs(answer.difference.interval.low), abs(answer.difference.interval.high))
    if answer.verdict not in ("helps", "hurts") or least >= answer.margin:
        return ""
    return (
        f"The interval also holds differences of less than {100 * answer.margin:g} percentage points, which "
        "`report.margin` takes for too small to matter: of such a true difference the verdict may as well be no "
        "practical difference, with another seed."
    )
