"""Which photos are taken, what class they belong to, what they are called here."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.runtime.errors import UserError
from stages.sources.layout import SAFE_FILE, choose_file_name, find_class, find_subset, select_photos, show

BOTH = ["train/cats/1.jpg", "train/dogs/2.jpg", "test/cats/3.jpg", "test/dogs/4.jpg"]


@pytest.mark.parametrize("prefix", ["", "archive/", "a/b/"])
@pytest.mark.parametrize(("subset", "taken"), [("train", "12"), ("test", "34"), ("all", "1234")])
def test_subset_selects_a_folder_at_any_depth(prefix: str, subset: str, taken: str) -> None:
    names, remarks = select_photos([prefix + name for name in BOTH], subset)
    assert sorted(name[-5] for name in names) == list(taken)
    assert remarks == []
    assert {find_subset(name) for name in names} == ({"train", "test"} if subset == "all" else {subset})


def test_without_subsets_all_photos_are_taken_and_it_is_said() -> None:
    names = ["cats/1.jpg", "dogs/1.jpg"]
    assert select_photos(names, "test") == (names, ["no folder test/: all photos are used"])
    assert select_photos(names, "all") == (names, [])


def test_a_subset_that_is_absent_is_an_error_naming_the_others() -> None:
    with pytest.raises(UserError, match=r"subset is test, but the photos lie in train/\. Set it to train or all"):
        select_photos(BOTH[:2], "test")


def test_order_of_listing_does_not_matter() -> None:
    assert select_photos(reversed(BOTH), "all") == select_photos(BOTH, "all")


def test_what_is_no_photo_is_ignored_and_counted() -> None:
    ignored = ["cats/.hidden.jpg", ".git/cats/1.jpg", "__MACOSX/cats/1.jpg", "cats/Thumbs.db", "cats/desktop.ini"]
    ignored += ["labels.csv", "cats/notes.txt", "loose.jpg"]
    names, remarks = select_photos([*ignored, "cats/1.JPG", "dogs/1.heic"], "all")
    assert names == ["cats/1.JPG", "dogs/1.heic"]  # the second is set aside later, with a reason
    assert remarks[0].startswith("ignored 8, hidden, no photos or in no class folder: .git/cats/1.jpg, ")


@pytest.mark.parametrize(
    "name", ["..x", "-cats", " cats", "a/b".replace("/", "\x00"), "cats\n", "c" * 61, "a:b", "a\\b"]
)
def test_unsafe_class_names_are_refused(name: str) -> None:
    rule = "unsafe names" if not name.startswith(".") else "folder of its class"
    with pytest.raises(UserError, match=rule):
        select_photos([f"{name}/1.jpg"], "all")


@pytest.mark.parametrize("name", ["cats", "Größe", "猫", "n02085620-Chihuahua", "my cats (1)", "c" * 60, "NA", "train"])
def test_usual_class_names_are_taken(name: str) -> None:
    names, _ = select_photos([f"{name}/1.jpg", "other/1.jpg"], "all")
    assert {find_class(n) for n in names} == {name, "other"}


def test_accents_spelled_in_two_ways_are_one_class() -> None:
    names, _ = select_photos([f"{unicodedata.normalize(form, 'Größe')}/1.jpg" for form in ("NFC", "NFD")], "all")
    assert (len(names), {find_class(name) for name in names}) == (2, {"Größe"})


def test_classes_that_differ_in_case_are_refused() -> None:
    with pytest.raises(UserError, match="upper and lower case: Cats, cats"):
        select_photos(["Cats/1.jpg", "cats/2.jpg"], "all")


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
