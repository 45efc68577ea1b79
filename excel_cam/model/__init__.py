"""The frozen CLIP, and what is computed with it once."""
