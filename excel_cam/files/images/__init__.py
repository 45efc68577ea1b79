"""Pictures on disk: photographs, masks, and how any image is opened."""
