"""Imputers: how a score that was not observed is predicted. One idea a file; a readout names the one that fills its gaps."""
