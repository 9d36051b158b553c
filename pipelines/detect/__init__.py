"""Looks for negative spikes in what was counted."""
