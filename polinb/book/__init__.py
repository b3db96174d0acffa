"""Running the notebooks and building the pages."""
