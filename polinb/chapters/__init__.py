"""The tables of the chapters, out of the results of a run."""
