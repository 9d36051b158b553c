"""What is happening? Facts: ingest, classify, aggregate, detect."""
