"""Tests of features, strategies, checks and bars."""
