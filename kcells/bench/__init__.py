"""Benchmarks: a cell in kcells against stock Keras, other libraries, and its own products.

    sizes, cards -> case              a cell at a size: data, model, matrices
    backends, floor, case -> sides    what is compared
    timing, sides -> measure          one row a side; `memory` does the same for memory
    measure, store -> campaign        many rows, kept in a file, resumed where it stopped
    campaign -> report, picture       tables and charts; `command` puts it all together

The command `kcells bench` and the script `benchmarks/cells.py` are two ways to `command`.
"""
