"""Chapter 17: cards of single neurons."""
