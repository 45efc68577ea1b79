"""Class names in label order, the palette, and the value of pixels nobody should train on.

Label values are 0 for background and index + 1 for the class at `index` (0-based) of a data set's list; where the
knowledge base says that there is no background class, they are the index itself.
Prompt names and background words belong to the knowledge base (`kb/*.json`), not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

IGNORE = 255  # label value of pixels that training skips
MAX_CLASSES = 254  # 8-bit labels less background (0) and IGNORE (255)
MAX_CLASSES_ALONE = 255  # without a background class, the first class has label 0

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip

COCO_CLASSES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple",
    "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch",
    "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard",
    "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors",
    "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip

# What tools of annotation call pixels of no class, and those to ignore; the first of each is what exports call them.
BACKGROUND_NAMES = ("background", "_background_", "__background__")
IGNORED_NAMES = ("ignored", "__ignore__", "ignore", "void")

# COCO numbers its 80 categories 1..90 with gaps; by ascending id they become label values 1..80.
COCO_CATEGORY_IDS = tuple(
    category for category in range(1, 91) if category not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
)

# Pascal Context's 59 most frequent classes, as mmsegmentation orders them; with the background they are 60.
CONTEXT_CLASSES = (
    "aeroplane", "bag", "bed", "bedclothes", "bench", "bicycle", "bird", "boat", "book", "bottle", "building", "bus",
    "cabinet", "car", "cat", "ceiling", "chair", "cloth", "computer", "cow", "cup", "curtain", "dog", "door", "fence",
    "floor", "flower", "food", "grass", "ground", "horse", "keyboard", "light", "motorbike", "mountain", "mouse",
    "person", "plate", "platform", "pottedplant", "road", "rock", "sheep", "shelves", "sidewalk", "sign", "sky",
    "snow", "sofa", "table", "track", "train", "tree", "truck", "tvmonitor", "wall", "water", "window", "wood",
)  # fmt: skip

# The 150 classes of the scene parsing benchmark (ADEChallengeData2016, objectInfo150.txt), in its order, each by one of
# the names it has there.
ADE20K_CLASSES = (
    "wall", "building", "sky", "floor", "tree", "ceiling", "road", "bed", "windowpane", "grass", "cabinet",
    "sidewalk", "person", "earth", "door", "table", "mountain", "plant", "curtain", "chair", "car", "water",
    "painting", "sofa", "shelf", "house", "sea", "mirror", "rug", "field", "armchair", "seat", "fence", "desk",
    "rock", "wardrobe", "lamp", "bathtub", "railing", "cushion", "base", "box", "column", "signboard",
    "chest of drawers", "counter", "sand", "sink", "skyscraper", "fireplace", "refrigerator", "grandstand", "path",
    "stairs", "runway", "case", "pool table", "pillow", "screen door", "stairway", "river", "bridge", "bookcase",
    "blind", "coffee table", "toilet", "flower", "book", "hill", "bench", "countertop", "stove", "palm",
    "kitchen island", "computer", "swivel chair", "boat", "bar", "arcade machine", "hovel", "bus", "towel", "light",
    "truck", "tower", "chandelier", "awning", "streetlight", "booth", "television", "airplane", "dirt track",
    "apparel", "pole", "land", "bannister", "escalator", "ottoman", "bottle", "buffet", "poster", "stage", "van",
    "ship", "fountain", "conveyor belt", "canopy", "washer", "plaything", "swimming pool", "stool", "barrel",
    "basket", "waterfall", "tent", "bag", "minibike", "cradle", "oven", "ball", "food", "step", "tank", "trade name",
    "microwave", "pot", "animal", "bicycle", "lake", "dishwasher", "screen", "blanket", "sculpture", "hood", "sconce",
    "vase", "traffic light", "tray", "trash can", "fan", "pier", "crt screen", "plate", "monitor", "bulletin board",
    "shower", "radiator", "glass", "clock", "flag",
)  # fmt: skip

# The 19 classes that Cityscapes judges, in the order of their train ids (cityscapesScripts, labels.py).
CITYSCAPES_CLASSES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip

SPLITS = {
    "voc": ("train", "train_aug", "val", "trainval"),
    "coco": ("train2014", "val2014", "train2017", "val2017"),
    "context": ("train", "val"),
    "context60": ("train", "val"),
    "ade20k": ("training", "validation"),
    "cityscapes": ("train", "val", "test"),
}

DATASET_CLASSES = {
    "voc": VOC_CLASSES, "coco": COCO_CLASSES, "context": CONTEXT_CLASSES, "context60": CONTEXT_CLASSES,
    "ade20k": ADE20K_CLASSES, "cityscapes": CITYSCAPES_CLASSES,
}  # fmt: skip
NAMED_CLASSES = {**DATASET_CLASSES, "demo": VOC_CLASSES}  # of finished labels
WITHOUT_BACKGROUND = ("context", "ade20k", "cityscapes")  # every pixel that counts shows one of the classes


@dataclass(frozen=True)
class MaskForm:
    """How a data set's own masks are valued and named, where that is not as labels are.

    values: the file's value -> the label value, IGNORE for pixels that nobody judges; a file's IGNORE is always that.
    ending, image_ending: a mask's name has the one where its image's has the other.
    """

    values: Mapping[int, int]
    ending: str = ""
    image_ending: str = ""


def _zero_ignored(count: int) -> MaskForm:
    """Masks of `count` classes from 1 on, in which 0 is what belongs to none of them and is not judged."""
    return MaskForm({0: IGNORE} | {value: value - 1 for value in range(1, count + 1)})


# Label ids 0..33 of cityscapesScripts -> train ids, which are the label values; ids of classes not judged -> IGNORE.
_CITYSCAPES_JUDGED = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
CITYSCAPES_TRAIN_IDS = {
    label_id: _CITYSCAPES_JUDGED.index(label_id) if label_id in _CITYSCAPES_JUDGED else IGNORE for label_id in range(34)
}
_TRAIN_IDS_THEMSELVES = {value: value for value in range(len(CITYSCAPES_CLASSES))}
_CITYSCAPES_IMAGE = "_leftImg8bit"

# Data set -> the forms that its masks may have, the first that is there first; all others are as labels are.
MASK_FORMS = {
    "context": (_zero_ignored(len(CONTEXT_CLASSES)),),
    "ade20k": (_zero_ignored(len(ADE20K_CLASSES)),),
    "cityscapes": (
        MaskForm(CITYSCAPES_TRAIN_IDS, "_gtFine_labelIds", _CITYSCAPES_IMAGE),
        MaskForm(_TRAIN_IDS_THEMSELVES, "_gtFine_labelTrainIds", _CITYSCAPES_IMAGE),
        MaskForm(_TRAIN_IDS_THEMSELVES, _CITYSCAPES_IMAGE, _CITYSCAPES_IMAGE),
    ),
}


def voc_palette() -> bytes:
    """The 256-entry colour table of PASCAL VOC, 768 bytes (R, G, B per label value).

    The three colours take the label value's bits in turn, the lowest bits becoming the highest of the colour,
    as the devkit's colour map does; so neighbouring label values get colours far apart.
    """
    table = bytearray()
    for value in range(256):
        red = green = blue = 0
        bits = value
        for shift in range(7, -1, -1):
            red |= (bits & 1) << shift
            green |= (bits >> 1 & 1) << shift
            blue |= (bits >> 2 & 1) << shift
            bits >>= 3
        table += bytes((red, green, blue))
    return bytes(table)
