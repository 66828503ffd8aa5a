"""Recurrent cells for nested inputs for kcells."""
