"""Brings news in: fetch, normalise, identify, drop what is known."""
