"""The record model, from feed to inbox: frozen, declared once, derived everywhere else."""
