"""Knowledge bases, one JSON file per data set: data only, installed as `excel_cam.kb`."""
