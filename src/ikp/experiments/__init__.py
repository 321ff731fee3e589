"""Recipes, whole runs from folders on disk, the demo and its report."""
