"""What is done to neurons and directions: random sets, freezing, ablation, patching, editing, grafting of weights."""
