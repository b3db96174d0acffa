"""What moved, and a run that can decide: the paper's recipe read by likelihood."""
