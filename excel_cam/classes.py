"""Class names in label order, the palette, and the value of pixels nobody should train on.

Label values are 0 for background and index + 1 for the class at `index` (0-based) of a data set's list; where the
knowledge base says that there is no background class, they are the index itself.
Prompt names and background words belong to the knowledge base (`kb/*.json`), not here.
"""

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

SPLITS = {
    "voc": ("train", "train_aug", "val", "trainval"),
    "coco": ("train2014", "val2014", "train2017", "val2017"),
}

DATASET_CLASSES = {"voc": VOC_CLASSES, "coco": COCO_CLASSES}
NAMED_CLASSES = {**DATASET_CLASSES, "demo": VOC_CLASSES}  # of finished labels


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
