"""The workflow: steps side by side, on one machine or a cluster."""
