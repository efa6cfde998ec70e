"""Two small CLIP models, trained here on rendered scenes, so that the product works offline."""
