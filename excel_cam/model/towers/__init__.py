"""CLIP's two towers, built from open_clip's configurations without loading open_clip where they are the usual ones."""
