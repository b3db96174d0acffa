"""Chapter 10: planted truth."""
