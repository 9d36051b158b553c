"""Which articles tell the same story: near-duplicates found online, within a sliding horizon."""
