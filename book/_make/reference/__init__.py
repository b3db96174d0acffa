"""The committed reference run: made, checked, shown."""
