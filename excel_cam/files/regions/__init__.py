"""Regions of an image as segmenters write them: id maps, stacks of masks, run lengths."""
