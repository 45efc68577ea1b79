"""How far the work in an output folder is: shares, what they have done, and what is left; no model, no data set."""
