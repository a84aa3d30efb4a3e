"""What a user can fix: one message with what was found, the rule, and the remedy."""

RESTORE = "Delete the file, then run `dvc checkout` and `dvc repro`."
"""What to do about a changed output of a stage: the first restores what DVC keeps, the second makes the rest anew."""

INTERRUPTED = "interrupted; run the same command again, and it goes on where it was"
"""What follows Ctrl-C. The training loop says more: that it has saved a checkpoint."""


class UserError(Exception):
    """Something the user can fix. The message says what was found, the rule, and the remedy."""
