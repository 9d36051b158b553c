"""What a configuration would have told of the past: the daemon's stages on a virtual clock, and a report on them."""
