"""Measurements that users can repeat: each part beside what they would take instead, in one run."""
