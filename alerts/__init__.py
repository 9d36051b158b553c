"""Who must know, when, how? Policy: rules, grouping, deduplication, delivery."""
