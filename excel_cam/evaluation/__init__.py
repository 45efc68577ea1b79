"""How good finished labels are."""
