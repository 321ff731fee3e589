"""Evaluation by rollouts, collection of demonstrations, summaries and videos of both."""
