"""A folder of images as a data set: names, clashes, missing images and missing tags."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from excel_cam.data.dataset import DataSet, Sample
from excel_cam.data.folder import open_folder
from excel_cam.errors import DataError, UsageError


class Folder:
    """A root of empty image files, a class list and a tags file beside it."""

    def __init__(self, base: Path) -> None:
        self.root = base / "images"
        self.root.mkdir()
        self.classes = base / "classes.txt"
        self.classes.write_text("cat\ndog: small dog\n")
        self.tags = base / "tags.csv"

    def add(self, *files: str) -> None:
        for file in files:
            (self.root / file).parent.mkdir(parents=True, exist_ok=True)
            (self.root / file).touch()

    def open(self, tags: str, names: list[str] | None = None, labels: Path | None = None) -> DataSet:
        self.tags.write_text("name,classes\n" + tags)
        return open_folder(self.root, self.classes, self.tags, names, labels_folder=labels)

    def names(self, tags: str, names: list[str] | None = None, labels: Path | None = None) -> list[str]:
        return [sample.name for sample in self.open(tags, names, labels).samples]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_images_are_named_by_their_path_without_extension(folder: Folder) -> None:
    folder.add("b.jpg", "sub/deep/a.b.PNG", "notes.txt", ".hidden.jpg", ".cache/c.jpg")
    data_set = folder.open("b,cat\nsub/deep/a.b,dog;cat\n")
    assert data_set.samples == (
        Sample("b", folder.root / "b.jpg", (0,)),
        Sample("sub/deep/a.b", folder.root / "sub/deep/a.b.PNG", (0, 1)),
    )
    assert (data_set.name, data_set.root, data_set.notes) == ("folder", folder.root, ())
    assert (data_set.class_names, data_set.prompt_names) == (("cat", "dog"), ("cat", "small dog"))
    assert data_set.tags_source == str(folder.tags)


def test_every_kind_of_image_counts(folder: Folder) -> None:
    kinds = ["jpg", "jpeg", "png", "bmp", "tif", "tiff", "webp", "gif", "ppm", "pgm"]
    folder.add(*(f"{kind}.{kind}" for kind in kinds))
    assert folder.names("".join(f"{kind},\n" for kind in kinds)) == sorted(kinds)


def test_tags_may_carry_the_extension(folder: Folder) -> None:
    folder.add("a.jpg", "b.png.jpg")
    assert folder.names("a.jpg,\nb.png,\n") == ["a", "b.png"]
    with pytest.raises(DataError, match="'a' has two lines, with and without extension"):
        folder.open("a.jpg,\na,\nb.png,\n")


def test_two_images_of_one_name_are_an_error_naming_both(folder: Folder) -> None:
    folder.add("sub/a.jpg", "sub/a.png", "b.jpg")
    with pytest.raises(DataError, match=r"sub/a\.jpg and \S*sub/a\.png would share the label 'sub/a'"):
        folder.open("sub/a,\nb,\n")
    assert folder.names("b,\n", ["b"]) == ["b"]


def test_tags_without_an_image_become_samples_and_a_note(folder: Folder) -> None:
    folder.add("b.jpg")
    data_set = folder.open("b,\na/gone.png,cat\nz,\n")
    assert data_set.samples[0] == Sample("a/gone", folder.root / "a/gone.jpg", (0,))
    assert [sample.name for sample in data_set.samples] == ["a/gone", "b", "z"]
    (note,) = data_set.notes
    assert note.startswith("2 names in")
    assert "first 'a/gone'" in note


def test_images_without_tags_are_an_error_with_their_number(folder: Folder) -> None:
    folder.add("a.jpg", "b.jpg", "c.jpg")
    with pytest.raises(DataError, match=r"no tags for 2 of 3 images, first 'b'; add lines .* or narrow with --list"):
        folder.open("a,cat\n")


def test_names_narrow_in_their_order(folder: Folder) -> None:
    folder.add("a.jpg", "b.jpg", "c.jpg")
    data_set = folder.open("a,cat\nc,\ngone,\n", ["gone", "c", "a", "c"])
    assert [sample.name for sample in data_set.samples] == ["gone", "c", "a"]
    assert len(data_set.notes) == 1
    assert folder.open("a,cat\nc,\ngone,\n", ["a"]).notes == ()
    with pytest.raises(DataError, match=r"--list: 'other' has neither an image under .* nor a line in"):
        folder.open("a,cat\n", ["a", "other"])
    with pytest.raises(DataError, match="no tags for 1 of 2 images, first 'b'"):
        folder.open("a,cat\n", ["a", "b"])
    assert folder.names("a,cat\n", ["/a"]) == ["a"]
    with pytest.raises(DataError, match="--list: name '/z' is absolute or has a drive letter"):
        folder.open("a,cat\n", ["/z"])
    with pytest.raises(DataError, match="--list: no names"):
        folder.open("a,cat\n", [])


def test_an_image_whose_name_no_label_can_have_is_refused_only_when_asked_for(folder: Folder) -> None:
    folder.add("a.jpg", "b\\c.jpg")
    with pytest.raises(DataError, match="holds a backslash"):
        folder.open("a,\n")
    assert folder.names("a,\n", ["a"]) == ["a"]


def test_links_are_followed_each_folder_once(folder: Folder, tmp_path: Path) -> None:
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    (outside / "x.jpg").touch()
    folder.add("a.jpg")
    (folder.root / "link.jpg").symlink_to(outside / "x.jpg")
    (folder.root / "broken.jpg").symlink_to(outside / "gone.jpg")
    (folder.root / "circle.jpg").symlink_to("circle.jpg")
    (folder.root / "linked").symlink_to(outside)
    (folder.root / "again").symlink_to(outside)
    (folder.root / "itself").symlink_to(folder.root)
    (folder.root / "up").symlink_to(tmp_path)
    (outside / "back").symlink_to(folder.root)
    (folder.root / "lost").symlink_to(outside / "nowhere")
    (folder.root / "round").symlink_to("round")
    os.mkfifo(folder.root / "pipe.jpg")
    data_set = folder.open("a,\nlink,\nbroken,\ncircle,\nagain/x,\n")
    assert [sample.name for sample in data_set.samples] == ["a", "again/x", "broken", "circle", "link"]
    assert data_set.samples[-1].image_path == folder.root / "link.jpg"
    assert data_set.notes == ()


def test_a_folder_keeps_its_own_name_where_a_link_leads_to_it(folder: Folder) -> None:
    folder.add("z/a.jpg")
    (folder.root / "b").symlink_to("z")
    assert folder.names("z/a,\n") == ["z/a"]


def test_labels_behind_a_link_are_not_images(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.png").touch()
    (folder.root / "out").symlink_to(tmp_path / "labels")
    folder.add("a.jpg")
    assert folder.names("a,\n", labels=tmp_path / "labels") == ["a"]


def test_labels_written_under_the_root_are_not_images(folder: Folder) -> None:
    folder.add("a.jpg", "labels/a.png", "sub/labels/b.png")
    assert folder.names("a,\nsub/labels/b,\n", labels=folder.root / "labels") == ["a", "sub/labels/b"]
    (folder.root / "to_labels").symlink_to(folder.root / "labels")
    assert folder.names("a,\nsub/labels/b,\n", labels=folder.root / "labels") == ["a", "sub/labels/b"]
    (folder.root / "to_labels").unlink()
    assert folder.names("a,\nsub/labels/b,\nlabels/a,\n", labels=folder.root.parent / "labels")[1] == "labels/a"
    with pytest.raises(UsageError, match="labels would lie among the images of --root; choose another --out"):
        folder.open("a,\n", labels=folder.root / "sub" / "..")


def test_a_root_without_images_is_an_error(folder: Folder) -> None:
    with pytest.raises(DataError, match=r"images: no images in this folder; expected files ending in \.jpg"):
        folder.open("a,\n")
    folder.root.rmdir()
    with pytest.raises(DataError, match="images: this folder of images cannot be read: No such file"):
        folder.open("a,\n")
    folder.root.touch()
    with pytest.raises(DataError, match="Not a directory"):
        folder.open("a,\n")
