"""Scorers of pictures, and the decoded picture that they share."""
