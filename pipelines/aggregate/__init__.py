"""Stores labelled articles and counts them."""
