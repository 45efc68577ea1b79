"""The tools that corrected labels can come from, by name; apart from their readers, so that help stays light."""

TOOLS = ("cvat", "label-studio", "labelme")
