"""Tests of what everything else stands on: who is a process, whether it lives, whose memory and descriptors these are."""
