"""Topics and rows, checked once: stance pairs, statements, and the side studies' sets."""
