"""Regions in every form they come in; what is no regions, or of another image, is said in one line."""

from __future__ import annotations

import io
import json
import pickle
import tracemalloc
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image

from excel_cam.errors import DataError, UsageError
from excel_cam.files.annotations.coco_rle import rle_region
from excel_cam.files.regions.region import ImageRegions, Region
from excel_cam.files.regions.source import Regions, open_regions, require_regions
from excel_cam.labels.png import write_label

Mask = NDArray[np.bool_]
SIZE = (5, 7)
MASKS = np.zeros((3, *SIZE), bool)
MASKS[0, :2, :3] = MASKS[1, 2:, 4:] = MASKS[2, 4, 0] = MASKS[2, 0, 6] = True  # the last in two parts


def whole(regions: Iterable[Region], size: tuple[int, int] = SIZE) -> list[Mask]:
    """Each region laid into its image."""
    found = []
    for region in regions:
        canvas = np.zeros(size, bool)
        canvas[region.box] = region.pixels
        found.append(canvas)
    return found


def read(folder: Path, name: str = "a", size: tuple[int, int] = SIZE) -> list[Mask]:
    return whole(regions_of(open_regions(folder, [name]), name).read(size), size)


def regions_of(regions: Regions, name: str) -> ImageRegions:
    found = regions.of(name)
    assert found is not None
    return found


def ids_of(masks: NDArray[np.bool_], numbers: Sequence[int]) -> NDArray[np.int64]:
    ids = np.zeros(masks.shape[1:], np.int64)
    for mask, number in zip(masks, numbers, strict=True):
        ids[mask] = number
    return ids


def run_lengths(mask: Mask) -> list[int]:
    """COCO's numbers, pixel by pixel: down the columns, outside first."""
    counts, inside = [0], False
    for pixel in mask.T.ravel().tolist():
        if pixel != inside:
            counts.append(0)
            inside = pixel
        counts[-1] += 1
    return counts


def compressed(counts: list[int]) -> str:
    """COCO's text of them, character by character."""
    text = ""
    for place, count in enumerate(counts):
        left = count - (counts[place - 2] if place > 2 else 0)
        more = True
        while more:
            group, left = left & 31, left >> 5
            more = left != (-1 if group & 16 else 0)
            text += chr(48 + group + 32 * more)
    return text


def rle(mask: Mask, *, plain: bool = False) -> dict[str, Any]:
    counts = run_lengths(mask)
    return {"size": list(mask.shape), "counts": counts if plain else compressed(counts)}


def write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content))


def id_png(image: Image.Image) -> Callable[[Path], None]:
    return lambda folder: image.save(folder / "a.png")


def npz(**content: NDArray[Any]) -> Callable[[Path], None]:
    return lambda folder: np.savez_compressed(folder / "a.npz", **content)  # type: ignore[arg-type]


def json_file(content: object) -> Callable[[Path], None]:
    return lambda folder: write_json(folder / "a.json", content)


def coloured(numbers: Sequence[int]) -> Image.Image:
    ids = ids_of(MASKS, numbers)
    return Image.fromarray(np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8))


