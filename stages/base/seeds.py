"""One seed per purpose, derived and never carried, so that no draw depends on another's order."""

import hashlib
import json


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed from what the draw is for, e.g. ``derive_seed(seed, trial, "order", epoch)``."""
    return int.from_bytes(hashlib.sha256(json.dumps(parts).encode()).digest()[:8], "big") >> 1
