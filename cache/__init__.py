"""The cache of embeddings: keys, codec, and the stores behind one interface. Knows no models and no HTTP."""
