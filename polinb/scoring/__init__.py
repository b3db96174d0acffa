"""Which neurons and which directions: tracing, PNLAC, probes, contributions, sparse autoencoders, planted truth."""
