"""Every switch of the method, once: its default, its unit, its source and its command-line option.

`Settings()` is preset `paper`: the choices behind the paper's figures, odd ones included (method/README.md marks them).
Other presets are `dataclasses.replace` of it. The command line builds its options from the fields' metadata, so a
default or a help text is written here and nowhere else.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from excel_cam.errors import SettingsError
from excel_cam.wording import install_hint

MAX_SCALES = 8
ROWS_PER_SHARD = 1000  # photographs of a manifest in one shard, unless asked for otherwise
WINDOW_SIDES = (32, 8192)  # pixels
MOST_BANDS = 65_535  # as a TIFF counts them
WINDOW_WORDS = ("auto", "off")
MAP_EPSILON = 1e-7  # added to a map's greatest value before it is divided by it (step 6.1)


Attributes = Literal["clustered", "sentences", "none"]
Normalisation = Literal["imagenet", "clip"]
Attention = Literal["svc", "qk", "vv", "v"]
FeatureNorm = Literal["channel", "token"]
Refinement = Literal["par", "none", "crf", "par+crf"]
CrfBackend = Literal["numpy", "pydensecrf2"]
Backend = Literal["torch", "openvino"]
ParImage = Literal["resized", "original"]


def _option(default: Any, flag: str, help: str, kind: Any, group: str = "image") -> Any:
    """A settings field with its command-line option.

    kind: the type of its value; a `Literal` for a choice; "numbers" for as many as one likes, "range" for two;
        "windows" for a number of pixels or a word; "bands" for whole numbers.
    """
    metadata = {"flag": flag, "help": help, "kind": kind, "choices": get_args(kind), "group": group}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """All settings that decide the labels. Raises `SettingsError` when one is out of range.

    >>> Settings(refine="none").uses_par
    False

    Fields of group `text` decide the text rows (and so the cached text bank); the others decide the maps and labels.
    """

    # Text Semantic Enrichment, paper section 3.2, step 1
    attributes: Attributes = _option(
        "clustered", "--attributes",
        "Enrich class rows with attributes clustered over all classes, with each class's own sentences, or not at all.",
        Attributes, "text",
    )  # fmt: skip
    clusters: int | None = _option(
        None, "--clusters",
        "B, the number of attributes; by default 112 for voc, 224 for coco, else round(0.28 * sentences).",
        int, "text",
    )  # fmt: skip
    keep: float = _option(0.9, "--keep", "Share of the attributes a class row may draw on, 0..1.", float, "text")
    strength: float = _option(1.0, "--strength", "Lambda, the weight of the attributes in a class row.", float, "text")

    # Image side, step 2
    size: int = _option(
        320, "--size", "S, the side images are resized to, in pixels (nearest multiple of the patch).", int
    )
    normalisation: Normalisation = _option(
        "imagenet", "--normalisation", "Colour mean and deviation; the release uses ImageNet's with CLIP.",
        Normalisation,
    )  # fmt: skip

    bands: tuple[int, ...] | None = _option(
        None, "--bands",
        "Bands of TIFFs, counted from 1, as red, green and blue, such as 3,2,1, or one as grey (extra `geo`); numbers "
        "beyond 8 bits are stretched from each band's 2nd to its 98th percentile, pixels without data labelled 255.",
        "bands",
    )  # fmt: skip

    # Windows of large photographs, steps 2.1 to 5
    windows: str | int = _option(
        "off", "--windows",
        "Look at photographs in overlapping windows of SIDE x SIDE pixels, each resized to --size; auto: SIDE = S "
        "where the longer side is above 1.5 S. Photographs are reduced to --working-pixels first.",
        "windows",
    )  # fmt: skip

    # Test-time augmentation: maps of step 4 averaged over views; the affinity of step 5 is the base view's alone
    scales: tuple[float, ...] = _option(
        (1.0,), "--scales",
        "Average the maps over views of these sizes, as factors of --size with commas between, such as 0.75,1,1.5.",
        "numbers",
    )  # fmt: skip
    flip: bool = _option(False, "--flip/--no-flip", "Average the maps over each view and its mirror image.", bool)

    # Static Visual Calibration, paper section 3.3, step 3
    attention: Attention = _option(
        "svc", "--attention",
        "Attention of the last blocks: svc = q-q, k-k and v-v, vv = v-v, v = a token's own (MaskCLIP), qk = CLIP's.",
        Attention,
    )  # fmt: skip
    calibrated_blocks: int = _option(
        5, "--calibrated-blocks", "L, how many last blocks are calibrated (not for qk).", int
    )

    # Patch-text CAM, step 4
    feature_norm: FeatureNorm = _option(
        "channel", "--feature-norm",
        "Unit norm of each feature channel over the tokens (the release), or of each token over the channels.",
        FeatureNorm,
    )  # fmt: skip

    # Class-aware affinity, step 5
    affinity: bool = _option(True, "--affinity/--no-affinity", "Propagate the maps along CLIP's attention.", bool)
    box_threshold: float = _option(
        0.79, "--box-threshold", "Share of a class's maximum above which its boxes form, 0..1.", float
    )

    # Labels, step 6
    background_power: float = _option(1.0, "--background-power", "Gamma in background = (1 - max map) ^ gamma.", float)
    refine: Refinement = _option(
        "par", "--refine",
        "Refinement at the photograph's size: pixel-adaptive (the release), none, a dense CRF, or one after the other.",
        Refinement,
    )  # fmt: skip
    crf_backend: CrfBackend = _option(
        "numpy", "--crf-backend",
        "What computes crf: this package, or the C++ package (extra `crf`), equal to 1e-3 in probability.",
        CrfBackend,
    )  # fmt: skip
    par_image: ParImage = _option(
        "resized", "--par-image",
        "Colours that guide par: the network's input scaled back up (the release) or the photograph's own.",
        ParImage,
    )  # fmt: skip
    working_pixels: int = _option(
        2**20, "--working-pixels",  # 1,048,576: VOC has at most 250,000, COCO 409,600
        "Photographs of more pixels are labelled at about so many, then their scores enlarged; bounds time and memory.",
        int,
    )  # fmt: skip
    ignore_thresholds: tuple[float, float] | None = _option(
        None, "--ignore-thresholds",
        "LOW,HIGH: label with background scores LOW and HIGH, and give pixels where the two disagree the value 255.",
        "range",
    )  # fmt: skip

    def __post_init__(self) -> None:
        for name, choices in ((f.name, f.metadata["choices"]) for f in dataclasses.fields(self)):
            if choices and getattr(self, name) not in choices:
                raise SettingsError(f"{name} is {getattr(self, name)!r}; expected one of {', '.join(choices)}")
        _require(self.clusters is None or self.clusters >= 1, "clusters", self.clusters, "at least 1")
        _require(
            self.clusters is None or self.attributes == "clustered", "clusters", self.clusters,
            f"none with --attributes {self.attributes}, which does not cluster",
        )  # fmt: skip
        _require(0 < self.keep <= 1, "keep", self.keep, "above 0 and at most 1")
        _require(0 <= self.strength < float("inf"), "strength", self.strength, "0 or more")
        _require(32 <= self.size <= 4096, "size", self.size, "between 32 and 4096 pixels")
        _require(
            self.bands is None or (len(self.bands) in (1, 3) and all(map(_is_band, self.bands))), "bands",
            ",".join(map(str, self.bands or ())), f"one band or three, each from 1 to {MOST_BANDS}",
        )  # fmt: skip
        _require(
            self.windows in WINDOW_WORDS or _is_window_side(self.windows), "windows", self.windows,
            f"auto, off, or a side of {WINDOW_SIDES[0]} to {WINDOW_SIDES[1]} pixels",
        )  # fmt: skip
        _require(self.calibrated_blocks >= 1, "calibrated_blocks", self.calibrated_blocks, "at least 1")
        _require(0 <= self.box_threshold < 1, "box_threshold", self.box_threshold, "at least 0 and below 1")
        _require(0 < self.background_power < float("inf"), "background_power", self.background_power, "above 0")
        _require(
            self.crf_backend == "numpy" or self.uses_crf, "crf_backend", self.crf_backend,
            f"numpy with --refine {self.refine}, which has no CRF",
        )  # fmt: skip
        _require(2**16 <= self.working_pixels <= 2**26, "working_pixels", self.working_pixels, "65536 to 67108864")
        _require(1 <= len(self.scales) <= MAX_SCALES, "scales", _listed(self.scales), f"1 to {MAX_SCALES} numbers")
        _require(len(set(self.scales)) == len(self.scales), "scales", _listed(self.scales), "each number once")
        _require(
            all(0.25 <= scale <= 4 for scale in self.scales), "scales", _listed(self.scales), "each within 0.25..4"
        )
        if self.ignore_thresholds is not None:
            low, high = self.ignore_thresholds
            _require(0 <= low < high <= 1, "ignore_thresholds", f"{low:g},{high:g}", "LOW below HIGH, both within 0..1")

    @property
    def uses_par(self) -> bool:
        """Whether maps go through pixel-adaptive refinement."""
        return self.refine in ("par", "par+crf")

    @property
    def uses_crf(self) -> bool:
        """Whether maps go through the dense CRF, last."""
        return self.refine in ("crf", "par+crf")

    def group(self, name: str) -> dict[str, Any]:
        """The fields of one group (`text` or `image`) as a dictionary that JSON can hold, but for those without effect.

        Those are the CRF's where there is none, `windows` where it is off and `bands` where none are chosen: labels
        made before these were there stay.
        """
        without_effect = {
            "crf_backend": not self.uses_crf, "windows": self.windows == "off", "bands": self.bands is None
        }  # fmt: skip
        names = [entry.name for entry in dataclasses.fields(self) if entry.metadata["group"] == name]
        return {name: getattr(self, name) for name in names if not without_effect.get(name)}


def check_background(has_background: bool, settings: Settings) -> None:
    """Raise `SettingsError` when `settings` shape a background score that the knowledge base rules out."""
    flags = {
        "--ignore-thresholds": settings.ignore_thresholds is not None,
        "--background-power": settings.background_power != Settings.background_power,
    }
    if not has_background and (asked := [flag for flag, is_set in flags.items() if is_set]):
        raise SettingsError(
            f'{asked[0]} needs a background score, but the knowledge base says "background_class": false; '
            f"leave {asked[0]} out, or take that line out of the knowledge base"
        )


def check_crf_backend(backend: str) -> None:
    """Raise `SettingsError` where the backend of the dense CRF that is asked for is not installed."""
    if backend == "pydensecrf2" and importlib.util.find_spec("pydensecrf") is None:
        raise SettingsError(
            f"crf_backend is pydensecrf2, which is not installed; {install_hint('crf')} (it needs a C++ "
            "compiler), or leave --crf-backend out"
        )


def check_backend(choice: ModelChoice) -> None:
    """Raise `SettingsError` where the backend asked for is none, is not installed, or cannot do what is asked of it."""
    if choice.backend not in get_args(Backend):
        raise SettingsError(f"backend is {choice.backend!r}; expected one of {', '.join(get_args(Backend))}")
    if choice.backend == "torch":
        return
    if choice.device not in ("auto", "cpu"):
        raise SettingsError(
            f"backend is openvino, which computes on the CPU, but device is {choice.device}; leave --device out, or "
            "leave --backend out to compute there with torch"
        )
    if choice.precision not in ("auto", "fp32"):
        raise SettingsError(
            f"backend is openvino, which computes in fp32, but precision is {choice.precision}; leave --precision out, "
            "or leave --backend out"
        )
    if importlib.util.find_spec("openvino") is None:
        raise SettingsError(
            f"backend is openvino, which is not installed; {install_hint('fast')}, or leave --backend out"
        )


def check_learnt_backend(backend: str) -> None:
    """Raise `SettingsError` where trained weights are to be used with another backend than torch."""
    if backend != "torch":
        raise SettingsError(f"backend is {backend}, but trained weights (--lvc) need torch; leave --backend out")


def _is_band(value: object) -> bool:
    return type(value) is int and 1 <= value <= MOST_BANDS


def _is_window_side(value: object) -> bool:
    return type(value) is int and WINDOW_SIDES[0] <= value <= WINDOW_SIDES[1]


def check_bands(bands: Sequence[int] | None) -> None:
    """Raise `SettingsError` where bands are asked for and what reads them is not installed."""
    if bands is not None and importlib.util.find_spec("rasterio") is None:
        raise SettingsError(
            f"bands is {_listed(bands)}, but rasterio, which reads them, is not installed; {install_hint('geo')}, or "
            "leave --bands out"
        )


def _require(holds: bool, name: str, value: object, expected: str) -> None:
    if not holds:
        raise SettingsError(f"{name} is {value}; expected {expected}")


def _listed(values: Iterable[float]) -> str:
    return ",".join(f"{value:g}" for value in values)


PRESETS = {
    "paper": Settings(),
    # The views the field averages class activation maps over; six passes through the image tower where paper has one.
    "tta": dataclasses.replace(Settings(), scales=(0.75, 1.0, 1.5), flip=True),
}


@dataclass(frozen=True)
class ModelChoice:
    """Which frozen model to load, onto what, how precisely, and with how many threads; see `load_model`.

    >>> ModelChoice(name="excel-cam-demo").device
    'auto'
    """

    name: str = "ViT-B-16-quickgelu"  # plain ViT-B-16 would build GELU, which OpenAI's weights were not trained with
    pretrained: str = "openai"
    weights: Path | None = None  # a checkpoint file, instead of `pretrained`
    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None  # of torch on a CPU; None: as many as this process has processors
    backend: Backend = "torch"  # what computes the image tower


@dataclass(frozen=True, kw_only=True)
class SegmentationSettings:
    """How photographs are looked at. Raises `SettingsError` when a setting is out of range.

    scales: sides of the views as factors of the trained size.
    variant: `voc` takes the first scale of 1 without its mirror image, as the release does; `coco` averages scores at a
        fifth of the photograph's sides and enlarges them again.
    positions: `direct` from CLIP's own grid to a view's, or by way of the `trained` one, as the release does on splits
        whose name contains "train".
    flip: whether each view has its mirror image beside it.
    crf: whether softmaxed scores go through the dense CRF. crf_backend: as for labels.
    """

    scales: tuple[float, ...] = (1.0, 0.7, 1.2, 1.5)
    variant: str = "voc"
    positions: str = "direct"
    flip: bool = True
    crf: bool = False
    crf_backend: str = "numpy"

    def __post_init__(self) -> None:
        listed = ",".join(f"{scale:g}" for scale in self.scales)
        if not 1 <= len(self.scales) <= MAX_SCALES or not all(0.25 <= scale <= 4 for scale in self.scales):
            raise SettingsError(f"scales is {listed}; expected 1 to {MAX_SCALES} numbers, each within 0.25..4")
        if self.variant not in ("voc", "coco"):
            raise SettingsError(f"variant is {self.variant!r}; expected one of voc, coco")
        if self.crf_backend not in ("numpy", "pydensecrf2"):
            raise SettingsError(f"crf_backend is {self.crf_backend!r}; expected one of numpy, pydensecrf2")
        if self.positions not in ("direct", "trained"):
            raise SettingsError(f"positions is {self.positions!r}; expected one of direct, trained")


SEGMENTATION_PRESETS = {"voc": SegmentationSettings(), "coco": SegmentationSettings(variant="coco")}
