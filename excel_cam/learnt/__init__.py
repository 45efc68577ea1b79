"""The trained half: Learnable Visual Calibration (LVC), and a segmenter that needs no tags (steps 8 to 13)."""
