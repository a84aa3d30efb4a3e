"""Policies of torchvision on one photo: every draw follows from a seed."""

from PIL import Image


def apply_policy(image: Image.Image, name: str, seed: int) -> Image.Image:
    """Apply ``torchvision.transforms.v2.<name>`` with its defaults to an RGB image.

    Its draws come from torch's global generator, which is seeded for the call and restored. Other threads must not use
    that generator meanwhile.

    Returns: an RGB image of the same size.
    """
    import torch
    from torchvision.transforms import v2

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums over a picture, as for its contrast, are rounded differently with more
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the generators of GPUs as well
            changed: Image.Image = getattr(v2, name)()(image)
    finally:
        torch.set_num_threads(threads)
    return changed
