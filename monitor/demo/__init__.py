"""The whole chain on loopback: feeds, mail and webhook receiver."""
