"""The layers and the stack of cells that users build models from."""
