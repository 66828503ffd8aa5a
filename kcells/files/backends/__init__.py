"""The formats that a backend itself runs; one module a backend."""
