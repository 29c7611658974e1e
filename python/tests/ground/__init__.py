"""Tests of the basis of everything else: which processes there are, whether they are alive, and what is theirs."""
