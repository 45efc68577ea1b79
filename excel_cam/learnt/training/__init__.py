"""Learning an adapter and a decoder from labels of crops: draws, crops, losses, steps, checkpointed at any moment."""
