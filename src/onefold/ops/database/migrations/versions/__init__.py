"""One module per step, the last of which gives exactly what `tables` says."""
