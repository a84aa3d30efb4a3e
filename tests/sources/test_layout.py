"""Which photos are taken, what class they belong to, what they are called here."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.runtime.errors import UserError
from stages.sources.layout import SAFE_FILE, Photo, choose_file_name, find_class, select_photos, show

BOTH = ["train/cats/1.jpg", "train/dogs/2.jpg", "test/cats/3.jpg", "test/dogs/4.jpg"]


@pytest.mark.parametrize("prefix", ["", "archive/", "a/b/"])
@pytest.mark.parametrize(("subset", "taken"), [("train", "12"), ("test", "34"), ("all", "1234"), (["test"], "34")])
def test_subset_selects_a_folder_at_any_depth(prefix: str, subset: str | list[str], taken: str) -> None:
    found = select_photos([prefix + name for name in BOTH], subset)
    assert sorted(name[-5] for name in found.photos) == list(taken)
    assert all(f"/{photo.subset}/" in f"/{name}" for name, photo in found.photos.items())
    assert sum(map(len, found.unused.values())) == 4 - len(taken)


SPLITS = ["train", "Training", "VAL", "valid", "Validation", "test", "TESTING"]


@pytest.mark.parametrize("split", SPLITS)
def test_every_usual_name_of_a_subset_is_known_in_any_case(split: str) -> None:
    names = [f"data/{folder}/{name}/{folder}.jpg" for folder in SPLITS for name in ("cats", "dogs")]
    found = select_photos(names, split)
    assert list(found.photos) == [f"data/{split}/cats/{split}.jpg", f"data/{split}/dogs/{split}.jpg"]
    assert found.unused == {
        f"in {other.lower()}/": sorted(name for name in names if f"/{other}/" in name)
        for other in sorted(SPLITS, key=str.lower)
        if other != split
    }
    assert select_photos(names, split.upper()) == found
    assert list(select_photos(names, "all").photos) == sorted(names)
    assert select_photos(names, ["VAL", "test"]).photos.keys() == {n for n in names if "/VAL/" in n or "/test/" in n}


def test_train_and_val_are_both_in_all() -> None:
    names = [f"{place}/{name}/{i}.jpg" for place in ("train", "val") for name in ("ants", "bees") for i in range(3)]
    found = select_photos(names, "all")
    assert (list(found.photos), found.unused) == (sorted(names), {})
    with pytest.raises(
        UserError, match=r"subset names test, but .* are train, val\. Set .* one of them, a list of them"
    ):
        select_photos(names, "test")
    with pytest.raises(UserError, match="subset names test, but"):
        select_photos(names, ["train", "test"])


def test_other_folders_can_be_named_too() -> None:
    names = [f"seg/seg_{part}/{name}/1.jpg" for part in ("pred", "train") for name in ("sea", "street")]
    assert select_photos(names, "test") == select_photos(names, "all")
    assert {n: photo.subset for n, photo in select_photos(names, "seg_train").photos.items()} == dict.fromkeys(
        names[2:], "seg_train"
    )
    assert select_photos(names, "seg_train").unused == {"in no subset": names[:2]}
    with pytest.raises(
        UserError, match="names seg_tset, but the folders above the classes are seg, seg_pred, seg_train"
    ):
        select_photos(names, "seg_tset")
    with pytest.raises(UserError, match="the folders above the classes are none"):
        select_photos(["cats/1.jpg", "dogs/1.jpg"], "dev")
    mixed = [*BOTH, "dev/cats/5.jpg", "predict/6.jpg"]
    assert select_photos(mixed, ["dev", "test"]).photos.keys() == {*BOTH[2:], "dev/cats/5.jpg"}
    assert select_photos(mixed, "all").photos.keys() == {*BOTH, "dev/cats/5.jpg"}
    assert select_photos(mixed, "all").unused == {"in no subset": ["predict/6.jpg"]}, (
        "predict is no class of the others"
    )


def test_without_subsets_all_photos_are_taken() -> None:
    names = ["cats/1.jpg", "dogs/1.jpg"]
    for subset in ("test", "all", ["train", "Val"]):
        assert select_photos(names, subset).photos == {n: Photo("", n.split("/")[0]) for n in names}


def test_a_photo_beside_the_class_folders_of_a_subset_has_no_class() -> None:
    found = select_photos([*BOTH, "test/cover.jpg", "Test/cover.jpg"], "all")
    assert found.unused == {"in no class folder": ["test/cover.jpg"], "in no subset": ["Test/cover.jpg"]}
    names = ["test/train/1.jpg", "test/car/1.jpg"]  # here a train is what the photo shows
    assert select_photos(names, "test").photos.keys() == set(names)


def test_order_of_listing_does_not_matter() -> None:
    assert select_photos(reversed(BOTH), "all") == select_photos(BOTH, "all")


def test_what_is_not_a_photo_is_named_by_reason() -> None:
    hidden = [".git/cats/1.jpg", "__MACOSX/cats/1.jpg", "cats/.hidden.jpg"]
    others = ["cats/Thumbs.db", "cats/desktop.ini", "cats/notes.txt", "labels.csv"]
    found = select_photos([*hidden, *others, "loose.jpg", "cats/1.JPG", "dogs/1.heic", "dogs/2.NEF"], "all")
    assert list(found.photos) == ["cats/1.JPG", "dogs/1.heic", "dogs/2.NEF"]  # the last is set aside later
    assert found.unused == {"hidden": hidden, "in no class folder": ["loose.jpg"], "not pictures": others}


FOLDERS = st.sampled_from(["train", "Test", "val", "dev", "cats", "dogs", ".git", "a"])
FILES = st.tuples(st.lists(FOLDERS, max_size=4), st.sampled_from(["1.jpg", "2.png", "x.txt", ".x.jpg", ""]))
TREES = st.lists(FILES.map(lambda file: "/".join([*file[0], file[1]])).filter(bool), unique=True, max_size=12)


@settings(max_examples=300)
@given(TREES, st.sampled_from(["test", "all", "dev", ["train", "val"], ["dev", "test"]]))
def test_every_file_is_used_or_named_once(names: list[str], subset: str | list[str]) -> None:
    try:
        found = select_photos(names, subset)
    except UserError:
        return
    listed = [name for group in found.unused.values() for name in group] + [n for n in found.photos if n[-1] != "/"]
    assert sorted(listed) == sorted(name for name in names if not name.endswith("/"))


@pytest.mark.parametrize(
    "name", ["..x", "-cats", " cats", "a/b".replace("/", "\x00"), "cats\n", "c" * 61, "a:b", "a\\b"]
)
def test_unsafe_class_names_are_refused(name: str) -> None:
    rule = "unsafe names" if not name.startswith(".") else "folder of its class"
    with pytest.raises(UserError, match=rule):
        select_photos([f"{name}/1.jpg"], "all")


@pytest.mark.parametrize("name", ["cats", "Größe", "猫", "n02085620-Chihuahua", "my cats (1)", "c" * 60, "NA", "train"])
def test_usual_class_names_are_taken(name: str) -> None:
    photos = select_photos([f"{name}/1.jpg", "other/1.jpg"], "all").photos
    assert {find_class(n) for n in photos} == {name, "other"}


def test_accents_spelled_in_two_ways_are_one_class() -> None:
    names = [f"{unicodedata.normalize(form, 'Größe')}/1.jpg" for form in ("NFC", "NFD")]
    photos = select_photos(names, "all").photos
    assert (len(photos), {find_class(name) for name in photos}) == (2, {"Größe"})


def test_classes_that_differ_in_case_are_refused() -> None:
    with pytest.raises(UserError, match=r"upper and lower case: Cats, cats\. Rename"):
        select_photos(["Cats/1.jpg", "cats/2.jpg", "dogs/1.jpg"], "all")


def test_of_many_classes_a_few_are_named() -> None:
    with pytest.raises(UserError, match=r"unsafe names: -0, -1, -10, \.\.\. \(1,000 in all\)\. A name") as caught:
        select_photos([f"-{i}/1.jpg" for i in range(1000)], "all")
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("names", [[], ["1.jpg"], ["train/1.jpg", "test/2.jpg"]])
def test_photos_outside_class_folders_are_no_data_set(names: list[str]) -> None:
    with pytest.raises(UserError, match="must lie in the folder of its class"):
        select_photos(names, "all")


NAMES = st.one_of(
    st.sampled_from(["a.jpg", "A.jpg", "é.jpg", "e\u0301.jpg", "-rf.jpg", "a b (1).png"]), st.text(max_size=120)
)


@given(st.lists(st.tuples(NAMES, st.sampled_from(["0" * 64, "f" * 64])), max_size=30))
def test_file_names_are_safe_and_never_collide(photos: list[tuple[str, str]]) -> None:
    taken: set[str] = set()
    chosen = [choose_file_name((name.replace("/", "") or "x") + ".jpg", sha256, taken) for name, sha256 in photos]
    assert len({name.casefold() for name in chosen}) == len(photos)
    assert all(SAFE_FILE.fullmatch(name) and name.endswith(".jpg") for name in chosen)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("cat_1.jpg", True),
        ("a b (1).JPG", True),
        ("x" * 96 + ".jpg", True),
        ("x" * 97 + ".jpg", False),
        ("-rf.jpg", False),
        (" a.jpg", False),
        ("a\nb.jpg", False),
        ("é.jpg", False),
        ("a:b.jpg", False),
    ],
)
def test_safe_names_are_kept_and_others_follow_from_the_content(name: str, kept: bool) -> None:
    assert choose_file_name(name, "0123456789abcdef" * 4, set()) == (name if kept else "0123456789abcdef.jpg")


def test_shown_names_stay_on_one_line() -> None:
    assert show("é\n\udce9.jpg") == "é\\n\\udce9.jpg"
