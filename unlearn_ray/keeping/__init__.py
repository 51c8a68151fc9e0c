"""Keeping a store: what it holds, what may go, what other stores bring."""
