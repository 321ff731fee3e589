"""The demo: demonstrations, training, evaluation and one report page."""
