"""Class names in label order, the palette, and the value of pixels nobody should train on.

Label values are 0 for background and index + 1 for the class at `index` (0-based) of a data set's list.
Prompt names and background words belong to the knowledge base (`kb/*.json`), not here.
"""

IGNORE = 255  # label value of pixels that training skips
MAX_CLASSES = 254  # 8-bit labels less background (0) and IGNORE (255)

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip

DATASET_CLASSES = {"voc": VOC_CLASSES}


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
