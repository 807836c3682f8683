"""Recipes that make training audio from published packages, by their names alone."""
