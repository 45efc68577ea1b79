"""Large photographs in overlapping windows: from pixels to the maps of all of them."""
