"""Making and judging models: labelled files in, a model folder with its figures out."""
