"""A dataset from Kaggle through kagglehub, which caches it and finds the user's token by itself.

Added here is only what kagglehub lacks: a deadline, a few retries, its cache when Kaggle is unreachable, limits on what
an archive unpacks to, and messages that hold the remedy, never the token.
"""

import contextlib
import json
import lzma
import os
import signal
import sys
import tarfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

os.environ.setdefault("KAGGLEHUB_VERBOSITY", "error")  # read at import
import kagglehub
import requests
from kagglehub import http_resolver
from kagglehub.cache import Cache
from kagglehub.config import get_cache_folder
from kagglehub.exceptions import DataCorruptionError
from kagglehub.handle import parse_dataset_handle

from stages.photos.decoding import describe_start
from stages.runtime.errors import UserError
from stages.sources.archive import check_room, list_zip

PAUSES_S = (1.0, 5.0)  # before the second and the third attempt

CUT_SHORT = (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError)
DAMAGED = (
    *(DataCorruptionError, zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError),
    NotImplementedError,  # packed in an unknown way
)


class Unreachable(Exception):  # noqa: N818 - no failure while there is another source
    """Kaggle did not answer, or not in time, and nothing is cached."""


class _DeadlinePassed(Exception):  # noqa: N818 - no OSError: requests would take it for its own
    pass


class _Temporary(Exception):  # noqa: N818 - worth another attempt
    pass


def download_dataset(dataset: str, version: int | None, deadline_s: float) -> tuple[Path, str]:
    """Folder and version number of ``owner/name``; downloaded unless kagglehub has that version already.

    When Kaggle cannot be reached, the newest version that kagglehub has, with a warning.
    Raises Unreachable when it has none, and UserError for everything that another source must not hide.
    """
    handle = f"{dataset}/versions/{version}" if version else dataset
    try:
        # kagglehub writes a note on its own updates to stdout
        with _deadline(deadline_s), contextlib.redirect_stdout(sys.stderr):
            folder = _download_patiently(handle)
    except (Unreachable, _DeadlinePassed) as error:
        reason = str(error) or f"Kaggle took longer than fetch.kaggle_deadline_s, {deadline_s:g} s"
        cached = None if version else _find_cached(dataset)
        if cached is None:
            raise Unreachable(reason) from error
        folder = cached
        print(
            f"warning: {reason}. Using version {folder.name}, which kagglehub has downloaded before.", file=sys.stderr
        )
    return folder, folder.name if folder.parent.name == "versions" else str(version or "")


def _find_cached(dataset: str) -> Path | None:
    """The folder of the newest complete version in kagglehub's cache."""
    versions = Path(get_cache_folder(), "datasets", dataset, "versions")
    for number in sorted((int(path.name) for path in versions.glob("*") if path.name.isdecimal()), reverse=True):
        if folder := Cache().load_from_cache(parse_dataset_handle(f"{dataset}/versions/{number}")):
            return Path(folder)
    return None


@contextlib.contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    def stop(signum: int, frame: object) -> None:
        raise _DeadlinePassed

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _download_patiently(handle: str) -> Path:
    for pause in PAUSES_S:
        try:
            return _download(handle)
        except _Temporary as problem:
            print(f"{problem}; trying again in {pause:g} s", file=sys.stderr)
            time.sleep(pause)
    try:
        return _download(handle)
    except _Temporary as problem:
        _remove_archives(handle)
        raise UserError(
            f"{problem}, {len(PAUSES_S) + 1} times in a row. "
            "Run again later, or download the zip with a browser and put it in data/downloads."
        ) from problem


def _download(handle: str) -> Path:
    """One attempt. The libraries' own messages are not passed on, since some quote the token."""
    try:
        return Path(kagglehub.dataset_download(handle))
    except requests.HTTPError as error:
        raise _explain_status(handle, error.response.status_code) from error
    except CUT_SHORT as error:  # the next attempt resumes from the part that is there
        raise _Temporary(f"Kaggle's archive of {handle} was cut short") from error
    except DAMAGED as error:
        _remove_archives(handle)
        raise _Temporary(f"Kaggle's archive of {handle} arrived damaged ({type(error).__name__})") from error
    except (requests.ConnectionError, requests.Timeout) as error:
        raise Unreachable(f"Kaggle cannot be reached: {_find_cause(error)}") from error
    except json.JSONDecodeError as error:
        raise UserError("Something else answers in Kaggle's place. Does this network want a log-in first?") from error
    except ValueError as error:
        raise _explain_value(handle) from error
    except OSError as error:
        raise UserError(
            f"Kaggle's files cannot be stored in {get_cache_folder()} ({error.strerror}). "
            "Make room there, or set KAGGLEHUB_CACHE to another folder."
        ) from error


def _explain_status(handle: str, status: int) -> Exception:
    page = f"https://www.kaggle.com/datasets/{'/'.join(handle.split('/')[:2])}"
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return UserError(
            f"Kaggle refuses {handle} (HTTP {status}). Open {page}, sign in and accept its rules; "
            "then save a token from https://www.kaggle.com/settings as ~/.kaggle/kaggle.json or set KAGGLE_API_TOKEN. "
            "A token that has expired is refused too, even where none is needed."
        )
    if status == HTTPStatus.NOT_FOUND:
        return UserError(
            f"Kaggle has no dataset {handle} (HTTP {status}). Compare with {page}, "
            "and fix fetch.kaggle_dataset or fetch.kaggle_version in params.yaml."
        )
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _Temporary(f"Kaggle cannot serve {handle} now (HTTP {status})")
    return UserError(f"Kaggle answers HTTP {status} for {handle}. Look at {page}.")


def _explain_value(handle: str) -> Exception:
    """kagglehub means either what it downloaded, or the user's token, which the error may quote."""
    for archive in _find_archives(handle):
        with archive.open("rb") as file:
            found = describe_start(file.read(200))
        _remove_archives(handle)
        return _Temporary(f"what Kaggle sent for {handle} is not an archive: {found}")
    return UserError(
        "kagglehub cannot use the Kaggle token that it found in KAGGLE_API_TOKEN, ~/.kaggle/kaggle.json or "
        "~/.kaggle/access_token. Save it again, or remove it: public datasets need none."
    )


def _extract_checked(archive: str, folder: str) -> None:
    """kagglehub's own way of unpacking, after a look at what a zip declares; it never unpacks to more than that."""
    if zipfile.is_zipfile(archive):
        check_room(Path(folder), sum(file.size for file in list_zip(Path(archive)).values()))
    _extract(archive, folder)


_extract = http_resolver._extract_archive
http_resolver._extract_archive = _extract_checked


def _find_archives(handle: str) -> list[Path]:
    return sorted(Path(get_cache_folder(), "datasets", *handle.split("/")[:2]).glob("*.archive"))


def _remove_archives(handle: str) -> None:
    # kagglehub takes one of full length for complete the next time, unchecked
    for archive in _find_archives(handle):
        archive.unlink()


def _find_cause(error: BaseException) -> str:
    while error.__context__:
        error = error.__context__
    return str(error) or type(error).__name__
