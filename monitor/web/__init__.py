"""What a browser sees: pages over the tables, served by a component of the daemon."""
