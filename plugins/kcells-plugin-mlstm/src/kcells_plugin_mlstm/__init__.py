"""Multiplicative recurrent cells for kcells."""
