"""The library: who may borrow books."""
