"""What joins the stages, and what analysts see."""

__version__ = "0.1.0"
