"""What a user can fix: one message with what was found, the rule, and the remedy."""

RESTORE = "Delete the file, then run `dvc checkout` and `dvc repro`."
"""What to do about a changed output of a stage: the first restores what DVC keeps, the second makes the rest anew."""


class UserError(Exception):
    """Something the user can fix. The message says what was found, the rule, and the remedy."""
