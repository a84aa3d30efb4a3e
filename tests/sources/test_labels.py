"""Labels from a CSV: which photo a row names, which class it has, and every way in which a table can be wrong."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.runtime.errors import UserError
from stages.sources.archive import NOTHING, File, Listing
from stages.sources.labels import select_labelled
from stages.sources.layout import Photo, Selection
from stages.sources.params import LabelParams

PHOTOS = ["images/a.jpg", "images/b.jpg", "images/c.jpg"]
TABLE = "image,breed\na.jpg,pug\nb.jpg,pug\nc.jpg,husky\n"


def select(
    csv: str | bytes,
    photos: list[str] = PHOTOS,
    *,
    at: str = "labels.csv",
    subset: str | list[str] = "all",
    path: str = "image",
    label: str = "breed",
) -> Selection:
    """Select from a source that holds these photos and the CSV."""
    data = csv.encode() if isinstance(csv, str) else csv
    listing: Listing = {name: File(1, bytes) for name in photos} | {at: File(len(data), lambda: data)}
    return select_labelled(listing, LabelParams(file=at.rpartition("/")[2], path=path, label=label), subset)


def get_classes(selection: Selection) -> dict[str, str]:
    """The class of each photo."""
    return {name: photo.class_name for name, photo in selection.photos.items()}


EXPECTED = {"images/a.jpg": "pug", "images/b.jpg": "pug", "images/c.jpg": "husky"}


@pytest.mark.parametrize("at", ["labels.csv", "images/labels.csv", "meta/labels.csv", "images/deeper/labels.csv"])
@pytest.mark.parametrize("named", ["images/{}.jpg", "images/{}", "{}.jpg", "{}", "./images/{}.jpg", "images\\{}.jpg"])
def test_a_photo_is_named_by_path_or_name_with_or_without_suffix(at: str, named: str) -> None:
    rows = [f"{named.format(letter)},{breed}" for letter, breed in zip("abc", ["pug", "pug", "husky"], strict=True)]
    assert get_classes(select("\n".join(["image,breed", *rows]), at=at)) == EXPECTED


@pytest.mark.parametrize(
    ("cell", "photo"),
    [
        ("1.jpg", "meta/1.jpg"),  # beside the CSV
        ("x/1.jpg", "x/1.jpg"),  # from the root
        ("../x/1.jpg", "x/1.jpg"),
        ("/x/1.jpg", "x/1.jpg"),
        ("x/2", "x/2.jpg"),
        ("y/2.jpg", "deep/y/2.jpg"),  # the end of its path
        ("3.jpg", "3.jpg"),  # not 3.jpg.png
        ("3.jpg.png", "3.jpg.png"),
        ("4.b", "x/4.b.jpg"),  # no suffix, but a dot
        ("e\u0301", "x/\u00e9.jpg"),
    ],
)
def test_the_nearest_meaning_of_a_path_counts(cell: str, photo: str) -> None:
    photos = ["meta/1.jpg", "x/1.jpg", "x/2.jpg", "deep/y/2.jpg", "3.jpg", "3.jpg.png", "x/4.b.jpg", "x/\u00e9.jpg"]
    assert get_classes(select(f"image,breed\n{cell},pug\n", photos, at="meta/labels.csv")) == {photo: "pug"}


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_what_spreadsheets_write_is_read(separator: str, start: str, line_end: str) -> None:
    rows = [["id", " breed ", "note"], ["a", " pug", '"x;y,z\tw"'], ["b", "pug ", ""], [], ["c", "husky", "ü"]]
    text = start + line_end.join(separator.join(row) for row in rows) + line_end
    found = select(text, path="id")
    assert get_classes(found) == EXPECTED
    notes = [photo.cells for photo in found.photos.values()]
    assert notes == [{"note": "x;y,z\\tw"}, {"note": ""}, {"note": "ü"}], "one line, whatever the cell holds"


def test_every_other_column_goes_along() -> None:
    found = select("patient,image,age,breed,\np1,a,3,pug,x\np2,b,4,pug,\np2,c,,husky,\n")
    assert found.photos["images/a.jpg"] == Photo("", "pug", {"patient": "p1", "age": "3", "": "x"})
    assert found.photos["images/c.jpg"].cells == {"patient": "p2", "age": "", "": ""}


def test_photos_without_a_row_are_not_used() -> None:
    photos = [*PHOTOS, "images/d.jpg", "e.png", "notes.txt", ".hidden/f.jpg", "empty/"]
    found = select(TABLE, photos)
    assert get_classes(found) == EXPECTED
    assert found.unused == {
        "hidden": [".hidden/f.jpg"],
        "not in labels.csv": ["e.png", "images/d.jpg"],
        "not pictures": ["notes.txt"],
    }
    assert found.tables == ("labels.csv",)


def test_rows_without_a_photo_are_an_error_with_examples() -> None:
    rows = "".join(f"gone_{i}.jpg,pug\n" for i in range(40))
    with pytest.raises(UserError) as caught:
        select(TABLE + rows)
    assert str(caught.value) == (
        "no photo of the source is named by 40 rows of labels.csv: gone_0.jpg (line 5), gone_1.jpg (line 6), "
        "gone_2.jpg (line 7), ... (40 in all). A row names a photo by its path from the CSV or from "
        "the source's root, or by its file name, with or without suffix. Add the photos, "
        "remove the rows, or fix fetch.labels.path in params.yaml."
    )
    with pytest.raises(UserError, match=r"named by 1 row of labels\.csv: notes\.txt \(line 5\)"):
        select(TABLE + "notes.txt,pug\n", [*PHOTOS, "notes.txt"])


SIDES = [f"{side}/{name}.jpg" for side in ("train", "test") for name in (f"{side}_1", f"{side}_2")]


def test_a_subset_is_a_folder_above_the_photos() -> None:
    """As in Kaggle's competitions, whose test photos have no labels."""
    table = "image,breed\ntrain_1,pug\ntrain_2,husky\n"
    for subset in ("all", "train", ["Train"]):
        found = select(table, SIDES, subset=subset)
        assert found.photos == {SIDES[0]: Photo("train", "pug"), SIDES[1]: Photo("train", "husky")}
        assert found.unused == {"not in labels.csv": sorted(SIDES[2:])}
    with pytest.raises(UserError, match=r"names test, but the folders above the photos are train\. Set"):
        select(table, SIDES, subset="test")