SMALL, GREAT = ids_of(MASKS, (1, 2, 9)), (300, 70_000, 0xFFFFFF)
FORMS = {
    "8 bits": id_png(Image.fromarray(SMALL.astype(np.uint8))),
    "palette": id_png(Image.fromarray(SMALL.astype(np.uint8)).convert("P")),
    "16 bits": id_png(Image.fromarray(ids_of(MASKS, (7, 300, 65_535)).astype(np.uint16))),
    "panoptic colours": id_png(coloured(GREAT)),
    "opaque colours": id_png(coloured(GREAT).convert("RGBA")),
    "masks": npz(arr_0=MASKS),
    "masks by name": npz(masks=MASKS, iou=np.ones(3)),
    "masks as numbers": npz(masks=MASKS.astype(np.float32)),
    "masks as 0 and 255": npz(masks=MASKS * np.uint8(255)),
    "an array of ids": npz(segments=SMALL),
    "an array of great ids": npz(segments=ids_of(MASKS, GREAT)),
    "SAM's list": json_file([{"segmentation": rle(mask), "area": 1} for mask in MASKS]),
    "plain run lengths": json_file([{"segmentation": rle(mask, plain=True)} for mask in MASKS]),
    "bare run lengths": json_file([rle(mask) for mask in MASKS]),
    "SA-1B": json_file({"image": {"image_id": 3}, "annotations": [{"segmentation": rle(mask)} for mask in MASKS]}),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_holds_the_same_regions(tmp_path: Path, form: str) -> None:
    FORMS[form](tmp_path)
    assert np.array_equal(read(tmp_path), MASKS)


def test_masks_may_overlap_and_empty_ones_are_left_out(tmp_path: Path) -> None:
    masks = np.stack([MASKS[0], np.ones(SIZE, bool), np.zeros(SIZE, bool), MASKS[0]])
    np.savez(tmp_path / "a.npz", masks)
    write_json(tmp_path / "b.json", [{"segmentation": rle(mask)} for mask in masks])
    for name in "ab":
        assert np.array_equal(read(tmp_path, name), masks[[0, 1, 3]])
    np.savez(tmp_path / "a.npz", np.zeros((0, *SIZE), bool))
    assert read(tmp_path) == []


ALL = {
    "images": [{"id": 12, "file_name": "x/a.jpg"}, {"id": 13, "file_name": "x/b.jpg"}],
    "annotations": [{"image_id": 12, "segmentation": rle(MASKS[0])}, {"image_id": 99, "segmentation": rle(MASKS[0])},
                    {"image_id": 12, "segmentation": rle(MASKS[1], plain=True)}],
}  # fmt: skip


def test_one_json_file_can_be_of_all_images(tmp_path: Path) -> None:
    names = ["x/a", "x/b", "x/c"]
    write_json(tmp_path / "all.json", ALL)
    for place in (tmp_path / "all.json", tmp_path):
        regions = open_regions(place, names)
        assert [regions.of(name) is not None for name in names] == [True, True, False]
        assert np.array_equal(whole(regions_of(regions, "x/a").read(SIZE)), MASKS[:2])
        assert list(regions_of(regions, "x/b").read(SIZE)) == []  # it is listed: nothing was found in it
    before = regions_of(regions, "x/a").fingerprint
    changed = ALL | {"annotations": [*ALL["annotations"], {"image_id": 13, "segmentation": rle(MASKS[2])}]}
    write_json(tmp_path / "all.json", changed)
    regions = open_regions(tmp_path, names)
    assert regions_of(regions, "x/a").fingerprint == before
    assert np.array_equal(whole(regions_of(regions, "x/b").read(SIZE)), MASKS[2:])


def test_the_regions_of_one_image_can_be_sent_to_another_process(tmp_path: Path) -> None:
    write_json(tmp_path / "all.json", ALL)
    FORMS["masks"](tmp_path)
    for place, name, count in ((tmp_path / "all.json", "x/a", 2), (tmp_path, "a", 3)):
        one = regions_of(open_regions(place, [name]), name)
        there: ImageRegions = pickle.loads(pickle.dumps(one))
        assert there.fingerprint == one.fingerprint
        assert np.array_equal(whole(there.read(SIZE)), MASKS[:count])


def test_a_list_names_its_images_by_file_name_or_number(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    mask = {"segmentation": rle(MASKS[0])}
    write_json(path, [{"image_id": 9, **mask}, {"file_name": "b.jpg", **mask}, {"image_id": "c", **mask}])
    names = ["COCO_train2014_000000000009", "b", "c", "d"]
    regions = open_regions(path, names)
    assert [regions.of(name) is not None for name in names] == [True, True, True, False]
    # A number that two names end in is neither's.
    assert open_regions(path, ["x9", "y9"]).of("y9") is None


@given(mask=arrays.arrays(np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 9))), plain=st.booleans())
def test_run_lengths_give_back_the_mask_in_its_least_box(mask: Mask, plain: bool) -> None:
    size = mask.shape[0], mask.shape[1]
    region = rle_region(rle(mask, plain=plain), size)
    if region is None:
        assert not mask.any()
        return
    assert np.array_equal(whole([region], size)[0], mask)
    assert all(region.pixels.any(axis=axis)[[0, -1]].all() for axis in (0, 1))


