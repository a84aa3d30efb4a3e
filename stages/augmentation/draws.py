"""Which operations a photo gets: drawn from params for training, or fixed at typical magnitudes for tests."""

import random

from stages.augmentation.catalogue import find_signature
from stages.augmentation.limits import Operation
from stages.augmentation.params import IDENTITY, AugmentParams, Magnitude, P, get_magnitudes
from stages.base.seeds import derive_seed


def draw_operations(params: AugmentParams, seed: int) -> list[Operation]:
    """Draw operations without replacement, in the order of the draw, with their magnitudes.

    Those that their probability skips are left out. A policy of torchvision is one operation, which draws from its
    seed.
    """
    if params.policy != "augly":
        return [{"name": params.policy, "seed": seed}]
    rng = random.Random(seed)
    names = rng.sample(sorted(params.operations), params.operations_per_copy)
    drawn = [_draw_operation(name, params.operations[name], rng) for name in names]
    return [operation for operation in drawn if _is_applied(params.operations[operation["name"]], operation, seed)]


def fix_magnitudes(params: AugmentParams, photo_sha256: str) -> list[Operation]:
    """Every operation of params once, in their order, at the magnitudes of a typical draw, whatever its probability.

    Noise follows from the photo: it differs between photos, and one photo gets the same noise in every trial.
    """
    return [
        {"name": name}
        | {key: _fix(value, IDENTITY.get(name, {}).get(key)) for key, value in get_magnitudes(given).items()}
        | ({"seed": derive_seed(name, photo_sha256) >> 31} if find_signature(name).takes_seed else {})  # numpy: 32 bits
        for name, given in params.operations.items()
    ]


def _draw_operation(name: str, given: dict[str, Magnitude], rng: random.Random) -> Operation:
    magnitudes = {key: _draw(value, rng) for key, value in sorted(get_magnitudes(given).items())}
    # AugLy's own seeds are always the same
    seed = {"seed": rng.getrandbits(31)} if find_signature(name).takes_seed else {}
    return {"name": name} | magnitudes | seed


def _draw(magnitude: Magnitude, rng: random.Random) -> bool | float | str:
    if not isinstance(magnitude, list):
        return magnitude
    low, high = magnitude
    if isinstance(low, int) and isinstance(high, int):
        return rng.randint(low, high)
    return round(rng.uniform(low, high), 6)  # what the manifest shows is exactly what AugLy gets


def _is_applied(given: dict[str, Magnitude], operation: Operation, seed: int) -> bool:
    """Whether the draw passes the operation's probability; that has a seed of its own, so no other draw changes."""
    p = given.get(P)
    return not isinstance(p, float) or random.Random(derive_seed(seed, P, operation["name"])).random() < p


def _fix(magnitude: Magnitude, identity: float | None) -> bool | float | str:
    """The value itself, or the middle of [low, high].

    Where draws go both ways from the value that changes nothing, the middle would be about that value: there it is
    the middle of the longer side, so [0.6, 1.4] gives 1.2.
    """
    if not isinstance(magnitude, list):
        return magnitude
    low, high = magnitude
    if identity is not None and low < identity < high:
        low, high = (identity, high) if high - identity >= identity - low else (low, identity)
    middle = (low + high) / 2
    return int(middle) if isinstance(magnitude[0], int) else round(middle, 6)
