"""The log that joins the stages."""
