"""The trainers that an export can be for, by name; apart from their formats, so that a command's help stays light."""

TRAINERS = (
    "irn", "clip-es", "psa", "deeplab", "mmseg", "coco-json", "ultralytics", "hf", "fiftyone", "cvat", "label-studio",
    "labelme",
)  # fmt: skip
