"""Image-level labels in every form."""
