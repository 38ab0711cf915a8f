"""Tests of onefold.sim."""