@settings(max_examples=50)
@given(mask=arrays.arrays(np.bool_, st.tuples(st.integers(1, 90), st.integers(1, 9))))
def test_run_lengths_are_those_of_pycocotools(mask: Mask) -> None:
    coco = pytest.importorskip("pycocotools.mask", reason="pycocotools is an extra")
    text = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    assert text == compressed(run_lengths(mask))
    region = rle_region({"size": list(mask.shape), "counts": text}, (mask.shape[0], mask.shape[1]))
    assert np.array_equal(whole([region] if region else [], mask.shape), [mask] if mask.any() else [])


@given(text=st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=12))
def test_damaged_run_lengths_are_refused_or_read_but_never_worse(text: str) -> None:
    try:
        region = rle_region({"size": [5, 7], "counts": text}, SIZE)
    except ValueError as error:
        assert "damaged run lengths" in str(error)
    else:
        assert region is None or region.pixels.any()


def photograph() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    return Image.fromarray(pixels)


TURNED = np.zeros((2, *SIZE[::-1]), bool)
BAD = {
    "another size": (id_png(Image.new("L", (7, 4))), "regions of 4 x 7 .H x W., but their label has 5 x 7$"),
    "turned": (npz(a=TURNED), r"regions of 7 x 5 .*label has 5 x 7; they have to lie as the photograph's file does"),
    "an array of another size": (npz(a=np.zeros((4, 4), int)), "regions of 4 x 4"),
    "run lengths of another size": (
        json_file([{"segmentation": rle(TURNED[0])}]), r"a.json: mask 1: regions of 7 x 5"),
    "ids beyond 24 bits": (npz(a=SMALL << 24), r"a.npz: ids from 0 to 150,994,944; expected 0 .no region. to 16,777,2"),
    "negative ids": (npz(a=-SMALL), "ids from -9 to 0"),
    "16 bits a colour": (
        lambda folder: write_png16(folder / "a.png"), "mode RGB of 16 bits a channel holds no ids"),
    "a photograph": (id_png(photograph()), r"regions, at most 65,535 are read; are these ids, and not a picture"),
    "transparency": (id_png(Image.new("RGBA", (7, 5), (1, 0, 0, 9))), "mode RGBA of 8 bits a channel holds no ids"),
    "a label": (
        lambda folder: write_label(folder / "a.png", np.zeros(SIZE, np.uint8), "L", "0" * 32),
        "holds labels of this program, such as a.png, not regions; check --regions"),
    "no PNG": (lambda folder: (folder / "a.png").write_bytes(b"x"), "expected a PNG of region ids, cannot read it"),
    "no archive": (lambda folder: (folder / "a.npz").write_bytes(b"x"), "not a zip file; save regions as np.savez"),
    "several arrays": (npz(a=MASKS, b=MASKS), "expected one array, or one called masks, found a, b"),
    "scores": (npz(a=MASKS * 0.5), "mask 1 holds 0.5, expected 0 and 1 alone"),
    "another shape": (npz(a=np.zeros(3)), r"expected masks as \(n, H, W\) or ids as \(H, W\), found float64 of shape"),
    "objects": (npz(a=np.array([None])), "holds elements of type object"),
    "columns": (npz(a=np.asfortranarray(MASKS)), "its array lies column by column"),
    "no JSON": (lambda folder: (folder / "a.json").write_text("["), "the JSON of regions cannot be read: it is not"),
    "an object": (json_file({"masks": []}), "expected a list of masks, or an object with `annotations`"),
    "outlines": (json_file([{"segmentation": [[0, 0, 1, 1]]}]), "mask 1: outlines are not read, expected run lengths"),
    "a short mask": (
        json_file([{"size": [5, 7], "counts": [30]}]), "damaged run lengths: they are of 30 pixels, not 35"),
    "several images": (
        json_file([{"image_id": 1, **rle(MASKS[0])}, {"image_id": 2, **rle(MASKS[0])}]),
        "masks of 2 images in one image's file; give this file itself to --regions"),
}  # fmt: skip


