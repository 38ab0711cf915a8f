"""Tests of onefold.governance."""
