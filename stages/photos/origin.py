"""Where the photos came from, in the same words wherever a number or a figure made from them is shown."""


def describe_source(source: str, version: str) -> str:
    """One sentence on the origin of the photos, from the manifest's columns ``source`` and ``version``."""
    if source == "sample":
        return "Drawn sample pictures, not photographs: the numbers say nothing about real cats and dogs."
    if source == "kaggle":
        return f"Photos from Kaggle, version {version} of the dataset." if version else "Photos from Kaggle."
    return f"Photos from an archive on disk ({version})." if version else "Photos from a folder on disk."