def write_png16(path: Path) -> None:
    """A PNG of 16 bits a colour, which Pillow reads and does not write."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + bytes(7 * 6)) * 5
    head = struct.pack(">IIBBBBB", 7, 5, 16, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_regions_of_the_image_is_said_in_one_line(tmp_path: Path, case: str) -> None:
    write, complaint = BAD[case]
    write(tmp_path)
    size = (300, 300) if case == "a photograph" else SIZE
    with pytest.raises(DataError, match=complaint) as refused:
        read(tmp_path, size=size)
    assert "\n" not in str(refused.value)
    assert str(tmp_path if case == "a label" else tmp_path / "a.") in str(refused.value)


def test_what_is_missing_or_given_twice_is_said_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder or file of regions"):
        open_regions(tmp_path / "gone", [])
    with pytest.raises(DataError, match="no files of regions in it; expected a file per image"):
        open_regions(tmp_path, ["a"])
    FORMS["8 bits"](tmp_path)
    with pytest.raises(UsageError, match=r"expected a folder with a file per image .* or one JSON file for all"):
        open_regions(tmp_path / "a.png", ["a"])
    with pytest.raises(DataError, match="no regions for 2 of 3 labels, first 'b'"):
        require_regions(open_regions(tmp_path, ["a", "b", "c"]), ["a", "b", "c"], tmp_path)
    FORMS["masks"](tmp_path)
    with pytest.raises(DataError, match=r"a\.np[zg] and .*two files of regions for one image; remove one"):
        open_regions(tmp_path, ["a"])
    assert open_regions(tmp_path, ["b"]).of("b") is None  # nobody asks for the image with two


ORPHAN = {"segmentation": rle(MASKS[0])}
PANOPTIC = {"annotations": [{"image_id": 1, "segments_info": []}]}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ([ORPHAN], "a mask without `image_id` or `file_name`; put the masks of one image into a file of its name"),
        (PANOPTIC, "no `segmentation` in it; of a panoptic data set give the folder of PNGs"),
        ([1], "expected an object, found 1"),
    ],
)
def test_a_file_of_all_images_has_to_name_them(tmp_path: Path, content: object, complaint: str) -> None:
    write_json(tmp_path / "all.json", content)
    with pytest.raises(DataError, match=complaint):
        open_regions(tmp_path / "all.json", ["a"])


def test_many_large_masks_are_unpacked_one_at_a_time(tmp_path: Path) -> None:
    size, count = (1000, 1000), 50
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": "|b1", "fortran_order": False, "shape": (count, *size)})
    plane = np.zeros(size, bool)
    plane[:3, :3] = True
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("masks.npy", content.getvalue() + plane.tobytes() * count)
    tracemalloc.start()
    found = sum(region.pixels.size for region in regions_of(open_regions(tmp_path, ["a"]), "a").read(size))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == 9 * count
    assert peak < 20_000_000  # all of them have 50 MB


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_files_with_a_byte_changed_are_read_or_refused(data: st.DataObject, tmp_path: Path) -> None:
    form, name = data.draw(st.sampled_from([("8 bits", "a.png"), ("masks", "a.npz"), ("SAM's list", "a.json")]))
    folder = tmp_path / form.replace(" ", "")
    folder.mkdir(exist_ok=True)
    FORMS[form](folder)
    path = folder / name
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        read(folder)
    except DataError as refused:
        assert name in str(refused)
