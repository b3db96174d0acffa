"""Parameter groups, the store, conditions and stages of a run, and how a chapter begins."""
