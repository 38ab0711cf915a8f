"""Tests of onefold.fold."""
