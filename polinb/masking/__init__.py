"""What is done to neurons and directions: random sets, freezing (InhibitFT), ablation (CAFT), patching, editing."""
