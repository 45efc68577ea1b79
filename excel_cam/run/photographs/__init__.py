"""`excel-cam label` and `segment` of a few photographs: no data set, no tags file, no run record."""
