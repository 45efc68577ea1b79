"""Regions as tools of annotation write them: run lengths, outlines, folders and archives."""
