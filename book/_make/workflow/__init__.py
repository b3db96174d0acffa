"""The book as jobs: starting snakemake, and the jobs that only the book's machinery can do: chapters and pages."""
