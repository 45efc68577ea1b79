"""The vote of regions: labels whose edges follow what a segmenter found."""
