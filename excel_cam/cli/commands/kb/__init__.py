"""The commands of `excel-cam kb`."""
