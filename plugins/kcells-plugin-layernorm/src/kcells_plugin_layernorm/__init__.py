"""Layer-normalized recurrent cells for kcells."""
