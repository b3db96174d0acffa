"""A name → a loaded model, its tokens, and where its FFN neurons are."""
