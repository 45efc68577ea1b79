"""Arrays on disk: .npy and .npz, pickles of either, read within bounds and written for old readers too."""