def test_rows_of_other_subsets_need_no_photo() -> None:
    table = "image,breed\n" + "".join(f"{name},{breed}\n" for name, breed in zip(SIDES, "pqpq", strict=True))
    both = select(table, SIDES, subset="test")
    assert (list(both.photos), both.unused) == (SIDES[2:], {"in train/": SIDES[:2]})
    assert both.notes == ()
    half = select(table, SIDES[2:], subset="test")
    assert (list(half.photos), half.unused) == (SIDES[2:], {})
    assert half.notes == ("2 rows of labels.csv for photos of other subsets, which are not there",)
    with pytest.raises(UserError, match=r"named by 2 rows of labels\.csv: train/train_1\.jpg"):
        select(table, SIDES[2:], subset="all")


def test_other_folders_can_be_named() -> None:
    found = select(TABLE, [*PHOTOS[:2], "extra/c.jpg"], subset="images")
    assert (list(found.photos), found.unused) == (PHOTOS[:2], {"in no subset": ["extra/c.jpg"]})
    with pytest.raises(UserError, match="names image, but the folders above the photos are images"):
        select(TABLE, subset="image")


@pytest.mark.parametrize(
    ("csv", "message"),
    [
        ("", r"labels\.csv has no column image and no column breed; its columns are none\. Fix fetch\.labels"),
        ("a,b\n1,2\n", r"has no column image and no column breed; its columns are a, b\. Fix fetch\.labels"),
        ("image;class;x\na;b;c\n", r"has no column breed; its columns are image, class, x\. Fix"),
        ("image|breed\na|pug\n", r"its columns are image\|breed\. .* separated by commas, semicolons or tabs"),
        ("image,breed\n", r"labels\.csv has a header, but no rows"),
        ("image,breed,breed\na,1,2\n", r"has several columns of one name: breed\. Rename"),
        ("image,breed\na,pug\nb\n", r"line 3 has 1 value, and the header 2 columns\. Put values"),
        ("image,breed\na,pug,big\n", r"line 2 has 3 values, and the header 2 columns"),
        ('image,breed\na,"pug\nb,x\n', r"labels\.csv: line \d is not CSV \(unexpected end of data\)"),
        ("image,breed\na,\nb,pug\nc, \n", r"the column breed is empty in 2 rows: line 2, 4\. Fill it in"),
        ("image,breed\n,pug\n", r"the column image is empty in 1 row: line 2\. Fill"),
        ("image,breed\na,pug\n".encode("utf-16"), r"labels\.csv is not text in UTF-8 \(invalid start byte\)\. Save it"),
        ("image,breed\na,pügel\n".encode("latin-1"), r"labels\.csv is not text in UTF-8"),
        (b"\x89PNG\r\n\x1a\n", r"labels\.csv is not text in UTF-8"),
        ("image,breed\na,-x\nb,y/z\n", r"classes in labels\.csv with unsafe names: -x, y/z\. A name .* Rename them"),
        ("image,breed\na,Pug\nb,pug\n", r"classes in labels\.csv that differ only in upper and lower case: Pug, pug\."),
    ],
)
def test_a_table_that_cannot_be_used_is_one_message(csv: str | bytes, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        select(csv)
    assert "\n" not in str(caught.value)


def test_two_labels_for_a_photo_are_an_error_naming_both_rows() -> None:
    message = "labels.csv gives 1 photo several labels:\n  images/a.jpg: pug (line 2), husky (line 5)\nRemove the wrong"
    with pytest.raises(UserError, match=re.escape(message)):
        select(TABLE + "images/a,husky\n")


def test_doubled_rows_count_once_and_are_told() -> None:
    doubled = select(TABLE + "a.jpg,pug\nimages/a,pug\n")
    assert (get_classes(doubled), doubled.notes) == (
        EXPECTED,
        ("2 rows of labels.csv for photos that have a row already",),
    )
    found = select("image,breed,box,age\na,pug,1,5\nb,pug,2,5\na,pug,3,5\n")
    assert found.photos["images/a.jpg"].cells["box"] == "1"
    assert found.notes == (
        "1 row of labels.csv for photos that have a row already",
        "where they differ in box, the first row of a photo counts",
    )


@pytest.mark.parametrize(
    ("photos", "cell"),
    [
        (["train/1.jpg", "test/1.jpg"], "1.jpg"),
        (["train/1.jpg", "test/1.jpg"], "1"),
        (["x/1.jpg", "x/1.png"], "x/1"),
        (["a/x/1.jpg", "b/x/1.jpg"], "x/1.jpg"),
    ],
)
@pytest.mark.parametrize("subset", ["all", "train"])
def test_a_name_that_fits_several_photos_is_an_error(photos: list[str], cell: str, subset: str) -> None:
    """Also where a subset is chosen: labels of train/1.jpg must never go to test/1.jpg."""
    with pytest.raises(UserError) as caught:
        select(f"image,breed\n{cell},pug\n", photos, subset=subset)
    assert str(caught.value) == (
        f"labels.csv names 1 photo in a way that fits several:\n  {cell} (line 2) may be {', '.join(sorted(photos))}\n"
        "Write whole paths in that column, or remove the other photos from the source."
    )


def test_the_table_is_found_by_path_or_name() -> None:
    files: Listing = {
        name: File(1, TABLE.encode)
        for name in ("a/labels.csv", "b/labels.csv", "other.csv", "__MACOSX/only.csv", "c/only.csv")
    }
    listing = files | {name: File(1, bytes) for name in PHOTOS} | {"empty/": NOTHING}

    def find(file: str) -> tuple[str, ...]:
        return select_labelled(listing, LabelParams(file=file, path="image", label="breed"), "all").tables

    assert find("b/labels.csv") == ("b/labels.csv",)
    assert find("only.csv") == ("c/only.csv",)
    with pytest.raises(UserError, match=r"is labels\.csv, and the source has several: a/labels\.csv, b/labels\.csv\."):
        find("labels.csv")
    with pytest.raises(
        UserError, match=r"train\.csv, which is not in the source; tables there: a/labels\.csv, .* null"
    ):
        find("train.csv")


def test_a_thousand_classes_are_the_most() -> None:
    photos = [f"{i}.jpg" for i in range(1001)]
    table = "image,breed\n" + "".join(f"{i},class {i}\n" for i in range(1000))
    assert len(set(get_classes(select(table, photos)).values())) == 1000
    with pytest.raises(UserError, match=r"1,001 classes in labels\.csv, such as class 0, class 1, class 10; at most"):
        select(table + "1000,class 1000\n", photos)


FOLDERS, NUMBERS = st.sampled_from(["", "train/", "test/", "a/b/"]), st.sampled_from(["1", "2", "x"])
NAMES = st.lists(st.tuples(FOLDERS, NUMBERS, st.sampled_from("jp")), min_size=1, max_size=8, unique=True)
CELLS = st.sampled_from(["1", "2.jpg", "a/b/x", "train/1.jpg", "b/2.png", "3"])


@given(NAMES, st.lists(st.tuples(CELLS, st.sampled_from("pq"))), st.sampled_from(["all", "train", "test"]))
def test_every_file_is_used_or_named_once(
    names: list[tuple[str, str, str]], cells: list[tuple[str, str]], subset: str
) -> None:
    photos = sorted(f"{folder}{name}.{'jpg' if kind == 'j' else 'png'}" for folder, name, kind in names)
    try:
        found = select("image,breed\n" + "".join(f"{cell},{label}\n" for cell, label in cells), photos, subset=subset)
    except UserError:
        return
    listed = [*found.photos, *found.tables, *(name for group in found.unused.values() for name in group)]
    assert sorted(listed) == sorted([*photos, "labels.csv"])
    assert all(any(Path(cell).stem == Path(name).stem for cell, _ in cells) for name in found.photos)
