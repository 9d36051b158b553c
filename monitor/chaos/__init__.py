"""Runs the stages as processes, kills them at random, and compares what they leave with an undisturbed run."""
