"""Maps on pixels: pixel-adaptive refinement (PAR) and the dense CRF, both guided by the photograph's colours."""
