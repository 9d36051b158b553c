"""Labels articles with topic and sentiment."""
