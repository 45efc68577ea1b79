"""Labels that people have corrected in another tool, back into a folder of labels."""
