"""Tests of the ground: which processes there are, whether they live, and whose memory and descriptors these are."""
